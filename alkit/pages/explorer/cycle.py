"""One cycle of a run as the explorer reads it: tables when it is opened, arrays frame by frame;
and why each frame was chosen or passed over."""

import contextlib
from dataclasses import dataclass
from functools import cached_property
from html import escape

import numpy as np
import pandas as pd

from alkit import prediction, text
from alkit.arrays import to_numpy
from alkit.frames import Boxes, FrameSet
from alkit.loop import labels
from alkit.loop.jsonfile import read_json
from alkit.loop.plugins import load_score
from alkit.loop.runs import Run, open_run
from alkit.loop.steps.step_4_select import timeline
from alkit.pages import matching
from alkit.profiles import Profile
from alkit.selection import Reason

HERE = {"scheduler": "synchronous"}  # one chunk is read sooner without Dask's threads
NEAREST = 6  # labeled frames that are named


class Unavailable(RuntimeError):
    """Something that this cycle does not have, in words for the page."""


@dataclass(frozen=True, eq=False)
class Cycle:
    """One cycle of a run whose frames are chosen. Everything is read when it is asked for."""

    run: Run
    number: int

    # --- tables: read once

    @cached_property
    def numbers(self) -> Profile:
        """The profile's numbers in this cycle."""
        return self.run.numbers(self.number)

    @cached_property
    def scored(self) -> bool:
        """Whether the strategy scores frames, and so predicts them."""
        return self.run.strategy.score is not None

    @cached_property
    def selection(self) -> dict:
        """What step 4 wrote."""
        return self.run.selection(self.number)

    @cached_property
    def pool(self) -> FrameSet:
        """The pool at the run's image size, with its boxes where it has any."""
        return self.run.frames("pool")

    @cached_property
    def labeled(self) -> dict:
        """The frames labeled before this cycle: position → the cycle."""
        return {
            image["position"]: k
            for k in range(1, self.number)
            for image in self.run.labels(k)["images"]
        }

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each pool frame: name, sequence, frame, z (NaN where labeled before),
        ranked_by, reason, order (1 for the frame chosen first, 0 for those not chosen), rank by
        `ranked_by` (1 for the highest, 0 for unranked)."""
        pool, n = self.pool, len(self.pool)
        z, order, rank = np.full(n, np.nan), np.zeros(n, int), np.zeros(n, int)
        if self.scored:
            scores = self.run.image_scores(self.number)
            z[scores["position"]] = scores["z"]
        for k, frame in enumerate(self.selection["chosen"], 1):
            order[frame["position"]] = k
        ranked, reason = np.array(self.selection["ranked_by"], float), self.selection["reason"]
        free = np.flatnonzero(~np.isnan(ranked) & (np.array(reason) != Reason.LABELED))
        rank[free[np.argsort(-ranked[free], kind="stable")]] = np.arange(1, len(free) + 1)
        return pd.DataFrame(
            {
                "name": list(map(str, pool.name)),
                "sequence": "" if pool.sequence is None else pool.sequence.astype(str),
                "frame": np.nan if pool.frame is None else pool.frame,
                "z": z,
                "ranked_by": ranked,
                "reason": reason,
                "order": order,
                "rank": rank,
            }
        )

    @cached_property
    def positions(self) -> np.ndarray:
        """The positions of this cycle's unlabeled frames, in the order of its stores."""
        return np.setdiff1d(np.arange(len(self.pool)), list(self.labeled))

    @cached_property
    def detections(self) -> dict:
        """The detections of each frame by position; None where nothing was predicted."""
        found = dict.fromkeys(range(len(self.pool)))
        if self.scored:
            found |= {position: [] for position in self.positions.tolist()}
            for d in self.run.detections(self.number, "pool"):
                found[d["image_id"] - 1].append(d)
        return found

    @cached_property
    def limit(self) -> float:
        """The score that gives the predicting detector FPPI 1 on the test set; 0 where there is no
        such score, or no evaluation yet."""
        try:
            return self.run.evaluation(self.number - 1)["score_at_1"] or 0.0
        except FileNotFoundError:
            return 0.0

    # --- arrays: frame by frame

    def _store(self, read):
        """A store of this cycle, by a method of `Run`."""
        if not self.scored:
            raise Unavailable(f"{self.run.strategy_name} needs no predictions: there are no maps")
        try:
            return read(self.number)
        except (FileNotFoundError, RuntimeError) as error:
            raise Unavailable(f"no maps: {error}") from None

    @cached_property
    def _logits(self):
        return self._store(self.run.logits)

    @cached_property
    def _scores(self):
        return self._store(self.run.scores)

    @cached_property
    def region_maxima(self) -> np.ndarray:
        """The highest score in each region of every frame of `positions` (frame, row, column)."""
        return self._store(self.run.region_maxima)

    @cached_property
    def highest(self) -> float | None:
        """The highest score of the cycle, for one scale of all its frames; None if unknown."""
        try:
            return float(np.max(self.region_maxima, initial=0)) or None
        except Unavailable:
            return None

    def _of_frame(self, store, position: int):
        """A store's part about one frame, in memory."""
        if position in self.labeled:
            cycle = self.labeled[position]
            raise Unavailable(f"labeled in cycle {cycle}: it is no longer predicted or scored")
        return store.isel(frame=int(np.searchsorted(self.positions, position))).load(**HERE)

    def logits(self, position: int) -> tuple:
        """The frame's logits, (view, level, y8, x8) and (view, y4, x4)."""
        part = self._of_frame(self._logits, position)
        return part[prediction.COARSE].values, part[prediction.FINE].values

    def probabilities(self, position: int) -> np.ndarray:
        """The frame's five probability maps float32 (level, y, x)."""
        return prediction.probabilities(*self.logits(position), self.numbers)

    def scores(self, position: int, radius: int | None = None) -> np.ndarray:
        """The frame's score map float32 (y, x) in nats: as stored, or by the strategy's score with
        another radius, from the stored logits."""
        if radius is None:
            return self._of_frame(self._scores, position).values
        if not self.logits_give_score:
            raise Unavailable("the stored logits do not give this strategy's score")
        score = load_score(self.run.strategy.score, self.run.experiment.plugins, radius)
        return to_numpy(prediction.pixel_scores(score, *self.logits(position), self.numbers))

    @property
    def logits_give_score(self) -> bool:
        """Whether the score can be computed again from the stored logits."""
        return self.run.strategy.score not in (None, "mutual_information")

    def boxes(self, position: int) -> Boxes | None:
        """The frame's boxes where they are known: what people said, where they label, else the
        data set's hidden ones."""
        if self.run.experiment.labels != "oracle" or self.pool.boxes is None:
            return self._given.get(position)
        return self.pool.boxes[position]

    @cached_property
    def _given(self) -> dict:
        """Boxes that people gave, by position: this cycle's, once they are complete, and those
        before it."""
        given = [self.run.labels(k) for k in range(1, self.number)]
        with contextlib.suppress(FileNotFoundError):
            given.append(self.run.labels(self.number))
        positions = [image["position"] for own in given for image in own["images"]]
        boxes = labels.labeled_frames(self.pool, given).boxes
        return dict(zip(positions, boxes, strict=True))

    def matched(self, position: int, limit: float) -> tuple:
        """The frame's detections of score ≥ `limit` and its boxes, as `matching.match` gives
        them."""
        own = {position: self.detections[position]}
        return matching.match(own, {position: self.boxes(position)}, limit)

    # --- why a frame was chosen or passed over

    def mark(self, position: int) -> str:
        """One or two words for a picture."""
        row = self.table.iloc[position]
        if row["order"]:
            return f"chosen {row['order']}."
        return {
            Reason.LABELED: "labeled before",
            Reason.UNSCORED: "not scored",
            Reason.EXCLUDED_NOW: "rule 1",
            Reason.EXCLUDED_LATER: "rule 2",
        }.get(row["reason"], "ranked below")

    def reason(self, position: int) -> str:
        """The whole reason, naming the frame that kept this one out."""
        row = self.table.iloc[position]
        chosen = self.table.index[self.table["order"] > 0].tolist()
        match row["reason"]:
            case Reason.CHOSEN:
                place = f"chosen {row['order']}. of {len(chosen)}"
                if row["order"] > len(chosen) - self.selection["relaxed"]:
                    return f"{place}, in a later pass, to fill the budget"
                what = "score" if self.scored else "random number"
                return f"{place}: the highest {what} that was left (rank {row['rank']})"
            case Reason.LABELED:
                return f"labeled in cycle {self.labeled[position]}"
            case Reason.UNSCORED:
                return "not scored"
            case Reason.EXCLUDED_NOW:
                other, distance = self._same_video(position, chosen)[0]
                rule, then = 1, f"chosen {self.table['order'].iloc[other]}."
            case Reason.EXCLUDED_LATER:
                # with `fill` the frames of this cycle count, too
                before = [*self.labeled, *(chosen if self.numbers.fill else [])]
                other, distance = self._same_video(position, before)[0]
                rule, then = 2, f"labeled in cycle {self.labeled.get(other, self.number)}"
            case _:
                budget = self.selection["budget"]
                return f"rank {row['rank']}: the budget of {budget} went to higher ones"
        return (
            f"rank {row['rank']}, passed over by rule {rule}: {frames(distance)} from "
            f"{self.table['name'].iloc[other]}, {then}"
        )

    def description(self, position: int, said: str) -> str:
        """What is known of a frame, as HTML; `said` is what could not be shown."""
        row = self.table.iloc[position]
        words = [f"<b>{escape(row['name'])}</b>"]
        if self.pool.sequence is not None:
            words.append(f"sequence {escape(row['sequence'])}, frame {row['frame']:g}")
        if np.isfinite(row["z"]):
            words.append(f"z {row['z']:.5f} nats")
        if self.scored and np.isfinite(row["ranked_by"]):
            words.append(f"ranked by {row['ranked_by']:.5f} nats")
        words.append(escape(self.reason(position)))
        if said:
            words.append(f"<i>{escape(said)}</i>")
        return " · ".join(words)

    def nearest_labeled(self, position: int) -> list:
        """The frames of the same video that were labeled before, nearest first: [(position,
        distance in frames)]; none for stills."""
        return self._same_video(position, list(self.labeled))[:NEAREST]

    def _same_video(self, position: int, others: list) -> list:
        sequence, frame = timeline(self.pool, self.numbers)
        if sequence is None:
            return []
        same = [p for p in others if sequence[p] == sequence[position]]
        near = [(p, float(abs(frame[p] - frame[position]))) for p in same]
        return sorted(near, key=lambda item: item[1])


