"""Which detections hit and which pedestrians were missed, in one frame or in all of a pool."""

import numpy as np
import pandas as pd

from alkit.evaluation import hits
from alkit.protocols import PROTOCOLS, Detections, GroundTruth

HIT, FALSE, ABSORBED = "hit", "false detection", "detection on a box to ignore"
UNKNOWN = "detection"  # where no boxes are known
FOUND, MISSED, IGNORED = "pedestrian found", "missed pedestrian", "box to ignore"  # labeled
UNSEEN = "labeled pedestrian"  # in a frame where nothing was predicted
COLORS = {  # bright enough for the night
    HIT: "#2bd99a",
    FALSE: "#ffb000",
    ABSORBED: "#bbbbbb",
    UNKNOWN: "#ffb000",
    FOUND: "#2bd99a",
    MISSED: "#ff2d60",
    IGNORED: "#ffffff",
    UNSEEN: "#56b4e9",
}
LTWH = ["left", "top", "width", "height"]


def match(detections: dict, labels: dict, limit: float) -> pd.DataFrame:
    """Detections of score ≥ `limit` and labeled boxes, matched by the Caltech protocol.

    `detections` maps positions to COCO results, or to None where nothing was predicted: no box was
    missed there. `labels` maps them to `alkit.frames.Boxes`, or to None where nobody has labeled
    the frame: its detections are neither hits nor false.

    A row for each detection, highest first, then one for each labeled box: left, top, width and
    height in pixels, the frame's position, the kind of those above, and the score, NaN for a
    labeled box.
    """
    kept = [(p, d) for p, own in detections.items() for d in own or () if d["score"] >= limit]
    kept.sort(key=lambda item: -item[1]["score"])
    found_at = np.array([p for p, _ in kept], np.int64)
    found = np.array([d["bbox"] for _, d in kept], float).reshape(-1, 4)
    score = np.array([d["score"] for _, d in kept], float)
    known = {p: own for p, own in labels.items() if own is not None}
    truth_at = np.repeat(list(known), [len(own) for own in known.values()]).astype(np.int64)
    truth = np.concatenate([np.zeros((0, 4)), *(own.ltwh for own in known.values())])
    ignore = np.concatenate([np.zeros(0, bool), *(own.ignore for own in known.values())])

    every = GroundTruth(truth_at, truth, ignore), Detections(found_at, found, score)
    detection, box, absorbed = hits(*every, PROTOCOLS["caltech"], np.arange(len(kept)))
    found_kind = np.where(absorbed, ABSORBED, FALSE).astype(object)
    found_kind[detection] = HIT
    found_kind[~np.isin(found_at, list(known))] = UNKNOWN
    truth_kind = np.where(ignore, IGNORED, MISSED).astype(object)
    unseen = [position for position, own in detections.items() if own is None]
    truth_kind[np.isin(truth_at, unseen) & ~ignore] = UNSEEN
    truth_kind[box] = FOUND
    return pd.DataFrame(np.concatenate([found, truth]), columns=LTWH).assign(
        position=np.append(found_at, truth_at),
        kind=np.append(found_kind, truth_kind),
        score=np.append(score, np.full(len(truth), np.nan)),
    )


def by_image(found: list) -> dict:
    """COCO results by the position of their image."""
    groups = {}
    for d in found:
        groups.setdefault(d["image_id"] - 1, []).append(d)
    return groups
