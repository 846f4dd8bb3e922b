// The arrow keys step through the frames: everywhere on a page of its own; in a notebook once the
// pointer was last pressed inside the explorer, so that JupyterLab keeps its keys elsewhere.

export function render({ model }) {
  const hint = document.createElement("span");
  hint.style.cssText = "font: 12px system-ui, sans-serif; color: #666;";
  hint.textContent = "← → step, Shift: ten frames";
  let active = model.everywhere;
  const inside = (event) => event.composedPath().some(
    (node) => node.classList && node.classList.contains("alkit-explorer"));
  const typing = (event) => event.composedPath().some(
    (node) => node.tagName === "SELECT" || node.tagName === "TEXTAREA" ||
      (node.tagName === "INPUT" && node.type !== "range" && node.type !== "checkbox") ||
      (node.classList && node.classList.contains("noUi-handle")));
  const press = (event) => { active = model.everywhere || inside(event); };
  const key = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !active || typing(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    model.send_msg(step * (event.shiftKey ? 10 : 1));
  };
  window.addEventListener("pointerdown", press, true);
  window.addEventListener("keydown", key, true);
  model.on("remove", () => {
    window.removeEventListener("pointerdown", press, true);
    window.removeEventListener("keydown", key, true);
  });
  return hint;
}
