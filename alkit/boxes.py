"""Boxes and the five maps: default boxes, IoU, targets (boxes → maps), decoding (maps → boxes)."""

import math
from functools import partial

import cv2
import numpy as np

from alkit.detector import LEVELS, STRIDES, logit_shapes
from alkit.frames import Boxes, cut_to_pixels
from alkit.profiles import Profile


def default_boxes(profile: Profile) -> np.ndarray:
    """(level, 2) float64: height and width of Θ¹ … Θ⁵'s boxes in the profile's pixels. With
    `whole_pixels` their halves are whole: 55×31 counts as 54×30 (released code)."""
    sizes = np.array(profile.default_boxes, np.float64) * profile.scale
    return sizes // 2 * 2 if profile.whole_pixels else sizes


def iou(a, b) -> np.ndarray:
    """IoU of every box of a (n, 4) with every box of b (m, 4), both [left, top, width, height].

    >>> iou([[0, 0, 10, 20]], [[0, 0, 10, 10], [5, 0, 10, 20]]).round(4)
    array([[0.5   , 0.3333]])
    """
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    intersection = (high - low).clip(0).prod(axis=2)
    union = a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def centered_iou(sizes, others) -> np.ndarray:
    """IoU of boxes that share a center; sizes (n, 2) and others (m, 2) are (height, width)."""
    sizes, others = np.asarray(sizes)[:, None], np.asarray(others)[None]
    intersection = np.minimum(sizes, others).prod(axis=2)
    return intersection / (sizes.prod(axis=2) + others.prod(axis=2) - intersection)


def targets(boxes: Boxes, profile: Profile, size=None) -> np.ndarray:
    """Label maps of Θ¹ … Θ⁵ at image resolution, int8 (level, y, x): 1 pedestrian, 0 background,
    −1 neither. `size` (height, width) is the profile's unless it is a part of an image.

    A box goes to every default box whose IoU with it, centered, is over `assign_iou`, and always
    to the best. Around its center a patch is set to background in all channels, then a smaller
    one to 1 in the assigned channel; the best channel comes last (released code). Pixels of
    ignored boxes are −1, unless the profile drops them.

    >>> from alkit.profiles import DEMO
    >>> maps = targets(Boxes([[150.0, 90.0, 15.5, 27.5]], ["person"]), DEMO)  # as large as Θ⁵'s box
    >>> [int((level == 1).sum()) for level in maps]  # pixels of its patch
    [0, 0, 0, 0, 72]
    """
    maps = np.zeros((LEVELS, *(size or profile.image_size)), np.int8)
    if profile.filtered_boxes == "ignore":
        for left, top, width, height in boxes.ltwh[boxes.ignore]:
            rows, columns = between(top, top + height), between(left, left + width)
            maps[:, rows, columns] = -1

    real = boxes.ltwh[~boxes.ignore]
    if profile.whole_pixels:
        real = cut_to_pixels(real)
    overlaps = centered_iou(real[:, [3, 2]], default_boxes(profile))
    for (left, top, w, h), overlap in zip(real, overlaps, strict=True):
        center = (top + h / 2, left + w / 2)
        best = int(overlap.argmax())
        fitting = [k for k in np.flatnonzero(overlap > profile.assign_iou) if k != best]
        for level in [*fitting, best]:
            maps[:, *patch(profile, level, profile.clear_patch, center)] = 0
            maps[level, *patch(profile, level, profile.positive_patch, center)] = 1
    return maps


def at_cells(maps: np.ndarray, half_pixel: bool) -> list:
    """Maps (level, y, x) of the image at the sizes of the logits: a cell is its nearest pixel."""
    offset = 0.5 if half_pixel else 0.0

    def pixels(cells, size):
        return np.floor((np.arange(cells) + offset) * size / cells).astype(int)

    shapes = logit_shapes(maps.shape[1:])
    return [
        plane[np.ix_(*map(pixels, shape, plane.shape))]
        for plane, shape in zip(maps, shapes, strict=True)
    ]


def patch(profile: Profile, level: int, factor: float, center) -> tuple[slice, slice]:
    """The pixels of a level's patch around a center (y, x): half-height and half-width are
    5 + ⌊√(factor · size)⌋, scaled, so that there are 2·half + 1 pixels on a side wherever the
    center lies (released code). In small images a side is never less than a cell."""
    least = (STRIDES[level] - 1) / 2
    found = []
    for middle, size in zip(center, profile.default_boxes[level], strict=True):
        half = max(least, (5 + math.floor(math.sqrt(factor * size))) * profile.scale)
        low, high = math.floor(middle - half), math.floor(middle + half) + 1
        found.append(slice(max(0, low), max(0, high)))
    return tuple(found)


