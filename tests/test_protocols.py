"""The protocols: every filter at its boundary by hand, and all of each against a slow loop."""

import copy
import math

import numpy as np
import pytest

from alkit.evaluation import PROTOCOLS, REFERENCES, evaluate

CALTECH = [(1, "person"), (2, "people"), (3, "person-fa"), (4, "person?"), (5, "ignore")]
CITYPERSONS = [
    (0, "ignore region"),
    (1, "pedestrian"),
    (2, "rider"),
    (3, "sitting person"),
    (4, "other person"),
    (5, "people group"),
]
REASONABLE = "caltech-reasonable"
BOX = (100, 100, 41, 100)  # of the toolbox's aspect, so that it is not changed
FAR = (400, 100, 41, 100)


def coco(boxes, images=(1,), names=CALTECH):
    """A COCO dict from rows (image, box[, more of the annotation])."""
    annotations = [
        {"id": i, "image_id": image, "bbox": list(box), "category_id": 1}
        | (more[0] if more else {})
        for i, (image, box, *more) in enumerate(boxes)
    ]
    return {
        "images": [{"id": image} for image in images],
        "annotations": annotations,
        "categories": [{"id": id_, "name": name} for id_, name in names],
    }


def results(*rows):
    """COCO results from rows (image, box, score)."""
    return [{"image_id": image, "bbox": list(box), "score": score} for image, box, score in rows]


def is_real(protocol, box=BOX, names=CALTECH, **annotation):
    """Whether the only box is real. Then a detection of just that box hits it, and else the box
    absorbs the detection."""
    e = evaluate(coco([(1, box, annotation)], names=names), results((1, box, 0.5)), protocol)
    assert e.miss_rate.tolist() == [0] * e.n_boxes
    assert e.fppi.tolist() == [0] * e.n_boxes
    return e.n_boxes == 1


# ------------------------------------------------------------------ Caltech, Reasonable


def test_reasonable_height():
    assert is_real(REASONABLE, (100, 100, 20.5, 50))
    assert not is_real(REASONABLE, (100, 100, 20.5, 49.999))


@pytest.mark.parametrize(
    ("visible", "real"),
    [
        ({}, True),
        ({"vis_bbox": [100, 100, 41, 100]}, True),  # dbEval; bbGt would say not visible at all
        ({"vis_bbox": [100, 100, 41, 65]}, True),
        ({"vis_bbox": [100, 100, 41, 64.999]}, False),
        ({"vis_bbox": [100, 100, 0, 0]}, False),
        ({"vis_bbox": [0, 0, 0, 0]}, True),  # the toolbox's sign of an unoccluded box
        ({"vis_bbox": None}, True),
        ({"visible_bbox": [100, 100, 41, 50]}, False),
        ({"vis_box": [100, 100, 41, 50]}, False),
        ({"bbox_vis": [100, 100, 41, 50]}, False),
        ({"bbox_v": [100, 100, 41, 50]}, False),
        ({"bboxVis": [100, 100, 41, 50]}, False),
        ({"vbox": [100, 100, 41, 50]}, False),
        ({"vbox": [100, 100, 41, 50], "vis_bbox": [100, 100, 41, 70]}, True),
        ({"vis_ratio": 0.65}, True),
        ({"vis_ratio": 0.6499}, False),
        ({"vis_ratio": 0.6, "vis_bbox": [100, 100, 41, 70]}, False),
        ({"vis_ratio": None, "vis_bbox": [100, 100, 41, 70]}, True),
    ],
)
def test_reasonable_visible_share(visible, real):
    assert is_real(REASONABLE, **visible) == real
    # The boxes of one file may be written differently.
    others = [(1, FAR, {"vis_bbox": [400, 100, 41, 64]}), (1, FAR, {"vis_ratio": 0.5}), (1, FAR)]
    truth = coco([*others, (1, BOX, visible)])
    assert evaluate(truth, [], REASONABLE).n_boxes == 1 + real


@pytest.mark.parametrize(
    ("box", "real"),
    [
        # The toolbox wants 5 ≤ left, left + width ≤ 635 and so on, and its first pixel is 1.
        ((4, 100, 41, 100), True),
        ((3.999, 100, 41, 100), False),
        ((593, 100, 41, 100), True),
        ((593.001, 100, 41, 100), False),
        ((100, 4, 41, 100), True),
        ((100, 3.999, 41, 100), False),
        ((100, 374, 41, 100), True),
        ((100, 374.001, 41, 100), False),
    ],
)
def test_reasonable_border(box, real):
    assert is_real(REASONABLE, box) == real


