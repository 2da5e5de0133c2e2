// A painted picture larger than the frame. While the reader pans or zooms, it is only moved or stretched: this takes a
// millisecond, and painting thousands of curves a fifth of a second.

const MARGIN = 0.4;

function makePicture(paint) {
  const canvas = document.createElement("canvas");
  let painted = null;

  function repaint(view) {
    const { width, height, ratio, transform } = view;
    const [right, down] = [width * MARGIN, height * MARGIN];
    canvas.width = Math.ceil((width + 2 * right) * ratio);
    canvas.height = Math.ceil((height + 2 * down) * ratio);
    painted = { right, down, width, height, ratio, transform };
    const context = canvas.getContext("2d");
    const { k, x, y } = transform;
    context.setTransform(k * ratio, 0, 0, k * ratio, (x + right) * ratio, (y + down) * ratio);
    paint(context, k);
  }

  // The position of the painted picture in the frame.
  function place(view) {
    const stretch = view.transform.k / painted.transform.k;
    return {
      stretch,
      x: view.transform.x - stretch * (painted.transform.x + painted.right),
      y: view.transform.y - stretch * (painted.transform.y + painted.down),
      width: (stretch * canvas.width) / painted.ratio,
      height: (stretch * canvas.height) / painted.ratio,
    };
  }

  function fits(view, moving) {
    if (painted === null || painted.ratio !== view.ratio) return false;
    if (painted.width !== view.width || painted.height !== view.height) return false;
    const { stretch, x, y, width, height } = place(view);
    if (stretch !== 1) return moving;
    return x <= 0 && y <= 0 && x + width >= view.width && y + height >= view.height;
  }

  return {
    forget() {
      painted = null;
    },
    show(context, view, alpha) {
      if (!fits(view, view.moving)) repaint(view);
      const { x, y, width, height } = place(view);
      context.globalAlpha = alpha;
      context.drawImage(canvas, x, y, width, height);
      context.globalAlpha = 1;
    },
  };
}
