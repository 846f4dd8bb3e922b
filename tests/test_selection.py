"""Eq. (6) and the temporal rules against slow loops, by hand, and by their properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alkit import scores
from alkit.aggregation import image_score
from alkit.selection import Reason, select, smooth
from alkit.strategies import STRATEGIES

NAN = math.nan


def slow_smooth(z, sequence, frame, half_width, sigma):
    result = []
    for i in range(len(z)):
        total = weights = 0.0
        for j in range(len(z)):
            d = abs(frame[i] - frame[j])
            if sequence[i] == sequence[j] and d <= half_width + 1e-9 and np.isfinite(z[j]):
                w = math.exp(-(d**2) / (2 * sigma**2))
                total, weights = total + w * z[j], weights + w
        result.append(total / weights if np.isfinite(z[i]) else z[i])
    return np.array(result)


def forbids(sequence, frame, chosen, i, sides):
    """Whether the choice of `chosen` forbids i."""
    d = frame[i] - frame[chosen]
    return sequence[i] == sequence[chosen] and -sides[0] - 1e-9 <= d <= sides[1] + 1e-9


def slow_select(score, budget, sequence, frame, labeled, now, later):
    """The greedy loop as the paper words it."""
    chosen = []
    while len(chosen) < budget:
        best = None
        for i in range(len(score)):
            if math.isnan(score[i]) or i in labeled or i in chosen:
                continue
            if any(forbids(sequence, frame, j, i, later) for j in labeled):
                continue
            if any(forbids(sequence, frame, j, i, now) for j in chosen):
                continue
            if best is None or score[i] > score[best]:
                best = i
        if best is None:
            break
        chosen.append(best)
    return chosen


@st.composite
def pools(draw):
    """Frames of a few sequences in any order, with gaps, fractions, ties and missing scores."""
    n = draw(st.integers(1, 30))
    column = lambda elements: np.array(draw(st.lists(elements, min_size=n, max_size=n)))  # noqa: E731
    sequence = column(st.sampled_from(["a", "b", "long name"]))
    frame = column(st.integers(0, 40)) / draw(st.sampled_from([1, 2, 3, 7]))
    score = column(st.sampled_from([NAN, 0.0, 0.5, 1.0, 2.0]) | st.floats(-3, 3))
    return score, sequence, frame


# ------------------------------------------------------------------ smoothing


def test_smoothing_by_hand():
    w1, w2 = math.exp(-1 / 18), math.exp(-4 / 18)
    z = smooth([1.0, 2.0, 4.0], ["a"] * 3, [0, 1, 2])
    assert z[0] == pytest.approx((1 + 2 * w1 + 4 * w2) / (1 + w1 + w2), abs=1e-15)
    assert z[1] == pytest.approx((1 * w1 + 2 + 4 * w1) / (1 + 2 * w1), abs=1e-15)
    # The window ends at ±5, inclusive, counted in `frame` and not in positions.
    z = smooth([1.0, 2.0, 4.0], ["a"] * 3, [0, 5, 10.5])
    w5 = math.exp(-25 / 18)
    np.testing.assert_allclose(z, [(1 + 2 * w5) / (1 + w5), (2 + w5) / (1 + w5), 4], 0, 1e-15)
    # Sequences never mix.
    assert np.array_equal(smooth([1.0, 2.0], ["a", "b"], [0, 1]), [1, 2])


@settings(deadline=None, max_examples=80)
@given(
    pool=pools(),
    half_width=st.sampled_from([0, 1, 5, 7.5]),
    sigma=st.sampled_from([0.5, 3.0, 20.0]),
)
def test_smoothing_agrees_with_a_loop(pool, half_width, sigma):
    z, sequence, frame = pool
    expected = slow_smooth(z, sequence, frame, half_width, sigma)
    np.testing.assert_allclose(smooth(z, sequence, frame, half_width, sigma), expected, 0, 1e-12)


@settings(deadline=None, max_examples=60)
@given(pool=pools(), seed=st.integers(0, 99))
def test_smoothing_properties(pool, seed):
    z, sequence, frame = pool
    smoothed = smooth(z, sequence, frame)
    assert np.array_equal(np.isnan(smoothed), np.isnan(z))
    order = np.random.default_rng(seed).permutation(len(z))
    again = smooth(z[order], sequence[order], frame[order])
    np.testing.assert_allclose(again, smoothed[order], 0, 1e-13)
    constant = np.where(np.isnan(z), NAN, 0.1)
    assert np.array_equal(smooth(constant, sequence, frame), constant, equal_nan=True)
    np.testing.assert_allclose(smooth(3 * z + 1, sequence, frame), 3 * smoothed + 1, 0, 1e-12)


def test_infinite_scores_stay_and_touch_no_other():
    z = smooth([1.0, math.inf, 1.0, -math.inf], ["a"] * 4, [0, 1, 2, 3])
    assert np.array_equal(z, [1, math.inf, 1, -math.inf])


def test_stills_are_not_smoothed():
    z = np.array([1.0, NAN, 3.0])
    assert np.array_equal(smooth(z, None, None), z, equal_nan=True)
    assert np.array_equal(smooth(z, ["a"] * 3, None), z, equal_nan=True)
    assert np.array_equal(smooth(z, None, [1, 2, 3]), z, equal_nan=True)
    assert smooth([], [], []).shape == (0,)


def test_smoothing_keeps_kind_and_dtype():
    sequence, frame = np.zeros(4, int), np.arange(4)
    z = np.array([1.0, 2.0, 0.0, 5.0])
    expected = smooth(z, sequence, frame)
    assert smooth(z.astype(np.float16), sequence, frame).dtype == np.float32
    assert smooth(z.astype(np.float32), sequence, frame).dtype == np.float32
    assert np.array_equal(smooth(z.astype(int), sequence, frame), expected)
    tensor = smooth(torch.tensor(z), torch.tensor(sequence), torch.tensor(frame))
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor, expected)
    assert np.array_equal(z, [1, 2, 0, 5])


def test_smoothing_errors():
    with pytest.raises(ValueError, match=r"sequence has shape \(1,\), but there are 2 scores"):
        smooth([1.0, 2.0], ["a"], [0, 1])
    with pytest.raises(ValueError, match=r"frame has shape \(3,\)"):
        smooth([1.0, 2.0], ["a", "a"], [0, 1, 2])
    with pytest.raises(ValueError, match=r"frame\[1\] is nan"):
        smooth([1.0, 2.0], ["a", "a"], [0, NAN])
    with pytest.raises(ValueError, match="sigma is 0;"):
        smooth([1.0], ["a"], [0], sigma=0)
    with pytest.raises(ValueError, match="half_width is -1,"):
        smooth([1.0], ["a"], [0], half_width=-1)
    with pytest.raises(ValueError, match=r"of shape \(1, 1\)"):
        smooth([[1.0]], ["a"], [0])


# ------------------------------------------------------------------ selection


def test_by_hand_every_reason():
    #        0    1    2    3    4    5    6    7
    score = [0.9, 0.8, 0.7, NAN, 0.6, 0.5, 0.4, 0.3]
    sequence = ["a", "a", "a", "a", "a", "b", "b", "b"]
    frame = [0, 15, 16, 20, 40, 0, 2, 3]
    result = select(score, 3, sequence=sequence, frame=frame, labeled=[5])
    assert result.indices.tolist() == [0, 2, 4]  # 1 is exactly 15 from 0, 2 is 16 from it
    assert [Reason(code).name for code in result.reason] == [
        "CHOSEN",
        "EXCLUDED_NOW",
        "CHOSEN",
        "UNSCORED",
        "CHOSEN",
        "LABELED",
        "EXCLUDED_LATER",  # exactly 2 from the labeled one
        "RANKED_BELOW",
    ]
    assert result.relaxed == 0
    assert result.names[int(result.reason[1])] == "EXCLUDED_NOW"
    assert sum(result.counts.values()) == 8


def test_nothing_is_relaxed():
    result = select([3.0, 2.0, 1.0], 3, sequence=[0] * 3, frame=[0, 1, 2])
    assert result.indices.tolist() == [0]
    assert result.relaxed == 0
    assert result.counts["EXCLUDED_NOW"] == 2


def test_filling_the_budget_takes_three_passes_and_says_so():
    #        0    1    2    3    4    5    6    7    8
    frame = [0, 1, 5, 8, 9, 30, 0, 2, 4]
    score = [0.9, 0.8, 0.3, 0.5, 0.4, NAN, 0.7, 0.6, 0.2]
    sequence = ["a"] * 6 + ["b"] * 3
    rules = {"sequence": sequence, "frame": frame, "labeled": [6]}
    strict = select(score, 5, **rules)
    assert strict.indices.tolist() == [0, 8]  # 7 is exactly 2 from the labeled one: rule 2
    assert strict.counts["EXCLUDED_NOW"] == 4

    filled = select(score, 5, **rules, fill=True)
    # The second pass is free of what frame 0 kept out, but 1 is within 2 of it; the highest is 3
    # (frame 8), which keeps out 2 and 4. The third has no rule 1, but 4 is within 2 of 3.
    assert filled.indices.tolist() == [0, 8, 3, 2]
    assert filled.relaxed == 2
    assert [Reason(code).name for code in filled.reason] == [
        "CHOSEN",
        "EXCLUDED_LATER",
        "CHOSEN",
        "CHOSEN",
        "EXCLUDED_LATER",
        "UNSCORED",
        "LABELED",
        "EXCLUDED_LATER",
        "CHOSEN",
    ]
    # Where the rules leave enough, and for stills, it changes nothing.
    for enough in ({"budget": 2, **rules}, {"budget": 8, "labeled": [6]}):
        result = select(score, **enough, fill=True)
        assert result.relaxed == 0
        assert result.indices.tolist() == select(score, **enough).indices.tolist()
        assert result.reason.tolist() == select(score, **enough).reason.tolist()


def test_stills_are_plain_top_b_with_ties_to_the_lower_position():
    score = [1.0, 3.0, 2.0, 3.0, NAN, 2.0]
    for rules in ({}, {"sequence": [0] * 6}, {"frame": range(6)}):
        result = select(score, 3, **rules)
        assert result.indices.tolist() == [1, 3, 2]
        assert result.counts["EXCLUDED_NOW"] == result.counts["EXCLUDED_LATER"] == 0
    assert select(score, 6).indices.tolist() == [1, 3, 2, 5, 0]
    assert select(score, 3, labeled=[1]).indices.tolist() == [3, 2, 5]


def test_two_sides():
    # One frame chosen, t = 20: (15, 14) means that 15 before it and 14 after it are excluded.
    frame, score = np.arange(40), np.zeros(40)
    score[20] = 1
    rules = {"sequence": [0] * 40, "frame": frame}
    now = select(score, 1, **rules, exclude_now=(15, 14))
    near = np.flatnonzero(now.reason == Reason.EXCLUDED_NOW)
    assert near.tolist() == [*range(5, 20), *range(21, 35)]
    # So frame 35 may follow 20, but 20 not 35.
    two = {"sequence": [0, 0], "frame": [20, 35], "exclude_now": (15, 14)}
    assert select([2.0, 1.0], 2, **two).indices.tolist() == [0, 1]
    assert select([1.0, 2.0], 2, **two).indices.tolist() == [1]
    later = select(score, 1, **rules, labeled=[10], exclude_later=(1, 3))
    assert np.flatnonzero(later.reason == Reason.EXCLUDED_LATER).tolist() == [9, 11, 12, 13]


@pytest.mark.parametrize("first", range(0, 30))
def test_fractions_are_compared_up_to_rounding(first):
    frame = np.array([first, first + 45]) / 3  # 15 apart, in floating point a little more or less
    for score, better in (([2.0, 1.0], 0), ([1.0, 2.0], 1)):
        result = select(score, 2, sequence=[0, 0], frame=frame)
        assert result.indices.tolist() == [better]
    frame[1] += 1e-3
    assert select([2.0, 1.0], 2, sequence=[0, 0], frame=frame).counts["CHOSEN"] == 2


sides = st.tuples(*[st.sampled_from([0, 1, 2, 3.5, 15])] * 2)


@settings(deadline=None, max_examples=100)
@given(pool=pools(), now=sides, later=sides, data=st.data())
def test_selection_agrees_with_the_greedy_loop(pool, now, later, data):
    score, sequence, frame = pool
    n = len(score)
    budget = data.draw(st.integers(1, n))
    labeled = data.draw(st.lists(st.integers(0, n - 1), max_size=5))
    rules = {"labeled": labeled, "exclude_now": now, "exclude_later": later}
    result = select(score, budget, sequence=sequence, frame=frame, **rules)
    expected = slow_select(score, budget, sequence, frame, labeled, now, later)
    chosen = result.indices.tolist()
    assert chosen == expected

    # The reasons say what happened.
    for i in range(n):
        by_now = any(forbids(sequence, frame, j, i, now) for j in chosen)
        by_later = any(forbids(sequence, frame, j, i, later) for j in labeled)
        assert Reason(result.reason[i]) == (
            Reason.CHOSEN
            if i in chosen
            else Reason.LABELED
            if i in labeled
            else Reason.UNSCORED
            if math.isnan(score[i])
            else Reason.EXCLUDED_LATER
            if by_later
            else Reason.EXCLUDED_NOW
            if by_now
            else Reason.RANKED_BELOW
        )
    # Maximal: whoever is left could not have been added.
    if len(chosen) < budget:
        assert result.counts["RANKED_BELOW"] == 0
    # Other names of the sequences change nothing.
    renamed = np.vectorize({"a": 7, "b": 3, "long name": 5}.get)(sequence)
    assert select(score, budget, sequence=renamed, frame=frame, **rules).indices.tolist() == chosen
    objects = sequence.astype(object)
    assert select(score, budget, sequence=objects, frame=frame, **rules).indices.tolist() == chosen


@settings(deadline=None, max_examples=100)
@given(pool=pools(), now=sides, later=sides, fill=st.booleans(), data=st.data())
def test_no_choice_breaks_a_rule_and_each_is_the_best_at_its_turn(pool, now, later, fill, data):
    score, sequence, frame = pool
    n = len(score)
    budget = data.draw(st.integers(1, n))
    labeled = data.draw(st.lists(st.integers(0, n - 1), max_size=5))
    rules = {"labeled": labeled, "exclude_now": now, "exclude_later": later, "fill": fill}
    result = select(score, budget, sequence=sequence, frame=frame, **rules)
    chosen = result.indices.tolist()
    assert len(chosen) <= budget
    assert fill or result.relaxed == 0

    both = max(now[0], later[0]), max(now[1], later[1])

    def passes():
        """All passes in turn, each as (its rule within the pass, its frames)."""
        yield now, range(len(chosen) - result.relaxed)
        if fill:
            second = range(len(chosen) - result.relaxed, len(chosen))
            # where the second pass ends is where it has nobody left
            end = next((k for k in second if not allowed(k, both, second.start)), len(chosen))
            yield both, range(second.start, end)
            yield later, range(end, len(chosen))

    def allowed(turn, rule, first):
        """Who could be chosen after chosen[:turn], in a pass that began at turn `first`."""
        return [
            i
            for i in range(n)
            if i not in chosen[:turn] and i not in labeled and not math.isnan(score[i])
            if not any(forbids(sequence, frame, j, i, later) for j in labeled + chosen[:first])
            if not any(forbids(sequence, frame, j, i, rule) for j in chosen[first:turn])
        ]

    for number, (rule, turns) in enumerate(passes(), 1):
        for turn in turns:
            best = min(allowed(turn, rule, turns.start), key=lambda j: (-score[j], j))
            assert chosen[turn] == best
        if turns.stop < budget:  # maximal: nobody left could be added in this pass
            assert number == 2 or not allowed(turns.stop, rule, turns.start)
    assert np.flatnonzero(result.reason == Reason.CHOSEN).tolist() == sorted(chosen)

    names = data.draw(st.permutations(["a", "b", "c"]))
    renamed = np.vectorize(dict(zip(["a", "b", "long name"], names, strict=True)).get)(sequence)
    again = select(score, budget, sequence=renamed, frame=frame, **rules)
    assert again.indices.tolist() == chosen
    assert np.array_equal(again.reason, result.reason)


def test_large_pools_keep_the_rules():
    rng = np.random.default_rng(0)
    n = 200_000  # more than one block of ranks
    sequence, frame = rng.integers(0, 40, n), rng.permutation(n) / 8
    labeled = rng.choice(n, 500, replace=False)
    rules = {"sequence": sequence, "frame": frame, "labeled": labeled}
    result = select(rng.random(n), 100_000, **rules)
    assert 40 * n / 8 / 31 < len(result.indices) < 40 * n / 8 / 15
    chosen = result.indices
    assert not np.isin(chosen, labeled).any()
    for one in range(40):
        times = np.sort(frame[chosen[sequence[chosen] == one]])
        assert np.diff(times).min() > 15
        earlier = frame[labeled[sequence[labeled] == one]]
        assert np.abs(times[:, None] - earlier).min() > 2


def test_torch_scores_give_torch_results():
    score = torch.tensor([1.0, 3.0, NAN, 2.0])
    result = select(score, 2, sequence=torch.zeros(4), frame=torch.arange(4), exclude_now=1)
    assert isinstance(result.indices, torch.Tensor)
    assert isinstance(result.reason, torch.Tensor)
    assert result.indices.tolist() == [1, 3]
    assert result.counts["EXCLUDED_NOW"] == 1
    assert select(score.half(), 2).indices.tolist() == [1, 3]
    assert select(np.array([1, 3, 2], np.uint8), 2).indices.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, "budget is 0; expected a whole number of 1 or more"),
        ({"budget": 2.0}, "budget is 2.0; expected a whole number"),
        ({"budget": 5}, "budget is 5, but the pool has only 4 images"),
        ({"labeled": [0, 4]}, "expected integer positions from 0 to 3"),
        ({"labeled": [-1]}, r"labeled is \[-1\]"),
        ({"labeled": np.array([True, False, False, False])}, "expected integer positions"),
        ({"labeled": [0.5]}, "expected integer positions"),
        ({"sequence": ["a"] * 3}, r"sequence has shape \(3,\), but there are 4 scores"),
        ({"frame": [1, 2, 3]}, r"frame has shape \(3,\)"),
        ({"frame": [0, 1, math.inf, 3]}, r"frame\[2\] is inf"),
        ({"exclude_now": -1}, "exclude_now is -1"),
        ({"exclude_later": (1, 2, 3)}, r"exclude_later is \(1, 2, 3\)"),
        ({"exclude_later": (1, NAN)}, "exclude_later is"),
        ({"score": np.zeros((4, 1))}, r"of shape \(4, 1\)"),
    ],
)
def test_errors(change, message):
    arguments = {"score": [4.0, 3.0, 2.0, 1.0], "budget": 2, "sequence": ["a"] * 4}
    with pytest.raises(ValueError, match=message):
        select(**{**arguments, "frame": [0, 1, 2, 3], **change})


# ------------------------------------------------------------------ strategies


def test_strategies():
    for strategy in STRATEGIES.values():
        assert strategy.score is None or callable(getattr(scores, strategy.score))
        assert strategy.aggregation in ("max", "mean")
    full = STRATEGIES["divergence"]
    assert (full.score, full.aggregation, full.smoothing, full.rules) == (
        "divergence",
        "max",
        True,
        True,
    )
    assert STRATEGIES["mean-aggregation"].aggregation == "mean"
    assert not STRATEGIES["no-smoothing"].smoothing
    assert not STRATEGIES["no-rules"].rules
    for name, rules in (("random", False), ("guided-random", True)):
        assert (STRATEGIES[name].score, STRATEGIES[name].rules) == (None, rules)
        assert not STRATEGIES[name].smoothing


# Eight frames of one video, each a map of two regions of 2 × 2 pixels; the rest of it was labeled.
#   0–2: a peak in each region of frame 0, nothing beside it in space or time
#   3–5: flat in space and time, so that neither averaging changes it
#     6: a lower peak with no neighbor in time
#     7: flat, lower still
FRAME = np.array([0, 1, 2, 100, 101, 102, 200, 300])
MAPS = np.zeros((8, 2, 4))
MAPS[0, 0, [0, 2]] = 4  # max 4, mean 1; smoothed by frames 1 and 2, 1.46 and 0.36
MAPS[3:6] = 2
MAPS[6, 0, [0, 2]] = 1.8  # max 1.8, mean 0.45
MAPS[7] = 1.0


def chosen_by(strategy, budget, seed=0):
    """What a strategy chooses from these maps, as a cycle does it."""
    if strategy.score is None:
        z = np.random.default_rng(seed).random(len(MAPS))
    else:
        z = image_score(MAPS, 2, how=strategy.aggregation)
        if strategy.smoothing:
            z = smooth(z, np.zeros(8), FRAME)
    rules = {"sequence": np.zeros(8), "frame": FRAME} if strategy.rules else {}
    return select(z, budget, **rules).indices.tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("divergence", [3, 6, 0]),  # 2, 1.8, 1.46
        ("entropy", [3, 6, 0]),
        ("mc-dropout", [3, 6, 0]),
        ("mean-aggregation", [3, 7, 6]),  # 2, 1, 0.45
        ("no-smoothing", [0, 3, 6]),  # 4, 2, 1.8
        ("no-rules", [3, 4, 5]),  # neighbors of the best
    ],
)
def test_what_each_switch_does_to_the_selection(name, expected):
    assert chosen_by(STRATEGIES[name], 3) == expected


def test_guided_random_is_plain_random_with_the_rules():
    plain, guided = STRATEGIES["random"], STRATEGIES["guided-random"]
    differ = 0
    for seed in range(50):
        z = np.random.default_rng(seed).random(8)
        order = np.argsort(-z).tolist()
        assert chosen_by(plain, 4, seed) == order[:4]  # neighbors or not
        best = [max(group, key=lambda i: z[i]) for group in ([0, 1, 2], [3, 4, 5], [6], [7])]
        assert chosen_by(guided, 4, seed) == sorted(best, key=order.index)
        differ += chosen_by(plain, 4, seed) != chosen_by(guided, 4, seed)
    assert differ > 25


@pytest.mark.parametrize("wrong", [None, "15", (1, "2"), (1, 2, 3), float("nan")])
def test_an_exclusion_that_is_no_distance(wrong):
    with pytest.raises(ValueError, match="exclude_now is"):
        select([1.0, 2.0], 1, sequence=[0, 0], frame=[0, 1], exclude_now=wrong)


def test_scores_that_are_text():
    with pytest.raises(ValueError, match="expected numbers"):
        select(["a", "b"], 1)