def between(low: float, high: float) -> slice:
    """The pixels whose centers lie from `low` to `high`, both included, inside the image."""
    return slice(max(0, math.ceil(low - 0.5)), max(0, math.floor(high - 0.5) + 1))


def decode(p: np.ndarray, profile: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Detections from the probabilities of one image.

    p is float32 (level, y, x). A detection is a local maximum, in its own channel, of the mean
    probability; the channel's default box is centered there, on the pixel's near corner where
    boxes are in whole pixels (released code).
    Returns boxes float64 (n, 4) [left, top, width, height] and scores float64 (n,), descending.

    >>> from alkit.profiles import DEMO
    >>> p = np.zeros((5, 240, 320), np.float32)
    >>> p[4, 100:109, 150:157] = 0.8  # Θ⁵, whose default box is 27.5 × 15.5 pixels here
    >>> boxes, scores = decode(p, DEMO)
    >>> boxes.tolist(), scores.round(2).tolist()  # centered in the middle of the patch
    ([[145.75, 90.75, 15.5, 27.5]], [0.8])
    """
    boxes, scores = [], []
    center = 0.0 if profile.whole_pixels else 0.5
    for (height, width), plane in zip(default_boxes(profile), p, strict=True):
        y, x, score = peaks(plane, profile)
        box = np.column_stack([x + center - width / 2, y + center - height / 2, 0 * x, 0 * y])
        box[:, 2:] = width, height
        boxes.append(box)
        scores.append(score)
    boxes, scores = np.concatenate(boxes), np.concatenate(scores).astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    if profile.suppression is not None:
        keep = suppress(boxes, profile.suppression)
        boxes, scores = boxes[keep], scores[keep]
    return boxes, scores


def peaks(plane: np.ndarray, profile: Profile):
    """Positions (y, x) and scores of the local maxima of the mean of `plane`, float32 (y, x), over
    the threshold, around which enough pixels are over it: of `plane` itself where the score is the
    peak's mean; of the means where it is the highest threshold that leaves enough."""
    threshold, mean = profile.decode_threshold, profile.odd_pixels(profile.decode_mean)
    window = profile.odd_pixels(profile.decode_window)
    area = math.ceil(round(profile.decode_area * profile.scale**2, 6))
    if plane.max() <= threshold or area > window**2:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32)
    sums = partial(cv2.boxFilter, ddepth=-1, ksize=(mean, mean), normalize=False, borderType=0)
    smooth = sums(plane) / sums(np.ones_like(plane))  # of the pixels inside
    y, x = np.nonzero(smooth > threshold)
    highest = cv2.dilate(smooth, np.ones((window, window), np.uint8))
    over = plane if profile.decode_score == "peak" else smooth
    over = (over > threshold).astype(np.float32)
    count = cv2.boxFilter(over, -1, (window, window), normalize=False, borderType=0)
    peak = (smooth[y, x] == highest[y, x]) & (count[y, x] >= area)
    y, x = y[peak], x[peak]
    if profile.plateaus == "middle":
        y, x = one_per_plateau(y, x)
    if profile.decode_score == "peak":
        return y, x, smooth[y, x]
    around = np.pad(smooth, window // 2)  # with zeros, which are over no threshold
    windows = np.lib.stride_tricks.sliding_window_view(around, (window, window))[y, x]
    nth = window**2 - max(1, area)
    return y, x, np.partition(windows.reshape(len(y), window**2), nth, axis=1)[:, nth]


def one_per_plateau(y: np.ndarray, x: np.ndarray):
    """Of the pixels at (y, x), in row-major order, the one nearest to the middle of every
    connected plateau, in the order of the plateaus' first pixels."""
    if len(y) == 0:
        return y, x
    top, left = y.min(), x.min()
    mask = np.zeros((y.max() - top + 1, x.max() - left + 1), np.uint8)
    mask[y - top, x - left] = 1
    _, component, _, middle = cv2.connectedComponentsWithStats(mask)
    own = component[y - top, x - left]
    distance = np.hypot(x - left - middle[own, 0], y - top - middle[own, 1])
    order = np.lexsort((distance, own))
    _, first = np.unique(own[order], return_index=True)
    nearest = order[first]
    return y[nearest], x[nearest]


def suppress(boxes: np.ndarray, limit: float) -> np.ndarray:
    """Positions of the boxes (n, 4), in descending order of score, that overlap no kept box
    by an IoU over `limit` (greedy non-maximum suppression)."""
    overlap = iou(boxes, boxes) > limit
    keep = []
    for i in range(len(boxes)):
        if not overlap[i, keep].any():
            keep.append(i)
    return np.array(keep, np.int64)
