// Elements and text. No code here or elsewhere parses HTML from a string.

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

// A box that scrolls if its content is too wide. It can take the focus, so that keys scroll it.
function scrollBox(label, content) {
  return element("div", { class: "scrolls", role: "region", tabindex: 0, "aria-label": label }, content);
}

// A token with a visible leading space.
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

// d3 writes a real minus sign for readers, so a column sorts by its number and not by its text.
function cell(value, format) {
  return element("td", { "data-value": value }, value === null ? "–" : format(value));
}
