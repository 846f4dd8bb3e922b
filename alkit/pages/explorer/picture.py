"""What the explorer shows of a frame as a file: PNG or SVG, by Matplotlib."""

import io

import numpy as np
from matplotlib.colors import ListedColormap

from alkit.pages.explorer import judging
from alkit.pages.explorer.frame import COLOUR_OF, PALETTES
from alkit.pages.explorer.judging import Judged
from alkit.pages.views import drawing


def draw(image: np.ndarray, judged: Judged, values, high: float, palette: str,
         opacity: float, threshold: float, title: str, label: str, caption: str,
         with_boxes=(True, True)):  # fmt: skip
    """A figure of an image (y, x, 3) under a map (y, x), or without one where `values` is None, in
    the page's colours; `with_boxes` says whether detections and labelled boxes are drawn."""
    height = 8.2 * image.shape[0] / image.shape[1] + 0.9
    figure = drawing.picture(height, title, caption)
    axes = figure.subplots()
    drawing.photograph(axes, image)
    if values is not None:
        shown = np.ma.masked_invalid(np.where(values > threshold, values, np.nan))
        colours = ListedColormap(PALETTES[palette])
        mappable = axes.imshow(shown, cmap=colours, vmin=0, vmax=high, alpha=opacity)
        figure.colorbar(mappable, ax=axes, label=label, fraction=0.035, pad=0.01)
    detections, labelled = with_boxes
    if labelled:
        for kind in (judging.FOUND, judging.MISSED, judging.LABELLED, judging.IGNORED):
            own = judged.truth[judged.truth_kind == kind]
            drawing.boxes(axes, own, COLOUR_OF[kind], dashed=True)
    if detections:
        for kind in (judging.HIT, judging.FALSE, judging.ABSORBED, ""):
            own = judged.found_kind == kind
            texts = [f"{score:.2f}" for score in judged.score[own]]
            drawing.boxes(axes, judged.found[own], COLOUR_OF[kind], texts=texts)
    return figure


def encoded(figure, kind: str) -> io.BytesIO:
    """The figure as a file of kind "png" or "svg"."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=2 * drawing.DPI)
    buffer.seek(0)
    return buffer
