"use strict";
(function () {
  const byId = (id) => document.getElementById(id);

  // Forms that take a while, or may fail, are sent by script: what went wrong stands beside them.
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.hasAttribute("data-send")) return;
    event.preventDefault();
    const button = form.querySelector("button");
    const said = form.querySelector(".working, .small");
    button.disabled = true;
    if (form.classList.contains("lab")) said.textContent = "Running on dev …";
    try {
      const reply = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (reply.ok) { window.location.assign(reply.url); return; }
      said.textContent = await fault(reply);
    } catch (error) {
      said.textContent = "The server did not answer: " + error.message;
    }
    said.classList.add("fault");
    button.disabled = false;
  });
  document.addEventListener("change", (event) => {
    if (event.target.hasAttribute("data-go")) event.target.form.submit();
  });

  async function fault(reply) {
    try { return (await reply.json()).error.message; } catch { return "The server answered " + reply.status + "."; }
  }

  async function post(path, body, signal) {
    return fetch(path, { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  }

  const ask = byId("ask");
  if (!ask) return;
  const answers = byId("answers"), end = byId("end");
  let under = null; // what can be stopped
  byId("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask.requestSubmit(); }
  });
  end.addEventListener("click", () => under && under.abort());
  ask.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = byId("text").value, context = byId("context").value || null;
    const models = Array.from(ask.querySelectorAll("input[name=model]:checked"), (box) => box.value);
    if (!models.length || !text.trim()) return;
    if (under) under.abort();
    const mine = (under = new AbortController());
    answers.replaceChildren();
    end.hidden = false;
    await Promise.all(models.map((model) => one({ model, text, context }, mine.signal)));
    if (under === mine) end.hidden = true;
  });

  async function one(asked, signal) {
    const card = byId("answer").content.firstElementChild.cloneNode(true);
    const said = card.querySelector(".said");
    card.querySelector("h2").textContent = asked.model;
    answers.append(card);
    try {
      const reply = await post("/playground/ask", asked, signal);
      if (!reply.ok) throw new Error(await fault(reply));
      for await (const line of lines(reply)) {
        if (line.piece) said.textContent += line.piece;
        if (line.fault) throw new Error(line.fault);
        if (line.done) finish(card, asked, line.done);
      }
    } catch (error) {
      said.classList.add("fault");
      said.textContent = error.name === "AbortError" ? said.textContent + " (stopped)" : error.message;
    }
    said.setAttribute("aria-busy", "false");
  }

  async function* lines(reply) {
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) if (part) yield JSON.parse(part);
    }
  }

  function percent(chance) {
    if (chance > 0 && chance < 0.005) return "< 1 %";
    if (chance < 1 && chance >= 0.995) return "> 99 %";
    return Math.round(100 * chance) + " %";
  }

  function finish(card, asked, done) {
    card.querySelector(".said").textContent = done.answer;
    const labels = card.querySelector(".labels");
    for (const [label, chance] of done.labels) {
      const row = document.createElement("li"), bar = document.createElement("meter"), share = document.createElement("b");
      bar.value = chance;
      share.textContent = percent(chance);
      row.append(label, bar, share);
      labels.append(row);
    }
    const citations = card.querySelector(".citations");
    for (const c of done.citations) {
      const text = document.createElement("blockquote");
      text.textContent = c.text;
      citations.append("[" + c.number + "] " + c.place + (c.supports ? ", bears it out" : ""), text);
    }
    const facts = [done.tokens[0] + " tokens read", done.tokens[1] + " written", done.computed + " computed", done.seconds.toFixed(2) + " s"];
    if (done.first !== null && done.tokens[1]) facts.push("first after " + done.first.toFixed(2) + " s");
    if (done.cut) facts.push("cut at the limit of new tokens");
    card.querySelector(".facts").textContent = facts.join(" · ");
    card.querySelector(".acts").hidden = false;
    const kept = card.querySelector(".kept"), edit = card.querySelector(".edit"), prompt = card.querySelector("pre.prompt");
    const say = async (rest) => {
      const reply = await post("/playground/opinion", { ...asked, answer: done.answer, ...rest });
      kept.textContent = reply.ok ? "kept in the feedback of the run" : await fault(reply);
      return reply.ok;
    };
    for (const thumb of card.querySelectorAll("[data-thumb]")) {
      thumb.addEventListener("click", async () => {
        if (await say({ kind: "thumb", value: Number(thumb.dataset.thumb) })) {
          // Two models that said the same have one opinion: the last one counts, and all cards show it.
          for (const same of answers.querySelectorAll(".answer")) {
            if (same.querySelector(".said").textContent !== done.answer) continue;
            for (const other of same.querySelectorAll("[data-thumb]")) other.setAttribute("aria-pressed", String(other.dataset.thumb === thumb.dataset.thumb));
          }
        }
      });
    }
    card.querySelector("[data-edit]").addEventListener("click", () => {
      edit.hidden = !edit.hidden;
      const box = edit.querySelector("textarea");
      if (!box.value) box.value = done.answer;
      if (!edit.hidden) box.focus();
    });
    edit.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (await say({ kind: "edit", edited: edit.querySelector("textarea").value })) edit.hidden = true;
    });
    card.querySelector("[data-prompt]").addEventListener("click", async () => {
      if (!prompt.textContent) {
        const reply = await post("/playground/prompt", asked);
        prompt.textContent = reply.ok ? (await reply.json()).prompt : await fault(reply);
      }
      prompt.hidden = !prompt.hidden;
    });
  }
})();
