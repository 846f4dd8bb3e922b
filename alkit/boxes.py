"""Boxes and the five maps: default boxes, IoU, targets (boxes → maps), decoding (maps → boxes)."""

import math

import cv2
import numpy as np

from alkit.detector import logit_shapes
from alkit.frames import Boxes
from alkit.profiles import Profile


def default_boxes(profile: Profile) -> np.ndarray:
    """(level, 2) float64: height and width of Θ¹ … Θ⁵'s boxes in the profile's pixels."""
    return np.array(profile.default_boxes, np.float64) * profile.scale


def iou(a, b) -> np.ndarray:
    """IoU of every box of a (n, 4) with every box of b (m, 4), both [left, top, width, height]."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    intersection = np.prod(np.clip(high - low, 0, None), axis=2)
    union = np.prod(a[:, 2:], axis=1)[:, None] + np.prod(b[:, 2:], axis=1)[None] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def centred_iou(sizes, others) -> np.ndarray:
    """IoU of boxes that share a centre; sizes (n, 2) and others (m, 2) are (height, width)."""
    sizes, others = np.asarray(sizes)[:, None], np.asarray(others)[None]
    intersection = np.minimum(sizes, others).prod(axis=2)
    return intersection / (sizes.prod(axis=2) + others.prod(axis=2) - intersection)


def mirrored(boxes: Boxes, width: int) -> Boxes:
    """The boxes of the horizontally mirrored image of `width` pixels."""

    def flip(ltwh):
        flipped = ltwh.copy()
        flipped[:, 0] = width - ltwh[:, 0] - ltwh[:, 2]
        return flipped

    return Boxes(flip(boxes.ltwh), boxes.label, boxes.ignore, flip(boxes.visible), boxes.identity)


def cell_pixels(cells: int, pixels: int, half_pixel: bool) -> np.ndarray:
    """The image coordinate of each cell of a map, by nearest-neighbour downsampling: the centre
    of the pixel that the cell takes its label from."""
    offset = 0.5 if half_pixel else 0.0
    return np.floor((np.arange(cells) + offset) * pixels / cells) + 0.5


def targets(boxes: Boxes, profile: Profile) -> list:
    """Label maps of Θ¹ … Θ⁵ at the logits' own size, int8: 1 pedestrian, 0 background, −1 neither.

    A box goes to every default box whose IoU with it, centred, is over `assign_iou`, and always
    to the best. Around its centre a patch is set to background in all channels, then a smaller
    one to 1 in the assigned channel; the best channel comes last (released code). Pixels of
    ignored boxes are −1, unless the profile drops them.
    """
    height, width = profile.image_size
    shapes = logit_shapes(profile.image_size)
    rows = [cell_pixels(shape[0], height, profile.half_pixel) for shape in shapes]
    columns = [cell_pixels(shape[1], width, profile.half_pixel) for shape in shapes]
    maps = [np.zeros(shape, np.int8) for shape in shapes]

    if profile.filtered_boxes == "ignore":
        for left, top, w, h in boxes.ltwh[boxes.ignore]:
            for level, label in enumerate(maps):
                inside_rows = (rows[level] >= top) & (rows[level] <= top + h)
                inside_columns = (columns[level] >= left) & (columns[level] <= left + w)
                label[np.ix_(inside_rows, inside_columns)] = -1

    real = boxes.ltwh[~boxes.ignore]
    if len(real) == 0:
        return maps
    overlaps = centred_iou(real[:, [3, 2]], default_boxes(profile))
    for (left, top, w, h), overlap in zip(real, overlaps, strict=True):
        centre = (top + h / 2, left + w / 2)
        best = int(overlap.argmax())
        fitting = [k for k in np.flatnonzero(overlap > profile.assign_iou) if k != best]
        for level in [*fitting, best]:
            clear = patch_half(profile, level, profile.clear_patch)
            positive = patch_half(profile, level, profile.positive_patch)
            for k, label in enumerate(maps):
                label[patch(rows[k], columns[k], centre, clear)] = 0
            inside = patch(rows[level], columns[level], centre, positive)
            maps[level][inside] = 1
    return maps


def patch_half(profile: Profile, level: int, factor: float) -> tuple[float, float]:
    """Half-height and half-width 5 + ⌊√(factor · size)⌋ of a level's patch, scaled (released)."""
    return tuple(
        (5 + math.floor(math.sqrt(factor * size))) * profile.scale
        for size in profile.default_boxes[level]
    )


def patch(rows, columns, centre, half):
    """Index of the cells within a patch, 2·half + 1 pixels wherever the centre lies; never less
    than the cell nearest to the centre."""
    index = []
    for cells, middle, reach in zip((rows, columns), centre, half, strict=True):
        distance = cells - middle
        # One end open: around a centre between two pixels there would be one too many.
        inside = np.flatnonzero((distance > -reach - 0.5) & (distance <= reach + 0.5))
        if len(inside) == 0:
            inside = [np.abs(distance).argmin()]
        index.append(slice(inside[0], inside[-1] + 1))
    return tuple(index)


def decode(p: np.ndarray, profile: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Detections from the probabilities of one image.

    p is float32 (level, y, x). A detection is a local maximum, in its own channel, of the mean
    probability; the channel's default box is centred there (released code).
    Returns boxes float64 (n, 4) [left, top, width, height] and scores float64 (n,), descending.
    """
    mean = profile.odd_pixels(profile.decode_mean)
    boxes, scores = [], []
    for (height, width), plane in zip(default_boxes(profile), p, strict=True):
        if plane.max() <= profile.decode_threshold:
            continue
        smooth = cv2.blur(plane, (mean, mean))
        y, x = peaks(plane, smooth, profile)
        box = np.column_stack([x + 0.5 - width / 2, y + 0.5 - height / 2, 0 * x, 0 * y])
        box[:, 2:] = width, height
        boxes.append(box)
        scores.append(smooth[y, x])
    if not boxes:
        return np.zeros((0, 4)), np.zeros(0)
    boxes, scores = np.concatenate(boxes), np.concatenate(scores).astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    if profile.suppression is not None:
        keep = suppress(boxes, profile.suppression)
        boxes, scores = boxes[keep], scores[keep]
    return boxes, scores


def peaks(plane: np.ndarray, smooth: np.ndarray, profile: Profile):
    """Positions (y, x) of the local maxima of `smooth` over the threshold, one for each plateau,
    around which enough pixels of `plane` are over it; both float32 (y, x)."""
    threshold = profile.decode_threshold
    window = profile.odd_pixels(profile.decode_window)
    candidates = np.flatnonzero(smooth > threshold)
    y, x = np.divmod(candidates, plane.shape[1])
    if len(y) == 0:
        return y, x
    # Maxima and counts are needed around the candidates alone, which are few.
    top, left = max(0, y.min() - window // 2), max(0, x.min() - window // 2)
    part = np.s_[top : y.max() + window // 2 + 1, left : x.max() + window // 2 + 1]
    highest = cv2.dilate(smooth[part], np.ones((window, window), np.uint8))
    over = (plane[part] > threshold).astype(np.float32)
    count = cv2.boxFilter(over, -1, (window, window), normalize=False, borderType=0)
    inside = y - top, x - left
    peak = smooth[y, x] == highest[inside]
    peak &= count[inside] >= profile.decode_area * profile.scale**2
    return one_per_plateau(y[peak], x[peak])


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
    keep, free = [], np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if free[i]:
            keep.append(i)
            free &= ~overlap[i]
    return np.array(keep, np.int64)
