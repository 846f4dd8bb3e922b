"""Miss rate against false positives per image (FPPI), from a COCO dict and COCO results.

Boxes are **[left, top, width, height] in pixels**. All overlaps are computed at once in NumPy;
only the pairs of boxes that overlap enough are gone through one by one.
"""

import math
from dataclasses import dataclass

import numpy as np

from alkit.protocols import MIN_OVERLAP, PROTOCOLS, Found, Protocol, Truth, area_of, prepare, read

__all__ = ["MIN_OVERLAP", "PROTOCOLS", "REFERENCES", "Evaluation", "Found", "Truth", "evaluate"]

REFERENCES = 10.0 ** np.arange(-2, 0.01, 0.25)  # FPPI of the log-average miss rate, nine points
PAIRS = 1 << 16  # pairs of boxes compared in one step: bounds the memory, fits a cache


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The curve of miss rate against FPPI, one point for each counted detection.

    `fppi`, `miss_rate` and `scores` are float64 (points,), by descending score: the curve up to
    and with that detection. `lamr` is the log-average miss rate. `n_images` counts all images,
    `n_boxes` the real boxes, which are those not ignored. Without real boxes every miss rate is
    NaN.
    """

    fppi: np.ndarray
    miss_rate: np.ndarray
    scores: np.ndarray
    n_images: int
    n_boxes: int

    def miss_rate_at(self, fppi):
        """The miss rate at a reference FPPI, a number or an array: that of the last point of the
        curve with fppi ≤ reference; 1 where the curve starts later, its last value where it ends
        earlier, NaN without real boxes."""
        start = math.nan if self.n_boxes == 0 else 1.0
        values = np.append(start, self.miss_rate)
        found = values[np.searchsorted(self.fppi, fppi, side="right")]
        return float(found) if np.ndim(fppi) == 0 else found

    @property
    def lamr(self) -> float:
        """Log-average miss rate: exp(mean(log)) of the miss rates at FPPI 10^(−2, −1.75, …, 0); 0
        if any of them is 0, NaN without real boxes."""
        rates = self.miss_rate_at(REFERENCES)
        return 0.0 if np.any(rates == 0) else float(np.exp(np.mean(np.log(rates))))


def evaluate(ground_truth: dict, detections: list[dict], protocol: str = "caltech") -> Evaluation:
    """Match detections with annotated boxes and draw the curve of miss rate against FPPI.

    `ground_truth` is a COCO dict, whose annotations may carry "ignore": 1 ("iscrowd": 1 is an
    ignore box too); `detections` is a list of COCO results. One class at a time.

    Protocol "caltech" (Dollár et al. 2012, and P. Dollár's toolbox), on the boxes as given:

    - Per image, detections go by score, descending, stable. A detection takes the free real box of
      highest IoU ≥ 0.5, inclusive; on equal IoU the later one in the file.
    - Only if none fits, an ignore box with intersection / detection area ≥ 0.5 absorbs it. An
      ignore box absorbs any number; an absorbed detection counts neither way.
    - All images' detections are pooled in the order of the images and sorted by score, stable;
      equal scores are not grouped. FPPI divides by all images.
    - No detections: miss rate 1. No real boxes: NaN, with or without detections.

    The other protocols filter the boxes first (`alkit.protocols`) and then match by these rules:

    - "caltech-reasonable" is the toolbox's setting Reasonable (its dbEval), for images of 640×480.
      Real boxes are of class person, at least 50 px high, with at least 0.65 of their area visible
      and inside [5, 5, 635, 475] in the toolbox's pixels, which count from 1: in ours, left and
      top ≥ 4, right ≤ 634, bottom ≤ 474. All others, and all other classes, are ignore boxes,
      "person-fa" too (dbEval leaves those out). Real boxes and detections get the width
      0.41 · height about their centre; detections below 50 / 1.25 px are dropped.
    - "citypersons-reasonable", "-small", "-heavy" and "-all" are the settings of CityPersons' own
      evaluation, at its native 1024×2048, on the boxes as given: class pedestrian, heights
      [50, ∞), [50, 75], [50, ∞), [20, ∞) and visible shares ≥ 0.65, ≥ 0.65, [0.2, 0.65], ≥ 0.2,
      the ends included. Detections are kept from low / 1.25 on and below high · 1.25. Three things
      are Caltech's and not that script's: the exact references of FPPI (it rounds them to four
      digits), miss rate 1 where a curve starts late (it takes the curve's end), and no limit of
      1,000 detections an image.
    - "released" is what the authors' code does, on the boxes as given: a detection hits the real
      box of highest IoU ≥ 0.3, taken or not, and is false only if there is none. The miss rate is
      1 − the mean over images of the share of the image's boxes that are hit. Ours, where the
      facts are silent: the threshold is inclusive; a detection hits one box only; ignore boxes
      absorb as above, from a share of 0.3 on; images without real boxes have no recall, and count
      only in FPPI.

    A visible box is the annotation's "vis_bbox" (or one of the spellings in
    `alkit.protocols.VISIBLE_BOX`), or its share "vis_ratio"; a box without either is fully visible.

    Raises ValueError for an unknown protocol, duplicate image ids, no images, a box or detection
    of an unknown image, more than one category (in protocols with classes: categories without
    exactly one called person or pedestrian, and a detection of another), and a score or box that
    is NaN, infinite or of negative size.
    """
    if protocol not in PROTOCOLS:
        names = ", ".join(map(repr, PROTOCOLS))
        raise ValueError(f"protocol {protocol!r} is unknown; available are {names}")
    rules = PROTOCOLS[protocol]
    n_images, truth, found = read(ground_truth, detections, rules.by_name)
    return curve(n_images, *prepare(rules, truth, found), rules)


def curve(n_images: int, truth: Truth, found: Found, rules: Protocol) -> Evaluation:
    """The curve of arrays that `alkit.protocols.prepare` has made ready."""
    # By score, then by image: the order of the pool. Within an image it is that of choosing.
    by_image = np.argsort(found.image, kind="stable")
    order = by_image[np.argsort(-found.score[by_image], kind="stable")]
    found = Found(found.image[order], found.ltwh[order], found.score[order])
    box, absorbed = assign(truth, found, rules)
    box, scores = box[~absorbed], found.score[~absorbed]

    hits = np.flatnonzero(box >= 0)[::-1]
    first = np.full(len(truth.ignore), -1)
    first[box[hits]] = hits  # the last to be written is the first to hit the box
    real = ~truth.ignore
    n_boxes = int(np.count_nonzero(real))
    if n_boxes == 0:
        miss_rate = np.full(len(box), np.nan)
    elif rules.by_image:
        miss_rate = _mean_over_images(truth.image[real], first[real], len(box))
    else:
        miss_rate = _missed(first[real], len(box)) / n_boxes
    return Evaluation(
        fppi=np.cumsum(box < 0) / n_images,
        miss_rate=miss_rate,
        scores=scores,
        n_images=n_images,
        n_boxes=n_boxes,
    )


def _missed(first, points):
    """How many boxes are missed at each point of the curve, int64 (points,). `first` (n,) is the
    point that first hits a box, −1 where none does."""
    return len(first) - np.cumsum(np.bincount(first[first >= 0], minlength=points))


def _mean_over_images(image, first, points):
    """The mean over images of the share of an image's boxes that is missed, float64 (points,)."""
    size = np.bincount(image)[image]  # boxes in the image of each box
    missed = np.zeros(points)
    for n in np.unique(size):
        # Images of one size together: an integer is divided, and no miss at all is exactly 0.
        missed += _missed(first[size == n], points) / n
    return missed / len(np.unique(image))


def match(truth: Truth, found: Found) -> tuple[np.ndarray, np.ndarray]:
    """Which detections hit a real box, and which an ignore box absorbs: two bool (n,).

    `found` is in the order in which detections choose. The rules are those of `evaluate`, protocol
    "caltech".
    """
    box, absorbed = assign(truth, found, PROTOCOLS["caltech"])
    return box >= 0, absorbed


def assign(truth: Truth, found: Found, rules: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """The real box that each detection hits, int64 (n,), −1 where none; and whether an ignore box
    absorbs it, bool (n,). `found` is in the order in which detections choose."""
    detection, box, overlap = _overlapping(truth, found, rules.min_overlap)
    absorbed = np.zeros(len(found.score), bool)
    absorbed[detection[truth.ignore[box]]] = True

    real = np.flatnonzero(~truth.ignore[box])
    detection, box, overlap = detection[real], box[real], overlap[real]
    best_first = np.lexsort((-box, -overlap, detection))  # on equal IoU the later box
    hit = np.full(len(found.score), -1)
    taken = bytearray(len(truth.ignore))
    last_hit = -1
    for d, b in zip(detection[best_first].tolist(), box[best_first].tolist(), strict=True):
        if d != last_hit and not taken[b]:
            taken[b] = not rules.shared
            hit[d] = b
            last_hit = d
    return hit, absorbed & (hit < 0)


def _overlapping(truth, found, min_overlap):
    """All pairs of one image that overlap enough: detection, box (positions) and overlap, (pairs,)
    each. The overlap is the IoU with a real box, and the share of the detection's area that is
    inside an ignore box."""
    by_image = np.argsort(truth.image, kind="stable")
    boxes = np.bincount(truth.image, minlength=found.image.max(initial=-1) + 1)  # of each image
    count = boxes[found.image]
    first = (np.cumsum(boxes) - boxes)[found.image]
    before = np.cumsum(count) - count  # pairs of the detections before
    steps = np.flatnonzero(np.diff(before // PAIRS)) + 1
    pairs = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for detections in np.split(np.arange(len(count)), steps):
        own = count[detections]
        d = np.repeat(detections, own)
        b = by_image[np.arange(len(d)) + np.repeat(first[detections] - np.cumsum(own) + own, own)]
        # Most boxes of an image are not even side by side with a detection: those go first.
        x = _extent(found.ltwh, truth.ltwh, 0, d, b)
        beside = np.flatnonzero(x > 0)
        x, d, b = x[beside], d[beside], b[beside]
        intersection = x * np.maximum(_extent(found.ltwh, truth.ltwh, 1, d, b), 0)
        area, box_area = area_of(found.ltwh)[d], area_of(truth.ltwh)[b]
        whole = np.where(truth.ignore[b], area, area + box_area - intersection)
        overlap = np.divide(intersection, whole, out=np.zeros(len(whole)), where=whole > 0)
        enough = overlap >= min_overlap
        pairs.append((d[enough], b[enough], overlap[enough]))
    return tuple(np.concatenate(column) for column in zip(*pairs, strict=True))


def _extent(detections, boxes, axis, d, b):
    """How far detections d and boxes b overlap along x (axis 0) or y (1), negative if apart."""
    near, far = detections[:, axis], detections[:, axis] + detections[:, axis + 2]
    box_near, box_far = boxes[:, axis], boxes[:, axis] + boxes[:, axis + 2]
    return np.minimum(far[d], box_far[b]) - np.maximum(near[d], box_near[b])
