// A line chart as wide as its container: axes, bands, and lines with their names at the end.

// series: {name, className, points: [[x, y] …], band: [[x, low, high] …] or null}
function lineChart(holder, { label, x, y, xTitle, yTitle, xTicks, yTicks, yFormat, series, height = 260 }) {
  const width = Math.max(240, holder.clientWidth);
  // Room for the longest number; on a logarithmic axis the longest is at an end.
  const figures = [...y.domain(), ...y.ticks(5)].map((value) => yFormat(value).length);
  const edge = { left: Math.max(44, 14 + 7 * d3.max(figures)), right: 12 + 8 * d3.max(series, ({ name }) => name.length), top: 24, bottom: 42 };
  x.range([edge.left, width - edge.right]);
  y.range([height - edge.bottom, edge.top]);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  const group = (name, across, down, axis) => {
    const made = svg("g", { class: name, transform: `translate(${across},${down})` });
    d3.select(made).call(axis);
    root.append(made);
  };
  group("axis", 0, height - edge.bottom, xTicks(d3.axisBottom(x)).tickSizeOuter(0));
  group(
    "axis grid",
    edge.left,
    0,
    yTicks(d3.axisLeft(y)).tickFormat(yFormat).tickSize(-(width - edge.left - edge.right)),
  );
  root.append(
    svg("text", { class: "title", x: width - edge.right, y: height - 6, "text-anchor": "end" }, xTitle),
    svg("text", { class: "title", x: 4, y: 12 }, yTitle),
  );
  for (const { className, band } of series) {
    if (band) root.append(svg("path", { class: `band ${className}`, d: bandPath(band, x, y) }));
  }
  for (const { className, points } of series) {
    root.append(svg("path", { class: `line ${className}`, d: linePath(points, x, y) }));
    if (points.length === 1) {
      root.append(svg("circle", { class: className, cx: x(points[0][0]), cy: y(points[0][1]), r: 3 }));
    }
  }
  placeLabels(root, series, x, y);
  holder.replaceChildren(root);
  return root;
}

function linePath(points, x, y) {
  return points.map(([a, b], index) => `${index ? "L" : "M"}${x(a).toFixed(1)},${y(b).toFixed(1)}`).join("");
}

function bandPath(band, x, y) {
  const high = band.map(([a, , c]) => [a, c]);
  const low = band.map(([a, b]) => [a, b]).reverse();
  return `${linePath([...high, ...low], x, y)}Z`;
}

// Names at the ends of their lines, moved apart where they would overlap.
function placeLabels(root, series, x, y) {
  const ends = series
    .filter(({ points }) => points.length > 0)
    .map(({ name, className, points }) => {
      const [a, b] = points[points.length - 1];
      return { name, className, x: x(a) + 6, y: y(b) };
    });
  const sorted = d3.sort(ends, (end) => end.y);
  sorted.forEach((end, index) => {
    if (index > 0) end.y = Math.max(end.y, sorted[index - 1].y + 14);
  });
  for (let index = sorted.length - 1; index >= 0; index--) {
    const floor = index === sorted.length - 1 ? y.range()[0] + 4 : sorted[index + 1].y - 14;
    sorted[index].y = Math.min(sorted[index].y, floor);
  }
  for (const end of sorted) {
    root.append(svg("text", { class: `name ${end.className}`, x: end.x, y: end.y, dy: "0.35em" }, end.name));
  }
}

// Draws now, and again whenever the container changes its width.
function drawToFit(holder, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (holder.clientWidth !== width && holder.clientWidth > 0) {
      width = holder.clientWidth;
      draw();
    }
  }).observe(holder);
}
