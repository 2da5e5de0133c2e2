// The picture as a list: a button for each visible node, which pins it.

function addNodeList(graph, store) {
  const holder = byId("node-list");
  const list = element("ul", { class: "nodes" });
  holder.append(list);

  function show(state) {
    if (!holder.open) return;
    const { lines, nodes } = visiblePart(graph, state);
    const into = d3.rollup(lines, countEdges, (line) => line.target);
    const out = d3.rollup(lines, countEdges, (line) => line.sender);
    const items = d3.sort(nodes).map((index) => {
      const node = graph.nodes[index];
      const pressed = state.pinned === index;
      const text = `${into.get(index) ?? 0} in, ${out.get(index) ?? 0} out${node.role ? `, ${node.role}` : ""}`;
      const pin = button(node.name, () => store.set({ pinned: pressed ? null : index }), {
        class: "link",
        "aria-pressed": String(pressed),
        "data-node": node.name,
      });
      return element("li", {}, pin, element("span", { class: "quiet" }, ` ${text}`));
    });
    const focused = document.activeElement?.dataset.node;
    list.replaceChildren(...items);
    if (focused) list.querySelector(`[data-node="${CSS.escape(focused)}"]`)?.focus();
  }

  holder.addEventListener("toggle", () => show(store.state));
  store.watch(["size", "kinds", "role", "colour", "pinned"], show);
}
