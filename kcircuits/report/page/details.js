// Details of one node, next to the picture.

const MOST_EDGES = 6;

function makeDetails(graph, store, readings) {
  const holder = byId("details");

  function show(state) {
    const index = state.hovered ?? state.pinned;
    if (index === null) holder.replaceChildren(...overview(state));
    else holder.replaceChildren(...about(graph.nodes[index], state));
  }

  function overview(state) {
    const { lines, nodes } = visiblePart(graph, state);
    const count = countEdges(lines);
    return [
      element("h3", {}, `${whole(nodes.size)} nodes, ${whole(count)} edges`),
      element("p", {}, "Point at a node to see what it reads and writes. Click it to highlight all paths through it."),
      element("h4", {}, "The strongest edges"),
      edgeList(lines, ({ sender, targets }) => [sender, "→", ...targets]),
    ];
  }

  function about(node, state) {
    const { lines } = visiblePart(graph, state);
    const parts = [heading(node, state), element("p", { class: "quiet" }, describe(node))];
    const reading = readings.of(node.name, state);
    if (reading !== null) parts.push(...readingParts(reading, readings.prompts[state.prompt]));
    const into = lines.filter((line) => line.target === node.index);
    const out = lines.filter((line) => line.sender === node.index);
    if (into.length > 0) {
      parts.push(element("h4", {}, `Reads from (${countEdges(into)})`), edgeList(into, ({ sender }) => [sender]));
    }
    if (out.length > 0) {
      parts.push(element("h4", {}, `Read by (${countEdges(out)})`), edgeList(out, ({ targets }) => targets));
    }
    return parts;
  }

  function heading(node, state) {
    const pinned = state.pinned === node.index;
    const pin = button(pinned ? "Unpin" : "Pin", () => choose(pinned ? null : node.index), { class: "small" });
    return element("div", { class: "heading" }, element("h3", {}, node.name), pin);
  }

  function readingParts(reading, prompt) {
    const parts = [
      element("p", {}, "Adds ", element("b", {}, signed(reading.logit)), " to the logit of ", token(prompt.answer),
        `, which ranks ${whole(reading.rank)} among the tokens it writes.`),
    ];
    if (reading.attention !== null) parts.push(element("h4", {}, "Attends to"), attentionRow(reading, prompt.tokens));
    parts.push(element("h4", {}, "Writes"), topTokens(reading));
    return parts;
  }

  // The strongest edges of the given lines, each with the nodes that `ends` returns.
  function edgeList(lines, ends) {
    const edges = d3.sort(edgesOf(lines), (edge) => -Math.abs(edge.score));
    const items = edges.slice(0, MOST_EDGES).map((edge) => {
      const names = ends(edge).map((end) =>
        end === "→" ? end : button(graph.nodes[end].name, () => choose(end), { class: "link" }),
      );
      const mark = element("span", { class: `key ${edge[store.state.colour]}`, "aria-hidden": "true" });
      const kind = element("span", { class: "quiet" }, kindName(edge.kind));
      return element("li", {}, mark, element("span", { class: "ends" }, ...names, kind),
        element("span", { class: "share" }, signed(edge.score)));
    });
    if (edges.length > MOST_EDGES) {
      items.push(element("li", { class: "quiet" }, `and ${whole(edges.length - MOST_EDGES)} more`));
    }
    return element("ul", { class: "edges" }, ...items);
  }

  // The pressed button is replaced, so the focus moves to the new content.
  function choose(index) {
    store.set({ pinned: index, hovered: null });
    holder.focus();
  }

  store.watch(["hovered", "pinned", "size", "kinds", "role", "colour", "prompt", "position"], show);
}

function kindName(kind) {
  return { q: "query", k: "key", v: "value", mlp: "MLP", logits: "logits" }[kind];
}

function describe(node) {
  if (node.name === "input") return "Token embeddings";
  if (node.name === "logits") return "Output of the model";
  const what = node.kind === "head" ? `Layer ${node.layer}, head ${node.head}` : `Layer ${node.layer}, MLP`;
  return node.role === null ? what : `${what}: ${node.role}`;
}
