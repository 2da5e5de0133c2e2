// The frame of the circuit: drawing, pan and zoom, and the node under the pointer.

function makeView(graph, store) {
  const canvas = byId("canvas");
  const tip = byId("tip");
  const context = canvas.getContext("2d");
  const view = { width: 0, height: 0, ratio: 1, transform: d3.zoomIdentity, moving: false };
  let layout;
  let painter;
  let part = { lines: [], nodes: new Set() };
  let focus = null;
  let waiting = false;

  const base = makePicture((target, scale) => {
    painter.ground(target);
    painter.lines(target, part.lines, store.state.colour, scale);
    painter.nodes(target, part.nodes, scale);
  });
  const front = makePicture((target, scale) => {
    painter.lines(target, focus.lines, store.state.colour, scale);
    painter.nodes(target, focus.nodes, scale);
    for (const index of store.state.found) painter.ring(target, index, "q", scale);
    if (store.state.pinned !== null) painter.ring(target, store.state.pinned, "v", scale);
  });

  function draw() {
    waiting = false;
    context.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    base.show(context, view, focus === null ? 1 : 0.26);
    if (focus !== null) front.show(context, view, 1);
    painter.margins(context, view.transform, view.width, view.height);
    placeTip();
  }

  function request() {
    if (view.width === 0) return; // not visible yet; `resize` will request again
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function placeTip() {
    const { hovered } = store.state;
    tip.hidden = hovered === null;
    if (hovered === null) return;
    const place = layout.places[hovered];
    const [x, y] = view.transform.apply([place.x, place.y]);
    tip.textContent = graph.nodes[hovered].name;
    tip.style.left = `${Math.max(30, Math.min(view.width - 30, x))}px`;
    tip.style.top = `${Math.max(30, Math.min(view.height - 4, y - 10))}px`;
  }

  const zoom = d3
    .zoom()
    .filter(mayZoom)
    .on("start", () => (view.moving = true))
    .on("zoom", (event) => {
      view.transform = event.transform;
      request();
    })
    .on("end", () => {
      view.moving = false;
      request();
    });
  const selection = d3.select(canvas).call(zoom);

  function moveTo(change, ...values) {
    const target = quietMotion() ? selection : selection.transition().duration(250);
    target.call(change, ...values);
  }

  function fitTransform() {
    const { left, right, top, bottom } = layout.box;
    const [margin, foot] = [46, 24];
    const k = Math.min((view.width - margin) / (right - left), (view.height - foot) / (bottom - top));
    const x = margin + (view.width - margin - k * (right - left)) / 2 - k * left;
    return d3.zoomIdentity.translate(x, (view.height - foot - k * (bottom - top)) / 2 - k * top).scale(k);
  }

  function resize() {
    const { width, height } = canvas.getBoundingClientRect();
    if (width === 0 || (width === view.width && height === view.height)) return;
    Object.assign(view, { width, height, ratio: Math.min(2, window.devicePixelRatio || 1) });
    canvas.width = Math.round(width * view.ratio);
    canvas.height = Math.round(height * view.ratio);
    layout = makeLayout(graph, width, height);
    repaint();
    const fit = fitTransform();
    zoom.scaleExtent([fit.k * 0.5, Math.max(fit.k * 8, 3)]);
    selection.call(zoom.transform, fit);
  }

  function repaint() {
    painter = makePainter(graph, layout, readColours());
    base.forget();
    front.forget();
    request();
  }

  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && !view.moving) store.set({ hovered: nodeUnder(event) });
  });
  canvas.addEventListener("pointerleave", () => store.set({ hovered: null }));
  canvas.addEventListener("click", (event) => {
    const node = nodeUnder(event);
    store.set({ pinned: node === store.state.pinned ? null : node });
  });

  function nodeUnder(event) {
    const frame = canvas.getBoundingClientRect();
    const [x, y] = view.transform.invert([event.clientX - frame.left, event.clientY - frame.top]);
    return nodeAt(graph, layout, part.nodes, x, y);
  }

  new ResizeObserver(resize).observe(canvas);
  resize();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  store.watch(["size", "kinds", "role", "colour"], (state) => {
    part = visiblePart(graph, state);
    base.forget();
    request();
  });
  store.watch(["hovered", "pinned", "found", "size", "kinds", "role", "colour"], (state) => {
    focus = findFocus(state, part);
    front.forget();
    request();
  });

  return {
    zoomBy: (factor) => moveTo(zoom.scaleBy, factor),
    panBy: (x, y) => moveTo(zoom.translateBy, x / view.transform.k, y / view.transform.k),
    fit: () => moveTo(zoom.transform, fitTransform()),
    reveal(index) {
      const [x, y] = view.transform.apply([layout.places[index].x, layout.places[index].y]);
      const inside = x > 40 && x < view.width - 10 && y > 10 && y < view.height - 24;
      if (!inside) moveTo(zoom.translateTo, layout.places[index].x, layout.places[index].y);
    },
    place: (index) => layout.places[index],
  };
}

// The wheel and one finger scroll the page. The circuit zooms with Ctrl or ⌘ and the wheel, or with two fingers.
function mayZoom(event) {
  if (event.type === "wheel") return event.ctrlKey || event.metaKey;
  if (event.type === "touchstart") return event.touches.length > 1;
  return !event.ctrlKey && !event.button;
}

// What is highlighted: the lines at the node under the pointer, or all paths through the pinned node, or search results.
function findFocus(state, part) {
  const { hovered, pinned, found } = state;
  if (hovered !== null && hovered !== pinned) return linesAt(hovered, part.lines);
  if (pinned !== null) return pathsThrough(pinned, part.lines);
  return found.length > 0 ? { lines: [], nodes: new Set(found) } : null;
}
