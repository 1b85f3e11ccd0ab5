// llama.cpp through node-llama-cpp: labels scored behind prompts whose common beginning is kept, and
// greedy text. Reads {model, threads, context, labelled: [{prompt, rows}], free: [{prompt, tokens}]}
// from stdin, writes one JSON line a job with the processor seconds of this process.
import {createRequire} from "node:module";
import {join} from "node:path";
import {pathToFileURL} from "node:url";

const place = createRequire(join(process.env.LUTHIER_NODE_MODULES ?? process.cwd(), "x.js"));
const {getLlama} = await import(pathToFileURL(place.resolve("node-llama-cpp")).href);
let text = "";
for await (const chunk of process.stdin) text += chunk;
const asked = JSON.parse(text);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", progressLogs: false,
  maxThreads: asked.threads});
const model = await llama.loadModel({modelPath: asked.model});
const context = await model.createContext({contextSize: asked.context, batchSize: 512,
  threads: asked.threads});
const sequence = context.getSequence();
const all = {temperature: 1, topK: 0, topP: 1, minP: 0};
const cpu = () => { const {user, system} = process.cpuUsage(); return (user + system) / 1e6; };
const chances = (token) => [token, {generateNext: {probabilities: true, options: all}}];
const say = (found) => process.stdout.write(JSON.stringify(found) + "\n");

// Its own prompt cache: what the last prompt and this one have in common is not read again.
async function read(prompt, last) {
  await sequence.adaptStateToTokens(prompt.slice(0, -1), false);
  const rest = prompt.slice(sequence.nextTokenIndex);
  const out = await sequence.controlledEvaluate([...rest.slice(0, -1), last(rest.at(-1))]);
  return {first: out.at(-1).next?.probabilities, read: rest.length};
}

for (const {prompt, rows} of asked.labelled) {
  const begun = cpu(), wall = performance.now();
  const {first, read: tokens} = await read(prompt, chances);
  const sums = [];
  for (const row of rows) {
    let sum = Math.log(first.get(row[0]) ?? 1e-45);
    if (row.length > 1) {
      const out = await sequence.controlledEvaluate(row.slice(0, -1).map(chances));
      for (let i = 1; i < row.length; i++)
        sum += Math.log(out[i - 1].next.probabilities.get(row[i]) ?? 1e-45);
      await sequence.eraseContextTokenRanges([{start: prompt.length, end: sequence.nextTokenIndex}]);
    }
    sums.push(sum);
  }
  say({kind: "labelled", sums, read: tokens, cpu: cpu() - begun, wall: (performance.now() - wall) / 1e3});
}
for (const {prompt, tokens} of asked.free) {
  await sequence.clearHistory();
  const begun = cpu(), wall = performance.now(), written = [];
  let first = null;
  for await (const token of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true})) {
    first ??= {cpu: cpu() - begun};
    written.push(token);
    if (written.length >= tokens) break;
  }
  say({kind: "free", written, first: first.cpu, cpu: cpu() - begun, wall: (performance.now() - wall) / 1e3});
}
process.exit(0);
