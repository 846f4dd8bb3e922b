// The labelling page: frames in order, boxes to draw, move, resize, delete, name and undo.
// Everything that comes from files is set as text, never as HTML. Every change goes to Python as
// a message with a number, and counts as saved when Python has sent that number back.

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["#2bd99a", "#ffb000", "#56b4e9", "#cc79a7", "#d55e00", "#f0e442"];
const IGNORE = "ignore";
const SMALLEST = 3; // pixels of a side; a smaller drag draws nothing
const PATIENCE = 4000; // milliseconds without an answer until the page says so
const STYLE = `
  .page { font: 14px/1.4 system-ui, sans-serif; color: #222; outline: none; }
  .bar { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin: 4px 0; }
  .bar button { font: inherit; padding: 3px 10px; border: 1px solid #bbb; border-radius: 4px;
    background: #fff; cursor: pointer; }
  .bar button:hover { background: #f2f2f2; }
  .bar button.on { outline: 2px solid #333; }
  .bar button.main { background: #0072b2; border-color: #0072b2; color: #fff; }
  .bar button:disabled { opacity: .4; cursor: default; }
  .bar .space { flex: 1; }
  .saved { color: #00734f; } .saving { color: #777; } .lost { color: #c00; font-weight: bold; }
  .swatch { display: inline-block; width: 10px; height: 10px; margin-right: 5px; }
  svg { width: 100%; max-height: 72vh; background: #333; cursor: crosshair; touch-action: none;
    display: block; user-select: none; }
  .strip { display: flex; flex-wrap: wrap; gap: 3px; margin: 6px 0; }
  .strip button { font: 12px system-ui; min-width: 28px; padding: 2px 4px; cursor: pointer;
    border: 1px solid #ccc; background: #fff; border-radius: 3px; }
  .strip button.done { background: #c9f0e0; } .strip button.here { outline: 2px solid #333; }
  .quiet { color: #666; font-size: 12px; }`;
const HELP = "Drag: draw (with Shift also over a box). Drag a box or its corners: move, resize. Del: delete. 1–9: class. " +
  "i: ignore. Ctrl+Z: undo. Enter: finished, next. u: not finished after all. PgUp/PgDn: other " +
  "frames. Arrows: move by a pixel. Wheel: zoom, right button: pan, 0: whole image.";

