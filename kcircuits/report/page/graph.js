// The circuit: its nodes, its lines (an edge into a shared key or value is one line for each of its heads), and which of
// them are visible.

const KINDS = ["q", "k", "v", "mlp", "logits"];
const CHANGES = ["kept", "added", "lost"];

function makeGraph(data) {
  const nodes = data.nodes.map((node, index) => ({ ...node, index }));
  const { edges } = data;
  const strongest = d3.max(edges.score, Math.abs) || 1;
  const lines = [];
  edges.sender.forEach((sender, edge) => {
    for (const target of edges.targets[edge]) {
      lines.push({
        edge,
        sender,
        target,
        receiver: edges.receiver[edge],
        kind: KINDS[edges.kind[edge]],
        change: CHANGES[edges.change[edge]],
        score: edges.score[edge],
        size: edges.size[edge],
        // The square root, because scores of one circuit differ by factors of a thousand.
        strength: Math.sqrt(Math.abs(edges.score[edge]) / strongest),
      });
    }
  });
  return {
    nodes,
    lines,
    stops: data.stops,
    start: data.start,
    numLayers: data.num_layers,
    numHeads: data.num_heads,
    // Of each layer: its heads, and whether it has an MLP.
    layers: data.layers ?? d3.range(data.num_layers).map(() => [data.num_heads, true]),
    byName: new Map(nodes.map((node) => [node.name, node])),
  };
}

// The lines that pass the filters, and the nodes at their ends.
function visiblePart(graph, state) {
  const wanted = (line) =>
    state.kinds.has(line.kind) &&
    (state.role === "all" ||
      graph.nodes[line.sender].role === state.role ||
      graph.nodes[line.target].role === state.role);
  const lines = strongestLines(graph, state).filter(wanted);
  const nodes = new Set();
  for (const line of lines) nodes.add(line.sender).add(line.target);
  return { lines, nodes };
}

function strongestLines(graph, { size, colour }) {
  const last = graph.stops[graph.stops.length - 1];
  const lines = graph.lines.filter((line) =>
    line.change === "lost" ? colour === "change" && (line.size <= size || size === last) : line.size <= size,
  );
  // An edge into a shared key or value leads to those heads that have outgoing lines, or to all heads if none has.
  const senders = new Set(lines.map((line) => line.sender));
  const leading = new Set(lines.filter((line) => senders.has(line.target)).map((line) => line.edge));
  return lines.filter((line) => senders.has(line.target) || !leading.has(line.edge));
}

function countEdges(lines) {
  return new Set(lines.map((line) => line.edge)).size;
}

// The edges of the given lines, each with all nodes that it leads to among them.
function edgesOf(lines) {
  return Array.from(d3.group(lines, (line) => line.edge).values(), (members) => ({
    ...members[0],
    targets: members.map((line) => line.target),
  }));
}
