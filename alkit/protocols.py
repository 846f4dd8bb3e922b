"""Evaluation protocols: which annotated boxes and detections are matched, and by which rules.

Boxes are **[left, top, width, height] in pixels**, origin at the top left corner of the first
pixel, as in COCO. `read` turns COCO dicts into arrays, `prepare` applies a protocol's filters.
"""

import math
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter

import numpy as np

MIN_OVERLAP = 0.5  # inclusive, of IoU and of an ignore box's share of a detection
EXPANSION = 1.25  # detections are kept this factor beyond the range of heights, at both ends
TOOLBOX_ORIGIN = 1  # P. Dollár's toolbox counts pixels from 1
PERSON = ("person", "pedestrian", "pedestrians")  # names of the class of interest

# Where an annotation may have its visible box: our own name, which is also that of the CityPersons
# ground truth, then the spellings of others.
VISIBLE_BOX = ("vis_bbox", "visible_bbox", "vis_box", "bbox_vis", "bbox_v", "bboxVis", "vbox")
VISIBLE_SHARE = "vis_ratio"  # a number, which goes before the boxes


@dataclass(frozen=True)
class Protocol:
    """One way to evaluate.

    A real box becomes an ignore box if its height is outside `height` or its visible share outside
    `visible` (both ends belong to a range), or if it is not inside [left, top, right, bottom]
    `inside`, in pixels that count from 1, all four included; with `ignores` false all of these are
    left out instead. What is left of the real boxes, and
    all detections, are then given the width height · `aspect` about the same centre. Detections
    below height[0] / EXPANSION, or not below height[1] · EXPANSION, are dropped.

    With `by_name` the boxes of other classes than PERSON are ignore boxes; without, all boxes must
    be of one class. Boxes and detections match from `min_overlap` on, or over it where `strict`.
    `shared`: a detection hits all boxes that it matches, and several may hit one. `by_image`:
    recall is averaged over all images, and is 0 in those without real boxes, whose detections count
    neither way.
    """

    by_name: bool = False
    height: tuple[float, float] = (0.0, math.inf)
    visible: tuple[float, float] | None = None
    inside: tuple[float, float, float, float] | None = None
    aspect: float | None = None
    min_overlap: float = MIN_OVERLAP
    strict: bool = False
    ignores: bool = True
    shared: bool = False
    by_image: bool = False


def _citypersons(height: tuple, visible: tuple) -> Protocol:
    return Protocol(by_name=True, height=height, visible=visible)


PROTOCOLS = {
    "caltech": Protocol(),
    # The toolbox's dbEval, setting Reasonable.
    "caltech-reasonable": Protocol(
        by_name=True,
        height=(50, math.inf),
        visible=(0.65, math.inf),
        inside=(5, 5, 635, 475),
        aspect=0.41,
    ),
    # The authors' released code.
    "released": Protocol(min_overlap=0.3, strict=True, ignores=False, shared=True, by_image=True),
    # The four settings of CityPersons' own evaluation, at the native 1024×2048.
    "citypersons-reasonable": _citypersons((50, math.inf), (0.65, math.inf)),
    "citypersons-small": _citypersons((50, 75), (0.65, math.inf)),
    "citypersons-heavy": _citypersons((50, math.inf), (0.2, 0.65)),
    "citypersons-all": _citypersons((20, math.inf), (0.2, math.inf)),
}


@dataclass(frozen=True)
class Truth:
    """All annotated boxes in file order: the image's position in the list of images (n,),
    [left, top, width, height] (n, 4), whether to ignore the box (n,), and the COCO annotations."""

    image: np.ndarray
    ltwh: np.ndarray
    ignore: np.ndarray
    annotations: list[dict] | tuple = ()


@dataclass(frozen=True)
class Found:
    """All detections in file order: image (n,), [left, top, width, height] (n, 4), score (n,)."""

    image: np.ndarray
    ltwh: np.ndarray
    score: np.ndarray


# ------------------------------------------------------------------ filters


