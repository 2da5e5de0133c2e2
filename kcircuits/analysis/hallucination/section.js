// The right and the wrong answer after each layer, where the wrong one takes the lead, and the nodes that decide it.

const ANSWERS = ["right", "wrong"];
const DECISION_TITLES = ["node", "adds to wrong − right", "share"];

function addErrors(errors, graph, store) {
  const section = byId("errors-charts");
  if (errors === null || section === null) return;
  const { layers, prompts } = errors;
  const choice = promptChoice(prompts, { id: "errors-prompt" });
  const read = (chosen) => {
    const error = prompts[Number(chosen)];
    const marks = [{ at: error.overtakes, className: "overtakes" }, { at: error.best_layer, className: "best" }];
    const lines = (measure) =>
      ANSWERS.map((run) => ({
        name: run,
        readAs: `${run} answer`,
        className: run,
        points: d3.zip(layers, error.runs[run][measure]),
        band: null,
      }));
    return [
      { key: "rank", title: "Rank of both answers", scale: "rank", series: lines("rank"), marks },
      { key: "probability", title: "Probability of both answers", scale: "share", series: lines("probability"), marks },
    ];
  };
  addLayerCharts(section, { choice, layers, unit: AFTER_LAYERS, read });
  addDecisions(byId("errors-nodes"), choice, prompts, graph, store);
}

function addDecisions(holder, choice, prompts, graph, store) {
  const story = element("p", { id: "errors-story" });
  const body = element("tbody");
  const head = element("tr", {}, ...DECISION_TITLES.map((text) => element("th", { scope: "col" }, text)));
  const caption = element("caption", {}, "Nodes that decide: those that favour the wrong answer most come first, those that favour the right answer most come last");
  const table = element("table", { class: "sortable" }, caption, element("thead", {}, head), body);
  holder.append(story, scrollBox("Nodes that decide", table));
  const sorting = makeSortable(table);

  const show = () => {
    const error = prompts[Number(choice.value)];
    story.replaceChildren(
      token(error.wrong), " takes the lead over ", token(error.answer),
      ` for good ${AFTER_LAYERS.say(error.overtakes)}. The right answer's best rank is ${rankText(error.best_rank)}, `,
      `${AFTER_LAYERS.say(error.best_layer)}. After the last layer the logits differ by ${plain(error.difference)}.`,
    );
    const nodes = d3.sort(error.nodes, (each) => -each.share);
    body.replaceChildren(
      ...nodes.map(({ node, difference, share }) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, nodeLink(graph, store, node)),
          cell(difference, signed),
          cell(share, signedPercent),
        ),
      ),
    );
    sorting.again();
  };
  choice.addEventListener("change", show);
  show();
}
