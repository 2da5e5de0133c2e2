// Positions: a row per layer from the bottom up, a column per head, and a column for the MLPs, half a row higher.
// `input` and `logits` are bars at the bottom and the top, across the whole width.

const ROW = 36;
const RADIUS = 9;

function makeLayout(graph, width, height) {
  const rows = graph.numLayers + 2.5;
  const columns = graph.numHeads + 2.5;
  // As wide as the frame, within limits: columns must not touch, and must not be far apart.
  const column = Math.min(150, Math.max(30, (ROW * rows * width) / height / columns));
  const mlpColumn = graph.numHeads * column;
  const places = graph.nodes.map((node) => {
    if (node.kind === "head") return { x: node.head * column, y: -node.layer * ROW };
    if (node.kind === "mlp") return { x: mlpColumn, y: -(node.layer + 0.5) * ROW };
    return { x: mlpColumn / 2, y: node.name === "input" ? 1.2 * ROW : -(graph.numLayers + 0.5) * ROW };
  });
  return {
    column,
    mlpColumn,
    places,
    box: {
      left: -0.7 * column,
      right: mlpColumn + 1.4 * column,
      top: -(graph.numLayers + 1) * ROW,
      bottom: 1.7 * ROW,
    },
    curve: (line) => curve(graph, places, column, mlpColumn, line),
  };
}

const PORTS = { q: -0.55, k: 0, v: 0.55, mlp: 0, logits: 0 };

// A line as a Bézier curve: [x, y] of its ends and control points. It leaves upwards and arrives from below.
function curve(graph, places, column, mlpColumn, line) {
  const from = graph.nodes[line.sender];
  const to = graph.nodes[line.target];
  const start = { ...places[line.sender] };
  const end = { ...places[line.target] };
  end.x += PORTS[line.kind] * RADIUS;
  // A line to or from a bar runs next to its node's column, not through the nodes in the column.
  if (from.name === "input" && to.name === "logits") start.x = end.x = mlpColumn + 0.9 * column;
  else if (from.name === "input") start.x = end.x - 0.3 * column;
  else if (to.name === "logits") end.x = start.x + 0.3 * column;
  start.y -= from.kind === "end" ? 0 : RADIUS * 0.6;
  end.y += to.kind === "end" ? 0 : RADIUS * 0.6;
  const rise = (end.y - start.y) * 0.42;
  const span = Math.abs(end.y - start.y) / ROW;
  let bow = 0;
  if (from.kind === "mlp" && to.kind === "mlp") bow = column * Math.min(1.6, 0.25 + 0.07 * span);
  else if (from.kind !== "end" && to.kind !== "end" && from.head === to.head) bow = -0.35 * column;
  return [
    [start.x, start.y],
    [start.x + bow, start.y + rise],
    [end.x + bow, end.y - rise],
    [end.x, end.y],
  ];
}

// The node at a point of the picture, or null.
function nodeAt(graph, layout, nodes, x, y) {
  let best = null;
  let nearest = RADIUS * 1.7;
  for (const index of nodes) {
    const place = layout.places[index];
    const bar = graph.nodes[index].kind === "end";
    const across = bar ? Math.max(0, Math.abs(x - place.x) - layout.mlpColumn / 2) : x - place.x;
    const distance = Math.hypot(across, y - place.y);
    if (distance < nearest) [best, nearest] = [index, distance];
  }
  return best;
}
