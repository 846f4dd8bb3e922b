"""Box filters: positives, ignore boxes and dropped ones, against plain loops and known counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alkit.data.filters import RULES, BoxFilter, apply, no_box_of
from alkit.frames import NO_BOXES, Boxes

PAPER = RULES["paper"]


def one(width, height, label="pedestrian", **fields):
    return Boxes([[10, 20, width, height]], [label], **fields)


def fate(rule, boxes, scale=None):
    """positive, ignore or dropped, of a single box."""
    kept = apply(rule, boxes, scale)
    return "dropped" if len(kept) == 0 else "ignore" if kept.ignore[0] else "positive"


@pytest.mark.parametrize(
    ("width", "height", "wanted"),
    [
        (20, 50, "positive"),  # the minimum belongs to it
        (20, 49.9, "ignore"),
        (20, 100, "positive"),  # 0.2
        (19.9, 100, "ignore"),
        (65, 100, "positive"),  # 0.65
        (65.1, 100, "ignore"),
        (0, 60, "ignore"),
        (20, 0, "ignore"),
    ],
)
def test_paper_rule(width, height, wanted):
    assert fate(PAPER, one(width, height)) == wanted


def test_labels_decide_first():
    rule = BoxFilter(classes=["person"], ignore_classes=["cyclist"], min_height=50)
    boxes = Boxes(
        np.tile([0, 0, 30, 60], (5, 1)),
        ["person", "cyclist", "car", "person", "car"],
        [False, False, False, True, True],
    )
    kept = apply(rule, boxes)
    assert kept.label.tolist() == ["person", "cyclist", "person"]
    assert kept.ignore.tolist() == [False, True, True]


def test_scale_multiplies_heights():
    assert fate(PAPER, one(10, 25)) == "ignore"
    assert fate(PAPER, one(10, 25), scale=2) == "positive"
    half = PAPER.model_copy(update={"scale": 0.5})
    assert fate(half, one(30, 99)) == "ignore"
    assert fate(half, one(30, 100)) == "positive"
    assert fate(half, one(30, 99), scale=1) == "positive"  # the argument replaces the rule's own


@given(st.integers(50, 300), st.sampled_from([360, 375, 427, 576, 720, 1024]))
def test_a_box_at_the_minimum_survives_scaling_there_and_back(height, image_height):
    """Whether data are opened at native pixels or resized gives the same positives."""
    rule = BoxFilter(classes=["pedestrian"], min_height=height, scale=480 / image_height)
    native = one(0.4 * height, height * image_height / 480)
    assert fate(rule, native) == "positive"
    resized = native.scaled(240 / image_height)
    assert fate(rule, resized, scale=2) == "positive"


def test_strict_minimum_fails_itself():
    rule = RULES["released-citypersons"]
    assert fate(rule, one(40, 96)) == "ignore"  # 96 · 480/1024 = 45 exactly
    assert fate(rule, one(40, 96.1)) == "positive"
    assert fate(rule, one(1, 500)) == "positive"  # no aspect rule in it
    assert fate(rule, one(40, 200, "rider")) == "positive"
    assert fate(rule, one(40, 200, "sitting person")) == "dropped"


def test_visible_box_takes_the_full_ones_place():
    boxes = one(40, 100, visible=[[12, 20, 30, 90]])
    rule = BoxFilter(classes=["pedestrian"], box="visible", min_height=95)
    kept = apply(rule, boxes)
    assert kept.ltwh.tolist() == [[12, 20, 30, 90]]
    assert kept.ignore.tolist() == [True]
    assert fate(rule.model_copy(update={"box": "full"}), boxes) == "positive"


def test_of_what_is_wholly_hidden_the_full_box_is_ignored():
    rule = BoxFilter(classes=["pedestrian"], box="visible", min_height=10)
    hidden = apply(rule, one(40, 100, visible=[[10, 20, 0, 0]]))
    assert hidden.ltwh[0, 2:].tolist() == [40, 100]
    assert hidden.ignore.tolist() == [True]


def test_the_released_caltech_rule_rounds_sides_up():
    # The code takes whole pixels, at least 40 high, width/height between 0.2 and 0.6 and neither.
    rule = RULES["released-caltech"]
    assert fate(rule, one(15.2, 39.01, "person")) == "positive"  # 16 × 40
    assert fate(rule, one(15.2, 39.0, "person")) == "ignore"  # 16 × 39
    assert fate(rule, one(24.0, 40.0, "people")) == "ignore"  # 0.6 itself
    assert fate(rule, one(22.9, 39.5, "people")) == "positive"  # 23 / 40
    assert fate(rule, one(23.1, 39.5, "people")) == "ignore"  # 24 / 40
    assert fate(rule, one(8.0, 40.0, "person")) == "ignore"  # 0.2 itself
    assert fate(rule, one(8.1, 40.0, "person")) == "positive"  # 9 / 40
    assert fate(rule, one(15.2, 39.01, "person").scaled(0.5), scale=2) == "positive"


def test_the_released_caltech_boxes_are_the_files_numbers_rounded_up():
    # In the file, from 1: left 11.3, top 20, width 15.2, height 39.01.
    boxes = Boxes([[10.3, 19, 15.2, 39.01]], ["person"])
    assert apply(RULES["released-caltech"], boxes).ltwh.tolist() == [[12, 20, 16, 40]]
    half = apply(RULES["released-caltech"], boxes.scaled(0.5), scale=2)
    np.testing.assert_allclose(half.ltwh, [[6, 10, 8, 20]])


def test_the_released_bdd100k_rule_cuts_corners_to_whole_pixels_and_is_strict():
    rule = RULES["released-bdd100k"]
    boxes = Boxes([[10.9, 20.9, 20, 40]], ["person"])  # to 30.9, 60.9
    kept = apply(rule, boxes)
    assert kept.ltwh.tolist() == [[10, 20, 20, 40]]
    assert not kept.ignore.any()
    assert fate(rule, Boxes([[10.9, 20.1, 20, 40.7]], ["person"])) == "positive"  # 20 to 60: 40
    assert fate(rule, Boxes([[10, 20.9, 20, 39.9]], ["person"])) == "positive"  # 20 to 60: 40
    assert fate(rule, Boxes([[10, 20.0, 20, 39.9]], ["person"])) == "ignore"  # 20 to 59: 39
    assert fate(rule, Boxes([[10, 20, 26, 40]], ["person"])) == "ignore"  # 0.65 itself
    assert fate(rule, Boxes([[10, 20, 8, 40]], ["person"])) == "ignore"  # 0.2 itself
    assert fate(rule, Boxes([[10, 20, 9, 40]], ["person"])) == "positive"
    assert apply(rule, Boxes([[-2.5, -3.5, 20, 50]], ["person"])).ltwh.tolist() == [
        [-2, -3, 19, 49]  # toward 0, as Python's int does: to 17.5 and 46.5
    ]


@pytest.mark.parametrize(("strict", "wanted"), [(False, "positive"), (True, "ignore")])
def test_visible_share_at_the_minimum(strict, wanted):
    boxes = one(40, 100, visible=[[10, 20, 40, 65]])
    rule = BoxFilter(classes=["pedestrian"], min_visible=0.65, strict=strict)
    assert fate(rule, boxes) == wanted
    assert fate(rule, one(40, 100, visible=[[10, 20, 40, 64]])) == "ignore"
    assert fate(rule, one(40, 100, visible=[[10, 20, 40, 66]])) == "positive"


def test_a_limit_that_nobody_set_does_not_act():
    """Of CityPersons' validation boxes one has a visible part of no area."""
    boxes = one(40, 100, visible=[[10, 20, 0, 30]])
    assert fate(RULES["released-citypersons"], boxes) == "positive"
    for strict in (False, True):
        rule = BoxFilter(classes=["pedestrian"], strict=strict)
        assert fate(rule, boxes) == "positive"
        assert fate(rule, one(1e-3, 1e-3)) == "positive"
        assert fate(rule, one(1e-3, 1e5)) == "positive"
    # set to 0 it means what it says
    limit = {"classes": ["pedestrian"], "min_visible": 0}
    assert fate(BoxFilter(**limit), boxes) == "positive"
    assert fate(BoxFilter(**limit, strict=True), boxes) == "ignore"
    assert fate(BoxFilter(rule="released-caltech", min_visible=None), one(16, 41, "person")) == (
        "positive"
    )


