"""Branching from a cycle, comparing two runs, deleting maps."""

import itertools
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import spearmanr

from alkit.loop import branches, experiment, records, runs, status, steps, store
from alkit.loop.jsonfile import read_json
from alkit.loop.runs import Run, open_run
from alkit.loop.settings import read_experiment


def go_on(out):
    settings = read_experiment(out / "experiment.yaml")
    catalog = read_json(out / "experiment.json")["catalog"]
    experiment.run(runs.create(out, settings, catalog), notebooks=False)


@pytest.fixture
def branched(toy_copy, tmp_path):
    out = branches.branch(toy_copy / "divergence/seed_0", 2, {"radius": 20}, tmp_path / "wide")
    go_on(out)
    return toy_copy, out


def test_a_branch_reuses_what_the_change_does_not_touch(branched):
    source, out = branched
    old, new = open_run(source / "divergence/seed_0"), open_run(out / "divergence/seed_0")
    for cycle, step in [(1, "1_predict"), (1, "2_score"), (1, "6_retrain"), (2, "1_predict")]:
        record = records.read(new, cycle, step)
        assert record["reused"], f"{step} of cycle {cycle} was done again"
        assert record["key"] == records.read(old, cycle, step)["key"]
    assert records.read(new, 2, "2_score").get("reused") is None
    assert records.read(new, 1, "2_score")["parameters"]["radius"] == 9
    assert records.read(new, 2, "2_score")["parameters"]["radius"] == 20
    assert (old.scores(2).values != new.scores(2).values).any()
    assert (old.scores(1).values == new.scores(1).values).all()


def test_a_branch_of_a_branch(branched, tmp_path):
    _, out = branched
    again = branches.branch(out / "divergence/seed_0", 2, {"region": 60}, tmp_path / "again")
    go_on(again)
    new = open_run(again / "divergence/seed_0")
    assert records.read(new, 1, "2_score")["parameters"]["radius"] == 9
    assert records.read(new, 2, "2_score")["parameters"]["radius"] == 20
    assert records.read(new, 2, "2_score")["reused"]
    assert records.read(new, 2, "3_aggregate")["parameters"]["region"] == 60
    about = yaml.safe_load(status.about(new.folder))  # what a page begins with
    assert (about["set"]["radius"], about["set"]["region"]) == (20, 60)
    assert [earlier["set"].get("radius") for earlier in about["earlier"]] == [None, 20]


def test_a_branch_by_iterations_leaves_the_epochs(toy_copy, tmp_path):
    out = branches.branch(toy_copy / "divergence/seed_0", 1, {"iterations": 3}, tmp_path / "new")
    numbers = open_run(out / "divergence/seed_0").numbers(1)
    assert (numbers.epochs, numbers.iterations) == (None, 3)


