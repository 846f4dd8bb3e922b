"""Time of an evaluation: 4,024 images and 60,000 detections, against a plain Python loop.

    python benchmarks/evaluation.py

Made data of the size of Caltech's test set with a detector's files. Prints the best of a few runs
on one core: `evaluate` from COCO dicts under each protocol, its part that works on arrays, and the
loop, which has the same boxes in lists by image and so leaves the reading of the dicts out.
"""

import time

import numpy as np

from alkit import evaluation, protocols

IMAGES, BOXES, DETECTIONS = 4024, 9000, 60000
CLASSES = [{"id": i, "name": name} for i, name in enumerate(("person", "people", "person?"), 1)]


def made_data(seed=0) -> tuple[dict, list]:
    """A COCO dict and COCO results; a third of the detections are moved boxes."""
    rng = np.random.default_rng(seed)
    height = rng.lognormal(4.0, 0.5, BOXES)
    width = height * rng.normal(0.41, 0.05, BOXES)
    left, top = rng.uniform(0, 620, BOXES), rng.uniform(100, 250, BOXES)
    boxes = np.stack([left, top, width, height], axis=1)
    image = rng.integers(IMAGES, size=BOXES)
    visible = boxes.copy()
    visible[:, 3] *= rng.choice([1, 1, 0.7, 0.4], BOXES)
    category = rng.choice([1, 1, 1, 2, 3], size=BOXES)

    near = rng.integers(BOXES, size=DETECTIONS // 3)
    moved = boxes[near] + rng.normal(0, 4, (len(near), 4))
    far = rng.uniform([0, 100, 15, 40], [620, 250, 40, 100], (DETECTIONS - len(near), 4))
    found = np.concatenate([moved, far])
    found[:, 2:] = np.abs(found[:, 2:])
    found_image = np.concatenate([image[near], rng.integers(IMAGES, size=len(far))])
    score = np.concatenate([rng.normal(2, 1, len(near)), rng.normal(0, 1, len(far))])
    order = np.argsort(found_image, kind="stable")

    annotations = [
        {"id": i + 1, "image_id": int(image[i]) + 1, "category_id": int(category[i]),
         "bbox": boxes[i].tolist(), "area": float(width[i] * height[i]), "iscrowd": 0,
         "ignore": int(i % 5 == 0), "vis_bbox": visible[i].tolist()}
        for i in range(BOXES)
    ]  # fmt: skip
    detections = [
        {"image_id": int(found_image[i]) + 1, "category_id": 1, "bbox": found[i].tolist(),
         "score": float(score[i])}
        for i in order
    ]  # fmt: skip
    images = [{"id": i + 1} for i in range(IMAGES)]
    return {"images": images, "annotations": annotations, "categories": CLASSES}, detections


def one_class(truth: dict) -> dict:
    return truth | {"annotations": [a | {"category_id": 1} for a in truth["annotations"]]}


def by_image(truth: protocols.Truth, found: protocols.Found) -> tuple[list, list]:
    """Lists of (box, ignore) and of (box, score), for each image."""
    boxes, detections = ([[] for _ in range(IMAGES)] for _ in range(2))
    columns = truth.image.tolist(), truth.ltwh.tolist(), truth.ignore.tolist()
    for image, box, ignore in zip(*columns, strict=True):
        boxes[image].append((box, ignore))
    columns = found.image.tolist(), found.ltwh.tolist(), found.score.tolist()
    for image, box, score in zip(*columns, strict=True):
        detections[image].append((box, score))
    return boxes, detections


def plain_loop(boxes: list, detections: list) -> float:
    """The Caltech protocol box by box; the last miss rate."""
    pooled, n_boxes = [], 0
    for own, found in zip(boxes, detections, strict=True):
        real = [box for box, ignore in own if not ignore]
        ignored = [box for box, ignore in own if ignore]
        n_boxes += len(real)
        free = [True] * len(real)
        for d, score in sorted(found, key=lambda item: -item[1]):
            best, best_overlap = -1, 0.5
            for k, box in enumerate(real):
                if free[k]:
                    inside = intersection(d, box)
                    union = d[2] * d[3] + box[2] * box[3] - inside
                    if inside and inside / union >= best_overlap:
                        best, best_overlap = k, inside / union
            if best >= 0:
                free[best] = False
                pooled.append((score, True))
            elif not any(intersection(d, box) >= 0.5 * d[2] * d[3] for box in ignored):
                pooled.append((score, False))
    hits, false, curve = 0, 0, []
    for _, hit in sorted(pooled, key=lambda item: -item[0]):
        hits, false = hits + hit, false + (not hit)
        curve.append((false / IMAGES, 1 - hits / n_boxes))
    return curve[-1][1]


def intersection(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    if width <= 0:
        return 0
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return width * height if height > 0 else 0


def best(function, *arguments, runs=7) -> tuple[float, object]:
    """The shortest time in seconds, and the result."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        result = function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times), result


def main():
    truth, detections = made_data()
    single = one_class(truth)
    print(f"{IMAGES} images, {BOXES} boxes, {DETECTIONS} detections; milliseconds, best of 7")
    for name, rules in protocols.PROTOCOLS.items():
        ours = truth if rules.by_name else single
        seconds, result = best(evaluation.evaluate, ours, detections, name)
        print(f"{name:24} from dicts   {1000 * seconds:6.1f}   (lamr {result.lamr:.4f})")
    n_images, boxes, found = protocols.read(single, detections)
    rules = protocols.PROTOCOLS["caltech"]
    ours, result = best(evaluation.curve, n_images, boxes, found, rules)
    lists = by_image(boxes, found)
    loop, last = best(plain_loop, *lists, runs=3)
    if abs(last - result.miss_rate[-1]) > 1e-12:
        raise SystemExit(f"the loop ends at miss rate {last}, ours at {result.miss_rate[-1]}")
    print(f"{'caltech':24} from arrays  {1000 * ours:6.1f}")
    print(f"{'caltech':24} plain loop   {1000 * loop:6.1f}   ({loop / ours:.1f} times as long)")


if __name__ == "__main__":
    main()