def test_border_of_boxes_that_were_counted_from_1():
    # 5.3 − 1 + 1 and 593.7 − 1 + 1 are what they were, and so are the sums.
    width = 635 - 593.7
    assert 593.7 + width == 635
    assert is_real(REASONABLE, (593.7 - 1, 99, width, 100))
    assert not is_real(REASONABLE, (np.nextafter(593.7, 600) - 1, 99, width, 100))


@pytest.mark.parametrize("category", [2, 3, 4, 5])
def test_other_labels_are_ignore_boxes(category):
    assert not is_real(REASONABLE, category_id=category)
    assert is_real(REASONABLE, category_id=1)
    assert not is_real(REASONABLE, category_id=1, ignore=1)
    assert not is_real(REASONABLE, category_id=1, iscrowd=1)


def test_real_boxes_and_detections_get_the_aspect():
    # 20 wide about 110 becomes 41 wide: 89.5 … 130.5.
    narrow, wide = (100, 100, 20, 100), (89.5, 100, 41, 100)
    e = evaluate(coco([(1, narrow)]), results((1, wide, 0.9)), REASONABLE)
    assert e.miss_rate.tolist() == [0]
    assert evaluate(coco([(1, narrow)]), results((1, wide, 0.9))).miss_rate.tolist() == [1]
    e = evaluate(coco([(1, wide)]), results((1, narrow, 0.9)), REASONABLE)
    assert e.miss_rate.tolist() == [0]
    # About the center: of equal left sides, the centers are 30 px apart and 11 of 71 px shared.
    e = evaluate(coco([(1, narrow)]), results((1, (100, 100, 80, 100), 0.9)), REASONABLE)
    assert e.miss_rate.tolist() == [1]


def test_ignore_boxes_keep_their_width():
    crowd = (1, (100, 100, 200, 100), {"category_id": 2})
    # Given the aspect, the crowd would be 179.5 … 220.5 and miss the detection.
    e = evaluate(coco([crowd, (1, FAR)]), results((1, BOX, 0.9)), REASONABLE)
    assert len(e.fppi) == 0
    # The detection is given it: 141 … 182 of 100 … 300, and 0.5 of it is within 100 … 161.5.
    thin = (1, (100, 100, 61.5, 100), {"category_id": 2})
    e = evaluate(coco([thin]), results((1, (151.5, 100, 20, 100), 0.9)), REASONABLE)
    assert len(e.fppi) == 0
    e = evaluate(coco([thin]), results((1, (151.6, 100, 20, 100), 0.9)), REASONABLE)
    assert e.fppi.tolist() == [1]


def test_low_detections_are_dropped():
    rows = results((1, (300, 100, 16.4, 40), 0.9), (1, (300, 100, 16.4, 39.999), 0.8))
    e = evaluate(coco([(1, BOX)]), rows, REASONABLE)
    assert e.scores.tolist() == [0.9]
    # One that is kept may hit a box of 50 px.
    rows = results((1, (105.75, 105, 9, 40), 1))
    e = evaluate(coco([(1, (100, 100, 20.5, 50))]), rows, REASONABLE)
    assert e.miss_rate.tolist() == [0]


# ------------------------------------------------------------------ CityPersons


@pytest.mark.parametrize(
    ("setting", "height", "visible", "real"),
    [
        ("reasonable", 50, 0.65, True),
        ("reasonable", 49.99, 1, False),
        ("reasonable", 50, 0.6499, False),
        ("reasonable", 900, 1, True),
        ("small", 50, 0.65, True),
        ("small", 75, 1, True),
        ("small", 75.01, 1, False),
        ("small", 49.99, 1, False),
        ("small", 60, 0.6499, False),
        ("heavy", 50, 0.2, True),
        ("heavy", 50, 0.65, True),
        ("heavy", 500, 0.6501, False),
        ("heavy", 500, 0.1999, False),
        ("heavy", 49.99, 0.4, False),
        ("heavy", 500, 1, False),
        ("all", 20, 0.2, True),
        ("all", 19.99, 1, False),
        ("all", 500, 0.1999, False),
    ],
)
def test_citypersons_settings(setting, height, visible, real):
    # At the image's corner, where Caltech's border would take it out.
    truth = coco([(1, (0, 0, 100, height), {"vis_ratio": visible})], names=CITYPERSONS)
    assert evaluate(truth, [], f"citypersons-{setting}").n_boxes == real


