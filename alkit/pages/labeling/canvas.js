// The labeling page: frames in order, boxes to draw, move, resize, delete, name and undo.
// Everything that comes from files is set as text, never as HTML. Every change goes to Python as
// a message with a number, and counts as saved when Python has sent that number back.

const COLORS = ["#2bd99a", "#ffb000", "#56b4e9", "#cc79a7", "#d55e00", "#f0e442"];
const IGNORE = "ignore";
const SMALLEST = 3; // pixels of a side; a smaller drag draws nothing
const PATIENCE = 4000; // milliseconds without an answer until the page says so
const STYLE = `
  .page { font: 14px/1.4 system-ui, sans-serif; outline: none; }
  .bar, .strip { display: flex; flex-wrap: wrap; gap: 4px; align-items: center; margin: 4px 0; }
  button { font: inherit; padding: 2px 8px; border: 1px solid #bbb; background: #fff; }
  .on, .here { outline: 2px solid #333; }
  button.main { background: #0072b2; color: #fff; }
  .done { background: #c9f0e0; }
  .space { flex: 1; }
  .saved { color: #00734f; } .lost { color: #c00; font-weight: bold; }
  .swatch { display: inline-block; width: 9px; height: 9px; margin-right: 5px; border: 1px solid; }
  svg { width: 100%; max-height: 72vh; background: #333; cursor: crosshair; touch-action: none;
    display: block; user-select: none; }
  svg g { filter: drop-shadow(0 0 1px #000); }
  svg rect { vector-effect: non-scaling-stroke; stroke-width: 2; }
  .quiet { color: #666; font-size: 12px; }`;
const HELP = "Drag: draw (with Shift also over a box). Drag a box or its corners: move, resize. " +
  "Del: delete. 1–9: class. i: ignore. Ctrl+Z: undo. Enter: finished, next. u: not finished " +
  "after all. PgUp/PgDn: other frames. Arrows: move by a pixel. Wheel: zoom, right button: pan, " +
  "0: whole image.";

