"""The Caltech protocol: each rule by hand, and all of them against a slow loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alkit import evaluation
from alkit.evaluation import REFERENCES, evaluate


def coco(images, boxes):
    """A COCO dict from image ids and rows (image, box[, more of the annotation])."""
    annotations = [
        {
            "id": i,
            "image_id": image,
            "bbox": list(box),
            "category_id": 1,
            **(more[0] if more else {}),
        }
        for i, (image, box, *more) in enumerate(boxes)
    ]
    return {"images": [{"id": image} for image in images], "annotations": annotations}


def results(*rows):
    """COCO results from rows (image, box, score)."""
    return [
        {"image_id": image, "bbox": list(box), "score": score, "category_id": 1}
        for image, box, score in rows
    ]


def curve(images, boxes, rows):
    e = evaluate(coco(images, boxes), results(*rows))
    return e.fppi.tolist(), e.miss_rate.tolist()


IGNORE = {"ignore": 1}
BOX = (10, 10, 10, 20)
FAR = (100, 100, 10, 20)


# ------------------------------------------------------------------ each rule by hand


def test_a_curve_by_hand():
    e = evaluate(
        coco(["a", "b"], [("a", BOX), ("a", FAR), ("b", BOX), ("b", FAR)]),
        results(("a", BOX, 0.9), ("b", (50, 50, 10, 20), 0.8), ("b", BOX, 0.7), ("b", FAR, 0.6)),
    )
    assert e.scores.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert e.fppi.tolist() == [0, 0.5, 0.5, 0.5]
    assert e.miss_rate.tolist() == [0.75, 0.75, 0.5, 0.25]
    assert (e.n_images, e.n_boxes) == (2, 4)
    assert e.miss_rate_at(0) == e.miss_rate_at(0.49) == 0.75
    assert e.miss_rate_at(0.5) == 0.25  # the last of the points with fppi ≤ reference
    assert e.miss_rate_at(100) == 0.25  # the curve ends earlier
    assert e.miss_rate_at([0.4, 0.5]).tolist() == [0.75, 0.25]
    # Of 0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.178, 0.316, 0.562, 1 the last two are beyond 0.5.
    assert e.lamr == pytest.approx((0.75**7 * 0.25**2) ** (1 / 9), abs=1e-15)


def test_iou_of_one_half_is_enough():
    assert curve(["a"], [("a", (0, 0, 10, 20))], [("a", (0, 0, 10, 10), 1)]) == ([0], [0])
    assert curve(["a"], [("a", (0, 0, 10, 20))], [("a", (0, 0, 10, 9.999), 1)]) == ([1], [1])


def test_a_box_is_taken_once():
    rows = [("a", BOX, 0.5), ("a", BOX, 0.9)]
    assert curve(["a"], [("a", BOX)], rows) == ([0, 1], [0, 0])
    # The second best detection takes the free box though its IoU with the taken one is higher.
    near, other = (10, 10, 10, 20), (10, 12, 10, 20)
    rows = [("a", near, 0.9), ("a", near, 0.8)]
    assert curve(["a"], [("a", near), ("a", other)], rows) == ([0, 0], [0.5, 0])


def test_the_highest_iou_is_taken():
    near, other = (10, 10, 10, 20), (10, 14, 10, 20)
    # The first detection must take `near`, or the second, which fits only `other`, is false.
    rows = [("a", near, 0.9), ("a", (10, 19, 10, 20), 0.8)]
    for boxes in ([("a", near), ("a", other)], [("a", other), ("a", near)]):
        assert curve(["a"], boxes, rows) == ([0, 0], [0.5, 0])


def test_on_equal_iou_the_later_box_is_taken():
    # The first detection lies midway; the second fits only the upper box.
    upper, lower, midway = (0, 0, 10, 20), (0, 8, 10, 20), (0, 4, 10, 20)
    rows = [("a", midway, 0.9), ("a", upper, 0.8)]
    assert curve(["a"], [("a", upper), ("a", lower)], rows) == ([0, 0], [0.5, 0])
    assert curve(["a"], [("a", lower), ("a", upper)], rows) == ([0, 1], [0.5, 0.5])


def test_an_ignore_box_absorbs_any_number():
    region = (0, 0, 100, 100)
    rows = [("a", (i, i, 10, 20), 0.9 - i / 10) for i in range(4)] + [("a", FAR, 0.1)]
    assert curve(["a"], [("a", region, IGNORE), ("a", FAR)], rows) == ([0], [0])
    assert curve(["a"], [("a", region, {"iscrowd": 1}), ("a", FAR)], rows) == ([0], [0])
    # Ignore and crowd of 0 are real.
    assert curve(["a"], [("a", region, {"ignore": 0, "iscrowd": 0})], rows[:1]) == ([1], [1])


def test_an_ignore_box_counts_by_the_share_of_the_detection():
    region = (0, 0, 100, 100)
    assert curve(["a"], [("a", region, IGNORE)], [("a", (95, 0, 10, 10), 1)]) == ([], [])
    fppi, miss_rate = curve(["a"], [("a", region, IGNORE)], [("a", (95.001, 0, 10, 10), 1)])
    assert fppi == [1]
    assert math.isnan(miss_rate[0])


def test_a_real_box_goes_before_an_ignore_box():
    # IoU with the real box is 0.5, the ignore box fits perfectly and comes first in the file.
    boxes = [("a", (0, 0, 10, 10), IGNORE), ("a", (0, 0, 10, 20))]
    assert curve(["a"], boxes, [("a", (0, 0, 10, 10), 1)]) == ([0], [0])
    # When the real box is taken, the ignore box absorbs the next.
    rows = [("a", (0, 0, 10, 20), 0.9), ("a", (0, 0, 10, 10), 0.8)]
    assert curve(["a"], boxes, rows) == ([0], [0])


def test_equal_scores_keep_the_order_of_images_and_of_the_file():
    boxes = [("x", BOX), ("y", BOX)]
    rows = [("y", BOX, 0.5), ("x", FAR, 0.5), ("x", BOX, 0.5)]
    # Pooled: x FAR, x BOX, y BOX; no grouping of ties.
    assert curve(["x", "y"], boxes, rows) == ([0.5, 0.5, 0.5], [1, 0.5, 0])
    assert curve(["y", "x"], boxes, rows) == ([0, 0.5, 0.5], [0.5, 0.5, 0])
    # Within an image the first of two equal scores chooses first.
    rows = [("a", (0, 4, 10, 20), 0.5), ("a", (0, 0, 10, 20), 0.5)]
    assert curve(["a"], [("a", (0, 0, 10, 20))], rows) == ([0, 1], [0, 0])


def test_fppi_divides_by_all_images():
    assert curve([1, 2, 3, 4], [(1, BOX)], [(3, BOX, 1)]) == ([0.25], [1])


def test_a_curve_that_starts_late():
    e = evaluate(coco([1], [(1, BOX)]), results((1, FAR, 0.9), (1, BOX, 0.8)))
    assert e.fppi.tolist() == [1, 1]
    assert e.miss_rate_at(0.99) == 1
    assert e.miss_rate_at(1) == 0
    assert e.lamr == 0  # because one of the nine is 0


def test_references_are_met_exactly():
    assert REFERENCES[[0, 4, 8]].tolist() == [0.01, 0.1, 1]
    assert len(REFERENCES) == 9
    images = list(range(100))
    e = evaluate(coco(images, [(0, BOX), (1, BOX)]), results((5, BOX, 0.9), (0, BOX, 0.8)))
    assert e.fppi.tolist() == [0.01, 0.01]
    assert e.lamr == pytest.approx(0.5)


def test_no_detections():
    e = evaluate(coco([1], [(1, BOX)]), [])
    assert e.miss_rate_at(0) == e.miss_rate_at(1) == e.lamr == 1
    assert len(e.fppi) == len(e.miss_rate) == 0


@pytest.mark.parametrize("boxes", [[], [(1, FAR, IGNORE)]])
@pytest.mark.parametrize("rows", [[], [(1, BOX, 0.9)]])
def test_no_real_boxes(boxes, rows):
    e = evaluate(coco([1], boxes), results(*rows))
    assert math.isnan(e.lamr)
    assert math.isnan(e.miss_rate_at(1))
    assert e.fppi.tolist() == [1] * len(rows)
    assert np.isnan(e.miss_rate).all()
    assert e.n_boxes == 0


def test_boxes_without_area_match_nothing():
    rows = [("a", (10, 10, 0, 0), 1)]
    assert curve(["a"], [("a", (10, 10, 0, 0)), ("a", BOX), ("a", BOX, IGNORE)], rows) == ([1], [1])


# ------------------------------------------------------------------ against a slow loop


def slow_evaluate(ground_truth, detections):
    """The protocol as its description reads, box by box: (fppi, miss rate), lists."""
    pooled, n_boxes = [], 0
    for image in ground_truth["images"]:
        boxes = [a for a in ground_truth["annotations"] if a["image_id"] == image["id"]]
        real = [a["bbox"] for a in boxes if not (a.get("ignore") or a.get("iscrowd"))]
        ignored = [a["bbox"] for a in boxes if a.get("ignore") or a.get("iscrowd")]
        n_boxes += len(real)
        free = [True] * len(real)
        own = [d for d in detections if d["image_id"] == image["id"]]
        for d in sorted(own, key=lambda d: -d["score"]):
            best, best_iou = None, 0.5
            for k, box in enumerate(real):
                inside = slow_intersection(d["bbox"], box)
                union = d["bbox"][2] * d["bbox"][3] + box[2] * box[3] - inside
                if free[k] and inside / union >= best_iou:
                    best, best_iou = k, inside / union
            if best is not None:
                free[best] = False
                pooled.append((d["score"], True))
            elif not any(
                slow_intersection(d["bbox"], box) / (d["bbox"][2] * d["bbox"][3]) >= 0.5
                for box in ignored
            ):
                pooled.append((d["score"], False))
    fppi, miss_rate, false, hits = [], [], 0, 0
    for _, hit in sorted(pooled, key=lambda item: -item[0]):
        hits, false = hits + hit, false + (not hit)
        fppi.append(false / len(ground_truth["images"]))
        miss_rate.append((n_boxes - hits) / n_boxes if n_boxes else math.nan)
    return fppi, miss_rate


def slow_intersection(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


# Small integers make ties of IoU and of score, and IoU of exactly one half, frequent.
BOXES = st.tuples(*[st.integers(0, 3)] * 2, *[st.integers(1, 4)] * 2)
ANNOTATION = st.tuples(
    st.integers(0, 2), BOXES, st.sampled_from([{}, {}, IGNORE, {"iscrowd": 1}, {"ignore": 0}])
)
DETECTION = st.tuples(st.integers(0, 2), BOXES, st.sampled_from([0.1, 0.5, 0.9]))


@settings(deadline=None, max_examples=200)
@given(
    order=st.permutations([0, 1, 2]),
    boxes=st.lists(ANNOTATION, max_size=12),
    rows=st.lists(DETECTION, max_size=15),
)
def test_agrees_with_the_loop(order, boxes, rows):
    ground_truth, detections = coco(order, boxes), results(*rows)
    e = evaluate(ground_truth, detections)
    fppi, miss_rate = slow_evaluate(ground_truth, detections)
    assert e.fppi.tolist() == fppi
    np.testing.assert_array_equal(e.miss_rate, miss_rate)
    for reference in (0, 0.3, 1 / 3, 1, 10):
        before = [m for f, m in zip(fppi, miss_rate, strict=True) if f <= reference]
        expected = before[-1] if before else (1 if e.n_boxes else math.nan)
        np.testing.assert_array_equal(e.miss_rate_at(reference), expected)
    assert np.all(np.diff(e.scores) <= 0)


def random_case(seed, n_images=40):
    """Crowded images: boxes, and detections that are moved boxes, with few distinct scores."""
    rng = np.random.default_rng(seed)
    boxes = [
        (int(rng.integers(n_images)), (*rng.uniform(0, 60, 2), *rng.uniform(8, 30, 2)), extra)
        for extra in ({}, {}, {}, IGNORE)
        for _ in range(2 * n_images)
    ]
    rows = [
        (image, tuple(np.abs(np.array(box) + rng.normal(0, 2, 4))), float(rng.integers(20)) / 20)
        for image, box, _ in boxes
        for _ in range(2)
    ]
    return coco(rng.permutation(n_images).tolist(), boxes), results(*rows)


@pytest.mark.parametrize("pairs", [1, 50, 1 << 20])
def test_the_size_of_a_step_changes_nothing(monkeypatch, pairs):
    ground_truth, detections = random_case(0)
    monkeypatch.setattr(evaluation, "PAIRS", pairs)
    e = evaluate(ground_truth, detections)
    fppi, miss_rate = slow_evaluate(ground_truth, detections)
    assert e.fppi.tolist() == fppi
    assert e.miss_rate.tolist() == miss_rate
    assert 0 < e.miss_rate[-1] < 0.5
    assert len(e.fppi) < len(detections)  # some were absorbed


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 7}, r"detections\[1\] is of image 7"),
        ({"score": math.nan}, r"detections\[1\] has the score nan"),
        ({"score": math.inf}, r"detections\[1\] has the score inf"),
        ({"bbox": [0, 0, math.nan, 1]}, r"detections\[1\] has the box \[0, 0, nan, 1\]"),
        ({"bbox": [0, 0, -1, 1]}, "no negative size"),
        ({"bbox": [0, 0, 1]}, r"detections\[1\] has the box \[0, 0, 1\]"),
        ({"category_id": 2}, r"categories \[1, 2\]; evaluate one class at a time"),
    ],
)
def test_wrong_detections(change, message):
    detections = results((1, BOX, 0.9), (1, BOX, 0.8))
    detections[1].update(change)
    with pytest.raises(ValueError, match=message):
        evaluate(coco([1], [(1, BOX)]), detections)


@pytest.mark.parametrize("key", ["image_id", "bbox", "score"])
def test_missing_keys(key):
    detections = results((1, BOX, 0.9))
    del detections[0][key]
    with pytest.raises(ValueError, match=rf"detections\[0\] has no '{key}'"):
        evaluate(coco([1], [(1, BOX)]), detections)


def test_wrong_ground_truth():
    with pytest.raises(ValueError, match="image id 'a' is in the ground truth more than once"):
        evaluate(coco(["a", "b", "a"], []), [])
    with pytest.raises(ValueError, match=r"annotations\[0\] is of image 2"):
        evaluate(coco([1], [(2, BOX)]), [])
    with pytest.raises(ValueError, match=r"annotations\[0\] has the box"):
        evaluate(coco([1], [(1, (0, 0, math.nan, 1))]), [])
    with pytest.raises(ValueError, match="one class at a time"):
        evaluate(coco([1], [(1, BOX), (1, BOX, {"category_id": 2})]), [])
    with pytest.raises(ValueError, match="no images"):
        evaluate(coco([], []), [])
    with pytest.raises(ValueError, match="expected a COCO dict with lists"):
        evaluate({"images": []}, [])
    with pytest.raises(ValueError, match=r"annotations\[0\] has the box 7; expected four"):
        evaluate({"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": 7}]}, [])


def test_unknown_protocol():
    with pytest.raises(ValueError, match=r"'citypersons' \(did you mean citypersons-all"):
        evaluate(coco([1], []), [], protocol="citypersons")
