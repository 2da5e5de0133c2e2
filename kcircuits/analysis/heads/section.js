// What each node writes at the chosen position, as a sortable table.

const HEAD_TITLES = [
  ["node", null], ["role", "words"], ["adds to the logit", null], ["share", null], ["answer's rank", null],
  ["writes", "words"], ["attends to", "words"],
];

function addHeads(graph, store, readings) {
  const holder = byId("heads-table");
  if (holder === null || readings.prompts.length === 0) return;
  const controls = element("p", { class: "controls" });
  const body = element("tbody");
  const head = element("tr", {}, ...HEAD_TITLES.map(([text, kind]) => element("th", { scope: "col", class: kind }, text)));
  const table = element("table", { class: "sortable" }, element("thead", {}, head), body);
  holder.append(controls, scrollBox("What the nodes write", table));
  addChoosers(controls, store, readings);
  const sorting = makeSortable(table);

  store.watch(["prompt", "position"], (state) => {
    const { tokens } = readings.prompts[state.prompt];
    const nodes = d3.sort(readings.at(state), (each) => -Math.abs(each.logit));
    body.replaceChildren(...nodes.map((reading) => headRow(graph, store, reading, tokens)));
    sorting.again();
  });
}

function headRow(graph, store, reading, tokens) {
  const node = graph?.byName.get(reading.node);
  const most = reading.attention === null ? null : d3.maxIndex(reading.attention);
  const attends = most === null || most < 0 ? ["–"] : [token(tokens[most]), ` ${percent(reading.attention[most])}`];
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, nodeLink(graph, store, reading.node)),
    element("td", { class: "words" }, node?.role ?? "–"),
    cell(reading.logit, signed),
    cell(reading.share, percent),
    cell(reading.rank, whole),
    element("td", { class: "words" }, ...reading.top.slice(0, 5).map(([text]) => token(text))),
    element("td", { class: "words" }, ...attends),
  );
}

// A node's name, as a link to the picture if the node is in it.
function nodeLink(graph, store, name) {
  const node = graph?.byName.get(name);
  return node
    ? button(name, () => showInPicture(store, node.index), { class: "link" })
    : document.createTextNode(name);
}

function showInPicture(store, index) {
  store.set({ pinned: index });
  byId("canvas").focus({ preventScroll: true });
  byId("graph").scrollIntoView({ behavior: quietMotion() ? "auto" : "smooth", block: "start" });
}
