"""Average precision (AP) in the manner of COCO, computed by pycocotools."""

import contextlib
import io
import math

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from alkit.protocols import Found, Truth, area_of, read


def average_precision(ground_truth: dict, detections: list[dict]) -> dict[str, float]:
    """{"ap": AP at IoU 0.5:0.95, "ap50": AP at IoU 0.5}, both in [0, 1].

    `ground_truth` is a COCO dict and `detections` a list of COCO results, of one class; neither is
    changed. COCO's rules: precision at 101 recalls, made monotone; "ap" is the mean over the ten
    thresholds 0.50, 0.55, …, 0.95; the 100 detections of highest score of each image count.
    Annotations with "ignore": 1 or "iscrowd": 1 are crowds: one absorbs any number of detections,
    by intersection / detection area, which then count neither way. (pycocotools by itself would
    take "ignore": 1 for a real box.) Equal scores keep the order of the images and of the file.

    No detections: 0. No real boxes: NaN. Raises ValueError as `alkit.evaluation.evaluate` does.
    """
    n_images, truth, found = read(ground_truth, detections)
    if truth.ignore.all():
        return {"ap": math.nan, "ap50": math.nan}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco = COCOeval(_boxes(n_images, truth), _detections(n_images, found), "bbox")
        coco.params.areaRng, coco.params.areaRngLbl = coco.params.areaRng[:1], ["all"]
        coco.params.maxDets = coco.params.maxDets[-1:]
        coco.evaluate()
        coco.accumulate()
    precision = coco.eval["precision"][:, :, 0, 0, 0]  # (threshold, recall)
    return {"ap": float(np.mean(precision)), "ap50": float(np.mean(precision[0]))}


def _boxes(n_images, truth: Truth) -> COCO:
    rows = [{"iscrowd": int(ignore)} for ignore in truth.ignore]
    return _coco(n_images, truth.image, truth.ltwh, rows)


def _detections(n_images, found: Found) -> COCO:
    rows = [{"score": score, "iscrowd": 0} for score in found.score.tolist()]
    return _coco(n_images, found.image, found.ltwh, rows)


def _coco(n_images, image, ltwh, rows) -> COCO:
    """The rows with boxes, as pycocotools wants them. All ids are our own, from 1: it would sort
    the images by their ids, which may be text, and take an annotation of id 0 for no match."""
    columns = image.tolist(), ltwh.tolist(), area_of(ltwh).tolist()
    for i, (row, image_, box, area) in enumerate(zip(rows, *columns, strict=True)):
        row |= {"id": i + 1, "image_id": image_ + 1, "category_id": 1, "bbox": box, "area": area}
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i + 1} for i in range(n_images)],
        "annotations": rows,
        "categories": [{"id": 1}],
    }
    coco.createIndex()
    return coco
