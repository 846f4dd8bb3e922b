"""The parts of the page that run in the browser, and the pictures that they show."""

from pathlib import Path

import numpy as np
import param
from panel.custom import JSComponent

from alkit.views import gallery

HERE = Path(__file__).parent


class Keys(JSComponent):
    """The arrow keys; `on_step(n)` hears of them."""

    everywhere = param.Boolean()
    _esm = HERE / "keys.js"

    def __init__(self, on_step, **params):
        self._on_step = on_step
        super().__init__(**params)

    def _handle_msg(self, message: dict):
        self._on_step(int(message["step"]))


class Gallery(JSComponent):
    """Pictures to click on; `on_click(position)` hears of it. `items` are dicts of position,
    image (an address), mark (bold) and text."""

    items = param.List()
    empty = param.String("Nothing to show.")
    picture_width = param.Integer(190)
    _esm = HERE / "gallery.js"

    def __init__(self, on_click, **params):
        self._on_click = on_click
        super().__init__(**params)

    def _handle_msg(self, message: dict):
        self._on_click(int(message["position"]))


def thumbnail(image: np.ndarray, judged=None, scores=None, highest: float = 1.0) -> str:
    """A small picture of a frame as an address, under its score map and with boxes if given:
    found pedestrians green, missed ones red, false detections orange."""
    small, factor = gallery.shrunk(image)
    if scores is not None:
        small = gallery.with_scores(small, scores, highest)
    if judged is not None:
        for boxes, kinds, kind, colour in (
            (judged.found, judged.found_kind, "false", (255, 176, 0)),
            (judged.truth, judged.truth_kind, "found", (43, 217, 154)),
            (judged.truth, judged.truth_kind, "missed", (255, 45, 96)),
        ):
            small = gallery.with_boxes(small, boxes[kinds == kind], factor, colour)
    return gallery.jpeg(small)


def crop(image: np.ndarray, rows: tuple, columns: tuple, margin: int) -> str:
    """The picture around a region, whose border is drawn, as an address."""
    (top, bottom), (left, right) = rows, columns
    y, x = max(0, top - margin), max(0, left - margin)
    part = image[y : bottom + margin, x : right + margin]
    box = [[left - x, top - y, right - left, bottom - top]]
    return gallery.jpeg(gallery.with_boxes(part, box, 1.0, (255, 255, 255)))