@pytest.mark.parametrize("category", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("setting", ["reasonable", "all"])
def test_citypersons_classes(setting, category):
    assert is_real(f"citypersons-{setting}", names=CITYPERSONS)
    assert not is_real(f"citypersons-{setting}", names=CITYPERSONS, category_id=category)


@pytest.mark.parametrize(
    ("setting", "heights", "kept"),
    [
        ("reasonable", [39.99, 40, 1000], [40, 1000]),
        ("small", [39.99, 40, 93.74, 93.75], [40, 93.74]),  # 75 · 1.25 itself is out
        ("heavy", [39.99, 40, 1000], [40, 1000]),
        ("all", [15.99, 16, 1000], [16, 1000]),
    ],
)
def test_citypersons_detections(setting, heights, kept):
    rows = results(*((1, (500, 0, 30, height), height) for height in heights))
    truth = coco([(1, BOX)], names=CITYPERSONS)
    assert evaluate(truth, rows, f"citypersons-{setting}").scores.tolist() == kept[::-1]


def test_citypersons_boxes_are_matched_as_given():
    wide = (100, 100, 90, 100)
    e = evaluate(coco([(1, BOX)], names=CITYPERSONS), results((1, wide, 1)), "citypersons-all")
    assert e.miss_rate.tolist() == [1]
    e = evaluate(coco([(1, wide)], names=CITYPERSONS), results((1, wide, 1)), "citypersons-all")
    assert e.miss_rate.tolist() == [0]


# ------------------------------------------------------------------ the class of interest


@pytest.mark.parametrize("names", [[], [(1, "whatever")], [(1, None)]])
def test_a_single_category_is_the_class_of_interest(names):
    assert is_real(REASONABLE, names=names)
    assert is_real("citypersons-all", names=names)
    truth = coco([(1, BOX)], names=names)
    del truth["annotations"][0]["category_id"]
    assert evaluate(truth, results((1, BOX, 1)), REASONABLE).miss_rate.tolist() == [0]


def test_names_of_the_class_of_interest():
    for name in ("person", "pedestrian", "Pedestrian", "pedestrians"):
        names = [(7, name), (8, "cyclist")]
        assert is_real(REASONABLE, names=names, category_id=7)
        assert not is_real(REASONABLE, names=names, category_id=8)


def test_detections_are_of_the_class_of_interest():
    truth = coco([(1, BOX), (1, FAR, {"category_id": 2})])
    detections = results((1, BOX, 0.9), (1, FAR, 0.8))
    detections[0]["category_id"] = 1  # the other says none
    assert evaluate(truth, detections, REASONABLE).miss_rate.tolist() == [0]
    detections[1]["category_id"] = 2
    with pytest.raises(ValueError, match=r"detections of \[1, 2\]; expected one category called"):
        evaluate(truth, detections, REASONABLE)
    for protocol in ("caltech", "released"):
        with pytest.raises(ValueError, match=r"categories \[1, 2\]; evaluate one class at a time"):
            evaluate(truth, [], protocol)


def test_wrong_categories():
    for rows, names in (
        ([(1, BOX)], [(1, "car"), (2, "people")]),
        ([(1, BOX)], [(1, "person"), (2, "pedestrian")]),
        ([(1, BOX), (1, BOX, {"category_id": 9})], CALTECH),
    ):
        with pytest.raises(ValueError, match="expected one category called person or pedestrian"):
            evaluate(coco(rows, names=names), [], REASONABLE)
    with pytest.raises(ValueError, match="one class at a time"):
        evaluate(coco([(1, BOX), (1, BOX, {"category_id": 2})], names=[]), [], REASONABLE)


@pytest.mark.parametrize(
    ("visible", "message"),
    [
        ({"vis_bbox": [0, 0, -1, 5]}, r"annotations\[0\] has the visible box \[0, 0, -1, 5\]"),
        ({"bbox_v": [0, 0, 5]}, r"the visible box \[0, 0, 5\]; expected four finite numbers"),
        ({"vis_bbox": 3}, "the visible box 3; expected four finite numbers"),
        ({"vis_bbox": [0, 0, 1, math.inf]}, r"the visible box \[0, 0, 1, inf\]"),
        ({"vis_ratio": math.nan}, r"annotations\[0\]: vis_ratio is nan; expected ≥ 0"),
        ({"vis_ratio": -0.1}, "vis_ratio is -0.1"),
        ({"vis_ratio": "0.7"}, "vis_ratio is '0.7'"),
    ],
)
def test_wrong_visible_boxes(visible, message):
    with pytest.raises(ValueError, match=message):
        evaluate(coco([(1, BOX, visible)]), [], REASONABLE)
    assert evaluate(coco([(1, BOX, visible)]), []).n_boxes == 1  # which "caltech" does not read


# ------------------------------------------------------------------ released


def released(boxes, rows, images=(1,)):
    e = evaluate(coco(boxes, images, names=[]), results(*rows), "released")
    return e.fppi.tolist(), e.miss_rate.tolist()


def test_released_threshold():
    assert released([(1, (0, 0, 10, 10))], [(1, (0, 0, 10, 3.001), 1)]) == ([0], [0])
    assert released([(1, (0, 0, 10, 10))], [(1, (0, 0, 10, 3), 1)]) == ([1], [1])


def test_released_several_detections_may_hit_a_box():
    rows = [(1, BOX, 0.9), (1, BOX, 0.8), (1, FAR, 0.7), (1, BOX, 0.6)]
    assert released([(1, BOX)], rows) == ([0, 0, 1, 1], [0, 0, 0, 0])
    e = evaluate(coco([(1, BOX)]), results(*rows))
    assert e.fppi.tolist() == [0, 1, 2, 3]


def test_released_a_detection_hits_all_boxes_that_it_overlaps():
    # Both boxes overlap the first detection by more than 0.3, the third only the second.
    boxes = [(1, (100, 100, 40, 100)), (1, (120, 100, 40, 100))]
    right, between = (140, 100, 40, 100), (105, 100, 40, 100)
    assert released(boxes, [(1, between, 0.9), (1, right, 0.8)]) == ([0, 0], [0, 0])
    assert released(boxes, [(1, right, 0.9), (1, between, 0.8)]) == ([0, 0], [0.5, 0])


def test_released_recall_is_averaged_over_images():
    boxes = [(1, BOX), (2, BOX), (2, FAR), (2, (300, 100, 41, 100)), (2, (200, 100, 41, 100))]
    rows = [(2, BOX, 0.9), (1, BOX, 0.8), (2, FAR, 0.7)]
    fppi, miss_rate = released(boxes, rows, images=[1, 2])
    assert fppi == [0, 0, 0]
    # Recall of the images: 0 and 1/4; 1 and 1/4; 1 and 2/4.
    assert miss_rate == [1 - 0.125, 1 - 0.625, 1 - 0.75]
    # Images without real boxes have recall 0, and no false detections: 3 and 4 are such.
    boxes.append((3, FAR, {"ignore": 1}))
    rows += [(4, BOX, 0.85), (3, FAR, 0.6), (1, FAR, 0.5)]
    fppi, again = released(boxes, rows, images=[3, 1, 4, 2])
    assert fppi == [0, 0, 0, 0.25]
    assert again == [1 - 0.25 / 4, 1 - 1.25 / 4, 1 - 1.5 / 4, 1 - 1.5 / 4]


def test_released_no_miss_is_exactly_0():
    # 1/3 + 1/3 + 1/3 and 49 · 1/49 are not exactly 1 in every order of adding them.
    places = [(50 * k, 100, 41, 100) for k in range(49)]
    boxes = [(1, box) for box in places] + [(2, box) for box in places[:3]]
    rows = [(image, box, 1 - i / 100) for i, (image, box) in enumerate(boxes)]
    e = evaluate(coco(boxes, (1, 2)), results(*rows), "released")
    assert e.miss_rate[-1] == 0
    assert e.lamr == 0


def test_released_knows_no_ignore_boxes():
    boxes = [(1, BOX, {"ignore": 1}), (1, FAR)]
    assert released(boxes, [(1, BOX, 0.9)]) == ([1], [1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_to_find_and_nothing_found(protocol):
    ignored = (1, FAR, {"ignore": 1, "vis_ratio": 0.4})
    for boxes in ([], [ignored]):
        for rows in ([], [(1, (200, 100, 30, 60), 0.9)]):
            e = evaluate(coco(boxes), results(*rows), protocol)
            assert math.isnan(e.lamr)
            counted = protocol != "released"  # there an image without boxes has nothing false
            assert e.fppi.tolist() == [1] * len(rows) * counted
            assert np.isnan(e.miss_rate).all()
    boxes = [(1, (100, 100, 30, 60), {"vis_ratio": 0.65}), ignored]
    e = evaluate(coco(boxes), [], protocol)
    assert (e.n_boxes, e.lamr, e.miss_rate_at(1)) == (1, 1, 1)


# ------------------------------------------------------------------ against a slow loop

SETTINGS = {  # lowest and highest height, lowest and highest visible share
    "caltech-reasonable": (50, math.inf, 0.65, math.inf),
    "citypersons-reasonable": (50, math.inf, 0.65, math.inf),
    "citypersons-small": (50, 75, 0.65, math.inf),
    "citypersons-heavy": (50, math.inf, 0.2, 0.65),
    "citypersons-all": (20, math.inf, 0.2, math.inf),
}


def slow_evaluate(ground_truth, detections, protocol):
    """A whole protocol, box by box, in the toolbox's pixels: (fppi, miss rate, lamr)."""
    pooled, boxes_of = [], {}
    for image in ground_truth["images"]:
        own = [a for a in ground_truth["annotations"] if a["image_id"] == image["id"]]
        found = [d for d in detections if d["image_id"] == image["id"]]
        real, ignored = slow_boxes(ground_truth, own, protocol)
        boxes_of[image["id"]] = len(real)
        hit_before = set()
        for d in sorted(found, key=lambda d: -d["score"]):
            box = from_1(d["bbox"])
            if protocol in SETTINGS:
                low, high = SETTINGS[protocol][:2]
                if not low / 1.25 <= box[3] < high * 1.25:
                    continue
            if protocol == REASONABLE:
                box = slow_aspect(box)
            threshold = 0.3 if protocol == "released" else 0.5
            best, best_iou = None, threshold
            for k, other in enumerate(real):
                inside = slow_intersection(box, other)
                iou = inside / (box[2] * box[3] + other[2] * other[3] - inside)
                if protocol == "released":
                    best = [*(best or []), k] if iou > threshold else best
                elif iou >= best_iou and k not in hit_before:
                    best, best_iou = k, iou
            if protocol == "released":
                if real:
                    pooled.append((d["score"], image["id"], best))
                continue
            absorbed = any(
                slow_intersection(box, other) / (box[2] * box[3]) >= threshold for other in ignored
            )
            if best is not None or not absorbed:
                pooled.append((d["score"], image["id"], best))
                hit_before.add(best)
    fppi, miss_rate, false, hits = [], [], 0, set()
    for _, image, box in sorted(pooled, key=lambda item: -item[0]):
        false += box is None
        if box is not None:
            hits |= {(image, k) for k in (box if isinstance(box, list) else [box])}
        fppi.append(false / len(boxes_of))
        miss_rate.append(slow_miss_rate(hits, boxes_of, protocol))
    log = []
    for k in range(9):
        before = [m for f, m in zip(fppi, miss_rate, strict=True) if f <= 10.0 ** (-2 + k / 4)]
        last = before[-1] if before else (1 if sum(boxes_of.values()) else math.nan)
        log.append(math.log(last) if last != 0 else -math.inf)
    return fppi, miss_rate, math.exp(sum(log) / 9)


def slow_boxes(ground_truth, annotations, protocol):
    names = {c["id"]: c["name"] for c in ground_truth["categories"]}
    real, ignored = [], []
    for a in annotations:
        left, top, width, height = box = from_1(a["bbox"])
        good = not a.get("ignore", 0) and not a.get("iscrowd", 0)
        if protocol in SETTINGS:
            low, high, least, most = SETTINGS[protocol]
            visible = 1
            if "vis_ratio" in a:
                visible = a["vis_ratio"]
            elif "vis_bbox" in a and any(a["vis_bbox"]):
                visible = a["vis_bbox"][2] * a["vis_bbox"][3] / (width * height)
            good = good and names[a["category_id"]] in ("person", "pedestrian")
            good = good and low <= height <= high and least <= visible <= most
        if protocol == REASONABLE:
            good = good and left >= 5 and top >= 5 and left + width <= 635 and top + height <= 475
            box = slow_aspect(box) if good else box
        (real if good else ignored).append(box)
    return real, ignored


def slow_miss_rate(hits, boxes_of, protocol):
    if not sum(boxes_of.values()):
        return math.nan
    if protocol != "released":
        return 1 - len(hits) / sum(boxes_of.values())
    recalls = [sum(i == image for i, _ in hits) / max(n, 1) for image, n in boxes_of.items()]
    return 1 - sum(recalls) / len(recalls)


def from_1(box):
    return [box[0] + 1, box[1] + 1, box[2], box[3]]


def slow_aspect(box):
    change = box[3] * 0.41 - box[2]
    return [box[0] - change / 2, box[1], box[2] + change, box[3]]


def slow_intersection(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def random_case(seed, one_class, n_images=25):
    """Crowded images with boxes around every boundary, and detections near boxes and elsewhere,
    with few distinct scores."""
    rng = np.random.default_rng(seed)
    boxes, rows = [], []
    for _ in range(12 * n_images):
        height = rng.choice([rng.integers(15, 60), rng.integers(45, 80), 50, 75, 20, 49.999])
        width = max(4, round(height * rng.uniform(0.25, 0.6)))
        box = (rng.integers(0, 640 - width), rng.integers(0, 480 - height), width, height)
        box = (*map(float, np.where(rng.random(4) < 0.1, np.round(box, -1), box)),)
        box = (box[0], box[1], max(box[2], 5.0), max(box[3], 15.0))
        more = {"category_id": 1 if one_class else int(rng.choice([1, 1, 1, 1, 2, 4]))}
        share = rng.choice([0, 1, 0.1, 0.2, 0.5, 0.65, 0.65, 0.8])
        how = rng.integers(4)
        if how == 0:
            more["vis_bbox"] = [box[0], box[1], box[2], box[3] * share] if share else [0, 0, 0, 0]
        elif how == 1:
            more["vis_ratio"] = float(share)
        more |= [{}, {}, {}, {"ignore": 1}, {"iscrowd": 1}, {"ignore": 0}][rng.integers(6)]
        image = int(rng.integers(n_images))
        boxes.append((image, box, more))
        for _ in range(rng.integers(4)):
            moved = np.array(box) + rng.integers(-8, 9, 4) * rng.integers(0, 2)
            moved[2:] = np.maximum(moved[2:], 4)
            rows.append((image, moved.tolist(), int(rng.integers(40)) / 40))
    names = [(1, "person"), (2, "people"), (4, "person?")]
    order = rng.permutation(n_images).tolist()
    # Some images have no boxes.
    return coco(boxes, ["empty", *order], names), results(*rows)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_agrees_with_the_loop(protocol, seed):
    ground_truth, detections = random_case(seed, one_class=protocol not in SETTINGS)
    before = copy.deepcopy((ground_truth, detections))
    e = evaluate(ground_truth, detections, protocol)
    assert (ground_truth, detections) == before
    fppi, miss_rate, lamr = slow_evaluate(ground_truth, detections, protocol)
    np.testing.assert_allclose(e.fppi, fppi, rtol=0, atol=1e-12)
    np.testing.assert_allclose(e.miss_rate, miss_rate, rtol=0, atol=1e-12)
    assert e.lamr == pytest.approx(lamr, rel=0, abs=1e-12)
    np.testing.assert_allclose(REFERENCES, [10.0 ** (-2 + k / 4) for k in range(9)], rtol=1e-15)
    # The case is worth something: real and ignored boxes, hits, misses and absorbed detections.
    assert 10 < e.n_boxes < len(ground_truth["annotations"]) - 10
    assert 0 < e.miss_rate[-1] < 0.9
    assert 0 < len(e.fppi) < len(detections) + (protocol == "released")  # nothing is absorbed
    assert 0 < e.lamr < 1


def test_odd_input_is_named_not_taken():
    truth = {
        "images": [{"id": 1}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [10, 10, 20, 50]}],
    }
    hit = {"image_id": 1, "bbox": [10, 10, 20, 50], "score": 0.9}
    assert evaluate(truth, (d for d in [hit])).miss_rate.tolist() == [0.0]  # gone through once
    for detections in ({"image_id": 1}, "detections.json"):
        with pytest.raises(ValueError, match=r"detections\[0\] has no"):
            evaluate(truth, detections)
    with pytest.raises(ValueError, match="expected a COCO dict with lists of images and annot"):
        evaluate(truth | {"annotations": None}, [hit])
    marked = [truth["annotations"][0] | {"ignore": "0"}]
    with pytest.raises(ValueError, match=r"annotations\[0\]: ignore or iscrowd is '0'"):
        evaluate(truth | {"annotations": marked}, [hit])
    mixed = [truth["annotations"][0] | {"category_id": 1}]
    with pytest.raises(ValueError, match="one class at a time"):
        evaluate(truth | {"annotations": mixed}, [hit | {"category_id": "person"}])
