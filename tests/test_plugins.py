"""Plugins: scores of any magnitude, and what a wrong one is told."""

import shutil

import numpy as np
import pytest
import torch
import yaml

from alkit.loop import records, runs, status, steps
from alkit.loop.plugins import load_score, load_strategies
from alkit.loop.runs import open_run
from alkit.loop.settings import read_experiment

P = torch.full((5, 6, 8), 0.25)
SCALED = """
from alkit.scores import divergence
from alkit.strategies import Strategy
scales = {"tiny": 1e-30, "small": 1e-6, "own": 1.0, "large": 1e9}
scores = {name: lambda p, k=k: k * divergence(p, 2) for name, k in scales.items()}
scores["flat"] = lambda p: 0 * p[0] + 3
strategies = {f"by-{name}": Strategy(name) for name in scores}
"""


@pytest.fixture
def run_of(toy_experiment, toy_settings, tmp_path):
    """Makes a run of a strategy of `SCALED`, with its frames predicted."""
    (tmp_path / "scaled.py").write_text(SCALED)
    names = [f"by-{name}" for name in ("tiny", "small", "own", "large", "flat")]
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(toy_settings | {"plugins": ["scaled.py"], "strategies": names}))
    out = runs.create(tmp_path / "out", read_experiment(file), "data_catalog.yaml")
    shutil.copytree(toy_experiment / "pretrain", out / "pretrain")

    def make(name):
        run = open_run(out / f"by-{name}/seed_0")
        for step in steps.SCORING:
            step(run, 1)
        steps.choose(run, 1)
        return run

    return make


def test_a_score_of_any_magnitude_chooses_the_same_frames(run_of):
    own = run_of("own")
    z, chosen = own.image_scores(1)["z"], own.selection(1)["chosen"]
    assert z.nunique() > len(z) / 2
    for name, k in (("tiny", 1e-30), ("small", 1e-6), ("large", 1e9)):
        run = run_of(name)
        np.testing.assert_allclose(run.image_scores(1)["z"] / k, z, rtol=1e-3)
        np.testing.assert_allclose(run.scores(1) / k, own.scores(1), rtol=0.02, atol=1e-6)
        np.testing.assert_allclose(run.region_maxima(1) / k, own.region_maxima(1), rtol=0.02)
        assert [f["position"] for f in run.selection(1)["chosen"]] == [
            f["position"] for f in chosen
        ]
        assert records.read(run, 1, "3_aggregate")["warnings"] == []


def test_most_scores_equal_is_said(run_of):
    with pytest.warns(UserWarning, match=r"40 of 40 frames have the same z, 3\b"):
        run = run_of("flat")
    assert (run.scores(1) == 3).all()
    (said,) = records.read(run, 1, "3_aggregate")["warnings"]
    assert "40 of 40" in said


def states(out):
    """The kinds of the states of an experiment's finished steps, by run, cycle and step."""
    table = status.table(out).query("state != 'waiting'")
    return table.set_index(["run", "cycle", "step"])["state"]


def test_a_plugin_is_added_to_a_finished_experiment(toy_copy, toy_settings, tmp_path):
    """W_l and predictions are found by their keys; what a plugin says anew is made anew."""

    def grow(file, **settings):
        (tmp_path / "e.yaml").write_text(yaml.safe_dump(toy_settings | settings))
        runs.create(toy_copy, read_experiment(tmp_path / "e.yaml"), "data_catalog.yaml")

    mine = tmp_path / "mine.py"
    mine.write_text(
        "from alkit.strategies import Strategy\nscores = {'mine': lambda p: p[0]}\n"
        "strategies = {'by-mine': Strategy('mine')}\n"
    )
    grow(mine, plugins=["mine.py"], strategies=["by-mine"])
    run = open_run(toy_copy / "by-mine/seed_0")
    for step in (*steps.SCORING, steps.choose):
        step(run, 1)
    assert records.read(run, 1, "1_predict")["reused"]
    before = states(toy_copy)
    assert set(before) == {"complete"}
    # another plugin, and an experiment file that does not name the first: both stay
    (tmp_path / "more.py").write_text("scores = {'more': lambda p: p[1]}\n")
    grow(mine, plugins=["more.py"], strategies=["divergence"])
    assert states(toy_copy).equals(before)
    mine.rename(tmp_path / "moved.py")  # what was done is still shown, and the file can be named
    assert states(toy_copy).equals(before)
    grow(mine, plugins=["moved.py"])
    text = (tmp_path / "moved.py").read_text()
    (tmp_path / "moved.py").write_text(text.replace("('mine')", "('mine', 'mean', False)"))
    after = states(toy_copy)
    stale = after.index[after == "stale"]
    assert [*stale] == [("by-mine/seed_0", 1, s) for s in ("2_score", "3_aggregate", "4_select")]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("1.0", r"got \(\)"),
        ("p.max(0)[:-1]", r"got \(5, 8\)"),
        ("p.max(0).T", r"got \(8, 6\)"),
        ("p.max(0)[None]", r"got \(1, 6, 8\)"),
        ("p[:0]", r"got \(0, 6, 8\)"),
        ("p.max(0) * float('nan')", "nan"),
        ("p.max(0) - 1", "from -0.75"),
        ("p.max(0) + float('inf')", "to inf"),
        ("'high'", "ValueError: could not convert"),
        ("None", r"got \(\)"),
        ("p[9]", "line 2: IndexError: index 9"),
        ("helper(p)", "line 5: ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_score_map_is_refused(tmp_path, result, said):
    file = tmp_path / "mine.py"
    helper = "def helper(p):\n    return 1 / 0\n"
    file.write_text(f"def mine(p):\n    return {result}\n\n{helper}scores = {{'mine': mine}}\n")
    score = load_score("mine", [str(file)], 2)
    with pytest.raises(ValueError, match=rf"plugins: .*mine\.py.*{said}"):
        score(P)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\n\nos.nothing\n", r"mine\.py, line 3: AttributeError"),
        ("import os\nscores = {\n", r"mine\.py.*SyntaxError.*line 2"),
        ("scores = 3\n", r"mine\.py: TypeError"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=rf"plugins: .*{said}"):
        load_strategies([str(tmp_path / "mine.py")])


def test_whole_numbers_and_tensors_are_scores(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\nscores = {'a': lambda p: (p > 0.1).sum(0), 'b': lambda p: p[0] > 1,"
        " 'c': lambda p: torch.from_numpy(p[0]).requires_grad_()}\n"
    )
    for name, value in (("a", 5), ("b", 0), ("c", 0.25)):
        found = load_score(name, [str(file)], 2)(P)
        assert found.dtype == np.float32
        assert (found == value).all()
