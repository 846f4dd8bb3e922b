// Pictures with a caption; a click sends the position of the frame. Texts are set as text.

const STYLE = `
  .gallery { display: flex; flex-wrap: wrap; gap: 8px; font: 12px/1.35 system-ui, sans-serif; }
  .gallery figure { width: 190px; margin: 0; padding: 2px; cursor: pointer;
    border: 2px solid transparent; }
  .gallery figure:hover { border-color: #0072b2; }
  .gallery img { display: block; width: 100%; }
  .gallery figcaption { color: #333; overflow-wrap: anywhere; }`;

function node(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function render({ model }) {
  const list = node("div", { className: "gallery" });
  function picture({ position, image, mark, text }) {
    const go = () => model.send_msg({ position });
    const caption = node("figcaption", {}, node("b", { textContent: mark }), ` ${text}`);
    const onkeydown = (event) => { if (event.key === "Enter") go(); };
    const figure = node("figure", { tabIndex: 0, onclick: go, onkeydown },
      node("img", { src: image, alt: "" }), caption);
    figure.dataset.position = position;
    return figure;
  }
  function show() {
    list.replaceChildren(...model.items.map(picture));
    if (!model.items.length) list.textContent = "Nothing to show.";
  }
  model.on("items", show);
  show();
  return node("div", {}, node("style", { textContent: STYLE }), list);
}
