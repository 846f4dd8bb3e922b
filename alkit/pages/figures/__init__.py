"""What the notebooks show: a run and a cycle in, a static figure out.

The functions read no more than they show: frames are chosen from the tables that a step wrote, or
evenly over the data set, and the caption says which.
"""

from alkit.pages.figures.choice_and_labels import chosen_frames, label_counts, labels, selection
from alkit.pages.figures.results import curves, held_out, mistakes, rate
from alkit.pages.figures.training_and_scores import (
    detections,
    image_score_ladder,
    image_scores,
    predictions,
    score_maps,
    training,
)

__all__ = [
    "chosen_frames",
    "curves",
    "detections",
    "held_out",
    "image_score_ladder",
    "image_scores",
    "label_counts",
    "labels",
    "mistakes",
    "predictions",
    "rate",
    "score_maps",
    "selection",
    "training",
]
