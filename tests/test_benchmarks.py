"""The benchmark suite: it runs, its references compute what we do, its verdicts hold."""

import json
import os
import platform
import subprocess
import sys

import nbformat
import numpy as np
import papermill
import pytest
import torch
import zarr
from scipy.special import xlogy
from zarr.storage import LocalStore

from alkit import evaluation, prediction, scores, training
from alkit.data import annotations
from alkit.loop import records, runs, steps, store
from alkit.profiles import profile
from benchmarks import (
    THREAD_SETTINGS,
    agreement,
    bed,
    divergence,
    measuring,
    notebook_steps,
    one_map,
    performance,
    scaling,
    selection,
    stored_maps,
    suite,
    sweep,
)
from benchmarks import evaluation as evaluating
from benchmarks.__main__ import MODULES, main
from benchmarks.measuring import Options, Row

FIELDS = {
    "key",
    "what",
    "ours",
    "unit",
    "against",
    "reference",
    "ratio",
    "judged",
    "at_least",
    "at_most",
    "note",
    "details",
    "met",
    "module",
    "measured",
    "load",
    "threads",
    "quick",
}


# Kernels and processes take long; a browser is in tests/browser.
NOT_HERE = ("notebook_steps", "scaling", "sweep", "memory", "explorer")


@pytest.fixture(scope="module")
def results(toy_experiment, tmp_path_factory):
    """The folder with the file of a tiny run."""
    out = tmp_path_factory.mktemp("results")
    names = [name for name in MODULES if name not in NOT_HERE]
    options = Options(toy_experiment, threads=1, quick=True)
    assert suite.run(names, options, out) == 0
    return out


# ---- the suite -----------------------------------------------------------------------------------


def test_the_bed_trains_with_the_demos_numbers():
    numbers = profile("demo")
    assert profile("demo", bed.SETTINGS[bed.CHOSEN]) == numbers
    own, first = numbers.pretraining, profile("demo", bed.FIRST[bed.BASE])
    assert training.epochs_of(own, 300) == training.epochs_of(first, 300)  # X_l's stills
    assert own == first.model_copy(update={"epochs": own.epochs, "iterations": None})


def test_every_row_of_a_tiny_run_has_its_fields(results):
    (file,) = results.glob("*.json")
    result = json.loads(file.read_text())
    assert result["kind"] == file.stem == suite.machine_kind()
    assert {"processor", "cores", "threads", "bfloat16", "amx", "versions"} <= {*result["machine"]}
    assert {"python", "torch", "numpy", "zarr"} <= {*result["machine"]["versions"]}
    rows = result["rows"]
    assert {row["module"] for row in rows} == {*MODULES} - {*NOT_HERE}
    assert len({row["key"] for row in rows}) == len(rows)
    for row in rows:
        assert {*row} == FIELDS
        if row["module"] == "gpu" and not torch.cuda.is_available():
            assert row["ours"] is None
            assert "no GPU here" in row["note"]
            continue
        assert row["ours"] >= 0
        assert row["met"] is None  # tiny sizes are not judged
        assert (row["reference"] is None) == (row["ratio"] is None)
        assert row["reference"] is None or row["reference"] > 0
        assert (row["at_least"] is None) or (row["at_most"] is None)


def test_a_results_file_names_no_host_and_no_folder(results):
    (file,) = results.glob("*.json")
    text = file.read_text()
    assert platform.node() not in text
    assert str(runs.ROOT) not in text
    assert "/tmp" not in text


def test_rows_of_other_modules_stay_in_the_file(tmp_path):
    def row(key, module, ours):
        options = Options(quick=False)
        return suite.as_dict(Row(key, key, ours, "s"), module, "2026-01-01", 0.0, options)

    file = tmp_path / "a-machine.json"
    suite.write(file, [row("a.1", "a", 1), row("b.1", "b", 2), row("b.2", "b", 3)], 1)
    suite.write(file, [row("b.1", "b", 4)], 2)
    result = json.loads(file.read_text())
    assert [(r["key"], r["ours"]) for r in result["rows"]] == [("a.1", 1), ("b.1", 4)]
    assert result["machine"]["threads"] == 2


def test_one_row_by_the_command_line():
    command = [sys.executable, "-m", "benchmarks", "divergence", "--quick", "--threads", "1"]
    done = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "divergence and z, 5 maps of 48×64, 1 thread" in done.stdout
    assert "≥ 3 ×" in done.stdout
    assert "unit cost" not in done.stdout
    assert "Tiny sizes" in done.stdout


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["divergance"])
    assert "no rows 'divergance'; there are divergence, bfloat16" in capsys.readouterr().err


def test_without_a_demo_it_is_said_what_is_missing(tmp_path, capsys):
    options = Options(tmp_path / "nowhere", threads=1, quick=True)
    assert suite.run(["agreement"], options, tmp_path / "out") == 1
    said = capsys.readouterr().out
    assert "agreement: not measured: " in said
    assert "`make demo` makes runs/demo" in said
    assert not (tmp_path / "out").exists()


