"""One cycle of a run as the explorer reads it: tables when it is opened, arrays frame by frame."""

import threading
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from alkit import prediction
from alkit.arrays import to_numpy
from alkit.frames import Boxes, FrameSet
from alkit.loop.jsonfile import read_json
from alkit.loop.plugins import load_score
from alkit.loop.runs import Run
from alkit.selection import Reason

HERE = {"scheduler": "synchronous"}  # one chunk is read sooner without Dask's threads


class NotThere(RuntimeError):
    """Something that this cycle does not have, in words for the page."""


@dataclass(frozen=True, eq=False)
class Opened:
    """One cycle of a run, opened to look at. Everything else is read when it is asked for."""

    run: Run
    cycle: int

    # tables: read once

    @cached_property
    def selection(self) -> dict:
        """What step 4 wrote. Raises NotThere before it has run."""
        try:
            return self.run.selection(self.cycle)
        except FileNotFoundError as error:
            raise NotThere(f"no frames are chosen in this cycle yet: {error}") from None

    @cached_property
    def pool(self) -> FrameSet:
        """The pool at the run's image size, with its boxes where it has any."""
        return self.run.frames("pool")

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each pool frame: name, sequence, frame, z (NaN where labelled before),
        ranked_by, reason, order (1 for the frame chosen first, 0 for those not chosen)."""
        pool, n = self.pool, len(self.pool)
        z, order = np.full(n, np.nan), np.zeros(n, int)
        if self.run.strategy.score is not None:
            scores = self.run.image_scores(self.cycle)
            z[scores["position"]] = scores["z"]
        for k, frame in enumerate(self.selection["chosen"], 1):
            order[frame["position"]] = k
        ranked = [np.nan if v is None else v for v in self.selection["ranked_by"]]
        return pd.DataFrame(
            {
                "name": list(map(str, pool.name)),
                "sequence": "" if pool.sequence is None else pool.sequence.astype(str),
                "frame": np.nan if pool.frame is None else pool.frame,
                "z": z,
                "ranked_by": np.array(ranked, float),
                "reason": self.selection["reason"],
                "order": order,
            }
        )

    @cached_property
    def labelled(self) -> dict:
        """The frames labelled before this cycle: position → the cycle."""
        return {
            image["position"]: k
            for k in range(1, self.cycle)
            for image in self.run.labels(k)["images"]
        }

    @cached_property
    def detections(self) -> dict:
        """All detections of the pool's frames, by position; empty where nothing was predicted."""
        if self.run.strategy.score is None:
            return {}
        found = {}
        for d in self.run.detections(self.cycle, "pool"):
            found.setdefault(d["image_id"] - 1, []).append(d)
        return found

    def detections_of(self, position: int) -> list | None:
        """The detections of one frame: those of step 1, decoded from its logits again where the
        file of all of them has not been read; None where nothing was predicted."""
        if self.run.strategy.score is None or self.row[position] < 0:
            return None
        if "detections" not in self.__dict__:
            try:
                maps = zip((prediction.COARSE, prediction.FINE), self.logits(position), strict=True)
            except NotThere:
                return self.detections.get(position, [])
            return prediction.detect(dict(maps), position + 1, self.run.numbers(self.cycle))
        return self.detections.get(position, [])

    def all_detections(self) -> dict:
        """`detections_of` all frames, by position."""
        scored = self.run.strategy.score is not None
        return {
            position: self.detections.get(position, []) if scored and row >= 0 else None
            for position, row in enumerate(self.row.tolist())
        }

    @cached_property
    def limit(self) -> float:
        """The score that gives the predicting detector FPPI 1 on the test set; 0 where there is no
        such score, or no evaluation yet."""
        try:
            return self.run.evaluation(self.cycle - 1)["score_at_1"] or 0.0
        except FileNotFoundError:
            return 0.0

    @cached_property
    def rank(self) -> np.ndarray:
        """The rank of every frame by what step 4 ranked by: 1 for the highest, 0 for unranked."""
        values = self.table["ranked_by"].to_numpy()
        free = np.flatnonzero(~np.isnan(values) & (self.table["reason"] != Reason.LABELED))
        rank = np.zeros(len(values), int)
        rank[free[np.argsort(-values[free], kind="stable")]] = np.arange(1, len(free) + 1)
        return rank

    # arrays: frame by frame

    @cached_property
    def row(self) -> np.ndarray:
        """The place of each position in this cycle's stores; −1 for frames labelled before."""
        row = np.full(len(self.pool), -1)
        left = np.setdiff1d(np.arange(len(self.pool)), list(self.labelled))
        row[left] = np.arange(len(left))
        return row

    @cached_property
    def _logits(self):
        return self._store(self.run.logits)

    @cached_property
    def _scores(self):
        return self._store(self.run.scores)

    def _store(self, opened):
        """A store of this cycle. Raises NotThere with the reason where it is not there, or not
        whole."""
        if self.run.strategy.score is None:
            raise NotThere(f"{self.run.strategy_name} needs no predictions: there are no maps")
        try:
            return opened(self.cycle)
        except (FileNotFoundError, RuntimeError) as error:
            raise NotThere(f"no maps: {error}") from None

    def _row(self, position: int) -> int:
        if self.row[position] < 0:
            cycle = self.labelled[position]
            raise NotThere(f"labelled in cycle {cycle}: it is no longer predicted or scored")
        return int(self.row[position])

    def image(self, position: int) -> np.ndarray:
        """The frame's image uint8 (y, x, 3)."""
        return self.pool.images(position)

    @cached_property
    def _recent(self) -> dict:
        """The frame whose logits were read last, which detections and maps both want."""
        return {}

    def logits(self, position: int) -> tuple:
        """The frame's logits, (view, level, y8, x8) and (view, y4, x4). Raises NotThere."""
        found = self._recent.get(position)
        if found is None:
            part = self._logits.isel(frame=self._row(position)).load(**HERE)
            found = part[prediction.COARSE].values, part[prediction.FINE].values
            self._recent.clear()
            self._recent[position] = found
        return found

    def probabilities(self, position: int) -> np.ndarray:
        """The frame's five probability maps float32 (level, y, x). Raises NotThere."""
        return prediction.probabilities(*self.logits(position), self.run.numbers(self.cycle))

    def scores(self, position: int) -> np.ndarray:
        """The frame's stored score map float32 (y, x) in nats. Raises NotThere."""
        return self._scores.isel(frame=self._row(position)).load(**HERE).values

    @property
    def logits_give_score(self) -> bool:
        """Whether the score can be computed again from the stored logits."""
        return self.run.strategy.score not in (None, "mutual_information")

    def scores_again(self, position: int, radius: int) -> np.ndarray:
        """The score map by the strategy's score with another radius, from the stored logits."""
        if not self.logits_give_score:
            raise NotThere("the stored logits do not give this strategy's score")
        numbers = self.run.numbers(self.cycle)
        score = load_score(self.run.strategy.score, self.run.experiment.plugins, radius)
        return to_numpy(prediction.pixel_scores(score, *self.logits(position), numbers))

    def truth(self, position: int) -> Boxes | None:
        """The frame's boxes where they are known: what people said, where they label, else the
        data set's hidden ones."""
        if self.run.experiment.labels != "oracle" or self.pool.boxes is None:
            return self._given.get(position)
        return self.pool.boxes[position]

    @cached_property
    def _given(self) -> dict:
        """Boxes that people gave, by position: this cycle's and those before it."""
        from alkit.loop import labels

        found = {}
        for cycle in range(1, self.cycle + 1):
            try:
                given = self.run.labels(cycle)
            except FileNotFoundError:
                continue
            frames = labels.labeled_frames(self.pool, [given])
            positions = [image["position"] for image in given["images"]]
            found |= dict(zip(positions, frames.boxes, strict=True))
        return found

    @cached_property
    def region_maxima(self) -> np.ndarray:
        """The highest score in each region of every frame of the stores (frame, row, column)."""
        return self._store(self.run.region_maxima)

    @cached_property
    def highest(self) -> float | None:
        """The highest score of the cycle, for one scale of all its frames; None if unknown."""
        try:
            return float(np.max(self.region_maxima, initial=0)) or None
        except NotThere:
            return None


