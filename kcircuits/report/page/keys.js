// Keyboard control: arrows select nodes, Enter pins, + and − zoom, 0 fits the circuit, Shift + arrows move the picture.

function addKeys(graph, store, view) {
  const canvas = byId("canvas");
  const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const actions = {
    Enter: () => pin(),
    " ": () => pin(),
    Escape: () => store.set({ pinned: null, hovered: null, cursor: null }),
    "+": () => view.zoomBy(1.5),
    "=": () => view.zoomBy(1.5),
    "-": () => view.zoomBy(1 / 1.5),
    0: () => view.fit(),
  };

  function pin() {
    const { cursor, pinned } = store.state;
    if (cursor !== null) store.set({ pinned: cursor === pinned ? null : cursor });
  }

  function step([right, down]) {
    const { nodes } = visiblePart(graph, store.state);
    const next = nextNode(view, nodes, store.state.cursor ?? store.state.pinned, right, down);
    if (next === null) return;
    store.set({ cursor: next, hovered: next });
    view.reveal(next);
  }

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const direction = directions[event.key];
    if (direction && event.shiftKey) view.panBy(-80 * direction[0], -80 * direction[1]);
    else if (direction) step(direction);
    else if (event.key in actions) actions[event.key]();
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => store.set({ cursor: null, hovered: null }));
}

// The nearest node in a direction; sideways distance counts three times. Without a start, the topmost node.
function nextNode(view, nodes, from, right, down) {
  if (from === null) return d3.least(nodes, (index) => view.place(index).y) ?? null;
  const start = view.place(from);
  let best = null;
  let least = Infinity;
  for (const index of nodes) {
    const place = view.place(index);
    const along = (place.x - start.x) * right + (place.y - start.y) * down;
    const beside = Math.abs((place.x - start.x) * down) + Math.abs((place.y - start.y) * right);
    const cost = along + 3 * beside;
    if (along > 1 && cost < least) [best, least] = [index, cost];
  }
  return best;
}
