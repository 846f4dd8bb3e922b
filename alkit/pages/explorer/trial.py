"""What another radius, region or rule would have chosen, from the stored logits."""

import functools
import time

import numpy as np

from alkit.pages.explorer.cycle import Cycle, Unavailable
from alkit.strategies import ranked_by, selected
from alkit.text import number


class Slices:
    """`work(position)` of each position, done a slice at a time so that the page stays quick:
    `results` has what is done, `error` is what stopped it."""

    def __init__(self, work, positions):
        self.work, self.results, self.error = work, {}, ""
        self.left = [int(position) for position in positions][::-1]
        self.total = len(self.left)

    def go_on(self, seconds: float):
        end = time.monotonic() + seconds
        try:
            while self.left and time.monotonic() < end:
                self.of(self.left.pop())
        except Exception as error:  # the page shows it
            self.left, self.error = [], f"{type(error).__name__}: {error}"

    def of(self, position: int):
        """The result for one position, now."""
        if position not in self.results:
            self.results[position] = self.work(position)
        return self.results[position]


class Trials:
    """Other numbers tried on one cycle. `scores` are the image scores with the radius and region
    that were last asked for, as far as they are computed; None where none are."""

    def __init__(self, cycle: Cycle):
        self.cycle, self.scores = cycle, None
        self._scores_with = functools.cache(
            lambda *lengths: Slices(lambda p: cycle.image_score(p, *lengths), cycle.positions)
        )

    def outcome(self, position: int, wanted: tuple) -> str:
        """What other numbers, as `Cycle.tried` has them, make of a frame. Raises Unavailable."""
        if wanted == self.cycle.tried:
            said = "The sliders stand as in the run."
            return " ".join([said, *dict.fromkeys(self.cycle.fixed.values())])
        own = self.cycle.table
        z = own["z"] if self.cycle.scored else own["ranked_by"].where(own["rank"] > 0)
        if wanted[:2] != self.cycle.tried[:2]:
            self.scores = self._scores_with(*wanted[:2])
            if self.scores.error:
                raise Unavailable(f"other frames cannot be computed: {self.scores.error}")
            if position not in self.cycle.labeled:
                self.scores.of(position)
            z = np.full(len(z), np.nan)
            z[list(self.scores.results)] = list(self.scores.results.values())
        return sentence(self.cycle, position, np.array(z), *wanted[2:])


def sentence(cycle: Cycle, position: int, z: np.ndarray, now: int, later: int) -> str:
    """What would have become of a frame if step 4 had other rules, `exclude_now` and
    `exclude_later`, and z (n,): scores, NaN where not computed yet, or without any the ranks."""
    if np.isnan(z[position]):
        return "This frame is not ranked in this cycle."
    tried = {"exclude_now": now, "exclude_later": later}
    numbers, strategy = cycle.numbers.model_copy(update=tried), cycle.strategy
    ranked = ranked_by(z, cycle.pool, numbers, strategy.smoothing) if cycle.scored else z
    budget, labeled = cycle.selection["budget"], list(cycle.labeled)
    given = ranked, budget, cycle.pool, numbers, labeled
    selection = selected(*given, strategy.rules, strategy.per_video)
    known = ranked[np.isfinite(z)]
    total = len(cycle.positions) if cycle.scored else len(known)
    rank = 1 + int((known > ranked[position]).sum())
    of = f"of {total} frames"
    if len(known) < total:
        of = f"of the {len(known)} frames computed so far of {total}"
    name = selection.names[int(selection.reason[position])].lower().replace("_", " ")
    kept = np.isin(cycle.chosen, selection.indices).sum()
    score = f"z {number(z[position])} nats, " * cycle.scored
    return (
        f"With these numbers: {score}ranked by {number(ranked[position])}, "
        f"rank {rank} {of}: {name}. {kept} of the run's {len(cycle.chosen)} chosen frames stay."
    )
