"""Miss rate against false positives per image (FPPI), from a COCO dict and COCO results.

Boxes are **[left, top, width, height] in pixels**. All overlaps are computed at once in NumPy;
only the pairs of boxes that overlap enough are gone through one by one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MIN_OVERLAP = 0.5  # inclusive, of IoU and of an ignore box's share of a detection
REFERENCES = 10.0 ** np.arange(-2, 0.01, 0.25)  # FPPI of the log-average miss rate, nine points
PAIRS = 1 << 20  # pairs of boxes compared in one step, which bounds the memory


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


@dataclass(frozen=True)
class Truth:
    """All annotated boxes in file order: the image's position in the list of images (n,),
    [left, top, width, height] (n, 4), whether to ignore the box (n,), and the COCO annotations."""

    image: np.ndarray
    ltwh: np.ndarray
    ignore: np.ndarray
    annotations: list[dict]


@dataclass(frozen=True)
class Found:
    """All detections in file order: image (n,), [left, top, width, height] (n, 4), score (n,)."""

    image: np.ndarray
    ltwh: np.ndarray
    score: np.ndarray


def _as_given(truth: Truth, found: Found) -> tuple[Truth, Found]:
    return truth, found


# What a protocol does to the boxes before they are matched.
PROTOCOLS: dict[str, Callable[[Truth, Found], tuple[Truth, Found]]] = {"caltech": _as_given}


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

    Raises ValueError for an unknown protocol, duplicate image ids, no images, a box or detection
    of an unknown image, more than one category, and a score or box that is NaN, infinite or of
    negative size.
    """
    if protocol not in PROTOCOLS:
        names = ", ".join(map(repr, PROTOCOLS))
        raise ValueError(f"protocol {protocol!r} is unknown; available are {names}")
    n_images, truth, found = _read(ground_truth, detections)
    truth, found = PROTOCOLS[protocol](truth, found)
    # By image, then by score: the order in which detections choose, and that of the pool.
    order = np.lexsort((-found.score, found.image))
    found = Found(found.image[order], found.ltwh[order], found.score[order])
    hit, absorbed = match(truth, found)

    ranking = np.argsort(-found.score, kind="stable")
    ranking = ranking[~absorbed[ranking]]
    n_boxes = int(np.count_nonzero(~truth.ignore))
    misses = n_boxes - np.cumsum(hit[ranking])
    return Evaluation(
        fppi=np.cumsum(~hit[ranking]) / n_images,
        miss_rate=misses / n_boxes if n_boxes else np.full(len(ranking), np.nan),
        scores=found.score[ranking],
        n_images=n_images,
        n_boxes=n_boxes,
    )


def match(truth: Truth, found: Found) -> tuple[np.ndarray, np.ndarray]:
    """Which detections hit a real box, and which an ignore box absorbs: two bool (n,).

    `found` is in the order in which detections choose, image by image. The rules are those of
    `evaluate`, protocol "caltech".
    """
    detection, box, overlap = _overlapping(truth, found)
    hit, absorbed = np.zeros((2, len(found.score)), bool)
    absorbed[detection[truth.ignore[box]]] = True

    real = np.flatnonzero(~truth.ignore[box])
    detection, box, overlap = detection[real], box[real], overlap[real]
    best_first = np.lexsort((-box, -overlap, detection))  # on equal IoU the later box
    taken = bytearray(len(truth.ignore))
    last_hit = -1
    for d, b in zip(detection[best_first].tolist(), box[best_first].tolist(), strict=True):
        if d != last_hit and not taken[b]:
            taken[b] = True
            hit[d] = True
            last_hit = d
    return hit, absorbed & ~hit