# ---- rows ----------------------------------------------------------------------------------------


def test_verdicts():
    faster = measuring.faster("a", "a", [0.2, 0.1, 0.9], "b", [1.0, 1.8, 1.6], 8)
    assert (faster.ours, faster.reference) == (200.0, 1600.0)
    assert faster.ratio == pytest.approx(8)
    assert measuring.faster("a", "a", [0.25], "b", [1.6], 8).met is False
    assert measuring.slower("a", "a", [1.1], "b", [1.0], 1.1001).met is True
    assert measuring.slower("a", "a", [1.2], "b", [1.0], 1.1).met is False
    assert measuring.slower("a", "a", [1.2], "b", [1.0]).met is None
    assert Row("a", "a", 2.0, "GB", at_most=2).met is True
    assert Row("a", "a", 94.0, "%", at_least=95).met is False
    assert Row("a", "a", None, "ms", judged="ratio", at_most=1.6).met is None


def test_calls_are_interleaved_and_the_first_round_does_not_count():
    seen = []
    calls = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    taken = measuring.interleaved(calls, 4)
    assert seen == ["a", "b"] * 5
    assert {name: len(times) for name, times in taken.items()} == {"a": 4, "b": 4}
    assert len(measuring.interleaved(calls, 100, budget=0)["a"]) == 3


def test_the_peak_of_memory_sees_what_is_gone():
    measuring.reset_peak()
    before = measuring.peak_memory()
    size = 64 << 20
    np.ones(size, np.uint8)
    assert size * 0.9 < measuring.peak_memory() - before < size * 1.5
    measuring.reset_peak()
    assert measuring.peak_memory() - before < size / 2


# ---- references ----------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [1, 9])
def test_all_references_of_the_divergence_compute_it(radius):
    rng = np.random.default_rng(0)
    p = rng.random((5, 31, 40)).astype(np.float32) ** 4
    p[0, :9] = 0
    p[1, :, 5:20] = 1
    exact = scores.divergence(p.astype(np.float64), radius)
    double = divergence.Scipy(p.shape, radius, np.float64)
    np.testing.assert_allclose(double(p), exact, atol=1e-9)
    tensor = torch.from_numpy(p)
    for found in (
        divergence.Scipy(p.shape, radius)(p),
        divergence.by_sums(tensor, radius),
        divergence.papers_graph(tensor, radius),
    ):
        np.testing.assert_allclose(found, exact, atol=1e-5)
    # by hand at one pixel of the border
    window = p[:, : radius + 1, : radius + 1].astype(np.float64).reshape(5, -1)

    def entropy(z):
        return -xlogy(z, z) - xlogy(1 - z, 1 - z)

    terms = entropy(window.mean(1)) - entropy(window).mean(1)
    assert double(p)[0, 0] == pytest.approx(terms.sum(), abs=1e-12)


def test_made_logits_look_like_a_detectors():
    numbers = profile("paper", {"double_evaluation": False})
    p = prediction.probabilities(*divergence.made_logits((480, 640)), numbers)
    assert p.shape == (5, 480, 640)
    assert 0.001 < (p > 0.5).mean() < 0.05


def test_the_loop_draws_the_curve_of_every_protocol_rule():
    truth, results = evaluating.made_data(30, 120, 500)
    single = evaluating.one_class(truth)
    n, boxes, found = annotations.read(single, results)
    curve = np.array(evaluating.plain_loop(*evaluating.by_image(n, boxes, found)))
    result = evaluation.evaluate(single, results)
    np.testing.assert_allclose(curve[:, 0], result.fppi, atol=1e-12)
    np.testing.assert_allclose(curve[:, 1], result.miss_rate, atol=1e-12)
    assert 0.05 < result.miss_rate[-1] < 0.95


def test_a_pool_to_select_from_puts_both_rules_to_work():
    pool = selection.made_pool(20_000)
    result = selection.choose(pool)
    assert len(result.indices) == 100
    assert result.counts["LABELED"] == 200
    assert result.counts["EXCLUDED_LATER"] > 500
    assert result.counts["EXCLUDED_NOW"] > 1000
    assert selection.sort(pool)[0] == np.argmax(pool["score"])


def test_the_stated_error_of_stored_maps_holds_and_is_near():
    s = np.linspace(0, store.HIGHEST_SCORE, 200_001, dtype=np.float32)
    error = np.abs(store.dequantize(store.quantize(s)).astype(np.float64) - s)
    assert 0.95 < (error / stored_maps.bound(s)).max() <= 1


def test_bytes_read_are_counted(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(4, 1000), chunks=(1, 1000), dtype=np.uint8, compressors=None)
    zarr.open_array(path, mode="r+")[:] = np.arange(4)[:, None] + 1
    opened = zarr.open_array(one_map.Counting(LocalStore(path, read_only=True)), mode="r")
    before = one_map.Counting.count
    assert opened[2, 0] == 3
    assert one_map.Counting.count - before == 1000


