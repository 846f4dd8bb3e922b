"""Evaluation protocols: which annotated boxes and detections are matched, and by which rules.

Boxes are **[left, top, width, height] in pixels**, origin at the top left corner of the first
pixel, as in COCO. `prepare` applies a protocol's filters.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

MIN_OVERLAP = 0.5  # inclusive, of IoU and of an ignore box's share of a detection
EXPANSION = 1.25  # detections are kept this factor beyond the range of heights, at both ends
PERSON = ("person", "pedestrian", "pedestrians")  # names of the class of interest


@dataclass(frozen=True)
class Protocol:
    """One way to evaluate.

    A real box becomes an ignore box if its height is outside `height` or its visible share outside
    `visible` (both ends belong to a range), or if it is not inside [left, top, right, bottom]
    `inside`, in pixels that count from 1, all four included; with `ignores` false all of these are
    left out instead. What is left of the real boxes, and all detections, are then given the width
    height · `aspect` about the same center. Detections below height[0] / EXPANSION, or not below
    height[1] · EXPANSION, are dropped.

    With `by_name` the boxes of other classes than PERSON are ignore boxes; without, all boxes must
    be of one class. Boxes and detections match from `min_overlap` on, or over it where `strict`.
    `shared`: a detection hits all boxes that it matches, and several may hit one. `by_image`:
    recall is averaged over images, 0 in those without real boxes, whose detections do not count.
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


TALL, VISIBLE = (50, math.inf), (0.65, math.inf)  # pixels and visible shares of settings Reasonable

PROTOCOLS = {
    "caltech": Protocol(),
    # The toolbox's dbEval, setting Reasonable.
    "caltech-reasonable": Protocol(
        by_name=True, height=TALL, visible=VISIBLE, inside=(5, 5, 635, 475), aspect=0.41
    ),
    # The authors' released code.
    "released": Protocol(min_overlap=0.3, strict=True, ignores=False, shared=True, by_image=True),
    # The four settings of CityPersons' own evaluation, at the native 1024×2048.
    "citypersons-reasonable": Protocol(by_name=True, height=TALL, visible=VISIBLE),
    "citypersons-small": Protocol(by_name=True, height=(50, 75), visible=VISIBLE),
    "citypersons-heavy": Protocol(by_name=True, height=TALL, visible=(0.2, 0.65)),
    "citypersons-all": Protocol(by_name=True, height=(20, math.inf), visible=(0.2, math.inf)),
}


@dataclass(frozen=True)
class GroundTruth:
    """All annotated boxes in file order: the image's position in the list of images (n,),
    [left, top, width, height] (n, 4), whether to ignore the box (n,), and the share of it that is
    visible (n,), where a protocol asks for it."""

    image: np.ndarray
    ltwh: np.ndarray
    ignore: np.ndarray
    visible: np.ndarray | None = None


@dataclass(frozen=True)
class Detections:
    """All detections in file order: image (n,), [left, top, width, height] (n, 4), score (n,)."""

    image: np.ndarray
    ltwh: np.ndarray
    score: np.ndarray


def prepare(rules: Protocol, truth: GroundTruth, found: Detections) -> tuple:
    """The boxes and detections that a protocol matches with each other: both as given."""
    boxes, detections = truth.ltwh, found.ltwh
    if rules.inside is not None:
        # P. Dollár's toolbox counts pixels from 1: its numbers come back, with all its roundings.
        origin = np.array([1, 1, 0, 0])
        boxes, detections = boxes + origin, detections + origin

    low, high = rules.height
    ignore = truth.ignore | (boxes[:, 3] < low) | (boxes[:, 3] > high)
    if rules.visible is not None:
        low_share, high_share = rules.visible
        ignore |= (truth.visible < low_share) | (truth.visible > high_share)
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
        truth = GroundTruth(truth.image[~ignore], boxes[~ignore], ignore[~ignore])
    return truth, Detections(found.image[keep], detections[keep], found.score[keep])


def with_aspect(ltwh: np.ndarray, aspect: float) -> np.ndarray:
    """Boxes (n, 4) given the width height · aspect about the same center, in the toolbox's order
    of operations: `bbApply('resize', bb, 1, 0, aspect)`."""
    left, top, width, height = ltwh.T
    change = height * aspect - width
    return np.stack([left - change / 2, top, width + change, height], axis=1)


def area_of(ltwh: np.ndarray) -> np.ndarray:
    """Areas (n,) of boxes (n, 4)."""
    return ltwh[:, 2] * ltwh[:, 3]
