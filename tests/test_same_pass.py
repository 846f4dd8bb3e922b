"""Step 1 does the work of step 2 as well where there is a GPU: the same bits, and resumable."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from firststeps import NAMES, grown, results

from alkit import prediction
from alkit.frames import FrameSet
from alkit.loop import cluster, records, steps, store
from alkit.loop.runs import Run, open_run
from alkit.loop.steps import step_1_predict

pytestmark = pytest.mark.usefixtures("one_thread")  # what a worker has

SHARD = 8  # frames: 40 are five shards


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_FRAMES", SHARD)


@pytest.fixture
def as_on_a_processor(monkeypatch):
    monkeypatch.setattr(step_1_predict, "device", lambda: torch.device("cpu"))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Step 1 takes this for a machine with a GPU; the detector stays on the processor."""
    monkeypatch.setattr(step_1_predict, "device", lambda: torch.device("cuda"))


@pytest.fixture
def run(alone, toy_copy) -> Run:
    return open_run(toy_copy / "divergence/seed_0")


def forget(run: Run, *artefacts: str, names=NAMES):
    """Take steps of cycle 1 back, and delete artefacts."""
    for name in names:
        records.record_path(run, 1, name).unlink(missing_ok=True)
    for name in artefacts:
        shutil.rmtree(run.cycle(1) / name)


def never(*_):
    raise AssertionError("a map was computed again")


def aggregate_what_step_1_left(run: Run, monkeypatch):
    """Steps 2 and 3, where step 2 has nothing to compute."""
    with monkeypatch.context() as patch:
        patch.setattr(prediction, "pixel_scores", never)
        steps.score(run, 1)
    steps.aggregate(run, 1)


def test_scores_of_the_same_pass_are_those_of_the_stored_logits(run, as_on_a_gpu, monkeypatch):
    apart = results(run)
    forget(run, "logits.zarr", "scores.zarr")
    steps.predict(run, 1)
    aggregate_what_step_1_left(run, monkeypatch)
    assert results(run) == apart


def test_workers_fill_both_stores(run, workers, as_on_a_gpu, monkeypatch):
    apart = results(run)
    forget(run, "logits.zarr", "scores.zarr")
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    steps.predict(run, 1)
    aggregate_what_step_1_left(run, monkeypatch)
    assert results(run) == apart


def test_after_an_interruption_both_stores_go_on(run, as_on_a_gpu, monkeypatch):
    apart, images, pool = results(run), FrameSet.images, len(run.frames("pool"))
    forget(run, "logits.zarr", "scores.zarr")
    read = []

    def broken(frames, i):
        if len(frames) == pool:
            read.append(i)
            if i == 2 * SHARD and len(read) == i + 1:  # the first time
                raise ValueError(f"frame {i} is broken")
        return images(frames, i)

    monkeypatch.setattr(FrameSet, "images", broken)
    with pytest.raises(ValueError, match="frame 16 is broken"):
        steps.predict(run, 1)
    for name in ("logits.zarr", "scores.zarr"):
        done = store._opened(run.cycle(1) / name, "r")["done"][:]
        assert done.tolist() == [True] * 2 * SHARD + [False] * (pool - 2 * SHARD)
    steps.predict(run, 1)
    assert read == [*range(2 * SHARD + 1), *range(2 * SHARD, pool)]
    aggregate_what_step_1_left(run, monkeypatch)
    assert results(run) == apart


def test_a_kill_between_the_two_stores_redoes_the_shard(run, as_on_a_gpu, monkeypatch):
    apart, write = results(run), store.write_shard
    forget(run, "logits.zarr", "scores.zarr")
    written = []

    def cut_off(group, block, arrays):
        written.append(group.store_path.store.root.name)
        if len(written) >= 4:
            raise KeyboardInterrupt
        write(group, block, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_shard", cut_off)
        with pytest.raises(KeyboardInterrupt):
            steps.predict(run, 1)
    # with its logits a shard counts as done: they come last
    assert written[:4] == ["scores.zarr", "logits.zarr"] * 2
    steps.predict(run, 1)
    aggregate_what_step_1_left(run, monkeypatch)
    assert results(run) == apart


def test_maps_that_are_complete_are_not_touched(run, as_on_a_gpu):
    """After `alkit clean` of the logits, say."""
    apart = results(run)
    kept = files_of(run.cycle(1) / "scores.zarr")
    forget(run, "logits.zarr", names=())
    steps.predict(run, 1)
    assert files_of(run.cycle(1) / "scores.zarr") == kept
    assert results(run) == apart


def test_nor_are_complete_ones_whose_record_is_lost(run, as_on_a_gpu, monkeypatch):
    """Killed after the last shard, before the record."""
    apart = results(run)
    kept = files_of(run.cycle(1) / "scores.zarr")
    forget(run, "logits.zarr", names=("2_score",))
    with monkeypatch.context() as patch:
        patch.setattr(store, "quantise", never)
        steps.predict(run, 1)
    assert files_of(run.cycle(1) / "scores.zarr") == kept
    aggregate_what_step_1_left(run, monkeypatch)
    assert results(run) == apart


def test_nor_are_those_of_a_stale_step(run, as_on_a_gpu):
    path, maps = records.record_path(run, 1, "2_score"), run.cycle(1) / "scores.zarr"
    old = records.read(run, 1, "2_score")["key"]
    path.write_text(path.read_text().replace(old, "made by other code"))
    store.reopen(maps, old).attrs["key"] = "made by other code"
    kept = files_of(maps)
    forget(run, "logits.zarr", names=())
    steps.predict(run, 1)
    assert files_of(maps) == kept
    with pytest.raises(records.StaleStep):
        steps.score(run, 1)


def files_of(folder: Path) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["gpu", "processor"])
def test_maps_left_by_other_numbers_are_replaced(run, place, request):
    request.getfixturevalue(f"as_on_a_{place}")
    apart = results(run)
    forget(run, "logits.zarr", "scores.zarr")
    path, pool = run.cycle(1) / "scores.zarr", len(run.frames("pool"))
    size = run.numbers(1).image_size
    arrays = {"score_root": (("y", "x"), size, store.STORED)}
    left = store.create(path, range(pool), arrays, "other numbers")
    store.write_shard(left, slice(0, SHARD), {"score_root": np.ones((SHARD, *size), store.STORED)})
    steps.predict(run, 1)
    key = steps.score.plan(run, 1).key
    assert store.being_made_from(path) == (key if place == "gpu" else "other numbers")
    steps.score(run, 1)
    steps.aggregate(run, 1)
    assert results(run) == apart


def test_a_plugins_score_and_mc_dropout_wait_for_step_2(alone, toy_copy, as_on_a_gpu):
    plugin = toy_copy.parent / "plugin.py"
    plugin.write_text(
        "from alkit.scores import entropy\nfrom alkit.selection import Strategy\n"
        "scores = {'mine': lambda p: entropy(p)}\nstrategies = {'mine': Strategy('mine')}\n"
    )
    for strategy in ("mc-dropout", "mine"):
        run = grown(toy_copy, strategies=["divergence", strategy], plugins=[str(plugin)])
        steps.predict(run, 1)
        assert not (run.cycle(1) / "scores.zarr").exists()
        steps.score(run, 1)
        assert len(run.scores(1)) == len(run.frames("pool"))


def test_on_a_processor_step_2_is_left_its_work(run, as_on_a_processor):
    forget(run, "logits.zarr", "scores.zarr")
    steps.predict(run, 1)
    assert not (run.cycle(1) / "scores.zarr").exists()
