// The answer after each layer: its rank and probability in the full model and in the circuit.

const CURVES = {
  rank: { title: "Rank of the answer", scale: "rank", subject: "subject_best_rank", subjectName: "best over the subject" },
  probability: {
    title: "Probability of the answer",
    scale: "share",
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
  const read = (chosen) =>
    Object.entries(CURVES).map(([key, { title, scale, subjectName }]) => {
      const series = seriesOf(curves, runs, chosen, key);
      const dashed = series.some(({ className }) => className.includes("subject"));
      return { key, title: dashed ? `${title} (dashed: ${subjectName})` : title, scale, series, marks: [] };
    });
  addLayerCharts(section, { choice, layers: curves.layers, unit: AFTER_LAYERS, read });
}

// The lines of a measure for one prompt, or its means with bands.
function seriesOf(curves, runs, choice, measure) {
  const mean = choice === "mean";
  const { layers } = curves;
  const line = (values, name, className, readAs) => ({
    name,
    readAs,
    className,
    points: d3.zip(layers, mean ? values.mean : values),
    band: mean ? d3.zip(layers, values.low, values.high) : null,
  });
  return runs.flatMap((run) => {
    const values = mean ? curves.summary[run] : curves.prompts[Number(choice)].runs[run];
    const name = run === "full" ? "full model" : "circuit";
    const own = line(values[measure], name, run, name);
    const ofSubject = values[CURVES[measure].subject];
    return ofSubject ? [own, line(ofSubject, "subject", `${run} subject`, `${name} at the subject`)] : [own];
  });
}
