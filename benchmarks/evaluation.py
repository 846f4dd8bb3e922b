"""An evaluation of 4,024 images and 60,000 detections, against a plain Python loop.

Made data of the size of Caltech's test set with a detector's files: matching and curve from
arrays. The loop has the same boxes in lists by image. The times of `evaluate` from COCO dicts under
each protocol are in the details.
"""

import numpy as np

from alkit import evaluation, protocols
from alkit.data import annotations
from benchmarks.measuring import Options, Row, faster, interleaved, rounded

CLASSES = [{"id": i, "name": name} for i, name in enumerate(("person", "people", "person?"), 1)]


def made_data(n_images: int, n: int, n_found: int, seed=0) -> tuple[dict, list]:
    """A COCO dict and COCO results; a third of the detections are moved boxes."""
    rng = np.random.default_rng(seed)
    height = rng.lognormal(4.0, 0.5, n)
    width = height * rng.normal(0.41, 0.05, n)
    left, top = rng.uniform(0, 620, n), rng.uniform(100, 250, n)
    boxes = np.stack([left, top, width, height], axis=1)
    image = rng.integers(n_images, size=n)
    visible = boxes.copy()
    visible[:, 3] *= rng.choice([1, 1, 0.7, 0.4], n)
    category = rng.choice([1, 1, 1, 2, 3], size=n)

    near = rng.integers(n, size=n_found // 3)
    moved = boxes[near] + rng.normal(0, 4, (len(near), 4))
    far = rng.uniform([0, 100, 15, 40], [620, 250, 40, 100], (n_found - len(near), 4))
    found = np.concatenate([moved, far])
    found[:, 2:] = np.abs(found[:, 2:])
    found_image = np.concatenate([image[near], rng.integers(n_images, size=len(far))])
    score = np.concatenate([rng.normal(2, 1, len(near)), rng.normal(0, 1, len(far))])
    order = np.argsort(found_image, kind="stable")

    annotations = [
        {
            "id": i + 1,
            "image_id": int(image[i]) + 1,
            "category_id": int(category[i]),
            "bbox": boxes[i].tolist(),
            "area": float(width[i] * height[i]),
            "iscrowd": 0,
            "ignore": int(i % 5 == 0),
            "vis_bbox": visible[i].tolist(),
        }
        for i in range(n)
    ]
    detections = [
        {
            "image_id": int(found_image[i]) + 1,
            "category_id": 1,
            "bbox": found[i].tolist(),
            "score": float(score[i]),
        }
        for i in order
    ]
    images = [{"id": i + 1} for i in range(n_images)]
    return {"images": images, "annotations": annotations, "categories": CLASSES}, detections


def one_class(truth: dict) -> dict:
    return truth | {"annotations": [a | {"category_id": 1} for a in truth["annotations"]]}


def by_image(
    n_images: int, truth: protocols.GroundTruth, found: protocols.Detections
) -> tuple[list, list]:
    """Lists of (box, ignore) and of (box, score), for each image."""
    boxes, detections = ([[] for _ in range(n_images)] for _ in range(2))
    columns = truth.image.tolist(), truth.ltwh.tolist(), truth.ignore.tolist()
    for image, box, ignore in zip(*columns, strict=True):
        boxes[image].append((box, ignore))
    columns = found.image.tolist(), found.ltwh.tolist(), found.score.tolist()
    for image, box, score in zip(*columns, strict=True):
        detections[image].append((box, score))
    return boxes, detections


def plain_loop(boxes: list, detections: list) -> list:
    """The Caltech protocol box by box: (FPPI, miss rate) of each counted detection."""
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
        curve.append((false / len(boxes), 1 - hits / n_boxes))
    return curve


def intersection(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    if width <= 0:
        return 0
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return width * height if height > 0 else 0


def rows(options: Options) -> list[Row]:
    n, detections = options.pick((4024, 60_000), (40, 600))
    truth, results = made_data(n, options.pick(9000, 90), detections)
    single = one_class(truth)
    _, boxes, found = annotations.read(single, results)
    lists = by_image(n, boxes, found)
    rules = protocols.PROTOCOLS["caltech"]
    own, loop = evaluation.curve(n, boxes, found, rules), np.array(plain_loop(*lists))
    difference = float(np.abs(np.column_stack([own.fppi, own.miss_rate]) - loop).max())
    if difference > 1e-9:
        raise RuntimeError(f"the curve differs from the loop's by {difference}")
    calls = {
        "ours": lambda: evaluation.curve(n, boxes, found, rules),
        "loop": lambda: plain_loop(*lists),
    }
    for name, protocol in protocols.PROTOCOLS.items():
        given = truth if protocol.by_name else single
        calls[name] = lambda name=name, given=given: evaluation.evaluate(given, results, name)
    taken = interleaved(calls, options.pick(7, 1))
    dicts = {f"{name}_from_dicts_ms": rounded(taken[name], 1e3) for name in protocols.PROTOCOLS}
    return [
        faster(
            "evaluation.curve",
            f"evaluation of {n:,} images, {detections:,} detections, from arrays",
            taken["ours"],
            "a plain Python loop",
            taken["loop"],
            10,
            details=dicts | {"largest_difference": difference},
        )
    ]
