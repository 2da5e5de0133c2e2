// The new and the old object of an edit after each layer, before and after the edit.

const EDIT_PLACES = { subject: "at the subject's last token", last: "at the last position" };
const EDIT_MEASURES = { rank: ["Rank", "rank"], probability: ["Probability", "share"] };

function addEditCurves(edit) {
  const section = byId("edit-charts");
  if (edit === null || section === null) return;
  const { layers, curves } = edit;
  // An edit of layer l is visible after l + 1 layers.
  const marks = edit.edited_layers.map((layer) => ({ at: layer + 1, className: "edited" }));
  const lines = (measure, place) =>
    ["new", "old"].flatMap((object) =>
      ["after", "before"].map((when) => ({
        name: `${object}, ${when}`,
        readAs: `${object} ${when}`,
        className: `${object} ${when}`,
        points: d3.zip(layers, curves[object][when][place][measure]),
        band: null,
      })),
    );
  const read = () =>
    Object.entries(EDIT_MEASURES).flatMap(([measure, [title, scale]]) =>
      Object.entries(EDIT_PLACES).map(([place, where]) => ({
        key: `${measure} ${where}`,
        title: `${title} ${where} (dashed: before)`,
        scale,
        series: lines(measure, place),
        marks,
      })),
    );
  addLayerCharts(section, { choice: null, layers, unit: AFTER_LAYERS, read });
}
