// The answer behind every layer: its rank and its probability, in the full model and in the circuit.

const CURVES = {
  rank: { title: "Rank of the answer", subject: "subject_best_rank", subjectName: "best over the subject" },
  probability: {
    title: "Probability of the answer",
    subject: "subject_last_probability",
    subjectName: "at the subject's last token",
  },
};

function addCurves(curves) {
  const section = byId("curves-charts");
  if (curves === null || section === null) return;
  const runs = "circuit" in curves.summary ? ["full", "circuit"] : ["full"];
  const choice = element("select", { id: "curves-prompt" });
  if (curves.prompts.length !== 1) choice.append(element("option", { value: "mean" }, "Mean over all prompts"));
  curves.prompts.forEach((prompt, index) =>
    choice.append(element("option", { value: index }, promptLabel(prompt))),
  );
  const charts = Object.keys(CURVES).map((measure) => ({ measure, holder: element("div", { class: "chart" }) }));
  const numbers = element("details", {}, element("summary", {}, "The numbers"));
  section.append(
    element("p", { class: "controls" }, element("label", {}, "Prompt ", choice)),
    element("div", { class: "charts" }, ...charts.map(({ holder }) => holder)),
    numbers,
  );

  const draw = () => {
    const chosen = seriesOf(curves, runs, choice.value);
    for (const { measure, holder } of charts) drawCurves(holder, measure, curves.layers, chosen[measure]);
    numbers.replaceChildren(numbers.firstChild, curvesTable(curves.layers, chosen));
  };
  choice.addEventListener("change", draw);
  drawnToFit(charts[0].holder, draw);
}

// Of each measure: its lines for one prompt, or the means with their bands.
function seriesOf(curves, runs, choice) {
  const mean = choice === "mean";
  const of = (run) => (mean ? curves.summary[run] : curves.prompts[Number(choice)].runs[run]);
  const layers = curves.layers;
  const line = (values, name, className) => ({
    name,
    className,
    points: d3.zip(layers, mean ? values.mean : values),
    band: mean ? d3.zip(layers, values.low, values.high) : null,
  });
  const series = {};
  for (const [measure, { subject }] of Object.entries(CURVES)) {
    series[measure] = [];
    for (const run of runs) {
      const values = of(run);
      const name = run === "full" ? "full model" : "circuit";
      series[measure].push(line(values[measure], name, run));
      if (values[subject]) series[measure].push(line(values[subject], "subject", `${run} subject`));
    }
  }
  return series;
}

function drawCurves(holder, measure, layers, series) {
  const { title, subjectName } = CURVES[measure];
  const values = series.flatMap(({ points, band }) => [...points.map(([, b]) => b), ...(band ?? []).flatMap(([, b, c]) => [b, c])]);
  const rank = measure === "rank";
  const y = rank
    ? d3.scaleLog().domain([Math.max(2, d3.max(values)), 1])
    : d3.scaleLinear().domain([0, Math.max(1e-6, d3.max(values))]).nice();
  lineChart(holder, {
    label: `${title} behind every layer; dashed: ${subjectName}. The numbers are in the table below.`,
    x: d3.scaleLinear().domain(d3.extent(layers)),
    y,
    xTitle: "after layer",
    yTitle: series.some(({ className }) => className.includes("subject")) ? `${title} (dashed: ${subjectName})` : title,
    xTicks: (axis) => axis.ticks(Math.min(8, layers.length)).tickFormat(plain),
    yTicks: (axis) => (rank ? axis.tickValues(powersOfTen(d3.max(values))) : axis.ticks(5)),
    yFormat: rank ? whole : plain,
    series,
  });
}

function powersOfTen(most) {
  return d3.range(0, Math.log10(most) + 1e-9).map((exponent) => 10 ** exponent);
}

function curvesTable(layers, series) {
  const columns = Object.entries(series).flatMap(([measure, lines]) =>
    lines.map(({ className, points }) => ({
      title: `${measure}, ${className.replace("full", "full model")}`,
      values: points.map(([, value]) => value),
    })),
  );
  const head = element("tr", {}, ...["after layer", ...columns.map(({ title }) => title)].map((text) => element("th", { scope: "col" }, text)));
  const rows = layers.map((layer, index) =>
    element("tr", {}, element("th", { scope: "row" }, layer), ...columns.map(({ values }) => element("td", {}, plain(values[index])))),
  );
  return scrolling("The curves in numbers", element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

function scrolling(label, content) {
  return element("div", { class: "scrolls", role: "region", tabindex: 0, "aria-label": label }, content);
}
