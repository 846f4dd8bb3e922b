"""Box filters: which labeled boxes are positives, which are ignored, which are dropped."""

from difflib import SequenceMatcher
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tqdm import tqdm

from alkit.frames import Boxes, FrameSet, cut_to_pixels
from alkit.profiles import unknown
from alkit.protocols import area_of

NAMED = 8  # class names in a message


class BoxFilter(BaseModel):
    """One rule, also given as a name of `RULES`, or as fields with such a `rule` to start from.
    Heights are in pixels of the paper's scale, an image 480 pixels high.

    `classes` are the positives. Boxes of `ignore_classes` become ignore boxes, boxes of any other
    class are dropped. With box = "visible" the visible part takes the place of the full box before
    anything is measured; where nothing of it is visible it is an ignore box of its full size. A
    positive must have height ≥ min_height, width/height within `aspect` (null: any), and visible
    area / full area ≥ min_visible (null: any); all limits belong to the allowed, none of them with
    `strict`.
    `whole` makes the box's numbers whole pixels before it is measured: "up" left, top, width and
    height, counted from 1 as in Caltech's files and then taken as they are; "down" the corners.
    `scale` is the factor from the data set's native pixels to the paper's scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    classes: tuple[str, ...] = Field(min_length=1)
    ignore_classes: tuple[str, ...] = ()
    box: Literal["full", "visible"] = "full"
    min_height: float = Field(0.0, ge=0)
    aspect: tuple[float, float] | None = None
    min_visible: float | None = Field(None, ge=0, le=1)
    strict: bool = False
    whole: Literal["up", "down"] | None = None
    scale: float = Field(1.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _from_rule(cls, value):
        fields = {"rule": value} if isinstance(value, str) else value
        if not isinstance(fields, dict) or "rule" not in fields:
            return value
        if fields["rule"] not in RULES:
            raise ValueError(f"rule: {unknown(fields['rule'], RULES)}")
        own = {name: fields[name] for name in fields if name != "rule"}
        return RULES[fields["rule"]].model_dump() | own

    @model_validator(mode="after")
    def _consistent(self):
        if self.aspect is not None and not 0 <= self.aspect[0] < self.aspect[1]:
            raise ValueError(f"expected aspect [low, high] with 0 ≤ low < high, got {self.aspect}")
        if both := sorted({*self.classes} & {*self.ignore_classes}):
            raise ValueError(f"{both} are in classes and in ignore_classes")
        return self


RULES = {
    # The paper's Section 4: pedestrians, at least 50 px high, width/height in [0.2, 0.65]. The
    # data sets call a pedestrian by one of two names.
    "paper": BoxFilter(classes=("pedestrian", "person"), min_height=50, aspect=(0.2, 0.65)),
    # The rules of the authors' code, one per data set. CityPersons' is the one behind Table 1.
    "released-citypersons": BoxFilter(
        classes=("pedestrian", "rider"), min_height=45, strict=True, scale=480 / 1024
    ),
    "released-caltech": BoxFilter(
        classes=("person", "people"),
        box="visible",
        min_height=39,  # at least 40 whole pixels
        aspect=(0.2, 0.6),
        min_visible=0.65,
        strict=True,
        whole="up",
    ),
    "released-bdd100k": BoxFilter(
        classes=("pedestrian", "person"),
        min_height=39,  # at least 40 whole pixels
        aspect=(0.2, 0.65),
        strict=True,
        whole="down",
    ),
}

RuleName = Literal[tuple(RULES)]


def apply(rule: BoxFilter, boxes: Boxes, scale: float | None = None) -> Boxes:
    """The boxes under a rule: positives that fail height, aspect or visibility become ignore
    boxes, as do all boxes of `rule.ignore_classes`; other classes are dropped; a box that is
    already an ignore box stays one. The order of the file is kept.

    `scale` is the factor from the boxes' pixels to the paper's scale; None takes the rule's own.
    """
    if len(boxes) == 0:
        return boxes
    scale = rule.scale if scale is None else scale
    boxes = boxes.take(np.isin(boxes.label, rule.classes + rule.ignore_classes))
    full_area, visible_area = area_of(boxes.ltwh), area_of(boxes.visible)
    ltwh, hidden = boxes.ltwh, np.zeros(len(boxes), bool)
    if rule.box == "visible":
        hidden = visible_area == 0  # a region to ignore needs an area
        ltwh = np.where(hidden[:, None], boxes.ltwh, boxes.visible)
    if rule.whole == "up":
        ltwh = np.ceil((ltwh * scale + (1, 1, 0, 0)).round(9)) / scale
    elif rule.whole == "down":
        ltwh = cut_to_pixels(ltwh * scale) / scale
    width, height = ltwh[:, 2] * scale, ltwh[:, 3] * scale

    # A slack far below the precision of any label: a height of 50 px survives being scaled there
    # and back, and with `strict` it fails also after rounding.
    slack = -1e-9 if rule.strict else 1e-9
    keep = np.isin(boxes.label, rule.classes) & (width > 0) & (height > 0) & ~hidden
    keep &= height >= rule.min_height - slack
    if rule.aspect is not None:
        low, high = rule.aspect
        keep &= (width >= (low - slack) * height) & (width <= (high + slack) * height)
    if rule.min_visible is not None:
        # Compared as areas: a box of no area then needs no division.
        keep &= visible_area >= (rule.min_visible - slack) * full_area
    return Boxes(ltwh, boxes.label, boxes.ignore | ~keep, boxes.visible, boxes.identity)


def union(rules: list[BoxFilter]) -> BoxFilter:
    """The rule, if all are one, else one with the classes of all and no limits."""
    classes = dict.fromkeys(name for rule in rules for name in rule.classes)
    ignored = dict.fromkeys(name for rule in rules for name in rule.ignore_classes)
    whole = BoxFilter(classes=[*classes], ignore_classes=[n for n in ignored if n not in classes])
    return rules[0] if all(rule == rules[0] for rule in rules) else whole


def no_box_of(rule: BoxFilter, counts: dict) -> str:
    """What is wrong where no box is of the rule's classes: `counts` of the boxes by class name, the
    names nearest to the wanted first. "" where there is one."""
    if any(counts.get(name) for name in rule.classes):
        return ""

    def likeness(name):
        both = ((name.strip().casefold(), wanted.strip().casefold()) for wanted in rule.classes)
        return max(SequenceMatcher(None, *pair).ratio() for pair in both)

    nearest = sorted(counts, key=likeness, reverse=True)[:NAMED]
    there = ", ".join(f"{name!r} {counts[name]}" for name in nearest) or "no boxes at all"
    wanted = " or ".join(map(repr, rule.classes))
    return f"no box of the filter's class {wanted}, which are exact names; there are {there}"


def with_positives(frames: FrameSet, rule: RuleName) -> FrameSet:
    """The frames with a positive under a rule of `RULES`, with all boxes; ValueError for none."""
    boxes = tqdm(frames.boxes or (), f"{frames.dataset}: annotations", delay=2, leave=False)
    kept = np.flatnonzero([not apply(RULES[rule], own).ignore.all() for own in boxes])
    if len(kept) == 0:
        raise ValueError(f"{frames.dataset}: no labeled frame has a positive under {rule!r}")
    return frames.take(kept)