def frames(distance: float) -> str:
    """A distance in words."""
    return f"{distance:g} frame{'' if distance == 1 else 's'}"


def cycles_of(run: Run) -> list:
    """The cycles of a run whose frames are chosen."""
    last = run.settings["cycles"]
    return [k for k in range(1, last + 1) if (run.cycle(k) / "4_select.json").exists()]


def runs_of(run: Run) -> dict:
    """The runs of an experiment that have chosen frames: "strategy, seed n" → Run."""
    settings = read_json(run.out / "experiment.json")
    found = {
        f"{name}, seed {seed}": Run(run.out / name / f"seed_{seed}")
        for name in settings["strategies"]
        for seed in settings["seeds"]
    }
    return {name: other for name, other in found.items() if cycles_of(other)}


def check(run: str, number: int) -> str:
    """The notebook's checked line: ranks 1 … n of the unlabeled frames, and a reason in words for
    frames of every kind; cycle 0 is the last."""
    opened = open_run(run)
    cycle = Cycle(opened, number or cycles_of(opened)[-1])
    ranked, unlabeled = cycle.table[cycle.table["rank"] > 0], cycle.positions
    each = cycle.table.groupby("reason").head(1).index
    problems = [f"no reason for {p}" for p in each if not cycle.reason(p)]
    if sorted(ranked["rank"]) != list(range(1, len(unlabeled) + 1)):
        problems.append(f"{len(ranked)} ranks for {len(unlabeled)} unlabeled frames")
    claim = "explorer: the frames that it ranks are the unlabeled ones"
    return text.sentence(f"{claim}, and it names a reason for each", problems)