class AllBoxes:
    """The labelled boxes of all frames of a pool, read by a thread; `error` is what stopped it."""

    def __init__(self, opened: Opened):
        self.boxes, self.total, self.finished = {}, len(opened.pool), False
        self.error, self._opened, self._stopped = "", opened, threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for position in range(self.total):
                if self._stopped.is_set():
                    return
                self.boxes[position] = self._opened.truth(position)
        except Exception as error:  # the page shows it
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self.finished = True

    def stop(self):
        """Read no more."""
        self._stopped.set()

    @property
    def done(self) -> int:
        """Frames whose boxes are read."""
        return len(self.boxes)

    def counts(self) -> np.ndarray | None:
        """Pedestrians in each frame (n,); None where no frame's boxes are known."""
        if self.done < self.total or all(own is None for own in self.boxes.values()):
            return None
        known = self.boxes.values()
        return np.array([0 if own is None else int((~own.ignore).sum()) for own in known])


def cycles_of(run: Run) -> list:
    """The cycles of a run whose frames are chosen."""
    last = run.settings["cycles"]
    return [k for k in range(1, last + 1) if (run.cycle(k) / "4_select.json").exists()]


def runs_of(run: Run) -> dict:
    """The runs of an experiment that have chosen frames: "strategy, seed n" → Run."""
    settings = read_json(run.out / "experiment.json")
    found = {}
    for name in settings["strategies"]:
        for seed in settings["seeds"]:
            other = Run(run.out / name / f"seed_{seed}")
            if cycles_of(other):
                found[f"{name}, seed {seed}"] = other
    return found
