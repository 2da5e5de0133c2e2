// Reads the data and starts all parts of the page.

function start() {
  const data = JSON.parse(byId("data").textContent);
  const graph = data.circuit === null ? null : makeGraph(data.circuit);
  const readings = makeReadings(data.heads);
  const store = makeStore({
    size: graph?.start ?? 0,
    kinds: new Set(KINDS),
    role: "all",
    colour: "kind",
    hovered: null, // by the pointer or the keyboard
    cursor: null, // by the keyboard alone
    pinned: null,
    found: [],
    prompt: 0,
    position: readings.prompts.length > 0 ? readings.lastPosition(0) : 0,
  });
  foldPrint();
  for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
  addCurves(data.curves);
  addHeads(graph, store, readings);
  addErrors(data.hallucination, graph, store);
  addFrequency(data.frequency);
  addEditCurves(data.edit);
  if (byId("graph") !== null) addPicture(data, graph, store, readings);
  document.body.dataset.ready = "true";
}

function addPicture(data, graph, store, readings) {
  byId("graph").hidden = false;
  const view = makeView(graph, store);
  makeDetails(graph, store, readings);
  addControls(graph, store, view);
  addKeys(graph, store, view);
  addNodeList(graph, store);
  addSizes(data.sizes, graph, store);
  if (readings.prompts.length > 0) addChoosers(byId("reading-place"), store, readings);
}

// The picture for print also works without scripts. Next to the interactive one it stays closed until the page is printed.
function foldPrint() {
  const print = byId("print");
  if (print === null || byId("graph") === null) return;
  print.open = false;
  window.addEventListener("beforeprint", () => (print.open = true));
}

start();