def test_wrong_branches_write_nothing(toy_copy, tmp_path):
    run = toy_copy / "divergence/seed_0"
    for cycle, changes, message in [
        (3, {}, "has cycles 1 … 2"),
        (0, {}, "has cycles 1 … 2"),
        (1, {"raduis": 3}, "did you mean radius"),
        (1, {"radius": "wide"}, "radius"),
    ]:
        with pytest.raises(ValueError, match=message):
            branches.branch(run, cycle, changes, tmp_path / "new")
        assert not (tmp_path / "new").exists()
    records.record_path(Run(run), 1, "6_retrain").unlink()
    with pytest.raises(ValueError, match="6_retrain is not complete"):
        branches.branch(run, 2, {}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_diff_says_what_differs(branched):
    source, out = branched
    text = branches.format_diff(source / "divergence/seed_0", out / "divergence/seed_0")
    assert "profile radius: a 9 at 480 rows, 2 px here, b 20 at 480 rows, 4 px here" in text
    n = len(open_run(out / "divergence/seed_0").selection(1)["chosen"])
    assert f"cycle 1: {n} of {n} and {n} chosen frames in both" in text
    other = branches.format_diff(source / "divergence/seed_0", source / "guided-random/seed_0")
    assert "strategy score: a divergence, b None" in other
    same = branches.format_diff(source / "divergence/seed_0", source / "divergence/seed_0")
    assert "no difference" in same


def test_diff_correlates_ranks(toy_experiment, monkeypatch):
    """Ties share their mean rank; only frames that both scored count, whatever their pools are."""
    rng = np.random.default_rng(0)
    pools = [[f"v/{i}" for i in range(20)], [f"v/{i}" for i in range(32, 4, -1)]]
    a, b = (pd.DataFrame({"position": range(len(p)), "name": p}) for p in pools)
    a, b = (table.assign(z=rng.integers(0, 5, len(table)) / 10) for table in (a, b))
    both = a.merge(b, on="name")
    assert len(both) == 15
    folder = toy_experiment / "divergence/seed_0"

    def said(*tables):
        given = itertools.cycle(tables)
        monkeypatch.setattr(Run, "image_scores", lambda run, cycle: next(given).copy())
        return branches.format_diff(folder, folder)

    expected = spearmanr(both["z_x"], both["z_y"]).statistic
    assert f"z {expected:.3g}, " in said(a, b)
    assert "15 frames that both scored" in said(a, b)
    assert "z 1.00, what frames were ranked by 1.00, over 20 frames" in said(a, a)
    assert "z -1.00, " in said(a, a.assign(z=-a["z"]))
    assert "z undefined, " in said(a, a.assign(z=0.3))
    assert "z undefined, what frames were ranked by undefined, over 0" in said(a, b[:10])
    other = branches.format_diff(folder, toy_experiment / "guided-random/seed_0")
    assert "guided-random scores no frames" in other


def test_nothing_is_deleted_while_a_run_works(toy_copy):
    with runs.lock(toy_copy), pytest.raises(RuntimeError, match="works in this folder"):
        branches.clean(toy_copy, delete=True)
    assert (toy_copy / "divergence/seed_0/cycle_01/scores.zarr").exists()


def test_clean_lists_first_and_keeps_what_a_branch_needs(branched):
    source, out = branched
    listed = branches.clean(source)
    assert "can be deleted, with --delete" in listed
    assert len(list(source.rglob("*.zarr"))) == 4
    branches.clean(source, delete=True)
    left = {str(p.relative_to(source)) for p in source.rglob("*.zarr")}
    needed = {"cycle_01/logits.zarr", "cycle_01/scores.zarr", "cycle_02/logits.zarr"}
    assert left == {f"divergence/seed_0/{name}" for name in needed}
    shutil.rmtree(out)
    branches.clean(source, delete=True)
    assert not list(source.rglob("*.zarr"))


def test_deleted_maps_are_not_missed_and_made_again_when_needed(toy_copy):
    run = open_run(toy_copy / "divergence/seed_0")
    before = run.scores(2).values
    branches.clean(toy_copy, delete=True)
    experiment.run(toy_copy, notebooks=False)  # everything that reads them is complete
    assert not list(toy_copy.rglob("*.zarr"))
    assert "cleaned" in status.format_status(toy_copy)
    records.record_path(run, 2, "3_aggregate").unlink()
    experiment.run(toy_copy, notebooks=False)
    assert (run.scores(2).values == before).all()
    assert not (run.cycle(1) / "scores.zarr").exists()


def test_making_deleted_maps_again_goes_on_after_an_interruption(toy_copy, monkeypatch):
    """The records are there, so that a half-made store alone tells that there is work left."""
    run = open_run(toy_copy / "divergence/seed_0")
    before = run.scores(2).values
    branches.clean(toy_copy, delete=True)
    records.record_path(run, 2, "3_aggregate").unlink()

    def unplugged(*_):
        raise OSError("unplugged")

    for step in ("1_predict", "2_score"):
        with monkeypatch.context() as patch:
            patch.setattr(store, "write_shard", unplugged)
            with pytest.raises(experiment.StepFailed, match=f"cycle 2 {step} failed: .*unplugged"):
                experiment.run(toy_copy, notebooks=False)
        if step == "1_predict":
            with pytest.raises(FileNotFoundError, match="not there"):
                run.logits(2)
            steps.predict(run, 2)
    experiment.run(toy_copy, notebooks=False)
    assert (run.scores(2).values == before).all()


def test_the_branch_file_is_an_experiment_file(branched):
    _, out = branched
    settings = yaml.safe_load((out / "experiment.yaml").read_text())
    assert settings["set"]["radius"] == 20
    assert settings["strategies"] == ["divergence"]
