"""The decoder ceiling: what is missed when the ground truth's own target maps are decoded."""

import contextlib

import numpy as np
import torch

from alkit import prediction
from alkit.boxes import at_cells, centred_iou, default_boxes, targets
from alkit.evaluation import evaluate
from alkit.frames import Boxes, FrameSet
from alkit.loop import labels
from alkit.profiles import Profile
from alkit.protocols import MIN_OVERLAP

CERTAIN = 10.0  # the logit of a detector without doubt; from 17 on its probability rounds to 1


def perfect_logits(boxes: Boxes, profile: Profile) -> dict:
    """The logits, as step 1 stores them, of a detector that says exactly what the targets of
    `boxes` say; where the targets leave it open, it says background."""
    maps = [
        np.where(label == 1, CERTAIN, -CERTAIN).astype(np.float16)[None]
        for label in at_cells(targets(boxes, profile), profile.half_pixel)
    ]
    return {prediction.COARSE: np.stack(maps[:4], axis=1), prediction.FINE: maps[4]}


def ceiling(frames: FrameSet, profile: Profile, positions=lambda n, what: range(n)) -> dict:
    """Miss rates at FPPI 1 that no detector with these targets goes below, each of more causes.

    `shape`: pedestrians whose IoU with the best default box, exactly centred, is under 0.5.
    `alone`: the targets of each pedestrian, as if it were the only one, decoded: the stride of the
    maps, the patches and the place of a peak come on top. `together`: the targets of whole frames
    decoded, which is the ceiling: neighbours clear each other's patches or share a peak. All are
    NaN without pedestrians. `positions(n, what)` gives 0 … n − 1 and may draw a progress bar.
    """
    pedestrians, found_alone, found = [], [], []
    with one_thread():
        for i in positions(len(frames), f"{frames.dataset}: decoding"):
            boxes = frames.boxes[i]
            found += prediction.detect(perfect_logits(boxes, profile), i + 1, profile)
            for k in np.flatnonzero(~boxes.ignore):
                pedestrians.append(boxes.ltwh[k])
                logits = perfect_logits(boxes.take([k]), profile)
                found_alone += prediction.detect(logits, len(pedestrians), profile)
    if not pedestrians:
        return dict.fromkeys(("shape", "alone", "together"), np.nan)
    truth_alone = {  # an image for each pedestrian
        "images": [{"id": k + 1} for k in range(len(pedestrians))],
        "annotations": [
            {"image_id": k + 1, "category_id": 1, "bbox": ltwh.tolist()}
            for k, ltwh in enumerate(pedestrians)
        ],
    }
    sizes = np.array(pedestrians)[:, [3, 2]]
    best = centred_iou(sizes, default_boxes(profile)).max(axis=1)
    return {
        "shape": float((best < MIN_OVERLAP).mean()),
        "alone": evaluate(truth_alone, found_alone).miss_rate_at(1.0),
        "together": evaluate(labels.to_coco(frames), found).miss_rate_at(1.0),
    }


@contextlib.contextmanager
def one_thread():
    """PyTorch with one thread: the maps of a frame are so small that two, on a busy processor,
    mostly wait for each other, which takes twenty times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