function node(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function shape(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function render({ model }) {
  let frame = {}; // as Python sent it; what follows is about this frame
  let boxes = [], selected = -1, history = [], finished = false;
  let view = null, drag = null; // `drag.box` stands in for boxes[drag.at] while the pointer moves
  let label = model.classes[0]; // of the next box
  let sent = 0, timer = null, failed = false, busy = false; // busy: until another frame is there

  const title = node("b", { className: "title" });
  const about = node("span", { className: "quiet about" });
  const status = node("span", { className: "status" });
  const space = () => node("span", { className: "space" });
  const bar = node("div", { className: "bar classes" });
  const image = shape("image", { x: 0, y: 0 });
  const shapes = shape("g", {});
  const svg = shape("svg", { role: "img", "aria-label": "frame to label" }, image, shapes);
  const strip = node("div", { className: "strip" });
  const page = node("div", { className: "page", tabIndex: 0 },
    node("style", { textContent: STYLE }),
    node("div", { className: "bar" }, title, about, space(), status),
    bar, svg, strip, node("div", { className: "quiet", textContent: HELP }));
  page.dataset.lmSuppressShortcuts = "true"; // JupyterLab's keys stay out

  // --- what goes to Python

  function send(kind, rest) {
    sent += 1;
    say("saving", "saving …");
    model.send_msg({ kind, n: sent, ...rest });
    clearTimeout(timer);
    timer = setTimeout(() => say("lost", "NOT SAVED: no answer. The kernel or server may be gone; " +
      "what was saved is safe there. Start it again and reload this page."), PATIENCE);
  }
  function say(kind, text) {
    status.className = `${kind} status`;
    status.textContent = text;
  }
  function hear() {
    const { n, problem } = model.reply;
    if (problem) {
      failed = true;
      say("lost", `NOT SAVED: ${problem}`);
    }
    if (n !== sent) return;
    clearTimeout(timer);
    busy = false;
    if (problem) return;
    failed = false;
    say("saved", n ? "saved" : "");
  }
  function keep() {
    send("keep", { position: frame.position, boxes, looked_at: finished });
    show();
  }
  function open(index) {
    if (busy || index < 0 || index >= model.done.length) return;
    if (failed) keep(); // Python opens no other frame before this one is saved
    busy = true;
    send("open", { index });
  }
  function finish() {
    if (busy) return;
    busy = true;
    send("finish", { position: frame.position, boxes });
  }
  function takeBack() {
    if (busy || !finished) return;
    finished = false;
    keep();
  }

  // --- changes of the boxes

  function change(changed, select) {
    history.push({ boxes, selected });
    [boxes, selected, drag] = [changed, select, null];
    keep();
  }
  function put(box, at) {
    change([...boxes.slice(0, at), box, ...boxes.slice(at + 1)], at);
  }
  function undo() {
    drag = null;
    if (!history.length) return;
    ({ boxes, selected } = history.pop());
    keep();
  }
  function remove() {
    if (boxes[selected]) change(boxes.filter((_, k) => k !== selected), -1);
  }
  function name(chosen) {
    const own = boxes[selected];
    label = chosen;
    if (own && own.label !== label) put({ ...own, label }, selected);
    else show();
  }
  function ignore() {
    name((boxes[selected]?.label ?? label) === IGNORE ? model.classes[0] : IGNORE);
  }
  function select(k) {
    [selected, drag] = [k, null];
    show();
  }

  // --- what is shown

  function whole() {
    view = [0, 0, frame.width, frame.height];
    show();
  }
  function begin() {
    if (model.frame.index === frame.index) return show();
    frame = model.frame;
    [boxes, finished, history, selected, drag] = [frame.boxes, frame.looked_at, [], -1, null];
    const { width, height } = frame;
    for (const [key, value] of Object.entries({ href: frame.image, width, height })) {
      image.setAttribute(key, value);
    }
    whole();
  }
  function button(text, tip, action, className = "", disabled = false) {
    const onclick = () => { action(); page.focus({ preventScroll: true }); };
    return node("button", { title: tip, onclick, className, disabled }, text);
  }
  function show() {
    const { index } = frame, { done, classes } = model, own = boxes[selected];
    title.textContent = `Frame ${index + 1} of ${done.length}: ${frame.name}`;
    about.textContent = (finished ? "finished" : "not finished") +
      ` · ${done.filter(Boolean).length} finished in all · ${frame.about}`;
    const ofClasses = classes.map((each, k) => {
      const count = boxes.filter((b) => b.label === each).length || "";
      const on = each === (own?.label ?? label) ? "on" : "";
      const made = button(`${each} ${count}`, `key ${k + 1}`, () => name(each), on);
      const swatch = node("span", { className: "swatch", style: `background: ${color(each)}` });
      made.prepend(swatch);
      return made;
    });
    const goOn = boxes.length ? "Finished, next" : "Nothing there, next";
    bar.replaceChildren(
      ...ofClasses,
      button("Delete", "key Del", remove, "", !own),
      button("Undo", "Ctrl+Z", undo, "", !history.length),
      ...(finished ? [button("Not finished", "key u: not finished after all", takeBack)] : []),
      space(),
      button("Previous", "key PgUp", () => open(index - 1), "", index === 0),
      button("Later", "key PgDn: go on, this frame is not finished", () => open(index + 1), "",
        index + 1 === done.length),
      button(goOn, "key Enter", finish, "main"));
    strip.replaceChildren(...done.map((each, k) =>
      button(String(k + 1), each ? "finished" : "not finished", () => open(k),
        (each ? "done" : "") + (k === index ? " here" : ""))));
    const drawn = [...boxes];
    if (drag?.box) drawn[drag.at] = drag.box;
    svg.setAttribute("viewBox", view.join(" "));
    shapes.replaceChildren(...drawn.flatMap(drawing));
  }
  function color(each) {
    return each === IGNORE ? "#ffffff" : COLORS[model.classes.indexOf(each) % COLORS.length];
  }
  function drawing(box, k) { // a box, and its handles if it is selected
    const side = 9 * view[2] / Math.max(1, svg.clientWidth || 800); // nine pixels of the screen
    const [x, y, width, height] = box.bbox, on = k === selected, stroke = color(box.label);
    const own = shape("rect", { x, y, width, height, stroke, fill: stroke, cursor: "move",
      "data-box": k, "fill-opacity": on ? .18 : .05,
      "stroke-dasharray": box.label === IGNORE ? "6 4" : "none" }, shape("title", {}, box.label));
    const corners = [[0, 0], [.5, 0], [1, 0], [0, .5], [1, .5], [0, 1], [.5, 1], [1, 1]];
    const handles = corners.map(([fx, fy]) => shape("rect", { x: x + fx * width - side / 2,
      y: y + fy * height - side / 2, width: side, height: side, fill: "#fff", stroke: "#000",
      "data-handle": `${fx} ${fy}`, cursor: "nwse-resize" }));
    return on ? [own, ...handles] : [own];
  }

  // --- the pointer

  const within = (v, most) => Math.min(Math.max(v, 0), most);
  const rounded = (bbox) => bbox.map((v) => Math.round(v * 100) / 100);
  function pointer(event) { // in pixels of the image
    const point = new DOMPoint(event.clientX, event.clientY);
    const { x, y } = point.matrixTransform(svg.getScreenCTM().inverse());
    return [x, y];
  }
  function between(x0, y0, x1, y1) { // the box between two corners, inside the image
    const [left, right] = [x0, x1].map((v) => within(v, frame.width)).sort((a, b) => a - b);
    const [top, bottom] = [y0, y1].map((v) => within(v, frame.height)).sort((a, b) => a - b);
    return rounded([left, top, right - left, bottom - top]);
  }
  function moved([x, y, w, h], dx, dy) {
    return rounded([within(x + dx, frame.width - w), within(y + dy, frame.height - h), w, h]);
  }
  function resized([x, y, w, h], dx, dy, [fx, fy]) {
    return between(x + (fx === 0) * dx, y + (fy === 0) * dy, x + w + (fx === 1) * dx,
      y + h + (fy === 1) * dy);
  }
  svg.addEventListener("pointerdown", (event) => {
    page.focus({ preventScroll: true });
    event.preventDefault();
    if (busy) return;
    svg.setPointerCapture(event.pointerId);
    const { handle, box } = event.target.dataset, [x, y] = pointer(event);
    if (event.button !== 0) {
      drag = { move: (dx, dy) => { view = [view[0] - dx, view[1] - dy, view[2], view[3]]; } };
    } else if (event.shiftKey || (handle === undefined && box === undefined)) {
      select(-1);
      drag = { at: boxes.length, move(dx, dy) {
        this.box = { bbox: between(x, y, x + dx, y + dy), label };
      } };
    } else {
      if (box !== undefined) select(Number(box));
      const own = boxes[selected], bbox = (dx, dy) => handle === undefined ?
        moved(own.bbox, dx, dy) : resized(own.bbox, dx, dy, handle.split(" ").map(Number));
      drag = { at: selected, move(dx, dy) { this.box = { ...own, bbox: bbox(dx, dy) }; } };
    }
    drag.from = [x, y];
  });
  svg.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = pointer(event);
    drag.move(x - drag.from[0], y - drag.from[1]);
    show();
  });
  svg.addEventListener("pointerup", () => {
    const { box, at } = drag ?? {};
    drag = null;
    if (box && Math.min(box.bbox[2], box.bbox[3]) >= SMALLEST) put(box, at);
    else show();
  });
  svg.addEventListener("pointercancel", () => { drag = null; show(); });
  svg.addEventListener("contextmenu", (event) => event.preventDefault());
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = pointer(event), [left, top, width, height] = view;
    const factor = Math.max(width * Math.exp(event.deltaY / 400), 20) / width;
    if (width * factor >= frame.width) return whole();
    view = [x - (x - left) * factor, y - (y - top) * factor, width * factor, height * factor];
    show();
  }, { passive: false });

  // --- the keyboard

  const nudge = (dx, dy) => () => {
    const own = boxes[selected];
    put({ ...own, bbox: moved(own.bbox, dx, dy) }, selected);
  };
  const ARROWS = { ArrowLeft: nudge(-1, 0), ArrowRight: nudge(1, 0), ArrowUp: nudge(0, -1),
    ArrowDown: nudge(0, 1) };
  const KEYS = { Delete: remove, Backspace: remove, Enter: finish, Escape: () => select(-1),
    i: ignore, u: takeBack, 0: whole, PageUp: () => open(frame.index - 1),
    PageDown: () => open(frame.index + 1) };
  function action(event) {
    const { key } = event, onButton = event.composedPath()[0].tagName === "BUTTON";
    if (key === "Enter" && onButton) return null;
    if (key === "Enter" && (busy || event.repeat)) return () => {}; // one press, one frame
    if (busy || event.altKey) return null;
    if (event.ctrlKey || event.metaKey) return key === "z" ? undo : null;
    const chosen = /^[1-9]$/.test(key) && model.classes[key - 1];
    if (chosen) return () => name(chosen);
    return KEYS[key] || (boxes[selected] && ARROWS[key]);
  }
  page.addEventListener("keydown", (event) => {
    const wanted = action(event);
    if (!wanted) return;
    event.preventDefault();
    event.stopPropagation();
    wanted();
  });

  model.on("frame", begin);
  model.on("done", show);
  model.on("reply", hear);
  begin();
  return page;
}
