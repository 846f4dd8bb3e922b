// Pictures to click on, made in Python; a click or Enter sends the position of the frame.

export function render({ model }) {
  const list = document.createElement("div");
  const show = () => { list.innerHTML = model.html; };
  list.onclick = (event) => {
    const figure = event.target.closest("figure");
    if (figure) model.send_msg(Number(figure.dataset.position));
  };
  list.onkeydown = (event) => { if (event.key === "Enter") list.onclick(event); };
  model.on("html", show);
  show();
  return list;
}
