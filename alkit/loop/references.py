"""Choices that are no methods: the frames to begin with, and those of who sees the hidden boxes."""

import numpy as np

from alkit.data.annotations import read
from alkit.evaluation import hits
from alkit.protocols import PROTOCOLS
from alkit.strategies import Strategy


def start(name, rng, start) -> np.ndarray:
    """The frames to begin with: so many drawn at random, or those of the names given."""
    if isinstance(start, int):
        return rng.random(len(name))
    order = {own: float(k) for k, own in enumerate(reversed(start))}
    return np.array([order.get(own, np.nan) for own in name])


def oracle_count(n, truth) -> np.ndarray:
    """How many real boxes each frame has in a COCO dict of the pool."""
    image = [a["image_id"] - 1 for a in truth["annotations"] if not a["ignore"]]
    return np.bincount(np.array(image, np.int64), minlength=n).astype(float)


def oracle_error(n, labeled, detections, truth) -> np.ndarray:
    """How many boxes of each frame Θ misses, and how many it finds that are none, from the score on
    at which it has FPPI 1 on all frames that are not labeled; NaN for those that are. Detections
    and boxes match as under the protocol "caltech"."""
    free = ~np.isin(np.arange(n), labeled)
    _, boxes, found = read(truth, [d for d in detections if free[d["image_id"] - 1]])
    order = np.lexsort((found.image, -found.score))
    detection, box, absorbed = hits(boxes, found, PROTOCOLS["caltech"], order)
    wrong, kept = ~absorbed, np.zeros(len(order), bool)
    wrong[detection] = False
    kept[order] = np.cumsum(wrong[order]) <= free.sum()  # FPPI 1
    missed = ~boxes.ignore
    missed[box[kept[detection]]] = False
    errors = np.bincount(np.r_[found.image[wrong & kept], boxes.image[missed]], minlength=n)
    return np.where(free, errors, np.nan)


START = Strategy(None, smoothing=False, rules=False, rank=start)
REFERENCES = {
    "oracle-count": Strategy(None, smoothing=False, rank=oracle_count),
    "oracle-error": Strategy(None, smoothing=False, rank=oracle_error),
}
