"""Which frames, by name: how each strategy scores, and how it chooses by a profile's numbers."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np

from alkit.data.imagefile import identical
from alkit.selection import Selection, select, smooth


@dataclass(frozen=True)
class Strategy:
    """How a cycle scores and selects. `score` is the name of a function of `alkit.scores`, or None
    for what `rank` gives; `aggregation` is the `how` of `image_score`, in whose place "max" leaves
    the profile's; `smoothing` is Eq. (6) and `rules` the two temporal rules, both on video only;
    `per_video` shares the budget by the videos' lengths. `rank` gives (n,), NaN for what is never
    chosen; its arguments name what it takes of step 4's `READS`, and so the steps before."""

    score: str | None
    aggregation: str = "max"
    smoothing: bool = True
    rules: bool = True
    per_video: bool = False
    rank: Callable = lambda n, rng: rng.random(n)

    @property
    def reads(self) -> tuple:
        """The names of what `rank` takes."""
        return () if self.score else tuple(inspect.signature(self.rank).parameters)

    @property
    def predicts(self) -> bool:
        """Whether it needs step 1."""
        return bool(self.score) or not {"detections", "features"}.isdisjoint(self.reads)


def uniform(sequence, frame, labeled, run_rng) -> np.ndarray:
    """Evenly spaced frames: systematic sampling with a random start (Madow & Madow 1944), nested.

    A video's next frame is the middle of the largest gap between those labeled or chosen, counted
    in frames, not in time: each is as likely as any other, whatever the grid. The video's ends are
    joined, its first frame is drawn. With L frames, k labeled or chosen, its next one has the rank

        1 − (k + u) / L,   u uniform in [0, 1), one of each video
    """
    rank, present = np.full(len(frame), np.nan), np.isin(np.arange(len(frame)), labeled)
    code = np.unique(sequence, return_inverse=True)[1]
    order = np.lexsort((frame, code))
    for own in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        u, phase = run_rng.random(2)
        own = np.roll(own, -int(phase * len(own)))
        new = own[_into_gaps(present[own])]
        rank[new] = 1 - (present[own].sum() + np.arange(len(new)) + u) / len(own)
    return rank


def _into_gaps(present: np.ndarray) -> list:
    """The free places of a circle (n,), each the middle of the largest gap at its turn, the first
    of several; of an empty circle 0 comes first."""
    n, taken = len(present), np.flatnonzero(present).tolist() or [0]
    found = [] if present.any() else [0]
    gaps = [(a - b, a) for a, b in pairwise([*taken, taken[0] + n])]
    heapify(gaps)  # the largest, negative, first
    while gaps[0][0] < -1:
        length, start = heappop(gaps)
        found.append((start - length // 2) % n)
        heappush(gaps, (length // 2, start))
        heappush(gaps, (length - length // 2, found[-1]))
    return found


def expected_count(n, detections) -> np.ndarray:
    """The sum of the scores of a frame's detections (as Brust, Käding & Denzler 2019 aggregate)."""
    image = np.array([d["image_id"] - 1 for d in detections], np.int64)
    return np.bincount(image, [d["score"] for d in detections], n)


def foreground_random(n, rng, detections, limit) -> np.ndarray:
    """Random numbers for frames with a detection of score ≥ `limit`, NaN for the others."""
    found = [d["image_id"] - 1 for d in detections if d["score"] >= limit]
    return np.where(np.isin(np.arange(n), found), rng.random(n), np.nan)


def core_set(features, labeled, budget) -> np.ndarray:
    """Greedy k-centers (Sener & Savarese 2018, Algorithm 1): the distance in features (n, channel)
    from the nearest frame labeled or chosen before. The paper begins with labeled frames; that the
    first of all, where there are none, is the one nearest to the mean is alkit's own choice."""
    features = features.astype(np.float64)
    rank, middle = np.zeros(len(features)), np.linalg.norm(features - features.mean(0), axis=1)
    nearest = 4 * middle.max() - middle  # above all distances, highest in the middle
    for k in range(len(labeled) + budget):
        i = labeled[k] if k < len(labeled) else nearest.argmax()
        rank[i] = max(rank[i], nearest[i])
        nearest = np.minimum(nearest, np.linalg.norm(features - features[i], axis=1))
    rank[labeled] = 0
    return np.maximum(rank, nearest)


STRATEGIES = {
    "divergence": Strategy("divergence"),
    "entropy": Strategy("entropy"),
    "mc-dropout": Strategy("mutual_information"),
    "random": Strategy(None, smoothing=False, rules=False),
    "guided-random": Strategy(None, smoothing=False),
    "mean-aggregation": Strategy("divergence", aggregation="mean"),
    "no-smoothing": Strategy("divergence", smoothing=False),
    "no-rules": Strategy("divergence", rules=False),
    "divergence-per-video": Strategy("divergence", per_video=True),
    "uniform": Strategy(None, smoothing=False, rules=False, rank=uniform),
    "expected-count": Strategy(None, smoothing=False, rank=expected_count),
    "foreground-random": Strategy(None, smoothing=False, rank=foreground_random),
    "core-set": Strategy(None, smoothing=False, rules=False, rank=core_set),
}


def selected(ranked, budget: int, pool, numbers, labeled, rules=True, per_video=False) -> Selection:
    """The frames that a profile's numbers choose by what they are ranked by, `per_video` as
    `by_video` says. Of stills that are the same picture one is chosen, and none that shows what was
    labeled before."""
    sequence, frame = timeline(pool, numbers) if rules else (None, None)
    now, later = numbers.exclude_now, numbers.exclude_later
    if pool.sequence is None and pool.files is not None:  # equal pictures: at distance 0
        sequence, frame, now, later = identical(pool.files), np.zeros(len(pool)), 0, 0
    own = {"labeled": labeled, "exclude_now": now, "exclude_later": later, "fill": numbers.fill}
    choose = partial(select, sequence=sequence, frame=frame, **own)
    if per_video and pool.sequence is not None:
        ranked = by_video(ranked, pool.sequence, labeled, choose)
    return choose(ranked, budget)


def by_video(ranked, sequence, labeled, choose) -> np.ndarray:
    """Ranks (n,) by which videos share a budget by their lengths, by Webster's method: the next
    frame is of the video of largest L / (2 k + 1), k of L frames labeled or chosen, of several that
    with the higher one: the next that `choose(ranked, n)` takes there, while there is any."""
    quotient, rank = np.full(len(ranked), -np.inf), np.empty(len(ranked))
    for video in np.unique(sequence):
        own = sequence == video
        order = choose(np.where(own, ranked, np.nan), len(ranked)).indices
        quotient[order] = own.sum() / (2 * (own[labeled].sum() + np.arange(len(order))) + 1)
    rank[np.lexsort((-ranked, -quotient))] = np.arange(len(rank), 0, -1)
    return np.where(np.isnan(ranked), np.nan, rank)


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
