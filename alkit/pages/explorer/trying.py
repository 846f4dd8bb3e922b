"""What another radius, region or rule would have chosen, from the stored logits."""

import threading
import time
from dataclasses import dataclass

import numpy as np

from alkit.aggregation import image_score
from alkit.loop.steps.step_4_select import ranked_by, selected
from alkit.pages.explorer.reading import Opened
from alkit.selection import Selection

YIELD = 0.001  # seconds between two frames, for the page to be quick meanwhile


@dataclass(frozen=True)
class Numbers:
    """What the sliders say: radius and region in pixels of the run, the rules in frames."""

    radius: int
    region: int
    exclude_now: int
    exclude_later: int


class Trial:
    """Image scores of a cycle's frames with another radius and region. A thread computes them
    frame by frame; `z` (n,) is NaN where it has not come yet, and `error` says what stopped it."""

    def __init__(self, opened: Opened, radius: int, region: int):
        self.opened, self.radius, self.region = opened, radius, region
        self.z = np.full(len(opened.pool), np.nan)
        self.total, self.error = int((opened.row >= 0).sum()), None
        self._stopped = threading.Event()
        threading.Thread(target=self._compute, daemon=True).start()

    @property
    def done(self) -> int:
        """Frames that are computed."""
        return int(np.isfinite(self.z).sum())

    @property
    def finished(self) -> bool:
        """Whether the thread has ended, or will not get further."""
        return self.error is not None or self.done >= self.total

    def is_of(self, wanted: Numbers) -> bool:
        """Whether this is about these numbers."""
        return (self.radius, self.region) == (wanted.radius, wanted.region)

    def stop(self):
        """Compute no more."""
        self._stopped.set()

    def of(self, position: int) -> float:
        """z of one frame, now."""
        if np.isnan(self.z[position]):
            self.z[position] = score_of(self.opened, position, self.radius, self.region)
        return float(self.z[position])

    def _compute(self):
        try:
            for position in np.flatnonzero(self.opened.row >= 0).tolist():
                if self._stopped.is_set():
                    return
                self.of(position)
                time.sleep(YIELD)
        except Exception as error:  # the page shows it
            self.error = f"{type(error).__name__}: {error}"


def score_of(opened: Opened, position: int, radius: int, region: int) -> float:
    """z of a frame by its strategy's score and aggregation, with another radius and region."""
    numbers, how = opened.run.numbers(opened.cycle), opened.run.aggregation(opened.cycle)
    s = opened.scores_again(position, radius)
    return float(image_score(s, region, how=how, grid=numbers.region_grid))


def choose(opened: Opened, z: np.ndarray, wanted: Numbers) -> tuple[np.ndarray, Selection]:
    """Step 4 with other rules: what is ranked by (n,), and the selection. Frames whose z is NaN
    are not ranked."""
    run, pool = opened.run, opened.pool
    numbers, strategy = run.numbers(opened.cycle), run.strategy
    ranked = ranked_by(z, pool, numbers, strategy.smoothing)
    rules = {"exclude_now": wanted.exclude_now, "exclude_later": wanted.exclude_later}
    tried, budget = numbers.model_copy(update=rules), opened.selection["budget"]
    selection = selected(ranked, budget, pool, tried, list(opened.labelled), strategy.rules)
    return ranked, selection


def sentence(opened: Opened, position: int, z: np.ndarray, wanted: Numbers) -> str:
    """What would have become of a frame; `z` (n,) is NaN where it is not computed yet."""
    if np.isnan(z[position]):
        return "This frame has no score in this cycle."
    ranked, selection = choose(opened, z, wanted)
    known, total = ranked[np.isfinite(z)], int((opened.row >= 0).sum())
    rank = 1 + int((known > ranked[position]).sum())
    of = f"of {total} frames"
    if len(known) < total:
        of = f"of the {len(known)} frames computed so far of {total}"
    name = selection.names[int(selection.reason[position])].lower().replace("_", " ")
    was = {frame["position"] for frame in opened.selection["chosen"]}
    kept = len(was & set(selection.indices.tolist()))
    return (
        f"With these numbers: z {z[position]:.5f} nats, ranked by {ranked[position]:.5f}, rank "
        f"{rank} {of}: {name}. {kept} of the run's {len(was)} chosen frames would be chosen."
    )
