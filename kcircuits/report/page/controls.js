// The controls of the picture: the number of edges, filters, colours and the search.

function addControls(graph, store, view) {
  addSlider(graph, store);
  addFilters(store);
  addSearch(graph, store, view);
  byId("zoom-in").addEventListener("click", () => view.zoomBy(1.5));
  byId("zoom-out").addEventListener("click", () => view.zoomBy(1 / 1.5));
  byId("zoom-fit").addEventListener("click", () => view.fit());
  addStatus(graph, store);
}

function addSlider(graph, store) {
  const slider = byId("size");
  const shown = byId("size-shown");
  const total = graph.stops[graph.stops.length - 1] ?? 0;
  slider.max = Math.max(0, graph.stops.length - 1);
  slider.addEventListener("input", () => store.set({ size: graph.stops[Number(slider.value)] }));
  store.watch(["size"], ({ size }) => {
    slider.value = graph.stops.indexOf(size);
    shown.textContent = size === total ? `all ${whole(total)}` : `the strongest ${whole(size)} of ${whole(total)}`;
    slider.setAttribute("aria-valuetext", `${shown.textContent} edges`);
  });
}

function addFilters(store) {
  const boxes = [...document.querySelectorAll("#kinds input")];
  for (const box of boxes) {
    box.addEventListener("change", () =>
      store.set({ kinds: new Set(boxes.filter((each) => each.checked).map((each) => each.value)) }),
    );
  }
  byId("role")?.addEventListener("change", (event) => store.set({ role: event.target.value }));
  for (const radio of document.querySelectorAll("input[name=colour]")) {
    radio.addEventListener("change", () => store.set({ colour: radio.value }));
  }
  store.watch(["colour"], ({ colour }) => {
    for (const legend of document.querySelectorAll("[data-legend]")) {
      legend.hidden = legend.dataset.legend !== colour;
    }
  });
}

function addSearch(graph, store, view) {
  const search = byId("search");
  byId("node-names").append(...graph.nodes.map((node) => element("option", { value: node.name })));

  function matches() {
    const wanted = search.value.trim().toLowerCase();
    if (wanted === "") return [];
    const known = nodesOf(graph.lines.filter((line) => line.change !== "lost" || store.state.colour === "change"));
    const hits = graph.nodes.filter((node) => node.name.includes(wanted) && known.has(node.index));
    return d3.sort(hits, (node) => node.name !== wanted).map((node) => node.index);
  }

  // Shows a node, even one that the slider has hidden.
  function choose(index) {
    const { size, colour } = store.state;
    const shows = (stop) => nodesOf(strongestLines(graph, { size: stop, colour })).has(index);
    store.set({ pinned: index, found: [], size: graph.stops.find((stop) => stop >= size && shows(stop)) ?? size });
    view.reveal(index);
  }

  search.addEventListener("input", () => store.set({ found: matches() }));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") search.value = "";
    else if (event.key !== "Enter") return;
    event.preventDefault();
    const [first] = matches();
    if (first === undefined) store.set({ pinned: null, found: [] });
    else choose(first);
  });
}

// One line that states the effect of a choice; screen readers read it aloud.
function addStatus(graph, store) {
  const status = byId("status");
  store.watch(["size", "kinds", "role", "colour", "found", "pinned", "cursor"], (state) => {
    const { lines, nodes } = visiblePart(graph, state);
    const edges = `${whole(countEdges(lines))} edges between ${whole(nodes.size)} nodes`;
    if (state.cursor !== null) status.textContent = summary(graph, lines, graph.nodes[state.cursor]);
    else if (state.found.length > 0) status.textContent = `${whole(state.found.length)} nodes match.`;
    else if (byId("search").value.trim() !== "" && state.pinned === null) status.textContent = "No node matches.";
    else if (state.pinned !== null) {
      const paths = countEdges(pathsThrough(state.pinned, lines).lines);
      status.textContent = `${whole(paths)} of ${edges} are on paths through ${graph.nodes[state.pinned].name}.`;
    } else status.textContent = `Shown: ${edges}.`;
  });
}

function summary(graph, lines, node) {
  const into = countEdges(lines.filter((line) => line.target === node.index));
  const out = countEdges(lines.filter((line) => line.sender === node.index));
  return `${node.name}. ${describe(node)}. ${into} edges in, ${out} out.`;
}
