// The new object of an edit and the old one behind every layer, before the edit and after it.

const EDIT_PLACES = { subject: "at the subject's last token", last: "at the last position" };
const EDIT_MEASURES = { rank: ["Rank", "rank"], probability: ["Probability", "share"] };

function addEditCurves(edit) {
  const section = byId("edit-charts");
  if (edit === null || section === null) return;
  const { layers, curves } = edit;
  // What an edit of layer l changes shows behind l + 1 layers.
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
  addLayerCharts(section, { choice: null, layers, behind: "behind layers", read });
}
