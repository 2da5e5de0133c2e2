// The readings of heads.json for the chosen prompt and position.

function makeReadings(heads) {
  const prompts = heads === null ? [] : heads.prompts;
  const byPlace = prompts.map((prompt) => d3.group(prompt.nodes, (each) => each.position));
  return {
    prompts,
    positions: (prompt) => d3.sort(byPlace[prompt].keys()),
    lastPosition: (prompt) => d3.max(byPlace[prompt].keys()) ?? 0,
    at: (state) => byPlace[state.prompt]?.get(state.position) ?? [],
    of(name, state) {
      return this.at(state).find((each) => each.node === name) ?? null;
    },
  };
}

function promptLabel(prompt) {
  const text = prompt.tokens.join("").trim();
  return `${text.length > 70 ? `…${text.slice(-69)}` : text} → ${prompt.answer.trim()}`;
}

// A drop-down list of prompts.
function promptChoice(prompts, attributes = {}) {
  const options = prompts.map((prompt, index) => element("option", { value: index }, promptLabel(prompt)));
  return element("select", attributes, ...options);
}

// Drop-down lists of prompts and positions. All copies of them on the page show the same choice.
function addChoosers(holder, store, readings) {
  const prompt = promptChoice(readings.prompts);
  const position = element("select");
  const labelled = (text, select) => element("label", {}, `${text} `, select);
  prompt.addEventListener("change", () => {
    const chosen = Number(prompt.value);
    store.set({ prompt: chosen, position: readings.lastPosition(chosen) });
  });
  position.addEventListener("change", () => store.set({ position: Number(position.value) }));
  holder.append(labelled("Prompt", prompt), labelled("Read at", position));
  store.watch(["prompt", "position"], (state) => {
    const { tokens } = readings.prompts[state.prompt];
    prompt.value = state.prompt;
    position.replaceChildren(
      ...readings
        .positions(state.prompt)
        .map((each) => element("option", { value: each }, `token ${each + 1}: ${tokens[each].trim()}`)),
    );
    position.value = state.position;
  });
}

// The attention of a head over the prompt's tokens, as bars above them.
function attentionRow(reading, tokens) {
  const most = Math.max(d3.max(reading.attention) ?? 0, 1e-9);
  const items = reading.attention.map((share, index) => {
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", share / most);
    return element("li", {}, bar, token(tokens[index].trim()), element("span", { class: "share" }, rounded(share)));
  });
  return element("ol", { class: "attention", "aria-label": "Attention over the tokens" }, ...items);
}

function topTokens(reading) {
  const items = reading.top.map(([text, logit]) =>
    element("li", {}, token(text), element("span", { class: "share" }, signed(logit))),
  );
  return element("ol", { class: "tops", "aria-label": "Tokens that it promotes most" }, ...items);
}
