"""One cycle of a run as the explorer reads it: tables when it is opened, arrays frame by frame;
and why each frame was chosen or passed over."""

import contextlib
from functools import cache, cached_property
from html import escape

import numpy as np
import pandas as pd

from alkit import prediction
from alkit.aggregation import image_score
from alkit.arrays import to_numpy
from alkit.frames import Boxes
from alkit.loop import labels
from alkit.loop.plugins import load_score
from alkit.loop.runs import Run
from alkit.loop.steps.step_1_predict import positions_to_score
from alkit.loop.task import score_limit
from alkit.pages import matching
from alkit.selection import Reason
from alkit.strategies import timeline
from alkit.text import number

HERE = {"scheduler": "synchronous"}  # one chunk is read sooner without Dask's threads


class Unavailable(RuntimeError):
    """Something that this cycle does not have, in words for the page."""


class Cycle:
    """One cycle of a run whose frames are chosen.

    `numbers` are the profile's in this cycle, `selection` is what step 4 wrote, `pool` the frames
    with their boxes where they have any. `chosen` are the positions of the frames chosen, in order;
    `labeled` the frames labeled before, position → cycle; `positions` all but those (n,), in the
    order of the stores. `strategy` is what chose, `scored` says whether by a score of pixels;
    `logits_give_score` whether the stored logits give its score again.

    `table` has a row for each pool frame: name, sequence, frame, z (NaN where labeled before),
    ranked_by, reason, order (1 for the frame chosen first, 0 for those not chosen), rank by
    `ranked_by` (1 for the highest, 0 for unranked).
    """

    def __init__(self, run: Run, number: int):
        self.run, self.number = run, number
        self._open = cache(lambda name: getattr(run, name)(number))
        self.numbers, self.selection = run.numbers(number), run.selection(number)
        self.strategy = run.chooser(number)
        self.scored = self.strategy.score is not None
        self.logits_give_score = self.scored and self.strategy.score != "mutual_information"
        self._given = {k: run.labels(k) for k in range(1, number)}
        self.labeled = {i["position"]: k for k, own in self._given.items() for i in own["images"]}
        pool = self.pool = run.frames("pool")
        self.positions = np.setdiff1d(np.arange(len(pool)), list(self.labeled))
        self.chosen = [frame["position"] for frame in self.selection["chosen"]]

        z = run.image_scores(number).set_index("position")["z"] if self.scored else np.nan
        table = self.table = pd.DataFrame(
            {
                "name": list(map(str, pool.name)),
                "sequence": "" if pool.sequence is None else pool.sequence.astype(str),
                "frame": np.nan if pool.frame is None else pool.frame,
                "z": z,
                "ranked_by": np.array(self.selection["ranked_by"], float),
                "reason": self.selection["reason"],
                "order": 0,
            },
            index=range(len(pool)),
        )
        table.loc[self.chosen, "order"] = np.arange(1, len(self.chosen) + 1)
        free = table["ranked_by"].where(table["reason"] != Reason.LABELED)
        table["rank"] = free.rank(method="first", ascending=False).fillna(0).astype(int)

    @property
    def tried(self) -> tuple[int, int, int, int]:
        """The run's own numbers that others can be tried for: radius and region in pixels, rule 1
        and rule 2 in frames."""
        n = self.numbers
        rules = int(np.max(n.exclude_now)), int(np.max(n.exclude_later))
        return n.pixels(n.radius), n.pixels(n.region), *rules

    @property
    def fixed(self) -> dict:
        """Those of these numbers by name that others cannot be tried for, each with why."""
        why = {}
        if not self.logits_give_score:
            why["radius"] = why["region"] = "Radius and region are fixed: no stored logits give z."
        if not self.strategy.rules or self.pool.sequence is None:
            why["now"] = why["later"] = "The rules are fixed: the strategy or the stills have none."
        return why

    # --- boxes

    @cached_property
    def detections(self) -> dict:
        """The detections of each frame by position; None where nothing was predicted."""
        found = dict.fromkeys(range(len(self.pool)))
        if self.strategy.predicts:
            found |= {position: [] for position in self.positions.tolist()}
            found |= matching.by_image(self.run.detections(self.number, "pool"))
        return found

    @cached_property
    def limit(self) -> float:
        """The `score_limit` of the predicting detector; 0 where there is none, or not yet."""
        try:
            return score_limit(self.run, self.number - 1) or 0.0
        except FileNotFoundError:
            return 0.0

    def boxes(self, position: int) -> Boxes | None:
        """The frame's boxes where they are known: what people said, where they label, else the
        data set's hidden ones."""
        if self.run.experiment.labels != "oracle" or self.pool.boxes is None:
            return self._by_people.get(position)
        return self.pool.boxes[position]

    @cached_property
    def _by_people(self) -> dict:
        """Boxes that people gave, by position: this cycle's, once they are complete, and those
        before it."""
        given = list(self._given.values())
        with contextlib.suppress(FileNotFoundError):
            given.append(self.run.labels(self.number))
        positions = [image["position"] for own in given for image in own["images"]]
        boxes = labels.labeled_frames(self.pool, given).boxes
        return dict(zip(positions, boxes, strict=True))

    def matched(self, position: int, limit: float) -> pd.DataFrame:
        """The frame's detections of score ≥ `limit` and its boxes, as `matching.match` gives
        them."""
        own = {position: self.detections[position]}
        return matching.match(own, {position: self.boxes(position)}, limit)

    # --- arrays

    def _store(self, name: str):
        """What the method of `Run` of that name reads."""
        if not self.scored and not (name == "logits" and self.strategy.predicts):
            lack = "score of pixels" if self.strategy.predicts else "predictions"
            name = self.run.chooser_name(self.number)
            raise Unavailable(f"{name} needs no {lack}: there are no maps")
        try:
            return self._open(name)
        except (FileNotFoundError, RuntimeError) as error:
            raise Unavailable(f"no maps: {error}") from None

    def _of_frame(self, name: str, position: int):
        """A store's part about one frame, in memory."""
        if position in self.labeled:
            cycle = self.labeled[position]
            raise Unavailable(f"labeled in cycle {cycle}: it is no longer predicted or scored")
        k = int(np.searchsorted(positions_to_score(self.run, self.number), position))
        return self._store(name).isel(frame=k).load(**HERE)

    @property
    def region_maxima(self) -> np.ndarray:
        """The highest score in each region of every frame of `positions` (frame, row, column)."""
        return self._store("region_maxima")

    @cached_property
    def highest(self) -> float | None:
        """The highest score of the cycle, for one scale of all its frames; None if unknown."""
        try:
            return float(np.max(self.region_maxima, initial=0)) or None
        except Unavailable:
            return None

    def _logits(self, position: int) -> tuple:
        part = self._of_frame("logits", position)
        return part[prediction.COARSE].values, part[prediction.FINE].values

    def probabilities(self, position: int) -> np.ndarray:
        """The frame's five probability maps float32 (level, y, x)."""
        return prediction.probabilities(*self._logits(position), self.numbers)

    def scores(self, position: int, radius: int | None = None) -> np.ndarray:
        """The frame's score map float32 (y, x) in nats: as stored, or by the strategy's score with
        another radius, from the stored logits."""
        if radius is None:
            return self._of_frame("scores", position).values
        if not self.logits_give_score:
            raise Unavailable(self.fixed["radius"])
        score = load_score(self.run.strategy.score, self.run.experiment.plugins, radius)
        return to_numpy(prediction.pixel_scores(score, *self._logits(position), self.numbers))

    def image_score(self, position: int, radius: int, region: int) -> float:
        """z of one frame with another radius and region, in pixels."""
        how, grid = self.run.aggregation(self.number), self.numbers.region_grid
        return float(image_score(self.scores(position, radius), region, how=how, grid=grid))

    # --- why a frame was chosen or passed over

    def reason(self, position: int) -> str:
        """The whole reason, naming the frame that kept this one out."""
        row = self.table.loc[position]
        match row["reason"]:
            case Reason.CHOSEN:
                place = f"chosen {row['order']}. of {len(self.chosen)}"
                if row["order"] > len(self.chosen) - self.selection["relaxed"]:
                    return f"{place}, in a later pass, to fill the budget"
                what = "score" if self.scored else "number"
                return f"{place}: the highest {what} that was left (rank {row['rank']})"
            case Reason.LABELED:
                return f"labeled in cycle {self.labeled[position]}"
            case Reason.UNSCORED:
                return "not scored"
            case Reason.EXCLUDED_NOW | Reason.EXCLUDED_LATER if self.pool.sequence is None:
                return f"rank {row['rank']}, passed over: the same image was chosen before"
            case Reason.EXCLUDED_NOW:
                other, distance = self.near(position, self.chosen)[0]
                rule, then = 1, f"chosen {self.table['order'][other]}."
            case Reason.EXCLUDED_LATER:
                # with `fill` the frames of this cycle count, too
                before = [*self.labeled, *(self.chosen if self.numbers.fill else [])]
                other, distance = self.near(position, before)[0]
                rule, then = 2, f"labeled in cycle {self.labeled.get(other, self.number)}"
            case _:
                budget = self.selection["budget"]
                return f"rank {row['rank']}: the budget of {budget} went to higher ones"
        near = f"{frames(distance)} from {self.table['name'][other]}, {then}"
        return f"rank {row['rank']}, passed over by rule {rule}: {near}"

    def description(self, position: int, said: str) -> str:
        """What is known of a frame, as HTML; `said` is what could not be shown."""
        row = self.table.loc[position]
        words = [f"<b>{escape(row['name'])}</b>"]
        if self.pool.sequence is not None:
            words.append(f"sequence {escape(row['sequence'])}, frame {row['frame']:g}")
        for column, name in (("z", "z"), ("ranked_by", "ranked by")):
            if np.isfinite(row[column]):
                words.append(f"{name} {number(row[column])}{' nats' * self.scored}")
        words.append(escape(self.reason(position)))
        return " · ".join([*words, f"<i>{escape(said)}</i>"] if said else words)

    def near(self, position: int, others: list) -> list:
        """Those of other frames that are of the same video, nearest first: [(position, distance in
        frames)]; none for stills."""
        sequence, frame = timeline(self.pool, self.numbers)
        if sequence is None:
            return []
        same = [p for p in others if sequence[p] == sequence[position]]
        found = [(p, float(abs(frame[p] - frame[position]))) for p in same]
        return sorted(found, key=lambda one: one[1])


def frames(distance: float) -> str:
    return f"{distance:g} frame{'' if distance == 1 else 's'}"


def cycles_of(run: Run) -> list:
    """The cycles of a run whose frames are chosen."""
    known = range(1, run.settings["cycles"] + 1)
    return [k for k in known if (run.cycle(k) / "4_select.json").exists()]


def runs_of(run: Run) -> dict:
    """The runs of an experiment that have chosen frames: "strategy, seed n" → Run."""
    settings = run.settings
    found = {
        f"{name}, seed {seed}": Run(run.out / name / f"seed_{seed}")
        for name in settings["strategies"]
        for seed in settings["seeds"]
    }
    return {name: other for name, other in found.items() if cycles_of(other)}