def test_names_that_are_there_come_with_the_nearest_first():
    rule = BoxFilter(classes=["pedestrian", "Person"])
    counts = {"car": 900, "pedestrain": 2, "bicycle": 5, "person ": 1}
    said = no_box_of(rule, counts)
    places = [said.index(name) for name in ("'person ' 1", "'pedestrain' 2", "'bicycle' 5")]
    assert places == sorted(places)
    assert said.index("'car' 900") > places[1]
    assert no_box_of(rule, counts | {"Person": 1}) == ""
    assert no_box_of(rule, {"Person": 0})
    assert "no boxes at all" in no_box_of(rule, {})
    assert len(no_box_of(rule, {f"class {k}": 1 for k in range(1000)})) < 500


def test_nothing_to_filter():
    assert len(apply(PAPER, NO_BOXES)) == 0
    assert len(apply(PAPER, one(30, 60, "car"))) == 0


def test_against_a_plain_loop():
    rng = np.random.default_rng(0)
    n = 500
    ltwh = np.concatenate([rng.uniform(0, 400, (n, 2)), rng.uniform(1, 120, (n, 2))], axis=1)
    visible = ltwh * [1, 1, 1, 0] + np.array([0, 0, 0, 1]) * ltwh[:, 3:] * rng.uniform(0, 1, (n, 1))
    label = rng.choice(["person", "people", "car", "ignore"], n)
    ignore = rng.random(n) < 0.1
    identity = np.arange(n)
    rule = BoxFilter(
        classes=["person", "people"],
        ignore_classes=["ignore"],
        min_height=40,
        aspect=(0.2, 0.6),
        min_visible=0.5,
    )
    wanted = []
    for i in range(n):
        if label[i] == "car":
            continue
        w, h = ltwh[i, 2:]
        good = label[i] in ("person", "people") and not ignore[i]
        good = good and h * 0.8 >= 40 and 0.2 <= w / h <= 0.6
        good = good and visible[i, 2] * visible[i, 3] / (w * h) >= 0.5
        wanted.append((i, not good))
    kept = apply(rule, Boxes(ltwh, label, ignore, visible, identity), scale=0.8)
    assert list(zip(kept.identity.tolist(), kept.ignore.tolist(), strict=True)) == wanted
    assert 20 < sum(not ignored for _, ignored in wanted) < n / 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"classes": []}, "classes"),
        ({"classes": ["a"], "min_hight": 3}, "min_hight"),
        ({"classes": ["a"], "min_height": -1}, "min_height"),
        ({"classes": ["a"], "min_height": float("nan")}, "min_height"),
        ({"classes": ["a"], "aspect": [0.6, 0.2]}, "low < high"),
        ({"classes": ["a"], "scale": 0}, "scale"),
        ({"classes": ["a"], "min_visible": 1.5}, "min_visible"),
        ({"classes": ["a"], "box": "half"}, "box"),
        ({"classes": ["a"], "ignore_classes": ["a"]}, "in ignore_classes"),
    ],
)
def test_a_wrong_rule_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        BoxFilter(**fields)
