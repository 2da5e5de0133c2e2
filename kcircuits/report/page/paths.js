// The lines at a node, and the paths through it.

function linesAt(node, lines) {
  const chosen = lines.filter((line) => line.sender === node || line.target === node);
  return { lines: chosen, nodes: nodesOf(chosen).add(node) };
}

// All lines on a path through a node: those that lead to it and those that start from it.
function pathsThrough(node, lines) {
  const before = reachable(node, lines, "target", "sender");
  const after = reachable(node, lines, "sender", "target");
  const chosen = lines.filter((line) => before.has(line.target) || after.has(line.sender));
  return { lines: chosen, nodes: nodesOf(chosen).add(node) };
}

function reachable(node, lines, near, far) {
  const onward = d3.group(lines, (line) => line[near]);
  const found = new Set([node]);
  for (const each of found) {
    for (const line of onward.get(each) ?? []) found.add(line[far]);
  }
  return found;
}

function nodesOf(lines) {
  return new Set(lines.flatMap((line) => [line.sender, line.target]));
}