def test_image_scores_of_the_agreement_are_those_of_the_steps(toy_experiment):
    run = runs.Run(toy_experiment / "divergence/seed_0")
    frames = run.frames("pool").unlabeled().take(range(5))
    numbers = run.experiment.numbers
    detector = training.load_weights(run.weights(0), numbers).eval()
    z = agreement.image_scores(detector, frames, numbers)
    stored = run.image_scores(1)["z"].to_numpy()[:5]
    np.testing.assert_allclose(z["ours"], stored, rtol=1e-6)
    assert (z["ours"] != z["unquantized"]).all()
    np.testing.assert_allclose(z["unquantized"], z["float32"], rtol=0.1)
    # bfloat16 is off at this width on some processors; half precision alone may round back
    assert (z["unquantized"] != z["float32"]).any()


def test_a_steps_own_cost_is_what_lies_between_starts_beside_its_work(toy_copy):
    run = runs.Run(toy_copy / "divergence/seed_0")
    starts = ["2026-01-01T00:00:00", "2026-01-01T00:00:10", "2026-01-01T00:00:12.5"]
    for step, start, work in zip(steps.CYCLE, starts, (4.0, 1.5, 9.0), strict=False):
        notebook = nbformat.v4.new_notebook(metadata={"papermill": {"start_time": start}})
        nbformat.write(notebook, run.cycle(1) / f"{step.name}.ipynb")
        path = records.record_path(run, 1, step.name)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": work}))
    assert notebook_steps.own_costs(toy_copy) == {
        "divergence/seed_0 cycle 1 1_predict": pytest.approx(6.0),
        "divergence/seed_0 cycle 1 2_score": pytest.approx(1.0),
    }


def test_a_sweep_that_fails_is_no_figure():
    commands = [[sys.executable, "-c", code] for code in ("", "print('not today'); exit(3)")]
    with pytest.raises(RuntimeError, match=r"(?s)exit status 3.*not today"):
        sweep.side_by_side(commands)


def test_speed_ups_by_hand():
    taken = {"1 process": [8, 9, 7], "2 processes": [4], "1 worker": [12], "2 workers": [8, 6, 9]}
    row = scaling.row(taken, 96, "tiny", [1])
    assert (row.ours, row.reference, row.ratio, row.met) == (1.5, 2.0, 0.75, False)
    assert "1 process 12, 2 processes 24, 1 worker 8, 2 workers 12; 96 frames" in row.note


def test_settings_of_threads_come_back(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with scaling.one_thread():
        assert [os.environ[name] for name in THREAD_SETTINGS] == ["1"] * 3
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ


# ---- what is drawn -------------------------------------------------------------------------------


def test_hours_by_hand_and_as_the_paper_states_them():
    # two cycles of 3 and 2 of 10 frames: 10 + 7 predictions, two epochs of 3 and of 5 iterations
    seconds = 3600 * performance.hours(3, 5, (2.0, 7.0), pool=10, epochs=2)
    assert seconds == pytest.approx(2 * 17 + 7 * 2 * 8)
    for (b, total), stated in performance.PAPER_HOURS.items():
        assert performance.hours(b, total, performance.PAPER_COSTS) == pytest.approx(stated, 0.06)
    with pytest.raises(ValueError, match="1 ≤ B ≤ 10, the pool; got b = 3, B = 11"):
        performance.hours(3, 11, (1, 1), pool=10)


def test_the_newest_results_are_shown(tmp_path):
    def result(kind, when):
        return {"kind": kind, "rows": [{"measured": when}]}

    (tmp_path / "a.json").write_text(json.dumps(result("a", "2026-02-01")))
    (tmp_path / "b.json").write_text(json.dumps(result("b", "2026-01-01")))
    assert performance.load(tmp_path)["kind"] == "a"
    assert performance.load(tmp_path, "b")["kind"] == "b"
    with pytest.raises(FileNotFoundError, match=r"c\.json is not there; there are: a, b\."):
        performance.load(tmp_path, "c")


def test_the_check_sees_a_wrong_verdict_and_a_wrong_figure(results):
    result = performance.load(results)
    assert "wrong" not in performance.check(result)
    rows = {row["key"]: row for row in result["rows"]}
    rows["one_map.bytes"] |= {"ours": 3.0, "met": True}
    rows["divergence.scipy"] |= {"ours": float("nan")}
    said = performance.check(result)
    assert "one_map.bytes: met is True, but it is 0.667 × its goal" in said
    assert "divergence.scipy: a figure is not a finite number" in said


def test_the_notebook_draws_a_results_file(results, tmp_path):
    path = runs.ROOT / "notebooks/performance.ipynb"
    values = {"results": str(results), "pool": 300}
    done = papermill.execute_notebook(
        path, tmp_path / "out.ipynb", values, progress_bar=False, cwd=tmp_path
    )
    (output,) = done.cells[-1].outputs
    stored = nbformat.read(path, 4).cells[-1].outputs[0]
    assert output.text == stored.text
    images = [
        o
        for cell in done.cells
        for o in cell.get("outputs", [])
        if "image/png" in o.get("data", {})
    ]
    assert len(images) == 2
