"""COCO dicts and COCO results as arrays, for evaluation."""

import math
from numbers import Real

import numpy as np

from alkit.data.records import unique
from alkit.protocols import PERSON, PROTOCOLS, Detections, GroundTruth, Protocol, area_of

# Where an annotation may have its visible box: our own name, which is also that of the CityPersons
# ground truth, then the spellings of others.
VISIBLE_BOX = ("vis_bbox", "visible_bbox", "vis_box", "bbox_vis", "bbox_v", "bboxVis", "vbox")
VISIBLE_SHARE = "vis_ratio"  # a number, which goes before the boxes


def read(
    ground_truth: dict, detections: list[dict], rules: Protocol = PROTOCOLS["caltech"]
) -> tuple[int, GroundTruth, Detections]:
    """The number of images, the annotated boxes and the detections for a protocol, all checked.

    Annotations with "ignore" or "iscrowd" are ignore boxes. Without `rules.by_name` all boxes and
    detections must be of one class. With it, if the ground truth has several categories, the boxes
    of all but PERSON are ignore boxes, and the detections must be of PERSON or say no category; if
    it has one or none, that is the class of interest whatever its name.

    A box's visible share is its "vis_ratio", or the area of its visible box / the area of its box;
    without either, or with a visible box of four zeros (the toolbox's sign of an unoccluded box),
    it is fully visible. A visible box equal to the box is fully visible too: dbEval reads it so,
    other parts of the toolbox do not. It is read where the protocol asks for it.

    Raises ValueError as `alkit.evaluation.evaluate` says.
    """
    lists = [dict(ground_truth).get(key) for key in ("images", "annotations")]
    if not all(isinstance(each, list | tuple) for each in lists):
        raise ValueError("ground_truth: expected a COCO dict with lists of images and annotations")
    annotations, detections = ground_truth["annotations"], list(detections)
    images = _column(ground_truth["images"], "images", "id")
    if not images:
        raise ValueError("the ground truth has no images: nothing can be divided by their number")
    unique("ground_truth", "image id", images)
    position = {image: i for i, image in enumerate(images)}

    score = np.array(_column(detections, "detections", "score"), np.float64)
    if not np.isfinite(score).all():
        bad = np.flatnonzero(~np.isfinite(score))[0]
        raise ValueError(f"detections[{bad}] has the score {score[bad]}; expected a finite number")
    ignore = [a.get("ignore") or a.get("iscrowd") or 0 for a in annotations]
    for i, mark in enumerate(ignore):
        if mark not in (0, 1):
            raise ValueError(f"annotations[{i}]: ignore or iscrowd is {mark!r}; expected 0, 1")
    ignore = np.array(ignore, bool) | _other_class(ground_truth, detections, rules.by_name)
    image, ltwh = _placed(annotations, "annotations", position)
    visible = None if rules.visible is None else _visible_share(annotations, ltwh)
    truth = GroundTruth(image, ltwh, ignore, visible)
    return len(images), truth, Detections(*_placed(detections, "detections", position), score)


def _other_class(ground_truth, detections, by_name) -> np.ndarray:
    """Which annotated boxes are not of the class of interest, bool (n,)."""
    annotations = ground_truth["annotations"]
    own = [a.get("category_id") for a in annotations]
    found = {d.get("category_id") for d in detections} - {None}
    names = {row["id"]: row.get("name") for row in ground_truth.get("categories") or ()}
    if not by_name or len(names) < 2:
        mixed = found | {*own} - {None}
        if len(mixed) > 1:
            said = f"annotations and detections are of the categories {sorted(mixed, key=str)}"
            raise ValueError(f"{said}; evaluate one class at a time")
        return np.zeros(len(own), bool)
    persons = {id_ for id_, name in names.items() if str(name).strip().lower() in PERSON}
    if len(persons) != 1 or not found <= persons or not {*own} <= {*names}:
        raise ValueError(
            f"the categories are {names}, annotations are of {sorted({*own}, key=str)}, detections "
            f"of {sorted(found, key=str)}; expected one category called {' or '.join(PERSON)}, all "
            "detections of it, and no category without a name: evaluate one class at a time"
        )
    return np.array([category not in persons for category in own], bool)


def _visible_share(annotations, ltwh) -> np.ndarray:
    """The visible share of each annotated box, float64 (n,)."""
    boxes = [
        next((a[name] for name in VISIBLE_BOX if a.get(name) is not None), (0, 0, 0, 0))
        for a in annotations
    ]
    visible = _boxes(boxes, "annotations", "visible box")
    area, whole = area_of(visible), area_of(ltwh)
    share = np.divide(area, whole, out=np.zeros(len(area)), where=whole > 0)
    share[(visible == 0).all(1)] = 1.0
    for i, annotation in enumerate(annotations):
        if (ratio := annotation.get(VISIBLE_SHARE)) is not None:
            if not isinstance(ratio, Real) or not ratio >= 0:
                raise ValueError(f"annotations[{i}]: {VISIBLE_SHARE} is {ratio!r}; expected ≥ 0")
            share[i] = ratio
    return share


def _column(rows, name, key) -> list:
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or key not in row:
            raise ValueError(f"{name}[{i}] has no {key!r}")
    return [row[key] for row in rows]


def _placed(rows, name, position) -> tuple[np.ndarray, np.ndarray]:
    """The image's position (n,) and the box (n, 4) of each row."""
    images = _column(rows, name, "image_id")
    for i, image in enumerate(images):
        if image not in position:
            raise ValueError(f"{name}[{i}] is of image {image!r}, which ground_truth lacks")
    boxes = _boxes(_column(rows, name, "bbox"), name)
    return np.array([position[image] for image in images], np.int64), boxes


def _boxes(boxes, name, what="box") -> np.ndarray:
    for i, box in enumerate(boxes):
        if not _is_box(box):
            raise ValueError(
                f"{name}[{i}] has the {what} {box}; expected four finite numbers, "
                "[left, top, width, height], with no negative size"
            )
    return np.array(boxes, np.float64).reshape(-1, 4)


def _is_box(box) -> bool:
    try:
        return len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) >= 0
    except (TypeError, OverflowError):
        return False
