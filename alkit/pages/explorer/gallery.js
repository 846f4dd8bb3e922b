// Pictures with a caption; a click sends the position of the frame. Texts are set as text.

const STYLE = `
  .gallery { display: flex; flex-wrap: wrap; gap: 8px; font: 12px/1.35 system-ui, sans-serif; }
  .gallery figure { margin: 0; cursor: pointer; border: 2px solid transparent; padding: 2px; }
  .gallery figure:hover { border-color: #0072b2; }
  .gallery img { display: block; width: 100%; image-rendering: auto; }
  .gallery figcaption { color: #333; overflow-wrap: anywhere; }
  .gallery .mark { font-weight: bold; }
  .empty { color: #666; }`;

export function render({ model }) {
  const place = document.createElement("div");
  function show() {
    place.replaceChildren();
    const style = document.createElement("style");
    style.textContent = STYLE;
    place.appendChild(style);
    const list = document.createElement("div");
    list.className = "gallery";
    place.appendChild(list);
    if (!model.items.length) {
      const empty = document.createElement("div");
      empty.className = "empty";
      empty.textContent = model.empty;
      list.appendChild(empty);
    }
    for (const item of model.items) {
      const figure = document.createElement("figure");
      figure.style.width = `${model.picture_width}px`;
      figure.dataset.position = item.position;
      figure.tabIndex = 0;
      const image = document.createElement("img");
      image.src = item.image;
      image.alt = "";
      const caption = document.createElement("figcaption");
      const mark = document.createElement("span");
      mark.className = "mark";
      mark.textContent = item.mark;
      caption.append(mark, document.createTextNode(` ${item.text}`));
      figure.append(image, caption);
      const go = () => model.send_msg({ position: item.position });
      figure.addEventListener("click", go);
      figure.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
      list.appendChild(figure);
    }
  }
  model.on("items", show);
  show();
  return place;
}
