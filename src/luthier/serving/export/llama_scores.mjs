// Scores and generates with llama.cpp through node-llama-cpp. Reads one JSON object from stdin:
// {model, jobs: [{text, rows: [{ids, start}]} | {text, ids, maxTokens, ends}]}, writes one a job.
import {createRequire} from "node:module";
import {availableParallelism} from "node:os";
import {pathToFileURL} from "node:url";
import {join} from "node:path";

const place = createRequire(join(process.env.LUTHIER_NODE_MODULES ?? process.cwd(), "x.js"));
const {getLlama} = await import(pathToFileURL(place.resolve("node-llama-cpp")).href);
let text = "";
for await (const chunk of process.stdin) text += chunk;
const {model: modelPath, jobs} = JSON.parse(text);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", progressLogs: false});
const model = await llama.loadModel({modelPath});
const longest = Math.max(...jobs.flatMap((j) => (j.rows ?? [{ids: j.ids}]).map(
  (r) => r.ids.length + (j.maxTokens ?? 0))));
const context = await model.createContext({contextSize: longest + 8, batchSize: longest + 8,
  threads: availableParallelism()});
const sequence = context.getSequence();
const all = {temperature: 1, topK: 0, topP: 1, minP: 0};

for (const job of jobs) {
  const own = [...model.tokenize(job.text)];
  const found = {tokens: own};
  if (job.rows) {
    found.rows = [];
    for (const {ids, start} of job.rows) {
      await sequence.clearHistory();
      const items = ids.slice(0, -1).map((token, place) => place < start - 1
        ? token : [token, {generateNext: {probabilities: true, options: all}}]);
      const out = await sequence.controlledEvaluate(items);
      const logs = [], best = [];
      for (let place = start - 1; place < ids.length - 1; place++) {
        const chances = out[place].next.probabilities;
        logs.push(Math.log(chances.get(ids[place + 1]) ?? 1e-45));
        best.push(chances.keys().next().value === ids[place + 1]);
      }
      found.rows.push({logs, best});
    }
  } else {
    await sequence.clearHistory();
    found.generated = [];
    for await (const token of sequence.evaluate(job.ids, {temperature: 0})) {
      if (job.ends.includes(token)) break;
      found.generated.push(token);
      if (found.generated.length >= job.maxTokens) break;
    }
  }
  process.stdout.write(JSON.stringify(found) + "\n");
}
process.exit(0);
