"""From image scores to the images to label: Eq. (6) and the temporal rules.

`sequence` (n,) names the video of each frame, in any type that can be sorted; `frame` (n,) is its
position on the pool's sampled grid, which may be fractional and have gaps. Frames may come in any
order. Where either is None the images are stills: no smoothing, no rules.

Distances are in `frame`, limits are inclusive, and 1e-6 is allowed for the rounding of fractions
(frames 1/3 and 15 + 1/3 are 15 apart).
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from enum import IntEnum
from numbers import Real

import numpy as np

from alkit.arrays import computing_dtype, like, to_numpy, whole

ROUNDING = 1e-6  # in frames
BLOCK = 1 << 16  # ranks made into Python's integers at a time


def smooth(
    z, sequence, frame, half_width: float = 5, sigma: float = 3.0, zero_padding: bool = False
):
    """Temporal smoothing of the image scores, Eq. (6): z (n,) → ẑ (n,).

        ẑ_t = Σ_j w_j z_{t+j} / Σ_j w_j,   w_j = exp(−j² / 2σ²),   |j| ≤ half_width

    The sums run over the frames of the same sequence that exist and have a finite score; j is the
    distance in `frame`. A NaN or infinite score stays as it is and enters no other. A sequence or
    frame of None gives z unchanged. NumPy or torch; float64 inside, the dtype of z outside (half
    precision gives float32). With `zero_padding` the frames that are missing count with a score of
    0 (released code): Σ_j w_j is that of all whole j.

    The released code smooths over the concatenation of all videos, without borders between them:
    that is one sequence with positions for frames,
    `smooth(z, np.zeros(n), np.arange(n), zero_padding=True)`.

    Raises ValueError for lengths that differ, frame numbers that are not finite, a negative
    half_width, and a sigma that is not positive.

    >>> smooth([0.0, 1.0, 0.0], sequence=["a", "a", "b"], frame=[7, 8, 9]).round(4)
    array([0.4861, 0.5139, 0.    ])
    """
    scores, dtype = _scores(z)
    if not (half_width >= 0 and sigma > 0):
        raise ValueError(
            f"half_width is {half_width}, sigma is {sigma}; expected half_width ≥ 0 and sigma > 0"
        )
    if sequence is None or frame is None:
        return like(scores.astype(dtype), z)

    code, frames = _sequence_and_frame(sequence, frame, len(scores))
    scored = np.flatnonzero(np.isfinite(scores))
    order = scored[np.lexsort((frames[scored], code[scored]))]
    code, frames, sorted_z = code[order], frames[order], scores[order]
    # Pairs k places apart, for k = 1, 2, …; a pair too far apart at k is so at any larger k.
    # Summing differences to the frame's own score leaves a constant score exactly as it is.
    change, weight = np.zeros(len(order)), np.ones(len(order))
    first, k = np.arange(len(order)), 0
    while len(first):
        k += 1
        first = first[first + k < len(order)]
        distance = frames[first + k] - frames[first]
        near = (code[first + k] == code[first]) & (distance <= half_width + ROUNDING)
        first, distance = first[near], distance[near]
        second = first + k
        w = np.exp(-(distance**2) / (2 * sigma**2))
        difference = w * (sorted_z[second] - sorted_z[first])
        change[first] += difference
        change[second] -= difference
        weight[first] += w
        weight[second] += w
    smoothed = scores.copy()
    if zero_padding:
        reach = np.arange(1, int(half_width + ROUNDING) + 1)
        whole = 1 + 2 * np.exp(-(reach**2) / (2 * sigma**2)).sum()
        smoothed[order] = (change + weight * sorted_z) / whole
    else:
        smoothed[order] += change / weight
    return like(smoothed.astype(dtype), z)


class Reason(IntEnum):
    """Why an image was or was not chosen. Where several hold, the first of this order counts."""

    CHOSEN = 0  # under both rules, or in a later pass: `Selection.relaxed` counts those
    LABELED = 1  # chosen in an earlier cycle
    UNSCORED = 2  # its score is NaN
    EXCLUDED_LATER = 3  # rule 2: too near to one chosen in an earlier cycle, or pass
    EXCLUDED_NOW = 4  # rule 1: too near to one chosen in this cycle, whatever its rank
    RANKED_BELOW = 5  # allowed, but the budget went to higher scores


@dataclass(frozen=True, eq=False)
class Selection:
    """What `select` chose: `indices` (chosen,), positions in the order chosen; `reason` (n,), for
    each position a code of `Reason`; `relaxed`, how many of the chosen, the last of `indices`, were
    chosen in a later pass to fill the budget."""

    indices: np.ndarray
    reason: np.ndarray
    relaxed: int = 0

    @property
    def names(self) -> dict[int, str]:
        """The name of each reason's code."""
        return {int(reason): reason.name for reason in Reason}

    @property
    def counts(self) -> dict[str, int]:
        """How many images have each reason, by its name: what each rule excluded, for one."""
        found = np.bincount(to_numpy(self.reason), minlength=len(Reason))
        return {reason.name: int(found[reason]) for reason in Reason}


