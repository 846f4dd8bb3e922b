"""What is to be labeled in a cycle: its chosen frames, at their own size, with proposals."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

from alkit.frames import FrameSet, fit_factor
from alkit.loop.runs import Run

IGNORE = "ignore"  # the class of a box that is neither a pedestrian nor background


@dataclass(frozen=True)
class Task:
    """The chosen frames of one cycle of a run, in the order chosen. People label images at the data
    set's own size; boxes here are [left, top, width, height] in those native pixels."""

    run: Run
    cycle: int

    @cached_property
    def chosen(self) -> list:
        """The records of the chosen frames: position, name, z, ranked_by, …"""
        return self.run.selection(self.cycle)["chosen"]

    @cached_property
    def positions(self) -> list:
        """Their positions in the pool."""
        return [frame["position"] for frame in self.chosen]

    @cached_property
    def names(self) -> dict:
        """Their names by position: what answers are answers to."""
        return {frame["position"]: str(frame["name"]) for frame in self.chosen}

    @cached_property
    def frames(self) -> FrameSet:
        """The whole pool at native pixels, without boxes; ValueError if a chosen frame moved."""
        entry = self.run.entry("pool")
        found = entry.open_unfiltered(**self.run.data_arguments(entry.name)).unlabeled()
        for position, name in self.names.items():
            if position >= len(found) or str(found.name[position]) != name:
                raise ValueError(
                    f"{self.run.folder}, cycle {self.cycle}: {name!r} is not where it was in "
                    f"{entry.name} when it was chosen. `alkit run --redo` chooses anew, with what "
                    "people answered"
                )
        return found

    @cached_property
    def classes(self) -> tuple:
        """The class names of boxes: those of the pool's filter, and `IGNORE`."""
        rule = self.run.entry("pool").filter
        return tuple(dict.fromkeys((*rule.classes, *rule.ignore_classes, IGNORE)))

    @cached_property
    def sizes(self) -> dict:
        """(height, width) of each chosen frame in native pixels; where the images of a data set
        differ in size, only the image itself tells."""
        one = self.frames.image_size
        return {p: tuple(one or self.frames.images(p).shape[:2]) for p in self.positions}

    @cached_property
    def pixels(self) -> Callable:
        """A digest of a frame's native pixels, by position; an image is read once."""
        return cache(lambda p: hashlib.sha256(self.frames.images(p).tobytes()).hexdigest())

    def factor(self, position: int) -> float:
        """The factor from a frame's native pixels to those of the run."""
        return fit_factor(self.sizes[position], self.run.image_size("pool"))

    @cached_property
    def proposals(self) -> dict:
        """The detector's boxes by position, highest score first: {"bbox", "label", "score"}. Those
        from `score_limit`; none for a strategy that predicts nothing."""
        found = {position: [] for position in self.positions}
        if not self.run.chooser(self.cycle).predicts:
            return found
        limit = score_limit(self.run, self.cycle - 1)
        detections = [] if limit is None else self.run.detections(self.cycle, "pool")
        for d in sorted(detections, key=lambda d: -d["score"]):
            position = d["image_id"] - 1
            if position in found and d["score"] >= limit:
                bbox = inside([v / self.factor(position) for v in d["bbox"]], self.sizes[position])
                if min(bbox[2:]) > 0:
                    box = {"bbox": bbox, "label": self.classes[0], "score": d["score"]}
                    found[position].append(box)
        return found


def task(run: Run, cycle: int) -> Task:
    """The task of a cycle whose frames are chosen. Raises FileNotFoundError before step 4."""
    found = Task(run, cycle)
    _ = found.chosen
    return found


def score_limit(run: Run, cycle: int) -> float | None:
    """The score from which on the detector of a cycle has FPPI 1 on the test set; without a test
    set what W_l has on the data set `held_out`, and without that 0.5. None: no score has it."""
    if run.experiment.test:
        return run.evaluation(cycle)["score_at_1"]
    return run.held_out().get("score_at_1", 0.5)


def inside(bbox, size: tuple[int, int]) -> list:
    """The part of a box that lies in an image of `size` (height, width), to a hundredth pixel."""
    left, top = max(0.0, bbox[0]), max(0.0, bbox[1])
    right = min(float(size[1]), bbox[0] + bbox[2])
    bottom = min(float(size[0]), bbox[1] + bbox[3])
    return [round(v, 2) for v in (left, top, right - left, bottom - top)]