def _overlapping(truth, found):
    """All pairs of one image that overlap enough: detection, box (positions) and overlap, (pairs,)
    each. The overlap is the IoU with a real box, and the share of the detection's area that is
    inside an ignore box."""
    by_image = np.argsort(truth.image, kind="stable")
    first = np.searchsorted(truth.image[by_image], found.image, side="left")
    count = np.searchsorted(truth.image[by_image], found.image, side="right") - first
    before = np.cumsum(count) - count  # pairs of the detections before
    steps = np.flatnonzero(np.diff(before // PAIRS)) + 1
    pairs = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for detections in np.split(np.arange(len(count)), steps):
        d = np.repeat(detections, count[detections])
        within = np.arange(len(d)) - (before[d] - before[detections[:1]].sum())
        b = by_image[first[d] + within]
        overlap = _overlap(found.ltwh[d], truth.ltwh[b], truth.ignore[b])
        enough = overlap >= MIN_OVERLAP
        pairs.append((d[enough], b[enough], overlap[enough]))
    return tuple(np.concatenate(column) for column in zip(*pairs, strict=True))


def _overlap(detection, box, ignore):
    """Overlap of pairs of boxes (n, 4): IoU, or intersection / detection area where `ignore`."""
    near = np.maximum(detection[:, :2], box[:, :2])
    far = np.minimum(detection[:, :2] + detection[:, 2:], box[:, :2] + box[:, 2:])
    intersection = np.prod(np.maximum(far - near, 0), axis=1)
    area = np.prod(detection[:, 2:], axis=1)
    union = area + np.prod(box[:, 2:], axis=1) - intersection
    whole = np.where(ignore, area, union)
    return np.divide(intersection, whole, out=np.zeros(len(whole)), where=whole > 0)


def _read(ground_truth, detections):
    """The number of images, the annotated boxes and the detections, all checked."""
    images = _column(ground_truth["images"], "images", "id")
    position = {image: i for i, image in enumerate(images)}
    if not images:
        raise ValueError("the ground truth has no images: nothing can be divided by their number")
    if len(position) < len(images):
        twice = next(image for i, image in enumerate(images) if position[image] != i)
        raise ValueError(f"image id {twice!r} is in the ground truth more than once")

    annotations = ground_truth["annotations"]
    categories = {a.get("category_id") for a in annotations}
    categories |= {d.get("category_id") for d in detections}
    categories.discard(None)
    if len(categories) > 1:
        raise ValueError(
            f"annotations and detections are of the categories {sorted(categories)}; "
            "evaluate one class at a time"
        )
    truth = Truth(
        _image_positions(annotations, "annotations", position),
        _boxes(annotations, "annotations"),
        np.array([bool(a.get("ignore") or a.get("iscrowd")) for a in annotations], bool),
        annotations,
    )
    score = np.array(_column(detections, "detections", "score"), np.float64)
    bad = np.flatnonzero(~np.isfinite(score))
    if len(bad):
        raise ValueError(f"detections[{bad[0]}] has the score {score[bad[0]]}")
    found = Found(
        _image_positions(detections, "detections", position),
        _boxes(detections, "detections"),
        score,
    )
    return len(images), truth, found


def _column(rows, name, key):
    try:
        return [row[key] for row in rows]
    except KeyError:
        i = next(i for i, row in enumerate(rows) if key not in row)
        raise ValueError(f"{name}[{i}] has no {key!r}") from None


def _image_positions(rows, name, position):
    images = _column(rows, name, "image_id")
    try:
        return np.array([position[image] for image in images], np.int64)
    except KeyError:
        i = next(i for i, image in enumerate(images) if image not in position)
        raise ValueError(
            f"{name}[{i}] is of image {images[i]!r}, which the ground truth does not have"
        ) from None


def _boxes(rows, name):
    boxes = _column(rows, name, "bbox")
    wrong = [i for i, box in enumerate(boxes) if len(box) != 4]
    if not wrong:
        ltwh = np.array(boxes, np.float64).reshape(-1, 4)
        wrong = np.flatnonzero(~np.isfinite(ltwh).all(1) | (ltwh[:, 2:] < 0).any(1))
    if len(wrong):
        raise ValueError(
            f"{name}[{wrong[0]}] has the box {list(boxes[wrong[0]])}; four finite numbers are "
            "wanted, [left, top, width, height], with no negative size"
        )
    return ltwh