export function render({ model }) {
  const state = {
    frame: null, boxes: [], finished: false, selected: -1, label: null, history: [], drag: null,
    view: null,
    sent: 0, timer: null, failed: false, busy: false, // busy: until another frame is there
  };

  function make(parent, tag, className = "", text = "") {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text) node.textContent = text;
    parent.appendChild(node);
    return node;
  }
  function button(parent, text, title, action, className = "") {
    const node = make(parent, "button", className, text);
    node.title = title;
    node.addEventListener("click", () => { action(); page.focus({ preventScroll: true }); });
    return node;
  }
  function draw(parent, tag, attributes) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    parent.appendChild(node);
    return node;
  }

  const style = document.createElement("style");
  style.textContent = STYLE;
  const page = document.createElement("div");
  page.className = "page";
  page.tabIndex = 0;
  page.dataset.lmSuppressShortcuts = "true"; // JupyterLab's keys stay out
  page.appendChild(style);
  const top = make(page, "div", "bar");
  const title = make(top, "b", "title");
  const about = make(top, "span", "quiet about");
  make(top, "span", "space");
  const saved = make(top, "span", "saved status");
  const bar = make(page, "div", "bar classes");
  const svg = draw(page, "svg", { role: "img", "aria-label": "frame to label" });
  const image = draw(svg, "image", { x: 0, y: 0 });
  const shapes = draw(svg, "g", {});
  const strip = make(page, "div", "strip");
  make(page, "div", "quiet", HELP);

  const colour = (label) =>
    label === IGNORE ? "#ffffff" : COLOURS[model.classes.indexOf(label) % COLOURS.length];

  // --- what goes to Python

  function send(kind, rest = {}) {
    state.sent += 1;
    say("saving", "saving …");
    deliver({ kind, n: state.sent, ...rest });
  }
  function deliver(message) { // again and again until it is answered: each says all of the frame
    model.send_msg(message);
    clearTimeout(state.timer);
    state.timer = setTimeout(() => {
      say("lost", "NOT SAVED: no answer. The kernel or server may be gone; what was saved is safe " +
        "there. Start it again and reload this page.");
      deliver(message);
    }, PATIENCE);
  }
  function say(className, text) {
    saved.className = `${className} status`;
    saved.textContent = text;
  }
  function keep() {
    const { position } = model.frame;
    send("keep", { position, boxes: state.boxes, looked_at: state.finished });
  }
  function takeBack() {
    if (state.busy || !state.finished) return;
    state.finished = false;
    keep();
    show();
  }
  function change(boxes, selected) {
    state.history.push({ boxes: state.boxes, selected: state.selected });
    state.boxes = boxes;
    state.selected = selected;
    keep();
    show();
  }
  function undo() {
    state.drag = null;
    const before = state.history.pop();
    if (!before) return;
    state.boxes = before.boxes;
    state.selected = before.selected;
    keep();
    show();
  }
  function remove() {
    state.drag = null;
    if (state.selected < 0) return;
    change(state.boxes.filter((_, k) => k !== state.selected), -1);
  }
  function name(label) {
    state.label = label;
    const own = state.boxes[state.selected];
    if (own && own.label !== label) {
      change(state.boxes.map((b, k) => (k === state.selected ? { ...b, label } : b)),
        state.selected);
    } else show();
  }
  function ignore() {
    const own = state.boxes[state.selected];
    name((own ? own.label : state.label) === IGNORE ? model.classes[0] : IGNORE);
  }
  function open(index) {
    if (state.busy) return;
    if (state.failed) keep(); // Python opens no other frame before this one is saved
    state.busy = true;
    send("open", { index });
  }
  function finish() {
    if (state.busy) return;
    state.busy = true;
    send("finish", { position: model.frame.position, boxes: state.boxes });
  }

  // --- what is shown

  function begin() {
    const frame = model.frame;
    if (frame.key !== state.frame) {
      state.frame = frame.key;
      state.boxes = frame.boxes;
      state.finished = frame.looked_at;
      state.history = [];
      state.selected = -1;
      state.drag = null;
      state.view = [0, 0, frame.width, frame.height];
      image.setAttribute("href", frame.image);
      image.setAttribute("width", frame.width);
      image.setAttribute("height", frame.height);
    }
    show();
  }
  function show() {
    const frame = model.frame, counts = {};
    for (const b of state.boxes) counts[b.label] = (counts[b.label] || 0) + 1;
    title.textContent = `Frame ${frame.index + 1} of ${model.done.length}: ${frame.name}`;
    about.textContent = (state.finished ? "finished" : "not finished") +
      ` · ${model.done.filter(Boolean).length} finished in all · ${frame.about}`;
    bar.replaceChildren();
    const own = state.boxes[state.selected];
    model.classes.forEach((label, k) => {
      const on = (own ? own.label : state.label) === label;
      const node = button(bar, "", `key ${k + 1}`, () => name(label), on ? "on" : "");
      make(node, "span", "swatch").style.background = colour(label);
      node.appendChild(document.createTextNode(label + (counts[label] ? ` ${counts[label]}` : "")));
      node.dataset.label = label;
      if (label === IGNORE) node.style.background = "#ddd";
    });
    button(bar, "Delete", "key Del", remove).disabled = !own;
    button(bar, "Undo", "Ctrl+Z", undo).disabled = !state.history.length;
    if (state.finished)
      button(bar, "Not finished", "key u: not finished after all", takeBack);
    make(bar, "span", "space");
    button(bar, "Previous", "key PgUp", () => open(frame.index - 1)).disabled = frame.index === 0;
    button(bar, "Later", "key PgDn: go on, this frame is not finished", () => open(frame.index + 1))
      .disabled = frame.index + 1 === model.done.length;
    button(bar, state.boxes.length ? "Finished, next" : "Nothing there, next", "key Enter", finish,
      "main");
    svg.setAttribute("viewBox", state.view.join(" "));
    shapes.replaceChildren();
    state.boxes.forEach((b, k) => box(b, k));
    if (state.drag && state.drag.kind === "draw" && state.drag.bbox)
      rectangle(state.drag.bbox, colour(state.label), true, {});
    strip.replaceChildren();
    model.done.forEach((done, k) => {
      const here = k === frame.index;
      button(strip, String(k + 1), done ? "finished" : "not finished", () => open(k),
        (done ? "done" : "") + (here ? " here" : ""));
    });
  }
  const unit = () => state.view[2] / Math.max(1, svg.clientWidth || 800); // image pixels a pixel
  function rectangle([x, y, width, height], stroke, strong, more) {
    const at = { x, y, width, height };
    draw(shapes, "rect", { ...at, fill: "none", stroke: "#000", "stroke-opacity": .6,
      "stroke-width": 4 * unit(), "pointer-events": "none" });
    return draw(shapes, "rect", { ...at, stroke, fill: stroke,
      "fill-opacity": strong ? .18 : .05, "stroke-width": (strong ? 2.4 : 1.6) * unit(), ...more });
  }
  function box(b, k) {
    const on = k === state.selected;
    const dash = b.label === IGNORE ? { "stroke-dasharray": `${6 * unit()} ${4 * unit()}` } : {};
    const node = rectangle(b.bbox, colour(b.label), on, { ...dash, "data-box": k, cursor: "move" });
    draw(node, "title", {}).textContent = b.label;
    if (!on) return;
    const [left, upper, width, height] = b.bbox, side = 9 * unit();
    for (const [fx, fy] of [[0, 0], [.5, 0], [1, 0], [0, .5], [1, .5], [0, 1], [.5, 1], [1, 1]])
      draw(shapes, "rect", { x: left + fx * width - side / 2, y: upper + fy * height - side / 2,
        width: side, height: side, fill: "#fff", stroke: "#000", "stroke-width": unit(),
        "data-handle": `${fx} ${fy}`, cursor: "nwse-resize" });
  }

  // --- the pointer

  function at(event) {
    const point = new DOMPoint(event.clientX, event.clientY);
    const p = point.matrixTransform(svg.getScreenCTM().inverse());
    return [p.x, p.y];
  }
  const within = (v, most) => Math.min(Math.max(v, 0), most);
  function corners([x0, y0], [x1, y1]) {
    const { width, height } = model.frame;
    [x0, x1] = [within(x0, width), within(x1, width)].sort((a, b) => a - b);
    [y0, y1] = [within(y0, height), within(y1, height)].sort((a, b) => a - b);
    return [x0, y0, x1 - x0, y1 - y0].map((v) => Math.round(v * 100) / 100);
  }
  const moved = ([x, y, w, h], dx, dy) => {
    const { width, height } = model.frame;
    return [within(x + dx, width - w), within(y + dy, height - h), w, h]
      .map((v) => Math.round(v * 100) / 100);
  };
  svg.addEventListener("pointerdown", (event) => {
    page.focus({ preventScroll: true });
    event.preventDefault();
    if (state.busy) return;
    svg.setPointerCapture(event.pointerId);
    const from = at(event), own = state.boxes[state.selected];
    const { handle, box: number } = event.target.dataset;
    if (event.button !== 0) {
      state.drag = { kind: "pan", from };
    } else if (event.shiftKey) {
      state.selected = -1;
      state.drag = { kind: "draw", from };
    } else if (handle && own) {
      const [fx, fy] = handle.split(" ").map(Number);
      state.drag = { kind: "resize", from, fx, fy, start: own.bbox };
    } else if (number !== undefined) {
      state.selected = Number(number);
      state.drag = { kind: "move", from, start: state.boxes[state.selected].bbox };
    } else {
      state.selected = -1;
      state.drag = { kind: "draw", from };
    }
    show();
  });
  svg.addEventListener("pointermove", (event) => {
    const drag = state.drag;
    if (!drag) return;
    const to = at(event), dx = to[0] - drag.from[0], dy = to[1] - drag.from[1];
    if (drag.kind === "pan") {
      state.view = [state.view[0] - dx, state.view[1] - dy, state.view[2], state.view[3]];
    } else if (drag.kind === "draw") {
      drag.bbox = corners(drag.from, to);
    } else {
      let bbox;
      if (drag.kind === "move") bbox = moved(drag.start, dx, dy);
      else {
        const [x, y, w, h] = drag.start;
        const x0 = x + (drag.fx === 0 ? dx : 0), x1 = x + w + (drag.fx === 1 ? dx : 0);
        const y0 = y + (drag.fy === 0 ? dy : 0), y1 = y + h + (drag.fy === 1 ? dy : 0);
        bbox = corners([x0, y0], [x1, y1]);
      }
      drag.boxes = state.boxes.map((b, k) => (k === state.selected ? { ...b, bbox } : b));
      const before = state.boxes;
      state.boxes = drag.boxes;
      show();
      state.boxes = before;
      return;
    }
    show();
  });
  svg.addEventListener("pointerup", () => {
    const drag = state.drag;
    state.drag = null;
    if (!drag) return;
    if (drag.kind === "draw" && drag.bbox && Math.min(drag.bbox[2], drag.bbox[3]) >= SMALLEST)
      change([...state.boxes, { bbox: drag.bbox, label: state.label }], state.boxes.length);
    else if (drag.boxes) {
      const { bbox } = drag.boxes[state.selected];
      if (Math.min(bbox[2], bbox[3]) >= SMALLEST) change(drag.boxes, state.selected);
      else show();
    } else show();
  });
  svg.addEventListener("pointercancel", () => { state.drag = null; show(); });
  svg.addEventListener("contextmenu", (event) => event.preventDefault());
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = at(event), [left, upper, width] = state.view, frame = model.frame;
    const wanted = width * Math.exp(event.deltaY / 400);
    const factor = within(wanted, frame.width) / width || 1;
    const zoomed = Math.max(width * factor, 20) / width;
    state.view = [x - (x - left) * zoomed, y - (y - upper) * zoomed,
      width * zoomed, state.view[3] * zoomed];
    if (state.view[2] >= frame.width) state.view = [0, 0, frame.width, frame.height];
    show();
  }, { passive: false });

  // --- the keyboard

  page.addEventListener("keydown", (event) => {
    const own = state.boxes[state.selected], index = model.frame.index;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    let known = true;
    if (state.busy) known = event.key === "Enter"; // one press finishes one frame
    else if (event.key === "Delete" || event.key === "Backspace") remove();
    else if ((event.ctrlKey || event.metaKey) && event.key === "z") undo();
    else if (event.ctrlKey || event.metaKey || event.altKey) known = false;
    else if (event.key === "Enter" && event.composedPath()[0].tagName === "BUTTON") known = false;
    else if (event.key === "Enter") { if (!event.repeat) finish(); }
    else if (event.key === "Escape") { state.selected = -1; state.drag = null; show(); }
    else if (event.key === "i") ignore();
    else if (event.key === "u") takeBack();
    else if (event.key === "0") { begin(); state.view = [0, 0, model.frame.width,
      model.frame.height]; show(); }
    else if (/^[1-9]$/.test(event.key) && model.classes[event.key - 1])
      name(model.classes[event.key - 1]);
    else if (event.key === "PageUp" && index > 0) open(index - 1);
    else if (event.key === "PageDown" && index + 1 < model.done.length) open(index + 1);
    else if (own && step[event.key]) {
      const bbox = moved(own.bbox, ...step[event.key]);
      change(state.boxes.map((b, k) => (k === state.selected ? { ...b, bbox } : b)),
        state.selected);
    } else known = false;
    if (known) { event.preventDefault(); event.stopPropagation(); }
  });

  model.on("frame", begin);
  model.on("done", show);
  model.on("reply", () => {
    const { n, problem } = model.reply;
    if (problem) {
      state.failed = true;
      say("lost", `NOT SAVED: ${problem}`);
    }
    if (n !== state.sent) return;
    clearTimeout(state.timer);
    state.busy = false;
    if (problem) return;
    state.failed = false;
    say("saved", n ? "saved" : "");
  });
  state.label = model.classes[0];
  begin();
  return page;
}
