"""Which frames, by name: how each strategy scores, and how it chooses by a profile's numbers."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from alkit.data.imagefile import identical
from alkit.selection import Selection, select, smooth


@dataclass(frozen=True)
class Strategy:
    """How a cycle scores and selects. `score` is the name of a function of `alkit.scores`, or None
    for random numbers; `aggregation` is the `how` of `image_score`, in whose place "max" leaves the
    profile's; `smoothing` is Eq. (6) and `rules` the two temporal rules, both on video only.

    `rank`, in place of a score, gives what frames are ranked by (n,), NaN where one cannot be
    chosen. It takes what its arguments name, of `READS`, and nothing else is made for it."""

    score: str | None
    aggregation: str = "max"
    smoothing: bool = True
    rules: bool = True
    rank: Callable | None = None

    @property
    def reads(self) -> tuple:
        """What `rank` takes, of `READS`."""
        return tuple(inspect.signature(self.rank).parameters) if self.rank else ()

    @property
    def unit(self) -> str:
        """What the numbers are that frames are ranked by."""
        if self.rank:
            return self.rank.__name__.replace("_", " ")
        return "random number" if self.score is None else "nats"


# What step 4 has for a strategy's `rank`.
READS = {
    "sequence": "the video of each frame (n,), as Eq. (6) takes it; stills are one video",
    "frame": "its place in it (n,); of a still that in the pool",
    "labeled": "positions labeled before, integers",
    "run_rng": "a NumPy generator, the same in all cycles of a run",
}


def uniform(sequence, frame, labeled, run_rng) -> np.ndarray:
    """Evenly spaced frames: systematic sampling with a random start (Madow & Madow 1944), nested.

    A video's frames are counted in its order of time, so that each of them is as likely as any
    other, also where the pool's grid is irregular. A frame goes into the middle of the largest gap
    between those that are labeled or chosen; the video's ends are joined, and its first frame is
    drawn. With L_v frames in video v, of which k are labeled or chosen, the next has

        rank = 1 − (k + u_v) / L_v,   u_v uniform in [0, 1)

    so that some t tells the number of frames of each video, t·L_v rounded up or down. Neither knows
    a budget: 16 frames and 16 more are the 32 of one choice. NaN for labeled frames.

    >>> rank = uniform(np.array(list("aaaab")), np.arange(5), [1], np.random.default_rng(0))
    >>> np.argsort(-rank).tolist()  # opposite frame 1 comes 3; of b, frame 4
    [4, 3, 2, 0, 1]
    """
    rank, present = np.full(len(frame), np.nan), np.zeros(len(frame), bool)
    present[labeled] = True
    code = np.unique(sequence, return_inverse=True)[1]
    order = np.lexsort((frame, code))
    for own in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        u, phase = run_rng.random(2)
        own = np.roll(own, -int(phase * len(own)))
        new = own[_into_gaps(present[own])]
        rank[new] = 1 - (present[own].sum() + np.arange(len(new)) + u) / len(own)
    return rank


def _into_gaps(present: np.ndarray) -> list:
    """The free places of a circle (n,), each in the middle of the gap that is largest at its turn,
    the first of several; on an empty circle place 0 comes first."""
    taken, n = np.flatnonzero(present).tolist(), len(present)
    found, taken = ([], taken) if taken else ([0], [0])
    gaps = [(a - b, a) for a, b in zip(taken, [*taken[1:], taken[0] + n], strict=True)]
    heapify(gaps)  # the largest, negative, comes first
    while gaps[0][0] < -1:
        length, start = heappop(gaps)
        half = -length // 2
        middle = (start + half) % n
        found.append(middle)
        heappush(gaps, (-half, start))
        heappush(gaps, (length + half, middle))
    return found


STRATEGIES = {
    "divergence": Strategy("divergence"),
    "entropy": Strategy("entropy"),
    "mc-dropout": Strategy("mutual_information"),
    "random": Strategy(None, smoothing=False, rules=False),
    "guided-random": Strategy(None, smoothing=False),
    "mean-aggregation": Strategy("divergence", aggregation="mean"),
    "no-smoothing": Strategy("divergence", smoothing=False),
    "no-rules": Strategy("divergence", rules=False),
    # it keeps frames apart by itself
    "uniform": Strategy(None, smoothing=False, rules=False, rank=uniform),
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
