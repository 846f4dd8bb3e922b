"""Small pictures of frames, with boxes and score maps, as addresses of embedded JPEGs."""

import cv2
import matplotlib
import numpy as np

from alkit.data.imagefile import jpeg
from alkit.frames import fit_factor

WIDTH = 240  # pixels; at most twice as high
GREEN, WHITE = (43, 217, 154), (255, 255, 255)
ORANGE, RED, SKY = (255, 176, 0), (255, 45, 96), (86, 180, 233)


def thumbnail(image: np.ndarray, boxes=(), scores=None, highest: float = 1.0) -> str:
    """A frame uint8 (y, x, 3), in gray under its score map (y, x) if there is one: clear at 0,
    opaque at `highest`. `boxes` are pairs of boxes (n, 4) [left, top, width, height], in pixels of
    the frame, and their color."""
    factor = min(1.0, fit_factor(image.shape[:2], (2 * WIDTH, WIDTH)))
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if scores is not None:
        small = with_scores(small, scores, highest)
    for ltwh, color in boxes:
        draw_boxes(small, np.reshape(ltwh, (-1, 4)) * factor, color)
    return jpeg(small)


def crop(image: np.ndarray, rows, columns, margin: int) -> str:
    """The part of a frame around the region between two rows and two columns, with its border."""
    (top, bottom), (left, right) = rows, columns
    y, x = max(0, top - margin), max(0, left - margin)
    part = np.ascontiguousarray(image[y : bottom + margin, x : right + margin])
    draw_boxes(part, [[left - x, top - y, right - left, bottom - top]], WHITE)
    return jpeg(part)


def draw_boxes(image: np.ndarray, boxes, color):
    """Draw boxes (n, 4) on an image."""
    for left, top, width, height in boxes:
        corners = (round(left), round(top)), (round(left + width) - 1, round(top + height) - 1)
        cv2.rectangle(image, *corners, color, 1)


def with_scores(image: np.ndarray, scores: np.ndarray, highest: float) -> np.ndarray:
    """The image in gray under its score map."""
    scores = cv2.resize(scores, image.shape[1::-1], interpolation=cv2.INTER_AREA)
    share = np.clip(scores / highest, 0, 1)
    color = matplotlib.colormaps["inferno"](share)[..., :3] * 255
    gray = (image @ np.array([0.299, 0.587, 0.114]) * 0.75)[..., None]
    opacity = np.clip(np.sqrt(share) * 1.1, 0, 0.85)[..., None]
    return (gray * (1 - opacity) + color * opacity).astype(np.uint8)
