"""What strategies beside the paper's rank by: by hand, by slow loops, and by their properties."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alkit.strategies import uniform


@st.composite
def videos(draw):
    """Sequences and frames of a pool of a few videos, mixed, with gaps in time; some are labeled;
    and a seed."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    seed = draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    sequence = np.repeat([f"video {k}" for k in range(len(lengths))], lengths)
    frame = np.concatenate([np.sort(rng.choice(900, n, replace=False)) / 7 for n in lengths])
    order = rng.permutation(len(frame))
    labeled = rng.choice(len(frame), draw(st.integers(0, len(frame))), replace=False)
    return sequence[order], frame[order], labeled.tolist(), seed


def evenly(sequence, frame, labeled, seed, budget=None):
    """The positions that `uniform` chooses."""
    rank = uniform(sequence, frame, labeled, np.random.default_rng(seed))
    assert np.array_equal(np.flatnonzero(np.isnan(rank)), np.sort(labeled))
    assert np.nanmin(rank, initial=0) >= 0
    assert np.nanmax(rank, initial=0) <= 1
    return np.argsort(-rank, kind="stable")[: len(rank) - len(labeled)][:budget].tolist()


@settings(deadline=None, max_examples=100)
@given(pool=videos(), parts=st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_uniform_does_not_know_its_budget(pool, parts):
    sequence, frame, labeled, seed = pool
    at_once = evenly(sequence, frame, labeled, seed, sum(parts))
    chosen = []
    for budget in parts:
        chosen += evenly(sequence, frame, [*labeled, *chosen], seed, budget)
    assert chosen == at_once


@settings(deadline=None, max_examples=100)
@given(pool=videos(), budget=st.integers(1, 60))
def test_uniform_goes_into_the_largest_gap_and_by_the_videos_lengths(pool, budget):
    sequence, frame, labeled, seed = pool
    present = list(labeled)
    for position in evenly(sequence, frame, labeled, seed, budget):
        own = sorted(np.flatnonzero(sequence == sequence[position]), key=lambda i: frame[i])
        there, n = [own.index(i) for i in own if i in present], len(own)
        place = own.index(position)
        if there:  # the gap that it halves is, up to rounding, the largest
            gaps = [(b - a) % n or n for a, b in zip(there, there[1:] + there[:1], strict=True)]
            before = min((place - i) % n for i in there)
            after = min((i - place) % n for i in there)
            assert before + after == max(gaps)
            assert after - before in (0, 1)
        present.append(position)
    if not labeled:  # one t for all: t·L rounded up or down
        counts = [(np.isin(present, own).sum(), len(own)) for own in groups(sequence)]
        assert max((k - 1) / n for k, n in counts) <= min((k + 1) / n for k, n in counts)


def groups(sequence):
    return [np.flatnonzero(sequence == name) for name in np.unique(sequence)]


def test_uniform_takes_each_frame_as_often_as_any_other():
    sequence, frame = np.array(list("aaaaabbbcccccccc")), np.array([*range(5), 0, 1, 9, *range(8)])
    n, budget, draws = len(frame), 5, 3000
    counts = np.zeros(n)
    for seed in range(draws):
        counts[evenly(sequence, frame, [], seed, budget)] += 1
    np.testing.assert_allclose(counts / draws, budget / n, rtol=0, atol=0.04)  # 4.7 standard errors
