"""What strategies beside the paper's rank by: by hand, by slow loops, and by their properties."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from alkit import prediction, training
from alkit.evaluation import evaluate
from alkit.frames import FrameSet
from alkit.loop import experiment, planning, runs, status, steps, store
from alkit.loop.labels import to_coco
from alkit.loop.references import REFERENCES
from alkit.loop.settings import checked
from alkit.profiles import PAPER
from alkit.selection import Reason
from alkit.strategies import STRATEGIES, selected, uniform


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
            assert before - after in (0, 1)
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


# ------------------------------------------------------------------ what step 1 found


def detection(position, score, bbox=(0, 0, 10, 20)):
    return {"image_id": position + 1, "category_id": 1, "bbox": [*bbox], "score": score}


# Frames of one video, 100 apart: many weak detections, one certain one, two good ones, none.
FOUND = [
    *[detection(0, 0.2)] * 8,
    detection(1, 0.99),
    *[detection(2, 0.75)] * 2,
    *[detection(4, score) for score in (0.3, 0.1)],
]


def test_expected_count_is_the_sum_of_scores_not_the_number_or_the_highest():
    count = STRATEGIES["expected-count"].rank(6, FOUND)
    np.testing.assert_allclose(count, [1.6, 0.99, 1.5, 0, 0.4, 0], rtol=0, atol=1e-12)
    assert STRATEGIES["expected-count"].rank(3, []).tolist() == [0, 0, 0]


def test_foreground_random_draws_among_frames_with_a_detection_over_the_limit():
    rank = STRATEGIES["foreground-random"].rank
    first = set()
    for seed in range(40):
        drawn = rank(6, np.random.default_rng(seed), FOUND, 0.3)
        assert np.isfinite(drawn).tolist() == [False, True, True, False, True, False]
        guided = STRATEGIES["guided-random"].rank(6, np.random.default_rng(seed))
        assert np.array_equal(drawn[[1, 2, 4]], guided[[1, 2, 4]])
        first.add(int(np.nanargmax(drawn)))
    assert first == {1, 2, 4}
    assert np.isnan(rank(6, np.random.default_rng(0), FOUND, math.inf)).all()


# ------------------------------------------------------------------ shares of videos


def pool_of(sequence, frame=None):
    sequence = np.array(sequence)
    frame = 100.0 * np.arange(len(sequence)) if frame is None else frame
    return FrameSet("pool", [*map(str, range(len(sequence)))], None, None, None, sequence, frame)


def shared_out(ranked, pool, budget, labeled=()):
    return selected(np.array(ranked, float), budget, pool, PAPER, [*labeled], True, True)


def test_videos_share_the_budget_whatever_their_scores():
    # a has the highest scores, but half of the frames: 6, 2, 6/5 are before 6/7; b has 4, 4/3, c 2
    pool, ranked = pool_of(list("aaaaaabbbbcc")), [*range(20, 14, -1), 5, 4, 3, 2, 1, 0]
    assert STRATEGIES["divergence-per-video"].score == "divergence"
    assert shared_out(ranked, pool, 6).indices.tolist() == [0, 6, 1, 10, 7, 2]
    assert selected(np.array(ranked, float), 6, pool, PAPER, []).indices.tolist() == [*range(6)]
    # a labeled frame counts as its video's
    assert shared_out(ranked, pool, 3, [5]).indices.tolist() == [6, 0, 10]
    # of videos of one length that of the higher score comes first
    assert shared_out([1, 2, 5, 4], pool_of(list("aabb")), 1).indices.tolist() == [2]


def test_what_a_short_video_cannot_give_goes_to_the_others():
    # rule 1: of a's frames, next to each other, only one can be chosen
    frame = np.array([*range(6), *(100.0 * np.arange(4)), 0, 100])
    chosen = shared_out(np.arange(12, 0, -1), pool_of(list("aaaaaabbbbcc"), frame), 6)
    assert chosen.indices.tolist() == [0, 6, 10, 7, 8, 11]
    assert chosen.reason.tolist().count(Reason.EXCLUDED_NOW) == 5


@settings(deadline=None, max_examples=60)
@given(pool=videos(), budget=st.integers(1, 40), seed=st.integers(0, 9))
def test_shares_are_by_length_and_nested(pool, budget, seed):
    sequence, frame, labeled, _ = pool
    own = pool_of(sequence, 200 * np.argsort(np.argsort(frame)))  # apart: no rule excludes any
    ranked = np.random.default_rng(seed).random(len(sequence))
    budget = min(budget, len(sequence))
    chosen = shared_out(ranked, own, budget, labeled).indices.tolist()
    assert len(chosen) == min(budget, len(sequence) - len(labeled))
    fewer = max(1, budget // 2)
    part = shared_out(ranked, own, fewer, labeled).indices.tolist()
    rest = shared_out(ranked, own, max(1, budget - fewer), [*labeled, *part]).indices.tolist()
    assert chosen == [*part, *rest][:budget]
    for i in groups(sequence):
        taken = [p for p in chosen if p in i]
        assert taken == sorted(taken, key=lambda p: -ranked[p])  # the highest of a video
    if not labeled:  # Webster: one divisor by which all lengths, rounded, give the numbers
        counts = [(np.isin(i, chosen).sum(), len(i)) for i in groups(sequence)]
        low = max((k - 0.5) / n for k, n in counts)
        assert low <= min(((k + 0.5) / n for k, n in counts if k < n), default=1) + 1e-12


# ------------------------------------------------------------------ features


def slow_core_set(features, labeled, budget):
    """The greedy loop of the paper: the frame farthest from all centers is the next."""
    centers, chosen = list(labeled), []
    while len(chosen) < min(budget, len(features) - len(labeled)):
        if centers:
            far = [min(math.dist(f, features[c]) for c in centers) for f in features]
        else:
            mean = [sum(column) / len(features) for column in zip(*features, strict=True)]
            far = [-math.dist(f, mean) for f in features]
        free = [i for i in range(len(features)) if i not in centers]
        chosen.append(max(free, key=lambda i: (round(far[i], 9), -i)))
        centers.append(chosen[-1])
    return chosen


@settings(deadline=None, max_examples=80)
@given(data=st.data(), n=st.integers(1, 15), budget=st.integers(1, 15))
def test_core_set_is_the_greedy_loop(data, n, budget):
    row = st.tuples(*[st.integers(-3, 3)] * 2)
    features = data.draw(st.lists(row, min_size=n, max_size=n, unique=True))
    labeled = data.draw(st.lists(st.sampled_from(range(n)), unique=True))
    away = sorted(np.linalg.norm(features - np.mean(features, 0), axis=1))
    assume(labeled or n == 1 or away[1] - away[0] > 1e-6)  # rounding would decide
    budget = min(budget, n)
    rank = STRATEGIES["core-set"].rank(np.array(features, np.float32), labeled, budget)
    assert np.isfinite(rank).all()
    chosen = selected(rank, budget, pool_of(["a"] * n), PAPER, labeled, rules=False).indices
    assert chosen.tolist() == slow_core_set(features, labeled, budget)


# ------------------------------------------------------------------ references


def truth_of(boxes):
    """A COCO dict of frames, each a list of (box, ignore)."""
    return {
        "images": [{"id": i + 1} for i in range(len(boxes))],
        "annotations": [
            {"image_id": i + 1, "category_id": 1, "bbox": box, "ignore": ignore}
            for i, own in enumerate(boxes)
            for box, ignore in own
        ],
    }


A, B, C = [0, 0, 10, 20], [50, 0, 10, 20], [100, 0, 10, 20]


def test_oracle_count_leaves_ignored_boxes_out():
    truth = truth_of([[(A, 0), (B, 1)], [], [(A, 0), (B, 0)]])
    assert REFERENCES["oracle-count"].rank(4, truth).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("change", [{"length_scale": 0.6}, {"image_size": [60, 72]}])
def test_oracle_counts_choice_depends_on_what_makes_a_box_ignored(toy_settings, tmp_path, change):
    keys = []
    for k, own in enumerate(({}, change)):
        mine = {"strategies": ["oracle-count"], "set": toy_settings["set"] | own}
        catalog = runs.ROOT / "data_catalog.yaml"
        out = runs.create(tmp_path / str(k), checked(toy_settings | mine, "here"), catalog)
        keys.append(steps.choose.plan(run_of(out, "oracle-count"), 1).key)
    assert keys[0] != keys[1]


def test_oracle_error_counts_misses_and_false_positives_at_fppi_1():
    # Four frames are not labeled: FPPI 1 allows four false detections, so the fifth, of 0.3, and
    # the hit below it do not count. The labeled frame 1 counts for nothing.
    truth = truth_of([[(A, 0), (B, 0)], [(A, 0)] * 3, [(A, 1), (B, 0)], [], [(C, 0)]])
    false = [detection(0, 0.9, C), detection(2, 0.8, C), detection(3, 0.7, A), detection(3, 0.6, B)]
    hit = [detection(0, 0.95, A), detection(2, 0.5, A), detection(4, 0.2, C)]
    found = [*[detection(1, 0.99, C)] * 9, *hit, *false, detection(3, 0.3, C)]
    error = REFERENCES["oracle-error"].rank
    # 0: B missed, C false; 2: B missed, C false, A ignored; 3: two false; 4: C missed
    np.testing.assert_array_equal(error(5, [1], found, truth), [2, np.nan, 2, 2, 1])
    np.testing.assert_array_equal(error(2, [], [], truth_of([[(A, 0)], []])), [1, 0])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 9999))
def test_oracle_errors_add_up_to_the_curve(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))

    def box():
        return [int(rng.integers(0, 3)) * 8, 0, 10, 20]

    truth = truth_of([[(box(), int(rng.random() < 0.2)) for _ in range(3)] for _ in range(n)])
    found = [detection(int(rng.integers(n)), k / 40, box()) for k in rng.permutation(40)]
    result = evaluate(truth, found)
    last = np.searchsorted(result.fppi, 1, side="right") - 1
    missed = result.miss_rate_at(1.0) * result.n_boxes if result.n_boxes else 0
    false = result.fppi[last] * n if last >= 0 else 0
    errors = REFERENCES["oracle-error"].rank(n, [], found, truth)
    assert errors.sum() == np.round(missed + false)


# ------------------------------------------------------------------ through all steps

NAMES = ["uniform", "expected-count", "divergence-per-video", "foreground-random", "core-set"]
NAMES += ["oracle-count", "oracle-error"]


@pytest.fixture(scope="module")
def new_ones(toy_experiment, tmp_path_factory):
    """The folder of a finished experiment of all strategies of this file, with frames to start from
    and the toy experiment's W_l, which was interrupted in core-set's step 1; and its plan."""
    settings = json.loads((toy_experiment / "experiment.json").read_text())
    own = {key: settings[key] for key in ("labeled", "pool", "held_out", "data", "profile")}
    del own["data"]["street-test"]
    own |= {"name": "new", "set": settings["set"] | {"epochs": 1, "exclude_now": 4}}
    own |= {"weights": str(toy_experiment / "pretrain/seed_0/weights.safetensors")}
    own |= {"strategies": NAMES, "cycles": 2, "budget": 3, "start": 2}
    folder, catalog = tmp_path_factory.mktemp("new") / "new", runs.ROOT / "data_catalog.yaml"
    out = runs.create(folder, checked(own, "here"), catalog)
    tasks = experiment.tasks(out)
    counts, missing, opened = planning.count_images(tasks[0].run)
    assert not missing
    costs = {"predict": 1, "score": {"divergence": 1}, "aggregate": 1, "train": 1, "weights": 1}
    plan = planning.plan(tasks, counts, costs, planning.foreseen(tasks, opened["pool"])[0])

    write, written = store.write_shard, []

    full = True

    def seen(place, key, block, arrays):
        if full and "core-set" in str(place) and block.start:
            raise OSError("no space left")
        written.append((str(place), block.start))
        write(place, key, block, arrays)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write_shard", seen)
        with pytest.raises(experiment.StepFailed, match="no space left"):
            experiment.run(out, notebooks=False)
        assert [start for place, start in written if "core-set" in place] == [0]
        full = False
        experiment.run(out, notebooks=False)
    assert [start for place, start in written if "core-set" in place] == [0, 32]
    return out, plan


def run_of(out, name):
    return runs.Run(out / name / "seed_0")


def chosen_of(out, name, cycle):
    return [frame["position"] for frame in run_of(out, name).selection(cycle)["chosen"]]


def test_only_the_steps_that_a_strategy_needs_are_done_as_planned(new_ones):
    out, plan = new_ones
    done = Counter()
    for path in out.glob("**/[0-7]_*.json"):
        done[path.stem] += "reused" not in json.loads(path.read_text())
    assert plan["times"].to_dict() == done
    assert done["1_predict"] == 2  # core-set's, of labeled frames too, and that of all others
    assert (done["2_score"], done["4_select"], done["6_retrain"]) == (1, 1 + 7, 1 + 7)
    assert plan["images or iterations"]["0_pretrain"] == 0
    assert plan["images or iterations"]["1_predict"] == 38 + 40


def drawn_in(cycle):
    """The random numbers of step 4, of seed 0."""
    return np.random.default_rng(np.random.SeedSequence(0, spawn_key=(cycle, 2)))


def test_all_strategies_begin_with_the_same_frames(new_ones, toy_experiment):
    out, _ = new_ones
    given = load_file(run_of(toy_experiment, "divergence").weights(0))
    taken = load_file(run_of(out, "uniform").weights(0))
    assert given.keys() == taken.keys()
    assert all((tensor == taken[name]).all() for name, tensor in given.items())
    begun = chosen_of(out, "uniform", 1)
    assert begun == np.argsort(-drawn_in(1).random(40))[:2].tolist()
    for name in NAMES:
        assert chosen_of(out, name, 1) == begun
        assert run_of(out, name).labeled_positions(2) == begun
        chosen = chosen_of(out, name, 2)
        assert len({*chosen, *begun}) == 3 + 2
    assert steps.choose.state(run_of(out, "core-set"), 2).kind == "complete"


def test_what_was_chosen_is_what_each_strategy_says(new_ones):
    out, _ = new_ones
    run = run_of(out, "expected-count")
    begun = chosen_of(out, "uniform", 1)
    pool, numbers = run.frames("pool"), run.numbers(2)
    n, given = len(pool), (3, pool, numbers, begun)
    found, truth = run.detections(2, "pool"), to_coco(pool)

    def best(values, rules=True):
        return selected(np.array(values, float), *given, rules).indices.tolist()

    by_frame = [[d["score"] for d in found if d["image_id"] == i + 1] for i in range(n)]
    assert chosen_of(out, "expected-count", 2) == best([*map(sum, by_frame)])
    # in every cycle the same start and the same turns of videos
    even = uniform(pool.sequence, pool.frame, begun, drawn_in(0))
    assert chosen_of(out, "uniform", 2) == best(even, rules=False)
    ranked_by = np.array(run_of(out, "uniform").selection(2)["ranked_by"], float)
    np.testing.assert_array_equal(ranked_by, even)
    boxes = [sum(~own.ignore) for own in pool.boxes]
    assert chosen_of(out, "oracle-count", 2) == best(boxes)
    limit = run.held_out()["score_at_1"]
    assert all(max(by_frame[i]) >= limit for i in chosen_of(out, "foreground-random", 2))
    errors = REFERENCES["oracle-error"].rank(n, begun, found, truth)
    assert chosen_of(out, "oracle-error", 2) == best(errors)
    # features: of all frames, as the network gives them
    run = run_of(out, "core-set")
    detector = training.load_weights(run.weights(1), numbers)
    features = [prediction.predict(detector, pool.images(i), numbers)["features"] for i in range(n)]
    np.testing.assert_allclose(run.logits(2)["features"].values, features, rtol=1e-5, atol=1e-6)
    assert chosen_of(out, "core-set", 2) == slow_core_set(np.array(features), begun, 3)


def test_a_later_cycle_without_a_choice_trains_nothing_and_says_why(
    toy_experiment, tmp_path, monkeypatch
):
    """W_l never has FPPI 1 on held-out frames: no score is high enough, nor is any frame drawn."""
    settings = json.loads((toy_experiment / "experiment.json").read_text())
    own = {key: settings[key] for key in ("labeled", "pool", "held_out", "data", "profile")}
    del own["data"]["street-test"]
    own |= {"name": "none", "set": settings["set"] | {"epochs": 1}}
    own |= {"weights": str(toy_experiment / "pretrain/seed_0/weights.safetensors")}
    own |= {"strategies": ["foreground-random"], "cycles": 3, "budget": 3, "start": 2}
    catalog = runs.ROOT / "data_catalog.yaml"
    out = runs.create(tmp_path / "none", checked(own, "here"), catalog)
    monkeypatch.setitem(steps.step_4_select.READS, "limit", lambda job, pool: np.inf)
    for _ in range(2):
        with pytest.raises(
            experiment.StepFailed,
            match=r"foreground-random.* no frame to choose in cycle 2; .* 2 labeled, 38 unscored",
        ):
            experiment.run(out, notebooks=False)
    run = run_of(out, "foreground-random")
    assert run.weights(1).exists()
    assert not {p.name for p in run.cycle(2).iterdir()} & {"selection.json", "weights.safetensors"}
    assert "no frame to choose in cycle 2" in status.format_status(out)
