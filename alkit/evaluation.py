"""Miss rate against false positives per image (FPPI), from a COCO dict and COCO results; and
average precision (AP) in the manner of COCO. Boxes are **[left, top, width, height] in pixels**.
"""

import contextlib
import io
import math
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from alkit.data.annotations import read
from alkit.profiles import unknown
from alkit.protocols import PROTOCOLS, Detections, GroundTruth, Protocol, area_of, prepare

REFERENCES = 10.0 ** np.arange(-2, 0.01, 0.25)  # FPPI of the log-average miss rate, nine points
PAIRS = 1 << 13  # pairs of boxes compared in one step: their arrays fit a cache, at 64 kB each


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The curve of miss rate against FPPI, one point for each counted detection.

    `fppi`, `miss_rate` and `scores` are float64 (points,), by descending score: the curve up to
    and with that detection. `lamr` is the log-average miss rate. `n_images` counts all images,
    `n_boxes` the real boxes, those not ignored; without them every miss rate is NaN.
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
      Boxes of other classes are ignore boxes, "person-fa" too (dbEval leaves those out).
    - "citypersons-reasonable", "-small", "-heavy" and "-all" are the settings of CityPersons' own
      evaluation, at its native 1024×2048. Three things are Caltech's and not that script's: the
      exact references of FPPI (it rounds them to four digits), miss rate 1 where a curve starts
      late (it takes the curve's end), and no limit of 1,000 detections an image.
    - "released" is what the authors' code does: a detection hits every box with IoU > 0.3, taken or
      not, and is false only if there is none. (The code's own curve has eleven of these points, at
      the thresholds 0.01, 0.1, …, 0.9, 0.99.)

    `alkit.data.annotations` says where an annotation may have its visible box.

    >>> images = [{"id": 1}, {"id": 2}]
    >>> boxes = [{"image_id": 1, "bbox": [0, 0, 10, 20]}, {"image_id": 2, "bbox": [5, 5, 10, 20]}]
    >>> found = [{"image_id": 1, "bbox": [0, 2, 10, 20], "score": 0.9},
    ...          {"image_id": 1, "bbox": [50, 50, 10, 20], "score": 0.4}]
    >>> result = evaluate({"images": images, "annotations": boxes}, found)
    >>> result.fppi, result.miss_rate  # a hit, then a false one in two images
    (array([0. , 0.5]), array([0.5, 0.5]))
    >>> result.miss_rate_at(1.0)
    0.5

    Raises ValueError for an unknown protocol, duplicate image ids, no images, a box or detection
    of an unknown image, more than one category (in protocols with classes: categories without
    exactly one called person or pedestrian, and a detection of another), and a score or box that
    is NaN, infinite or of negative size.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: {unknown(protocol, PROTOCOLS)}")
    rules = PROTOCOLS[protocol]
    n_images, truth, found = read(ground_truth, detections, rules)
    return curve(n_images, *prepare(rules, truth, found), rules)


def curve(n_images: int, truth: GroundTruth, found: Detections, rules: Protocol) -> Evaluation:
    """The curve of arrays that `alkit.protocols.prepare` has made ready."""
    by_image = np.argsort(found.image, kind="stable")
    order = by_image[_descending(found.score[by_image])]  # by score, then by image
    detection, box, uncounted = hits(truth, found, rules, order)
    real = ~truth.ignore
    if rules.by_image:
        uncounted |= ~np.isin(found.image, truth.image[real])
    false = np.ones(len(order), bool)
    false[detection] = False
    pool = order[~uncounted[order]]
    point = np.empty(len(order), int)  # of the curve, for each counted detection
    point[pool] = np.arange(len(pool))
    first = np.full(len(truth.ignore), -1)
    first[box[::-1]] = point[detection[::-1]]  # the last to be written is the first to hit
    n_boxes = int(np.count_nonzero(real))
    if n_boxes == 0:
        miss_rate = np.full(len(pool), np.nan)
    elif rules.by_image:
        miss_rate = _mean_over_images(truth.image[real], first[real], len(pool), n_images)
    else:
        miss_rate = _missed(first[real], len(pool)) / n_boxes
    fppi = np.cumsum(false[pool]) / n_images
    return Evaluation(fppi, miss_rate, found.score[pool], n_images, n_boxes)


def _missed(first, points):
    """How many boxes are missed at each point of the curve, int64 (points,). `first` (n,) is the
    point that first hits a box, −1 where none does."""
    return len(first) - np.cumsum(np.bincount(first[first >= 0], minlength=points))


def _mean_over_images(image, first, points, n_images):
    """The mean over images of the share of an image's boxes that is missed, float64 (points,); an
    image without boxes counts as missed."""
    size = np.bincount(image)[image]  # boxes in the image of each box
    missed = np.full(points, float(n_images - len(np.unique(image))))
    for n in np.unique(size):
        # Images of one size together: an integer is divided, and no miss at all is exactly 0.
        missed += _missed(first[size == n], points) / n
    return missed / n_images


def hits(truth: GroundTruth, found: Detections, rules: Protocol, order: np.ndarray) -> tuple:
    """Pairs of a detection and the real box that it hits, int64 (pairs,) each, and which detections
    an ignore box absorbs, bool (n,). `order` (n,) is that in which detections choose, by descending
    score, and that of the pairs. Where a protocol shares boxes, a detection may hit several."""
    detection, box, overlap = _overlapping(truth, found, rules)
    ignore = truth.ignore[box]
    absorbed = np.zeros(len(order), bool)
    absorbed[detection[ignore]] = True
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    real = np.flatnonzero(~ignore)
    real = real[np.argsort(rank[detection[real]])]
    detection, box, overlap = detection[real], box[real], overlap[real]
    if not rules.shared:
        # A detection's favorite box first. All ask for theirs at once; a box goes to the first that
        # asks, and the others ask for their next one.
        several = np.flatnonzero(np.bincount(detection)[detection] > 1)
        best = np.lexsort((-box[several], -overlap[several], rank[detection[several]]))
        box[several] = box[several[best]]
        taker = np.full(len(truth.ignore), -1)
        refused = [0]
        while len(refused):
            favorite = np.flatnonzero(np.diff(detection, prepend=-1))
            taker[box[favorite[::-1]]] = favorite[::-1]  # the last to be written asks first
            refused = favorite[taker[box[favorite]] != favorite]
            detection, box = np.delete(detection, refused), np.delete(box, refused)
        detection, box = detection[favorite], box[favorite]
    absorbed[detection] = False
    return detection, box, absorbed


def _descending(score):
    """np.argsort(-score, kind="stable"), several times as fast: NumPy sorts with vector
    instructions where it need not be stable."""
    order = np.argsort(-score)
    rank = np.cumsum(np.diff(score[order], prepend=np.inf) != 0)
    return np.sort(rank * len(score) + order) % max(1, len(score))


def _overlapping(truth, found, rules):
    """All pairs that overlap enough: detection, box (positions) and overlap, (pairs,) each, by
    detection. With an ignore box the overlap is intersection / detection area, else the IoU."""
    by_image = np.argsort(truth.image, kind="stable")
    boxes = np.bincount(truth.image, minlength=found.image.max(initial=-1) + 1)  # of each image
    count = boxes[found.image]
    before = np.cumsum(count) - count  # pairs of the detections before
    first = (np.cumsum(boxes) - boxes)[found.image] - before  # box of a pair less its number
    near, far, area = _corners(found.ltwh)
    box_near, box_far, box_area = _corners(truth.ltwh[by_image])
    ignore = truth.ignore[by_image]
    pairs = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    steps = np.flatnonzero(np.diff(before // PAIRS)) + 1
    for detections in np.split(np.arange(len(count)), steps):
        d = np.repeat(detections, count[detections])
        b = first[d] + before[d[:1]] + np.arange(len(d))
        # Most boxes of an image are not even side by side with a detection: those go first.
        x = np.minimum(far[0][d], box_far[0][b]) - np.maximum(near[0][d], box_near[0][b])
        beside = np.flatnonzero(x > 0)
        x, d, b = x[beside], d[beside], b[beside]
        y = np.minimum(far[1][d], box_far[1][b]) - np.maximum(near[1][d], box_near[1][b])
        intersection = x * np.maximum(y, 0)
        whole = np.where(ignore[b], area[d], area[d] + box_area[b] - intersection)
        overlap = np.divide(intersection, whole, out=np.zeros(len(whole)), where=whole > 0)
        enough = np.flatnonzero(
            overlap > rules.min_overlap if rules.strict else overlap >= rules.min_overlap
        )
        pairs.append((d[enough], by_image[b[enough]], overlap[enough]))
    return tuple(np.concatenate(column) for column in zip(*pairs, strict=True))


def _corners(ltwh):
    """Of boxes (n, 4) the near corners (2, n), the far ones, and the areas (n,)."""
    near, size = np.ascontiguousarray(ltwh[:, :2].T), ltwh[:, 2:].T
    return near, near + size, area_of(ltwh)


# --- average precision -------------------------------------------------------------------------


def average_precision(ground_truth: dict, detections: list[dict]) -> dict[str, float]:
    """{"ap": AP at IoU 0.5:0.95, "ap50": AP at IoU 0.5}, both in [0, 1].

    `ground_truth` is a COCO dict and `detections` a list of COCO results, of one class; neither is
    changed. COCO's rules: precision at 101 recalls, made monotone; "ap" is the mean over the ten
    thresholds 0.50, 0.55, …, 0.95; the 100 detections of highest score of each image count.
    Annotations with "ignore": 1 or "iscrowd": 1 are crowds: one absorbs any number of detections,
    by intersection / detection area, which then count neither way. (pycocotools by itself would
    take "ignore": 1 for a real box.) Equal scores keep the order of the images and of the file.

    No detections: 0. No real boxes: NaN. Raises ValueError as `evaluate` does.
    """
    n_images, truth, found = read(ground_truth, detections)
    if truth.ignore.all():
        return {"ap": math.nan, "ap50": math.nan}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        boxes = _coco(n_images, truth, truth.ignore, np.zeros(len(truth.image)))
        detections = _coco(n_images, found, np.zeros(len(found.image)), found.score)
        coco = COCOeval(boxes, detections, "bbox")
        coco.params.areaRng, coco.params.areaRngLbl = coco.params.areaRng[:1], ["all"]
        coco.params.maxDets = coco.params.maxDets[-1:]
        coco.evaluate()
        coco.accumulate()
    precision = coco.eval["precision"][:, :, 0, 0, 0]  # (threshold, recall)
    return {"ap": float(np.mean(precision)), "ap50": float(np.mean(precision[0]))}


def _coco(n_images, boxes: GroundTruth | Detections, crowd, score) -> COCO:
    """Boxes as pycocotools wants them. All ids are our own, from 1: it would sort the images by
    their ids, which may be text, and take an annotation of id 0 for no match."""
    columns = boxes.image + 1, boxes.ltwh, area_of(boxes.ltwh), crowd.astype(int), score
    names = "image_id", "bbox", "area", "iscrowd", "score"
    rows = zip(*(column.tolist() for column in columns), strict=True)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i + 1} for i in range(n_images)],
        "annotations": [
            {"id": i, "category_id": 1} | dict(zip(names, row, strict=True))
            for i, row in enumerate(rows, 1)
        ],
        "categories": [{"id": 1}],
    }
    coco.createIndex()
    return coco
