"""What the explorer shows of a frame as a file: PNG or SVG, by Matplotlib."""

import io

import numpy as np

from alkit.explorer.judging import FALSE, FOUND, HIT, IGNORED, MISSED, Judged
from alkit.views import drawing


def draw(image: np.ndarray, judged: Judged | None, values, high: float, palette: str,
         opacity: float, threshold: float, title: str, label: str, caption: str):  # fmt: skip
    """A figure of an image (y, x, 3) under a map (y, x), or without one where `values` is None."""
    height = 8.2 * image.shape[0] / image.shape[1] + 0.9
    figure = drawing.picture(height, title, caption)
    axes = figure.subplots()
    drawing.photograph(axes, image)
    if values is not None:
        shown = np.ma.masked_less_equal(values, threshold)
        mappable = axes.imshow(shown, cmap=palette, vmin=0, vmax=high, alpha=opacity)
        figure.colorbar(mappable, ax=axes, label=label, fraction=0.035, pad=0.01)
    if judged is not None:
        truth, found = judged.truth, judged.found
        drawing.boxes(axes, truth[judged.truth_kind == IGNORED], "white", dashed=True)
        drawing.boxes(axes, truth[judged.truth_kind == FOUND], drawing.TRUTH)
        drawing.boxes(axes, truth[judged.truth_kind == MISSED], drawing.MISSED)
        for kind, colour in ((HIT, drawing.TRUTH), (FALSE, drawing.FOUND), ("", drawing.FOUND)):
            own = judged.found_kind == kind
            texts = [f"{score:.2f}" for score in judged.score[own]]
            drawing.boxes(axes, found[own], colour, texts=texts)
    return figure


def encoded(figure, kind: str) -> io.BytesIO:
    """The figure as a file of kind "png" or "svg"."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=2 * drawing.DPI)
    buffer.seek(0)
    return buffer
