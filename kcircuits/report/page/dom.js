// Elements and text. Nothing here or elsewhere makes HTML out of a string.

function byId(id) {
  return document.getElementById(id);
}

function element(name, attributes = {}, ...children) {
  return fillElement(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fillElement(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fillElement(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

function button(label, onClick, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", onClick);
  return made;
}

// A part that scrolls by itself where it is too wide; it takes the focus, for keys.
function scrollBox(label, content) {
  return element("div", { class: "scrolls", role: "region", tabindex: 0, "aria-label": label }, content);
}

// A token, whose leading space can be seen.
function token(text) {
  return element("span", { class: "token", dir: "ltr" }, text.replace(/^ /, "\u00a0"));
}

function quietMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

const signed = d3.format("+.3~g");
const plain = d3.format(".3~g");
const whole = d3.format(",d");
const percent = d3.format(".1~%");
const signedPercent = d3.format("+,.1~%");
const rounded = d3.format(".0%");

// d3 writes a real minus sign, as it should be read; a column sorts by its number and not by its text.
function cell(value, format) {
  return element("td", { "data-value": value }, value === null ? "–" : format(value));
}
