"""The decoder ceiling: what is missed when the ground truth's own target maps are decoded."""

from dataclasses import replace

import numpy as np
from tqdm import tqdm

from alkit import prediction
from alkit.boxes import at_cells, centered_iou, default_boxes, targets
from alkit.evaluation import evaluate
from alkit.frames import Boxes, FrameSet
from alkit.loop import labels
from alkit.profiles import Profile
from alkit.protocols import MIN_OVERLAP
from alkit.studies.survey import Survey
from alkit.text import evenly
from alkit.threads import in_threads

CERTAIN = 10.0  # the logit of a detector without doubt; from 17 on its probability rounds to 1
DECODED = 500  # frames of a data set that are decoded


def perfect_logits(boxes: Boxes, profile: Profile) -> dict:
    """The logits, as step 1 stores them, of a detector that says exactly what the targets of
    `boxes` say; where the targets leave it open, it says background."""
    maps = [
        np.where(label == 1, CERTAIN, -CERTAIN).astype(np.float16)[None]
        for label in at_cells(targets(boxes, profile), profile.half_pixel)
    ]
    return {prediction.COARSE: np.stack(maps[:4], axis=1), prediction.FINE: maps[4]}


def ceiling(frames: FrameSet, profile: Profile) -> float:
    """The miss rate at FPPI 1 that no detector with these targets goes below, under the protocol
    "caltech"; NaN without pedestrians. No image is read."""

    def detect(i):
        return prediction.detect(perfect_logits(frames.boxes[i], profile), i + 1, profile)

    style = {"desc": f"{frames.dataset}: decoding", "leave": False, "total": len(frames)}
    # one thread each: two that share a frame's small maps mostly wait for each other
    found = [d for own in tqdm(in_threads(detect, range(len(frames))), **style) for d in own]
    return evaluate(labels.to_coco(frames), found).miss_rate_at(1.0)


def causes(frames: FrameSet, profile: Profile) -> dict[str, float]:
    """Miss rates at FPPI 1, each of more causes.

    `shape`: pedestrians whose IoU with the best default box, exactly centered, is under 0.5.
    `alone`: the targets of each pedestrian, as if it were the only one, decoded: the stride of the
    maps, the patches and the place of a peak come on top. `together`: the targets of whole frames,
    the ceiling: neighbors clear each other's patches or share a peak. NaN without pedestrians.
    """
    each = [boxes.take([k]) for boxes in frames.boxes for k in np.flatnonzero(~boxes.ignore)]
    if not each:
        return dict.fromkeys(("shape", "alone", "together"), np.nan)
    names = list(map(str, range(len(each))))
    alone = replace(frames, name=names, boxes=each, sequence=None, frame=None)
    sizes = np.concatenate([boxes.ltwh[:, [3, 2]] for boxes in each])
    best = centered_iou(sizes, default_boxes(profile)).max(axis=1)
    return {
        "shape": float((best < MIN_OVERLAP).mean()),
        "alone": ceiling(alone, profile),
        "together": ceiling(frames, profile),
    }


def of_data_set(found: Survey, profile: Profile, most: int = DECODED) -> tuple | None:
    """The ceiling of a surveyed data set at the profile's height and under its filter, and the
    number of its frames that were decoded for it; None where the data has no boxes.

    Of a data set of more than `most` frames, these many are decoded, evenly chosen. Images are not
    read, except for their sizes where they differ.
    """
    if found.frames.boxes is None:
        return None
    entry, scale = found.entry.under(profile.box_filter), 1 / profile.scale
    if found.frames.image_size is not None:  # at its own aspect, as W_l's images are
        height, width = found.frames.image_size
        rows = profile.image_size[0]
        profile = profile.at((rows, round(width * rows / height)))
    frames = found.frames.take(evenly(len(found.frames), most)).resized(profile.image_size)
    return ceiling(entry.filtered(frames, scale), profile), len(frames)
