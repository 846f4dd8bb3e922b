"""Evaluation protocols: which annotated boxes and detections are matched, and by which rules.

Boxes are **[left, top, width, height] in pixels**, origin at the top left corner of the first
pixel, as in COCO. `read` turns COCO dicts into arrays, `prepare` applies a protocol's filters.
"""

import math
from dataclasses import dataclass, replace
from itertools import chain, repeat
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
    written = set().union(*annotations)
    boxes = [(0, 0, 0, 0)] * len(annotations)
    for name in reversed([name for name in VISIBLE_BOX if name in written]):
        named = map(dict.get, annotations, repeat(name))
        boxes = [box if own is None else own for own, box in zip(named, boxes, strict=True)]
    visible = _boxes(boxes, "annotations", "visible box")
    # Four zeros may have been counted from 0 by a reader that did not look.
    unknown = (visible[:, 2:] == 0).all(1) & ((visible[:, :2] == 0) | (visible[:, :2] == -1)).all(1)
    area, whole = area_of(visible), area_of(truth.ltwh)
    share = np.divide(area, whole, out=np.zeros(len(area)), where=whole > 0)
    share[unknown] = 1.0
    if VISIBLE_SHARE in written:
        for i, annotation in enumerate(annotations):
            number = annotation.get(VISIBLE_SHARE)
            if number is None:
                continue
            if not _is_number(number) or number < 0:
                raise ValueError(
                    f"annotations[{i}] has the {VISIBLE_SHARE} {number!r}; a number ≥ 0 is wanted"
                )
            share[i] = number
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
    for key in ("images", "annotations"):
        if not isinstance(ground_truth, dict) or not isinstance(
            ground_truth.get(key), list | tuple
        ):
            raise ValueError(f"the ground truth has no list {key!r}; a COCO dict is wanted")
    if detections is None or isinstance(detections, dict | str):
        raise ValueError(
            f"detections is a {type(detections).__name__}; a list of COCO results wanted"
        )
    detections = list(detections)  # it is gone through more than once
    images = _column(ground_truth["images"], "images", "id")
    position = {image: i for i, image in enumerate(images)}
    if not images:
        raise ValueError("the ground truth has no images: nothing can be divided by their number")
    if len(position) < len(images):
        twice = next(image for i, image in enumerate(images) if position[image] != i)
        raise ValueError(f"image id {twice!r} is in the ground truth more than once")

    annotations = ground_truth["annotations"]
    marks = [a.get("ignore") or a.get("iscrowd") or 0 for a in annotations]
    bad = next((i for i, mark in enumerate(marks) if mark not in (0, 1)), None)
    if bad is not None:
        raise ValueError(
            f"annotations[{bad}] has ignore or iscrowd {marks[bad]!r}; 0 or 1 is wanted"
        )
    ignore = np.array(marks, bool)
    if by_name and len(_categories(ground_truth)) > 1:
        ignore |= _other_class(_categories(ground_truth), annotations, detections)
    else:
        _one_class(annotations, detections)

    truth = Truth(
        _positions(annotations, "annotations", position),
        _boxes(_column(annotations, "annotations", "bbox"), "annotations"),
        ignore,
        annotations,
    )
    score = np.array(_column(detections, "detections", "score") or np.zeros(0))
    if score.dtype.kind not in "biuf":
        raise ValueError("detections: the scores are not all numbers")
    score = score.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(score))
    if len(bad):
        raise ValueError(f"detections[{bad[0]}] has the score {score[bad[0]]}")
    found = Found(
        _positions(detections, "detections", position),
        _boxes(_column(detections, "detections", "bbox"), "detections"),
        score,
    )
    return len(images), truth, found


def _categories(ground_truth) -> dict:
    """Category id → name."""
    categories = ground_truth.get("categories") or []
    ids = _column(categories, "categories", "id")
    return {id_: category.get("name") for id_, category in zip(ids, categories, strict=True)}


def _one_class(annotations, detections):
    categories = {a.get("category_id") for a in annotations}
    categories |= {d.get("category_id") for d in detections}
    categories.discard(None)
    if len(categories) > 1:
        raise ValueError(
            f"annotations and detections are of the categories {sorted(categories, key=str)}; "
            "evaluate one class at a time"
        )


def _other_class(names, annotations, detections) -> np.ndarray:
    """Which boxes are not of the class of interest, bool (n,)."""
    persons = [c for c, name in names.items() if str(name).strip().lower() in PERSON]
    if len(persons) != 1:
        raise ValueError(
            f"the ground truth has the categories {list(names.values())}; exactly one of them must "
            f"be called {' or '.join(PERSON)}: evaluate one class at a time"
        )
    (person,) = persons
    category = [a.get("category_id") for a in annotations]
    unnamed = set(category) - set(names)
    if unnamed:
        i = next(i for i, c in enumerate(category) if c in unnamed)
        raise ValueError(
            f"annotations[{i}] has the category_id {category[i]!r}, but the ground truth's "
            f"categories are {names}"
        )
    strange = {d.get("category_id") for d in detections} - {person, None}
    if strange:
        i = next(i for i, d in enumerate(detections) if d.get("category_id") in strange)
        raise ValueError(
            f"detections[{i}] has the category_id {detections[i]['category_id']!r}; wanted are "
            f"only detections of {person!r}, {names[person]!r}: evaluate one class at a time"
        )
    return np.array([c != person for c in category], bool)


def _column(rows, name, key) -> list:
    try:
        return list(map(itemgetter(key), rows))
    except KeyError:
        i = next(i for i, row in enumerate(rows) if key not in row)
        raise ValueError(f"{name}[{i}] has no {key!r}") from None


def _positions(rows, name, position) -> np.ndarray:
    images = _column(rows, name, "image_id")
    try:
        return np.fromiter(map(position.__getitem__, images), np.int64, len(images))
    except KeyError:
        i = next(i for i, image in enumerate(images) if image not in position)
        raise ValueError(
            f"{name}[{i}] is of image {images[i]!r}, which the ground truth does not have"
        ) from None


def _boxes(boxes, name, what="box") -> np.ndarray:
    try:
        # Several times faster than np.array of lists.
        ltwh = np.fromiter(chain.from_iterable(boxes), np.float64).reshape(-1, 4)
        good = set(map(len, boxes)) <= {4} and np.isfinite(ltwh).all() and (ltwh[:, 2:] >= 0).all()
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        i = next(i for i, box in enumerate(boxes) if not _is_box(box))
        box = list(boxes[i]) if isinstance(boxes[i], tuple | np.ndarray) else boxes[i]
        raise ValueError(
            f"{name}[{i}] has the {what} {box}; four finite numbers are wanted, "
            "[left, top, width, height], with no negative size"
        )
    return ltwh


def _is_box(box) -> bool:
    try:
        return len(box) == 4 and all(map(_is_number, box)) and min(box[2:]) >= 0
    except TypeError:
        return False


def _is_number(value) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def area_of(ltwh: np.ndarray) -> np.ndarray:
    """Areas (n,) of boxes (n, 4)."""
    return ltwh[:, 2] * ltwh[:, 3]
