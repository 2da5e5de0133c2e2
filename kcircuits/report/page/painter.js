// Draws parts of the circuit on a canvas whose transform is set. `scale` is that of the transform: sizes that must not
// change with the zoom are divided by it.

const WIDTHS = [0.7, 1.1, 1.7, 2.4, 3.2, 4.2];
const DASH = [5, 4];

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = [...KINDS, ...CHANGES, "paper", "ink", "quiet", "line", "node", "mover", "relation", "mixture"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function makePainter(graph, layout, colours) {
  const { places } = layout;

  // All lines of one style are one path: thousands of single strokes would take seconds.
  function lines(context, chosen, colour, scale) {
    const crowd = Math.min(1, Math.max(0.3, 1.35 - Math.log10(chosen.length + 1) / 4));
    const thin = Math.min(1, (1500 / (chosen.length + 1)) ** 0.25);
    const looks = d3.group(chosen, (line) => {
      const level = Math.min(WIDTHS.length - 1, Math.floor(line.strength * WIDTHS.length));
      const dashed = colour === "change" ? line.change === "lost" : line.score < 0;
      return [colour === "change" ? line.change : line.kind, level, dashed].join(" ");
    });
    for (const [look, members] of d3.sort(looks, ([look]) => look.split(" ")[1])) {
      const [name, level, dashed] = look.split(" ");
      context.beginPath();
      for (const line of members) {
        const [a, b, c, d] = layout.curve(line);
        context.moveTo(...a);
        context.bezierCurveTo(...b, ...c, ...d);
      }
      context.globalAlpha = crowd * (0.5 + 0.1 * level);
      context.strokeStyle = colours[name];
      context.lineWidth = (thin * WIDTHS[level]) / Math.max(scale, 0.4);
      context.setLineDash(dashed === "true" ? DASH.map((length) => length / scale) : []);
      context.stroke();
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  // A faint dot for each head and MLP of the model, in the circuit or not.
  function ground(context) {
    context.fillStyle = colours.line;
    context.beginPath();
    const dot = (x, y) => {
      context.moveTo(x + 2, y);
      context.arc(x, y, 2, 0, 2 * Math.PI);
    };
    graph.layers.forEach(([heads, hasMlp], layer) => {
      for (let head = 0; head < heads; head++) dot(head * layout.column, -layer * ROW);
      if (hasMlp) dot(layout.mlpColumn, -(layer + 0.5) * ROW);
    });
    context.fill();
  }

  function nodes(context, chosen, scale) {
    for (const index of chosen) {
      const node = graph.nodes[index];
      if (node.kind === "end") bar(context, places[index], node);
      else if (node.kind === "mlp") square(context, places[index]);
      else disc(context, places[index], node);
      if (node.kind === "head" && scale * RADIUS > 8) label(context, places[index], node);
    }
  }

  function bar(context, place, node) {
    context.fillStyle = colours.ink;
    context.beginPath();
    const width = layout.mlpColumn + layout.column;
    context.roundRect(place.x - width / 2, place.y - 8, width, 16, 8);
    context.fill();
    context.fillStyle = colours.paper;
    text(context, node.name, place.x, place.y + 0.5, 11);
  }

  function square(context, place) {
    drawOutline(context, colours.node, () =>
      context.roundRect(place.x - 8, place.y - 8, 16, 16, 3),
    );
  }

  // Roles differ in colour and in shape: movers are filled, relation heads are rings, mixtures are half filled.
  function disc(context, place, node) {
    const whole = () => context.arc(place.x, place.y, RADIUS, 0, 2 * Math.PI);
    if (node.role === null) return drawOutline(context, colours.node, whole);
    drawOutline(context, node.role === "mover" ? colours.mover : colours.paper, whole, colours[node.role]);
    if (node.role === "mixture") {
      context.fillStyle = colours.mixture;
      context.beginPath();
      context.arc(place.x, place.y, RADIUS, Math.PI / 2, 1.5 * Math.PI);
      context.fill();
    }
    return undefined;
  }

  function drawOutline(context, fill, shape, ring = colours.ink) {
    context.beginPath();
    shape();
    context.fillStyle = fill;
    context.fill();
    context.strokeStyle = ring;
    context.lineWidth = ring === colours.ink ? 1.2 : 2.6;
    context.stroke();
  }

  function label(context, place, node) {
    context.fillStyle = node.role === "mover" ? colours.paper : colours.ink;
    text(context, node.head, place.x, place.y + 0.5, 9);
  }

  function text(context, words, x, y, size) {
    context.font = `600 ${size}px system-ui, "DejaVu Sans", sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(words, x, y);
  }

  function ring(context, index, colour, scale) {
    const place = places[index];
    context.strokeStyle = colours[colour];
    context.lineWidth = 2.5 / scale;
    context.beginPath();
    if (graph.nodes[index].kind === "end") {
      const width = layout.mlpColumn + layout.column + 8;
      context.roundRect(place.x - width / 2, place.y - 12, width, 24, 12);
    } else context.arc(place.x, place.y, RADIUS + 4, 0, 2 * Math.PI);
    context.stroke();
  }

  // The numbers of layers and heads stay at the edges of the frame.
  function margins(context, transform, width, height) {
    context.fillStyle = colours.quiet;
    context.font = '11px system-ui, "DejaVu Sans", sans-serif';
    context.textBaseline = "middle";
    context.textAlign = "left";
    const every = Math.ceil(15 / (ROW * transform.k));
    for (let layer = 0; layer < graph.numLayers; layer += every) {
      const y = transform.applyY(-(layer + 0.2) * ROW);
      if (y > 8 && y < height - 22) context.fillText(layer === 0 ? "layer 0" : layer, 8, y);
    }
    context.textAlign = "center";
    const step = Math.ceil(18 / (layout.column * transform.k));
    for (let head = 0; head < graph.numHeads; head += step) {
      const x = transform.applyX(head * layout.column);
      if (x > 40 && x < width - 10) context.fillText(head === 0 ? "head 0" : head, x, height - 9);
    }
    const x = transform.applyX(layout.mlpColumn);
    if (x > 40 && x < width - 10) context.fillText("MLP", x, height - 9);
  }

  return { lines, ground, nodes, ring, margins };
}