def select(
    score,
    budget: int,
    *,
    sequence=None,
    frame=None,
    labeled=(),
    exclude_now=15,
    exclude_later=2,
    fill: bool = False,
) -> Selection:
    """Choose up to `budget` images one by one, highest score first; ties go to the lower position.

    Rule 1: no frame at a distance ≤ `exclude_now` from one chosen in this cycle. Rule 2: no frame
    at a distance ≤ `exclude_later` from one chosen in an earlier cycle. Both within a sequence
    only; each is a distance in `frame`, or (before, after) for the two sides: (15, 14) excludes the
    frames t − 15 … t + 14 around the chosen t. A sequence or frame of None means no rules.

    score (n,), NumPy or torch: NaN is unscored and never chosen. `labeled` are the positions
    chosen in earlier cycles (never those of X_l); they are never chosen again. If fewer than
    `budget` can be chosen, fewer come back and nothing is relaxed: see `Selection.counts`.
    `fill=True` is the released code's way: up to three passes, each highest score first. A pass
    forgets what rule 1 excluded in the one before, but keeps the distance `exclude_later` to all
    chosen so far, of this cycle too; the third drops rule 1. `Selection.relaxed` says how many
    frames the second and the third add. Sorts once and looks no further than the budget needs.

    Raises ValueError for a budget that is not a whole number from 1 to n, a labeled position out
    of range, lengths that differ, frame numbers that are not finite, and a negative distance.

    >>> chosen = select([0.9, 0.8, 0.7], 2, sequence=["a", "a", "a"], frame=[0, 15, 16])
    >>> chosen.indices.tolist(), Reason(chosen.reason[1]).name  # rule 1
    ([0, 2], 'EXCLUDED_NOW')
    """
    scores, _ = _scores(score)
    n = len(scores)
    if whole(budget, "budget", least=1) > n:
        raise ValueError(f"budget is {budget}, but the pool has only {n} images")
    labeled = _positions(labeled, n)
    now, later = _two_sides(exclude_now, "exclude_now"), _two_sides(exclude_later, "exclude_later")
    timeline = None if sequence is None or frame is None else _Timeline(sequence, frame, n)

    reason = np.full(n, Reason.RANKED_BELOW, np.int8)
    for i in labeled if timeline else ():
        reason[timeline.near(i, *later)] = Reason.EXCLUDED_LATER
    reason[np.isnan(scores)] = Reason.UNSCORED
    reason[labeled] = Reason.LABELED
    free = np.flatnonzero(reason == Reason.RANKED_BELOW)
    ranking = free[np.argsort(-scores[free], kind="stable")]

    if timeline is None:
        chosen = ranking[:budget]
        reason[chosen] = Reason.CHOSEN
        return Selection(like(chosen, score), like(reason, score))
    chosen = _choose(ranking, budget, timeline, now, reason)
    strict = len(chosen)
    both = max(now[0], later[0]), max(now[1], later[1])
    for rule_1 in (both, later) if fill else ():  # the second and the third pass
        if len(chosen) == budget:
            break
        for i in chosen:
            _exclude(timeline.near(i, *later), reason, Reason.EXCLUDED_NOW, Reason.EXCLUDED_LATER)
        reason[reason == Reason.EXCLUDED_NOW] = Reason.RANKED_BELOW
        chosen += _choose(ranking, budget - len(chosen), timeline, rule_1, reason)
    indices = np.array(chosen, np.int64)
    return Selection(like(indices, score), like(reason, score), len(chosen) - strict)