def prepare(rules: Protocol, truth: Truth, found: Found) -> tuple[Truth, Found]:
    """The boxes and detections that a protocol matches with each other.

    A box's visible share is its "vis_ratio", or the area of its visible box / the area of its box;
    without either, or with a visible box of four zeros (the toolbox's sign of an unoccluded box),
    it is fully visible. A visible box equal to the box is fully visible too: dbEval reads it so,
    other parts of the toolbox do not. Raises ValueError for a visible box or share that is none.
    """
    boxes, detections = truth.ltwh, found.ltwh
    if rules.inside is not None:
        # The numbers of the toolbox's files come back exactly, and with them all its roundings.
        origin = np.array([TOOLBOX_ORIGIN, TOOLBOX_ORIGIN, 0, 0])
        boxes, detections = boxes + origin, detections + origin

    low, high = rules.height
    ignore = truth.ignore | (boxes[:, 3] < low) | (boxes[:, 3] > high)
    if rules.visible is not None:
        share = visible_share(truth)
        ignore |= (share < rules.visible[0]) | (share > rules.visible[1])
    if rules.inside is not None:
        left, top, right, bottom = rules.inside
        ignore |= (boxes[:, 0] < left) | (boxes[:, 0] + boxes[:, 2] > right)
        ignore |= (boxes[:, 1] < top) | (boxes[:, 1] + boxes[:, 3] > bottom)
    if rules.aspect is not None:
        boxes = np.where(ignore[:, None], boxes, with_aspect(boxes, rules.aspect))
        detections = with_aspect(detections, rules.aspect)
    keep = (detections[:, 3] >= low / EXPANSION) & (detections[:, 3] < high * EXPANSION)
    truth = replace(truth, ltwh=boxes, ignore=ignore)
    if not rules.ignores:
        truth = _taken(truth, np.flatnonzero(~ignore))
    return truth, Found(found.image[keep], detections[keep], found.score[keep])


def _taken(truth: Truth, which) -> Truth:
    annotations = [truth.annotations[i] for i in which]
    return Truth(truth.image[which], truth.ltwh[which], truth.ignore[which], annotations)


def with_aspect(ltwh: np.ndarray, aspect: float) -> np.ndarray:
    """Boxes (n, 4) given the width height · aspect about the same centre, in the toolbox's order
    of operations: `bbApply('resize', bb, 1, 0, aspect)`."""
    left, top, width, height = ltwh.T
    change = height * aspect - width
    return np.stack([left - change / 2, top, width + change, height], axis=1)


def visible_share(truth: Truth) -> np.ndarray:
    """The visible share of each annotated box, float64 (n,), by the rules of `prepare`."""
    annotations = truth.annotations
    names = [name for name in VISIBLE_BOX if name in set().union(*annotations)]
    boxes = [
        next((a[name] for name in names if a.get(name) is not None), (0, 0, 0, 0))
        for a in annotations
    ]
    visible = _boxes(boxes, "annotations", "visible box")
    # Four zeros may have been counted from 0 by a reader that did not look.
    unknown = (visible[:, 2:] == 0).all(1) & ((visible[:, :2] == 0) | (visible[:, :2] == -1)).all(1)
    area, whole = area_of(visible), area_of(truth.ltwh)
    share = np.divide(area, whole, out=np.zeros(len(area)), where=whole > 0)
    share[unknown] = 1.0
    for i, annotation in enumerate(annotations):
        ratio = annotation.get(VISIBLE_SHARE)
        if ratio is not None:
            if not _are_numbers([ratio]) or ratio < 0:
                raise ValueError(f"annotations[{i}]: {VISIBLE_SHARE} is {ratio!r}; expected ≥ 0")
            share[i] = ratio
    return share


# ------------------------------------------------------------------ COCO dicts to arrays


