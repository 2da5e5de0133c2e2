// Charts over layers, side by side: the answer in the stream, how often layers take part. Pointing at a chart, or
// moving through it with the arrow keys, shows its numbers below; a table has all of them.

// What the numbers on the horizontal axis count: its title, and a number of it in words.
const AFTER_LAYERS = { axis: "layers in the stream", say: (count) => `after ${count} layer${count === 1 ? "" : "s"}` };
const ONE_LAYER = { axis: "layer", say: (layer) => `layer ${layer}` };

// `read(choice)` returns what the charts show for the value of the list `choice`, which may be null:
// [{key, title, scale: "rank" | "share", series, tabled, marks: [{at, className}]}], always the same number of charts.
// The table has the lines of `tabled`, or else the drawn ones. `unit` is AFTER_LAYERS or ONE_LAYER.
function addLayerCharts(section, { choice, layers, unit, read }) {
  const holders = read(choice?.value).map(() => element("div", { class: "chart" }));
  const numbers = element("details", {}, element("summary", {}, "The numbers"));
  if (choice !== null) section.append(element("p", { class: "controls" }, element("label", {}, "Prompt ", choice)));
  section.append(element("div", { class: "charts" }, ...holders), numbers);

  const draw = () => {
    const charts = read(choice?.value);
    charts.forEach((chart, index) => drawLayerChart(holders[index], chart, layers, unit));
    numbers.replaceChildren(numbers.firstChild, layerTable(charts, layers, unit));
  };
  choice?.addEventListener("change", draw);
  drawToFit(holders[0], draw);
}

function drawLayerChart(holder, { title, scale, series, marks }, layers, unit) {
  const values = series.flatMap(({ points, band }) => [...points.map(([, b]) => b), ...(band ?? []).flatMap(([, b, c]) => [b, c])]);
  const rank = scale === "rank";
  const y = rank
    ? d3.scaleLog().domain([Math.max(2, d3.max(values)), 1])
    : d3.scaleLinear().domain([0, Math.max(1e-6, d3.max(values))]).nice();
  const x = d3.scaleLinear().domain(d3.extent(layers));
  const root = lineChart(holder, {
    label: `${title}, ${unit.axis} 0 to ${layers[layers.length - 1]}. Use the arrow keys to read the numbers, or the table below.`,
    x,
    y,
    xTitle: unit.axis,
    yTitle: title,
    xTicks: (axis) => axis.ticks(Math.min(8, layers.length)).tickFormat(plain),
    yTicks: (axis) => (rank ? axis.tickValues(powersOfTen(d3.max(values))) : axis.ticks(5)),
    yFormat: rank ? whole : plain,
    series,
  });
  const ends = { y1: y.range()[1], y2: y.range()[0] };
  for (const { at, className } of marks) root.append(svg("line", { class: `mark ${className}`, x1: x(at), x2: x(at), ...ends }));
  addReadout(holder, root, { x, ends, layers, series, unit, format: rank ? rankText : plain });
}

// A line at the chosen layer, and the values of the curves there.
function addReadout(holder, root, { x, ends, layers, series, unit, format }) {
  const line = svg("line", { class: "readout", visibility: "hidden", ...ends });
  const text = element("p", { class: "note readout", role: "status" });
  root.append(line);
  root.setAttribute("tabindex", 0);
  holder.append(text);
  let chosen = null;

  function choose(index) {
    chosen = index === null ? null : Math.max(0, Math.min(layers.length - 1, index));
    line.setAttribute("visibility", chosen === null ? "hidden" : "visible");
    if (chosen === null) return text.replaceChildren();
    line.setAttribute("x1", x(layers[chosen]));
    line.setAttribute("x2", x(layers[chosen]));
    const parts = series.map(({ readAs, name, points }) => `${readAs ?? name} ${format(points[chosen][1])}`);
    text.textContent = `${unit.say(layers[chosen])}: ${parts.join(", ")}`;
  }

  const under = (event) => choose(d3.bisectCenter(layers, x.invert(event.clientX - root.getBoundingClientRect().left)));
  root.addEventListener("pointermove", under);
  root.addEventListener("pointerdown", under);
  root.addEventListener("pointerleave", () => choose(null));
  root.addEventListener("blur", () => choose(null));
  root.addEventListener("keydown", (event) => {
    const last = layers.length - 1;
    const next = { ArrowLeft: (chosen ?? last + 1) - 1, ArrowRight: (chosen ?? -1) + 1, Home: 0, End: last, Escape: null };
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in next)) return;
    choose(next[event.key]);
    event.preventDefault();
  });
}

// Mean ranks are not whole numbers; large ones are rounded.
function rankText(value) {
  return value < 100 ? plain(value) : whole(value);
}

function powersOfTen(most) {
  return d3.range(0, Math.log10(most) + 1e-9).map((exponent) => 10 ** exponent);
}

function layerTable(charts, layers, unit) {
  const columns = charts.flatMap(({ key, series, tabled }) =>
    (tabled ?? series).map(({ readAs, name, points }) => ({ title: `${key}, ${readAs ?? name}`, values: points.map(([, value]) => value) })),
  );
  const head = element("tr", {}, ...[unit.axis, ...columns.map(({ title }) => title)].map((text) => element("th", { scope: "col" }, text)));
  const rows = layers.map((layer, index) =>
    element("tr", {}, element("th", { scope: "row" }, layer), ...columns.map(({ values }) => element("td", {}, plain(values[index])))),
  );
  return scrollBox("The curves in numbers", element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}
