// Faithfulness of circuits over their size, with a line at the slider's number of edges.

function addSizes(sizes, graph, store) {
  const holder = byId("size-chart");
  if (sizes === null || holder === null) return;
  const drawn = sizes.filter(({ points }) => points.length > 0);
  const points = drawn.flatMap((method) => method.points);
  const x = d3.scaleLog().domain(d3.extent([...points.map(([edges]) => edges), ...graph.stops.filter((stop) => stop > 0)]));
  const heights = points.map(([, height]) => height);
  // As in the picture of all methods: outliers must not flatten the rest.
  const y = d3
    .scaleLinear()
    .domain([Math.max(-0.75, Math.min(0, ...heights)), Math.min(2, Math.max(1, ...heights))])
    .clamp(true);
  let marker;

  function draw() {
    const root = lineChart(holder, {
      label: `Faithfulness over circuit size: ${drawn.map(({ name }) => name).join(", ")}`,
      x,
      y,
      xTitle: "edges",
      yTitle: "faithfulness",
      xTicks: (axis) => axis.ticks(3, "~s"),
      yTicks: (axis) => axis.ticks(3),
      yFormat: plain,
      height: 165,
      series: drawn.map(({ name, own, points }) => ({ name, points, className: own ? "own" : "others", band: null })),
    });
    marker = svg("line", { class: "marker", id: "marker", y1: y.range()[1], y2: y.range()[0] });
    root.append(marker);
    move(store.state);
  }

  function move({ size }) {
    if (!marker || size < 1) return;
    marker.setAttribute("x1", x(size));
    marker.setAttribute("x2", x(size));
  }

  drawToFit(holder, draw);
  store.watch(["size"], move);
}
