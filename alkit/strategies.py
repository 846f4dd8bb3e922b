"""Which frames, by name: how each strategy scores, and how it chooses by a profile's numbers."""

from dataclasses import dataclass

import numpy as np

from alkit.data.imagefile import identical
from alkit.selection import Selection, select, smooth


@dataclass(frozen=True)
class Strategy:
    """How a cycle scores and selects. `score` is the name of a function of `alkit.scores`, or None
    for random numbers; `aggregation` is the `how` of `image_score`, in whose place "max" leaves the
    profile's; `smoothing` is Eq. (6) and `rules` the two temporal rules, both on video only."""

    score: str | None
    aggregation: str = "max"
    smoothing: bool = True
    rules: bool = True


STRATEGIES = {
    "divergence": Strategy("divergence"),
    "entropy": Strategy("entropy"),
    "mc-dropout": Strategy("mutual_information"),
    "random": Strategy(None, smoothing=False, rules=False),
    "guided-random": Strategy(None, smoothing=False),
    "mean-aggregation": Strategy("divergence", aggregation="mean"),
    "no-smoothing": Strategy("divergence", smoothing=False),
    "no-rules": Strategy("divergence", rules=False),
}


def selected(ranked, budget: int, pool, numbers, labeled, rules: bool = True) -> Selection:
    """The frames that a profile's numbers choose by what they are ranked by. Of stills that are the
    same picture one is chosen, and none that shows what was labeled before."""
    sequence, frame = timeline(pool, numbers) if rules else (None, None)
    now, later = numbers.exclude_now, numbers.exclude_later
    if pool.sequence is None and pool.files is not None:  # equal pictures: at distance 0
        sequence, frame, now, later = identical(pool.files), np.zeros(len(pool)), 0, 0
    own = {"labeled": labeled, "exclude_now": now, "exclude_later": later, "fill": numbers.fill}
    return select(ranked, budget, sequence=sequence, frame=frame, **own)


def timeline(pool, numbers) -> tuple:
    """(sequence, frame) of the pool's frames, as Eq. (6) and the rules take them: with `one_video`
    the pool is one video, whose frames lie one behind the other (released); None for stills."""
    if numbers.one_video and pool.sequence is not None:
        return np.zeros(len(pool), np.int64), np.arange(len(pool))
    return pool.sequence, pool.frame


def ranked_by(z, pool, numbers, smoothing: bool = True) -> np.ndarray:
    """What frames are ranked by: z (n,), NaN where there is none, or with `smoothing` its ẑ of
    Eq. (6). With `score_of_next` z is that of the next frame that has one, and the last frame's is
    the first's."""
    if numbers.score_of_next:
        z, scored = z.copy(), np.flatnonzero(np.isfinite(z))
        z[scored] = np.roll(z[scored], -1)
    if not smoothing:
        return z
    own = numbers.half_width, numbers.sigma, numbers.zero_padding
    return smooth(z, *timeline(pool, numbers), *own)
