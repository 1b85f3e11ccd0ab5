"use strict";
(function () {
  const byId = (id) => document.getElementById(id);

  // Selects that show one of several blocks.
  function chooser(selectId, blockClass) {
    const select = byId(selectId);
    if (!select) return;
    const blocks = document.getElementsByClassName(blockClass);
    const show = () => {
      for (let i = 0; i < blocks.length; i++) blocks[i].hidden = i !== Number(select.value);
    };
    select.addEventListener("change", show);
    show(); // browsers keep a choice over a reload
  }
  chooser("cost-kind", "cost-plot");
  chooser("confusion-of", "confusion");

  // Paper has no clicks: open everything while printing, then close it again.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open]):not(.inner)"));
    opened.forEach((d) => { d.open = true; });
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((d) => { d.open = false; });
  });

  const source = byId("difference-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const PAGE = 20;
  const first = byId("first"), second = byId("second"), filter = byId("filter");
  const words = byId("words"), rows = byId("difference-rows"), more = byId("more");
  let limit = PAGE;

  if (!data.binary) rows.parentElement.classList.add("long");
  const gain = (a, b) => data.sign * (a[2] - b[2]);
  const filters = data.binary
    ? [
        ["differ", "different answers", (a, b) => a[0] !== b[0]],
        ["first", "A right, B wrong", (a, b) => a[2] > b[2]],
        ["second", "A wrong, B right", (a, b) => a[2] < b[2]],
        ["wrong", "both wrong", (a, b) => a[2] === 0 && b[2] === 0],
        ["right", "both right", (a, b) => a[2] === 1 && b[2] === 1],
        ["unread", "either unreadable", (a, b) => !a[3] || !b[3]],
        ["all", "every example", () => true],
      ]
    : [
        ["differ", "different answers", (a, b) => a[0] !== b[0]],
        ["first", "A is better", (a, b) => gain(a, b) > 0],
        ["second", "B is better", (a, b) => gain(a, b) < 0],
        ["same", "same score", (a, b) => a[2] === b[2]],
        ["unread", "either unreadable", (a, b) => !a[3] || !b[3]],
        ["all", "every example", () => true],
      ];

  function make(tag, text, cls) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text; // texts are data, never markup
    if (cls) node.className = cls;
    return node;
  }

  function pairsShown() {
    const a = data.answers[Number(first.value)], b = data.answers[Number(second.value)];
    const both = [];
    data.examples.forEach((example, i) => {
      if (a[i] && b[i]) both.push([example, a[i], b[i]]);
    });
    return both;
  }

  function answerCell(answer, label) {
    const cell = make("td");
    cell.dataset.label = label;
    const said = answer[0] === null ? null : data.texts[answer[0]];
    if (data.binary) cell.className = answer[2] === 1 ? "right" : "wrong";
    if (data.binary) cell.append(make("span", answer[2] === 1 ? "✓" : "✗", "sign"), "\u00a0");
    cell.append(make("span", said === null ? "(unreadable)" : said, "said"));
    if (!data.binary) cell.append(" ", make("span", answer[2].toFixed(2), "small"));
    const raw = answer[1] === null ? null : data.texts[answer[1]];
    if (raw !== null) cell.append(make("div", "said: " + raw, "small raw"));
    if (!answer[3] && said !== null) cell.append(make("div", "unaided, it would have named no label", "small"));
    return cell;
  }

  function fillFilters(both) {
    const chosen = filter.value || "differ";
    filter.textContent = "";
    filters.forEach(([key, name, test]) => {
      const count = both.filter(([, a, b]) => test(a, b)).length;
      const option = make("option", name + " (" + count + ")");
      option.value = key;
      filter.append(option);
    });
    filter.value = chosen;
    if (filter.selectedIndex < 0) filter.selectedIndex = 0;
  }

  function seedOf(technique) {
    return technique.name + (technique.seeds > 1 ? ", seed " + technique.seed : "");
  }

  function draw() {
    const both = pairsShown();
    fillFilters(both);
    const wanted = words.value.trim().toLowerCase();
    const test = filters.find(([key]) => key === filter.value)[2];
    const kept = both.filter(([e, a, b]) =>
      test(a, b) && (!wanted || (e[1] + "\n" + data.texts[e[2]]).toLowerCase().includes(wanted)));
    const nameA = data.techniques[Number(first.value)], nameB = data.techniques[Number(second.value)];
    byId("first-name").textContent = "A: " + nameA.name;
    byId("second-name").textContent = "B: " + nameB.name;
    rows.textContent = "";
    kept.slice(0, limit).forEach(([example, a, b]) => {
      const row = make("tr");
      const input = make("td", example[1], "input");
      input.title = example[0];
      const target = make("td", data.texts[example[2]]);
      target.dataset.label = "right answer";
      row.append(input, target, answerCell(a, "A: " + nameA.name), answerCell(b, "B: " + nameB.name));
      rows.append(row);
    });
    if (!kept.length) {
      const row = make("tr"), cell = make("td", "No such example.", "small");
      cell.colSpan = 4;
      row.append(cell);
      rows.append(row);
    }
    const betterA = both.filter(([, a, b]) => gain(a, b) > 0).length;
    const betterB = both.filter(([, a, b]) => gain(a, b) < 0).length;
    const only = data.binary ? " alone is right on " : " is better on ";
    byId("tally").textContent = "Of " + both.length + " examples, A (" + seedOf(nameA) + ")" + only +
      betterA + ", B (" + seedOf(nameB) + ")" + only + betterB + ". " +
      "Showing " + Math.min(limit, kept.length) + " of " + kept.length + ".";
    more.hidden = kept.length <= limit;
  }

  first.value = String(data.start[0]);
  second.value = String(data.start[1]);
  [first, second, filter].forEach((select) => select.addEventListener("change", () => {
    limit = PAGE;
    draw();
  }));
  words.addEventListener("input", () => { limit = PAGE; draw(); });
  more.addEventListener("click", () => { limit += 5 * PAGE; draw(); });
  byId("difference-form").addEventListener("submit", (event) => event.preventDefault());
  draw();
})();
