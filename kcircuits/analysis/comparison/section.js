// How often heads and MLPs of each layer are part of the circuits of each domain.

const MOST_DOMAINS = 5;
const TAKING_PART = { heads: "Heads: mean share of circuits", mlp: "MLP: share of circuits" };

function addFrequency(frequency) {
  const section = byId("frequency-charts");
  if (frequency === null || section === null) return;
  const layers = d3.range(frequency[0].heads.length);
  if (frequency.length > MOST_DOMAINS) {
    const text = `The charts show the first ${MOST_DOMAINS} of ${whole(frequency.length)} domains; the table shows all.`;
    section.append(element("p", { class: "note" }, text));
  }
  const line = (domain, index, key) => ({
    name: domain.name.length > 16 ? `${domain.name.slice(0, 15)}…` : domain.name,
    readAs: domain.name,
    className: `domain-${index}`,
    points: d3.zip(layers, domain[key]),
    band: null,
  });
  const read = () =>
    Object.entries(TAKING_PART).map(([key, title]) => {
      const lines = frequency.map((domain, index) => line(domain, index, key));
      return { key, title, scale: "share", series: lines.slice(0, MOST_DOMAINS), tabled: lines, marks: [] };
    });
  addLayerCharts(section, { choice: null, layers, unit: ONE_LAYER, read });
}