def read(ground_truth: dict, detections: list[dict], by_name=False) -> tuple[int, Truth, Found]:
    """The number of images, the annotated boxes and the detections of COCO dicts, all checked.

    Annotations with "ignore" or "iscrowd" are ignore boxes. Without `by_name` all boxes and
    detections must be of one class. With it, if the ground truth has several categories, the boxes
    of all but PERSON are ignore boxes, and the detections must be of PERSON or say no category; if
    it has one or none, that is the class of interest whatever its name.

    Raises ValueError as `alkit.evaluation.evaluate` says.
    """
    lists = [dict(ground_truth).get(key) for key in ("images", "annotations")]
    if not all(isinstance(each, list | tuple) for each in lists):
        raise ValueError("ground_truth: expected a COCO dict with lists of images and annotations")
    annotations, detections = ground_truth["annotations"], list(detections)
    images = _column(ground_truth["images"], "images", "id")
    position = {image: i for i, image in enumerate(images)}
    if not images:
        raise ValueError("the ground truth has no images: nothing can be divided by their number")
    if len(position) < len(images):
        twice = next(image for i, image in enumerate(images) if position[image] != i)
        raise ValueError(f"image id {twice!r} is in the ground truth more than once")

    score = np.array(_column(detections, "detections", "score"), np.float64)
    if not np.isfinite(score).all():
        bad = np.flatnonzero(~np.isfinite(score))[0]
        raise ValueError(f"detections[{bad}] has the score {score[bad]}; expected a finite number")
    ignore = [a.get("ignore") or a.get("iscrowd") or 0 for a in annotations]
    bad = next((i for i, mark in enumerate(ignore) if mark not in (0, 1)), None)
    if bad is not None:
        raise ValueError(f"annotations[{bad}]: ignore or iscrowd is {ignore[bad]!r}; expected 0, 1")
    ignore = np.array(ignore, bool) | _other_class(ground_truth, detections, by_name)
    truth = Truth(*_placed(annotations, "annotations", position), ignore, annotations)
    return len(images), truth, Found(*_placed(detections, "detections", position), score)


def _other_class(ground_truth, detections, by_name) -> np.ndarray:
    """Which annotated boxes are not of the class of interest, bool (n,)."""
    annotations = ground_truth["annotations"]
    own = [a.get("category_id") for a in annotations]
    found = {d.get("category_id") for d in detections} - {None}
    names = {row["id"]: row.get("name") for row in ground_truth.get("categories") or ()}
    if not by_name or len(names) < 2:
        mixed = found | {*own} - {None}
        if len(mixed) > 1:
            raise ValueError(
                f"annotations and detections are of the categories {sorted(mixed, key=str)}; "
                "evaluate one class at a time"
            )
        return np.zeros(len(own), bool)
    persons = {id_ for id_, name in names.items() if str(name).strip().lower() in PERSON}
    if len(persons) != 1 or not found <= persons or not {*own} <= {*names}:
        raise ValueError(
            f"the categories are {names}, annotations are of {sorted({*own}, key=str)}, detections "
            f"of {sorted(found, key=str)}; expected one category called {' or '.join(PERSON)}, all "
            "detections of it, and no category without a name: evaluate one class at a time"
        )
    return np.array([category not in persons for category in own], bool)


def _column(rows, name, key) -> list:
    try:
        return list(map(itemgetter(key), rows))
    except (KeyError, TypeError):
        i = next(i for i, row in enumerate(rows) if not isinstance(row, dict) or key not in row)
        raise ValueError(f"{name}[{i}] has no {key!r}") from None


def _placed(rows, name, position) -> tuple[np.ndarray, np.ndarray]:
    """The image's position (n,) and the box (n, 4) of each row."""
    images = _column(rows, name, "image_id")
    try:
        image = np.fromiter(map(position.__getitem__, images), np.int64, len(images))
    except KeyError:
        i = next(i for i, image in enumerate(images) if image not in position)
        raise ValueError(
            f"{name}[{i}] is of image {images[i]!r}, which the ground truth does not have"
        ) from None
    return image, _boxes(_column(rows, name, "bbox"), name)


def _boxes(boxes, name, what="box") -> np.ndarray:
    def good(box):
        return len(box) == 4 and _are_numbers(box) and min(box[2:]) >= 0

    try:
        # Several times faster than np.array of lists.
        ltwh = np.fromiter(chain.from_iterable(boxes), np.float64).reshape(-1, 4)
        fine = {*map(len, boxes)} <= {4} and np.isfinite(ltwh).all() and (ltwh[:, 2:] >= 0).all()
    except (TypeError, ValueError, OverflowError):
        fine = False
    if not fine:
        i = next(i for i, box in enumerate(boxes) if not np.iterable(box) or not good(box))
        raise ValueError(
            f"{name}[{i}] has the {what} {boxes[i]}; expected four finite numbers, "
            "[left, top, width, height], with no negative size"
        )
    return ltwh


def _are_numbers(values) -> bool:
    try:
        return all(map(math.isfinite, values))
    except (TypeError, OverflowError):
        return False


def area_of(ltwh: np.ndarray) -> np.ndarray:
    """Areas (n,) of boxes (n, 4)."""
    return ltwh[:, 2] * ltwh[:, 3]