def _choose(ranking, budget, timeline, rule_1, reason):
    """The positions chosen greedily under rule 1; marks them in `reason`, and what it excludes."""
    codes = memoryview(reason)  # single items are read faster than from an array
    chosen = []
    for start in range(0, len(ranking), BLOCK):
        for i in ranking[start : start + BLOCK].tolist():
            if codes[i] != Reason.RANKED_BELOW:
                continue
            _exclude(timeline.near(i, *rule_1), reason, Reason.RANKED_BELOW, Reason.EXCLUDED_NOW)
            codes[i] = Reason.CHOSEN
            chosen.append(i)
            if len(chosen) == budget:
                return chosen
    return chosen


def _exclude(positions, reason, old, new):
    """Change the reason of those positions that have an old one."""
    reason[positions[reason[positions] == old]] = new


class _Timeline:
    """The frames sorted by sequence and frame number, to find those near a given one."""

    def __init__(self, sequence, frame, n):
        code, frames = _sequence_and_frame(sequence, frame, n)
        self.order = np.lexsort((frames, code))
        self.place = np.empty(n, np.int64)
        self.place[self.order] = np.arange(n)
        self.frames = memoryview(frames[self.order])
        self.code = code
        self.bounds = np.searchsorted(code[self.order], np.arange(code.max(initial=-1) + 2))

    def near(self, i, before, after):
        """The positions of the same sequence from `before` frames before i to `after` after it."""
        first, end = self.bounds[self.code[i] : self.code[i] + 2].tolist()
        frame = self.frames[self.place[i]]
        low = bisect_left(self.frames, frame - before - ROUNDING, first, end)
        high = bisect_right(self.frames, frame + after + ROUNDING, first, end)
        return self.order[low:high]


def _sequence_and_frame(sequence, frame, n):
    """Codes 0, 1, … of the sequences and the frame numbers in float64, both (n,)."""
    sequence, frame = to_numpy(sequence), to_numpy(frame)
    for name, a in (("sequence", sequence), ("frame", frame)):
        if a.shape != (n,):
            raise ValueError(f"{name} has shape {a.shape}, but there are {n} scores")
    frame = frame.astype(np.float64)
    if not np.isfinite(frame).all():
        i = np.flatnonzero(~np.isfinite(frame))[0]
        raise ValueError(f"frame[{i}] is {frame[i]}; expected finite frame numbers")
    if sequence.dtype == object:
        sequence = sequence.astype(str)
    # Frames mostly come video by video: only the first of each run has to be sorted.
    starts = np.concatenate([[0], 1 + np.flatnonzero(sequence[1:] != sequence[:-1])])[:n]
    code = np.unique(sequence[starts], return_inverse=True)[1]
    return np.repeat(code, np.diff(starts, append=n)), frame


def _scores(score):
    """One score for each image, float64 (n,), and the dtype of results that are like it."""
    a = to_numpy(score)
    if a.ndim != 1 or a.dtype.kind not in "biuf":
        raise ValueError(f"scores are {a.dtype} of shape {a.shape}; expected numbers (n,)")
    return a.astype(np.float64, copy=False), computing_dtype(a.dtype)


def _positions(labeled, n):
    a = to_numpy(labeled)
    if a.size == 0:
        return np.zeros(0, np.int64)
    if a.ndim != 1 or a.dtype.kind not in "iu" or a.min() < 0 or a.max() >= n:
        raise ValueError(f"labeled is {a}; expected integer positions from 0 to {n - 1}")
    return a.astype(np.int64)


def _two_sides(exclude, name):
    sides = tuple(exclude) if np.ndim(exclude) else (exclude, exclude)
    if len(sides) != 2 or not all(isinstance(side, Real) and side >= 0 for side in sides):
        raise ValueError(f"{name} is {exclude!r}; expected a distance ≥ 0 or (before, after)")
    return sides
