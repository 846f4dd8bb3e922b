"""Average precision: by hand, and against a slow loop."""

import copy
import math

import numpy as np
import pytest

from alkit.evaluation import average_precision

BOX = (10, 10, 10, 20)
OTHER = (40, 10, 10, 20)
FAR = (100, 100, 10, 20)


def coco(images, boxes):
    """A COCO dict from image ids and rows (image, box[, more of the annotation])."""
    annotations = [
        {"id": i, "image_id": image, "bbox": list(box), "category_id": 1}
        | (more[0] if more else {})
        for i, (image, box, *more) in enumerate(boxes)
    ]
    return {"images": [{"id": image} for image in images], "annotations": annotations}


def results(*rows):
    """COCO results from rows (image, box, score)."""
    return [
        {"image_id": image, "bbox": list(box), "score": score, "category_id": 1}
        for image, box, score in rows
    ]


def test_by_hand(capfd):
    truth = coco([1, 2], [(1, BOX), (2, BOX)])
    detections = results((1, BOX, 0.9), (1, FAR, 0.8), (2, BOX, 0.7))
    before = copy.deepcopy((truth, detections))
    precision = average_precision(truth, detections)
    # Precision 1 at the recalls 0, 0.01, …, 0.50, and 2/3 from 0.51 on.
    assert precision["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-12)
    assert precision["ap"] == pytest.approx(precision["ap50"], abs=1e-12)
    assert (truth, detections) == before
    assert capfd.readouterr().out == ""


def test_ap_is_the_mean_over_ten_thresholds():
    # IoU 0.7: found at 0.50, 0.55, 0.60, 0.65, 0.70.
    truth, detections = coco([1], [(1, (0, 0, 10, 100))]), results((1, (0, 0, 10, 70), 1))
    assert average_precision(truth, detections) == pytest.approx({"ap": 0.5, "ap50": 1})
    detections = results((1, (0, 0, 10, 69.9), 1))
    assert average_precision(truth, detections) == pytest.approx({"ap": 0.4, "ap50": 1})


@pytest.mark.parametrize("kind", [{"ignore": 1}, {"iscrowd": 1}])
def test_ignore_boxes_absorb_any_number(kind):
    region = (1, (0, 0, 300, 300), kind)
    detections = results((1, OTHER, 0.9), (1, FAR, 0.8), (1, BOX, 0.7))
    assert average_precision(coco([1], [region, (1, BOX)]), detections)["ap50"] == pytest.approx(1)
    alone = average_precision(coco([1], [(1, BOX)]), detections)["ap50"]
    assert alone == pytest.approx(1 / 3)
    real = coco([1], [(1, region[1], {"ignore": 0, "iscrowd": 0}), (1, BOX)])
    assert average_precision(real, detections)["ap50"] < 0.5


def test_nothing_found_and_nothing_to_find():
    assert average_precision(coco([1], [(1, BOX)]), []) == {"ap": 0, "ap50": 0}
    for boxes in ([], [(1, BOX, {"ignore": 1})]):
        for rows in ([], [(1, BOX, 0.5)]):
            precision = average_precision(coco([1, 2], boxes), results(*rows))
            assert math.isnan(precision["ap"])
            assert math.isnan(precision["ap50"])


def test_ids_change_nothing():
    """Image ids that are text or of several kinds, and annotations of id 0, twice the same or
    without an id."""
    boxes = [("frame 10", BOX), ("frame 9", BOX), (7, BOX), (7, FAR)]
    detections = results(
        (7, FAR, 0.9), ("frame 9", FAR, 0.8), ("frame 10", BOX, 0.8), ("frame 9", BOX, 0.8)
    )
    truth = coco(["frame 9", "frame 10", 7, None], boxes)
    expected = average_precision(truth, detections)
    # Pooled in the order of the images: hit, false, hit (frame 9), hit (frame 10), of 4 boxes.
    # Precision 1 up to recall 0.25, and 3/4 up to 0.75.
    assert expected["ap50"] == pytest.approx((26 + 50 * 0.75) / 101)
    for annotation in truth["annotations"]:
        del annotation["id"]
    assert average_precision(truth, detections) == expected
    for annotation in truth["annotations"]:
        annotation["id"] = 0
    assert average_precision(truth, detections) == expected


def test_errors_are_those_of_evaluate():
    with pytest.raises(ValueError, match=r"detections\[0\] is of image 2"):
        average_precision(coco([1], [(1, BOX)]), results((2, BOX, 1)))
    with pytest.raises(ValueError, match="one class at a time"):
        average_precision(coco([1], [(1, BOX), (1, BOX, {"category_id": 2})]), [])


def slow_average_precision(ground_truth, detections, threshold):
    """AP at one IoU, box by box."""
    pooled, n_boxes = [], 0
    for image in ground_truth["images"]:
        own = [a for a in ground_truth["annotations"] if a["image_id"] == image["id"]]
        real = [a["bbox"] for a in own if not a.get("ignore") and not a.get("iscrowd")]
        crowds = [a["bbox"] for a in own if a.get("ignore") or a.get("iscrowd")]
        n_boxes += len(real)
        free = set(range(len(real)))
        found = [d for d in detections if d["image_id"] == image["id"]]
        for d in sorted(found, key=lambda d: -d["score"]):
            overlaps = {k: slow_iou(d["bbox"], real[k]) for k in free}
            best = max(overlaps, key=overlaps.get, default=None)
            if best is not None and overlaps[best] >= threshold:
                free.remove(best)
                pooled.append((d["score"], True))
            elif not any(slow_share(d["bbox"], crowd) >= threshold for crowd in crowds):
                pooled.append((d["score"], False))
    points, hits = [], 0  # (recall, precision)
    for i, (_, hit) in enumerate(sorted(pooled, key=lambda item: -item[0])):
        hits += hit
        points.append((hits / n_boxes, hits / (i + 1)))
    best = [max((p for r, p in points if r >= k / 100 - 1e-12), default=0) for k in range(101)]
    return sum(best) / 101


def slow_intersection(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def slow_iou(a, b):
    inside = slow_intersection(a, b)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)


def slow_share(detection, crowd):
    return slow_intersection(detection, crowd) / (detection[2] * detection[3])


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_loop(seed):
    rng = np.random.default_rng(seed)
    boxes, rows = [], []
    for _ in range(60):
        image, box = int(rng.integers(12)), [*rng.uniform(0, 200, 2), *rng.uniform(20, 60, 2)]
        boxes.append((image, box, [{}, {}, {"ignore": 1}, {"iscrowd": 1}][rng.integers(4)]))
        for _ in range(rng.integers(4)):
            moved = np.array(box) + rng.normal(0, 2, 4)
            rows.append((image, moved.tolist(), float(rng.random())))
    truth, detections = coco(rng.permutation(12).tolist(), boxes), results(*rows)
    thresholds = [0.5 + 0.05 * k for k in range(10)]
    expected = [slow_average_precision(truth, detections, t) for t in thresholds]
    precision = average_precision(truth, detections)
    assert precision["ap50"] == pytest.approx(expected[0], abs=1e-9)
    assert precision["ap"] == pytest.approx(np.mean(expected), abs=1e-9)
    assert 0.1 < precision["ap"] < precision["ap50"] < 1
