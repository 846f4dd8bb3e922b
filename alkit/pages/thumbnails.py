"""Small pictures of frames, with boxes and score maps, as addresses of embedded JPEGs."""

import cv2
import matplotlib
import numpy as np

from alkit.data.imagefile import jpeg
from alkit.frames import fit_factor
from alkit.pages import matching
from alkit.pages.figures import drawing

WIDTH = 240  # pixels; at most twice as high
DRAWN = matching.FALSE, matching.FOUND, matching.MISSED, matching.UNSEEN


def thumbnail(image: np.ndarray, matched, scores=None, highest: float = 1.0) -> str:
    """A frame uint8 (y, x, 3), in gray under its score map (y, x) if there is one, with detections
    and labeled boxes as `matching.match` gives them."""
    factor = min(1.0, fit_factor(image.shape[:2], (2 * WIDTH, WIDTH)))
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if scores is not None:
        scores = cv2.resize(scores, size, interpolation=cv2.INTER_AREA)
        small = drawing.under_scores(small, scores, highest)
    for boxes in matched:
        for kind in DRAWN:
            _draw(small, boxes.of(kind) * factor, matching.COLORS[kind])
    return jpeg(small)


def crop(image: np.ndarray, rows, columns, margin: int) -> str:
    """The part of a frame around the region between two rows and two columns, with its border."""
    (top, bottom), (left, right) = rows, columns
    y, x = max(0, top - margin), max(0, left - margin)
    part = np.ascontiguousarray(image[y : bottom + margin, x : right + margin])
    _draw(part, [[left - x, top - y, right - left, bottom - top]], "white")
    return jpeg(part)


def _draw(image: np.ndarray, boxes, color: str):
    rgb = [round(255 * share) for share in matplotlib.colors.to_rgb(color)]
    for left, top, width, height in boxes:
        corners = (round(left), round(top)), (round(left + width) - 1, round(top + height) - 1)
        cv2.rectangle(image, *corners, rgb, 1)
