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
  const choice = promptChoice(curves.prompts, { id: "curves-prompt" });
  if (curves.prompts.length !== 1) choice.prepend(element("option", { value: "mean", selected: true }, "Mean over all prompts"));
  addLayerCharts(section, choice, curves.layers, (chosen) => {
    const series = seriesOf(curves, runs, chosen);
    return { charts: curveTitles(series), series, mark: null };
  });
}

function curveTitles(series) {
  const titles = {};
  for (const [measure, { title, subjectName }] of Object.entries(CURVES)) {
    const hasSubject = series[measure].some(({ className }) => className.includes("subject"));
    titles[measure] = {
      title: hasSubject ? `${title} (dashed: ${subjectName})` : title,
      label: `${title} behind every layer; dashed: ${subjectName}.`,
    };
  }
  return titles;
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
