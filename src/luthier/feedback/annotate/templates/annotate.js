"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const kind = document.body.dataset.kind;
  const here = location.pathname.replace(/\/$/, "");
  const names = ["A", "B"];
  let item = null, shownAt = 0, busy = false, last = null, editing = null, drawn = 0;

  function say(text, bad) {
    at("said").textContent = text;
    at("said").classList.toggle("bad", Boolean(bad));
  }

  async function ask(path, body) {
    const options = body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    };
    for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
      let answer;
      try {
        answer = await fetch(here + path, options);
        if (answer.status < 500) {
          const found = await answer.json();
          return answer.ok ? found : { error: found.error || "It was refused", next: found.next, code: answer.status };
        }
      } catch (error) { /* the server is away: the same request again stores nothing twice */ }
      say("The server does not answer. What you chose is sent again until it does.", true);
      await new Promise((done) => setTimeout(done, wait));
    }
  }

  function block(tag, text, cls) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (cls) made.className = cls;
    return made;
  }

  function answerCard(answer, place) {
    const card = document.createElement("article");
    card.className = "answer";
    const name = item.answers.length > 1 ? "Answer " + names[place] : "Answer";
    card.setAttribute("aria-label", name);
    const text = block("div", answer.text, "text");
    text.tabIndex = 0;
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", name + ", text");
    const under = block("div", "", "under-text");
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.dataset.answer = answer.id;
    box.addEventListener("change", () => card.classList.toggle("unsafe", box.checked));
    label.append(box, block("kbd", place === 0 ? "S" : "D"), document.createTextNode("unsafe"));
    const edit = block("button", "");
    edit.append(block("kbd", place === 0 ? "E" : "R"), document.createTextNode("edit"));
    edit.addEventListener("click", () => openEditor(answer));
    under.append(label, edit);
    card.append(block("h2", name), text, under);
    return card;
  }

  function show(found) {
    const { done, left } = found.progress;
    at("bar").max = Math.max(1, done + left);
    at("bar").value = done;
    at("count").textContent = done + " done, " + left + " to go";
    item = found.item;
    at("work").hidden = !item;
    at("empty").hidden = Boolean(item);
    at("undo").disabled = !last;
    if (!item) { if (last) { at("work").hidden = false; drawEmpty(); } return; }
    setChoices(true);
    const turns = [];
    if (item.context) turns.push(block("h2", "Passage"), block("p", item.context));
    for (const turn of item.prompt) {
      turns.push(block("h2", { user: "Question", system: "Instruction", assistant: "Earlier answer" }[turn.role] || turn.role));
      turns.push(block("p", turn.text));
    }
    at("prompt").hidden = false;
    at("prompt").replaceChildren(...turns);
    at("answers").replaceChildren(...item.answers.map(answerCard));
    if (at("comment")) at("comment").value = "";
    shownAt = performance.now();
    drawn += 1;
    document.body.dataset.item = item.id;
    document.body.dataset.drawn = drawn;
    window.scrollTo(0, 0);
    if (kind === "edit") openEditor(item.answers[0]);
  }

  function drawEmpty() {
    at("prompt").hidden = true;
    at("answers").replaceChildren();
    setChoices(false);
    document.body.dataset.item = "";
  }

  function setChoices(on) {
    document.querySelectorAll(".choices button, #skip").forEach((b) => { b.disabled = !on; });
  }

  function fields(more) {
    return {
      key: item.id + "-" + drawn + "-" + more.kind, item: item.id,
      shown: item.answers.map((a) => a.id),
      unsafe: [...document.querySelectorAll(".answer input:checked")].map((b) => b.dataset.answer),
      seconds: Math.round(performance.now() - shownAt) / 1000, ...more,
    };
  }

  async function send(more) {
    if (busy || !item) return;
    busy = true;
    const body = fields(more);
    body.key = session + "-" + body.key;
    const found = await ask("/opinions", body);
    busy = false;
    if (found.error) {
      say(found.error + ". " + (found.next || ""), true);
      if (found.code !== 410) return;
    } else if (found.status === "already") {
      say("You had judged that one already, perhaps in another tab. What you said first counts.");
      last = null;
    } else {
      say("Kept.");
      last = { key: body.key, item: body.item };
    }
    await next();
  }

  async function next() {
    const found = await ask("/next");
    if (found.error) { say(found.error + ". " + (found.next || ""), true); at("work").hidden = true; return; }
    show(found);
  }

  async function undo() {
    if (busy || !last) return;
    busy = true;
    const token = here.split("/").pop().slice(0, 8);
    const found = await ask("/undo", { key: token + "-" + last.key, item: last.item });
    busy = false;
    last = null;
    if (found.error) { say(found.error, true); return; }
    say(found.status === "undone" ? "Taken back. Here it is again." : "That one was taken back already.");
    if (found.item) show(found); else await next();
  }

  function openEditor(answer) {
    editing = answer;
    at("edited").value = answer.text;
    at("editor").showModal();
    at("edited").focus();
  }

  async function saveEdit() {
    const text = at("edited").value, answer = editing;
    at("editor").close();
    if (!answer || !item || text === answer.text || !text.trim()) return;
    if (kind === "edit") { await send({ kind: "edit", answer: answer.id, text }); return; }
    const body = fields({ kind: "edit", answer: answer.id, text });
    body.key = session + "-" + body.key;
    const found = await ask("/opinions", body);
    if (found.error) say(found.error, true);
    else say(found.status === "stored" ? "The edit is kept. Now judge the answer as it was." : "You had edited that answer already.");
  }

  function skip(reason) {
    at("why").close();
    if (reason.trim()) send({ kind: "skip", text: reason.trim() });
  }

  function choose(button) {
    if (button.disabled || !item) return;
    if (kind === "preference") {
      const side = button.dataset.side, grade = button.dataset.grade;
      const pair = item.answers.map((a) => a.id);
      if (grade === "unsure") send({ kind, grade });
      else send({ kind, grade, answer: pair[side], other: pair[1 - side] });
    } else {
      const text = at("comment") ? at("comment").value : "";
      send({ kind, answer: item.answers[0].id, value: Number(button.dataset.value), text: text || undefined });
    }
  }

  document.querySelectorAll(".choices button").forEach((b) => b.addEventListener("click", () => choose(b)));
  at("undo").addEventListener("click", undo);
  at("skip").addEventListener("click", () => { at("reason").value = ""; at("why").showModal(); });
  document.querySelectorAll("[data-reason]").forEach((b) => b.addEventListener("click", () => skip(b.dataset.reason)));
  at("send-reason").addEventListener("click", () => skip(at("reason").value));
  at("reason").addEventListener("keydown", (e) => { if (e.key === "Enter") { e.preventDefault(); skip(at("reason").value); } });
  at("stay").addEventListener("click", () => at("why").close());
  at("save-edit").addEventListener("click", saveEdit);
  at("leave-edit").addEventListener("click", () => at("editor").close());
  at("edited").addEventListener("keydown", (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); saveEdit(); } });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const field = event.target.closest("textarea, input:not([type=checkbox])");
    if (field) { if (event.key === "Escape") field.blur(); return; }
    if (at("why").open) {
      const reason = document.querySelectorAll("[data-reason]")[Number(event.key) - 1];
      if (reason) { event.preventDefault(); skip(reason.dataset.reason); }
      return;
    }
    if (at("editor").open) return;
    const key = event.key.toLowerCase();
    const numbered = document.querySelectorAll(".choices button")[Number(key) - 1];
    const boxes = document.querySelectorAll(".answer input");
    const edits = document.querySelectorAll(".answer button");
    const does = {
      u: undo, k: () => at("skip").click(), c: () => at("comment") && at("comment").focus(),
      s: () => boxes[0] && boxes[0].click(), d: () => boxes[1] && boxes[1].click(),
      e: () => edits[0] && edits[0].click(), r: () => edits[1] && edits[1].click(),
    }[key];
    if (numbered) { event.preventDefault(); choose(numbered); }
    else if (does) { event.preventDefault(); does(); }
  });

  const session = Math.random().toString(36).slice(2, 12);
  next();
})();
