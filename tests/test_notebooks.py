"""The notebooks: how they are stored, and that each of them works and checks what it claims."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from papermill.parameterize import parameterize_notebook

from alkit.loop import checks, records, runs, steps
from alkit.loop.jsonfile import write_json

NOTEBOOKS = sorted((runs.ROOT / "notebooks").glob("*.ipynb"))
STEPS = [path for path in NOTEBOOKS if re.match(r"\d_", path.name)]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(runs.ROOT), "OMP_NUM_THREADS": "1"}
CHECKED = {"nbval-check-output", "keep_output"}


def cells(path, tag):
    found = nbformat.read(path, 4).cells
    return [cell for cell in found if tag in cell.metadata.get("tags", [])]


def by_name(path):
    return path.stem


# --- how they are stored


def test_there_is_a_notebook_for_every_step():
    assert [path.stem for path in STEPS] == list(steps.STEPS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_parameters_are_annotated_plain_values(path):
    (cell,) = cells(path, "parameters")
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+: (str|int|float|bool) = [^#]+  # .+", line), line


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_only_the_checked_line_is_stored(path):
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code[:-1]:
        assert cell.outputs == []
        assert not CHECKED & set(cell.metadata.get("tags", []))
    assert set(code[-1].metadata.tags) == CHECKED
    (output,) = code[-1].outputs
    assert re.fullmatch(r"[a-z ]+: .+\n", output.text)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", STEPS, ids=by_name)
def test_a_step_writes_only_where_save_says_so(path):
    source = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
    assert re.search(r"= steps\.\w+\(run, cycle, save\)\n?", source)
    assert source.count("steps.") == 1


# --- that they work


def nbval(folder, *options):
    """Run pytest with nbval over a folder's notebooks."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-cell-timeout=600", "-p",
               "no:cacheprovider", "-o", "addopts=", "-q", *options, str(folder)]  # fmt: skip
    return subprocess.run(command, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True)


def with_parameters(path, target, **values):
    notebook = parameterize_notebook(papermill.iorw.load_notebook_node(str(path)), values)
    for cell in notebook.cells:  # a stored output of papermill's is not the notebook's
        cell.metadata.pop("papermill", None)
    notebook.metadata.pop("papermill", None)
    nbformat.write(notebook, target)
    return notebook


def test_every_notebook_runs_and_checks(toy_experiment, tmp_path):
    run, random = toy_experiment / "divergence/seed_0", toy_experiment / "guided-random/seed_0"
    for path in STEPS:
        folder, cycle = (run, 2) if path.stem[0] in "1234" else (random, 1)
        if path.stem == "0_pretrain":
            folder, cycle = toy_experiment / "pretrain/seed_0", 0
        values = {"run": str(folder), "cycle": cycle, "save": False}
        with_parameters(path, tmp_path / path.name, **values)
    report = runs.ROOT / "notebooks/report.ipynb"
    with_parameters(report, tmp_path / report.name, out=str(toy_experiment))
    street = runs.ROOT / "notebooks/street.ipynb"
    values = {"run": str(toy_experiment / "pretrain/seed_0"), "headroom": str(toy_experiment)}
    with_parameters(street, tmp_path / street.name, **values)
    fidelity = runs.ROOT / "notebooks/fidelity.ipynb"
    values = {"run": str(toy_experiment / "pretrain/seed_0"), "frames": 24}
    with_parameters(fidelity, tmp_path / fidelity.name, **values)
    result = nbval(tmp_path)
    assert result.returncode == 0, result.stdout[-3000:]
    assert re.search(r"\d+ passed", result.stdout)


def test_nbval_fails_where_the_checked_line_differs(toy_experiment, tmp_path):
    path = runs.ROOT / "notebooks/5_label.ipynb"
    values = {"run": str(toy_experiment / "divergence/seed_0"), "cycle": 1, "save": False}
    notebook = with_parameters(path, tmp_path / path.name, **values)
    notebook.cells[-1].outputs[0]["text"] = "labels: another sentence\n"
    nbformat.write(notebook, tmp_path / path.name)
    result = nbval(tmp_path)
    assert result.returncode == 1
    assert "1 failed" in result.stdout


# --- that they refuse


def execute(path, tmp_path, **values):
    with pytest.raises(PapermillExecutionError) as caught:
        papermill.execute_notebook(
            path, tmp_path / "out.ipynb", values, progress_bar=False, cwd=runs.ROOT
        )
    return caught.value


def test_an_unknown_parameter_stops_with_the_nearest_name(tmp_path):
    error = execute(runs.ROOT / "notebooks/4_select.ipynb", tmp_path, cycel=1)
    assert error.ename == "ValueError"
    assert "'cycel' (did you mean cycle?)" in error.evalue


def test_a_parameter_of_the_wrong_type_stops(tmp_path):
    error = execute(runs.ROOT / "notebooks/4_select.ipynb", tmp_path, cycle="first")
    assert "cycle is 'first', str; int is wanted" in error.evalue


@pytest.fixture
def unfinished(toy_experiment, tmp_path):
    """A run whose second cycle ends before step 4."""
    out = tmp_path / "out"
    shutil.copytree(toy_experiment, out)
    for later in ("4_select", "5_label", "6_retrain", "7_evaluate"):
        (out / "divergence/seed_0/cycle_02" / f"{later}.json").unlink()
    return out / "divergence/seed_0"


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_without_save_an_incomplete_step_is_an_error_and_nothing_is_written(unfinished, tmp_path):
    before = contents(unfinished)
    path = runs.ROOT / "notebooks/4_select.ipynb"
    error = execute(path, tmp_path, run=str(unfinished), cycle=2, save=False)
    assert error.ename == "RuntimeError"
    assert "step 4_select is not complete and save is False" in error.evalue
    assert contents(unfinished) == before


# --- what the checked lines check


def test_checks_see_damage(toy_experiment, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(toy_experiment, out)
    run = runs.open_run(out / "divergence/seed_0")
    folder = run.cycle(2)
    assert "wrong" not in checks.selection(run, 2)

    table = (folder / "image_scores.csv").read_text()
    (folder / "image_scores.csv").write_text(table.rsplit("\n", 2)[0] + "\n")
    left = 40 - len(run.labeled_positions(2))
    assert f"wrong: {left - 1} frames, but {left} to score" in checks.image_scores(run, 2)

    chosen = json.loads((folder / "selection.json").read_text())
    chosen["chosen"].append(chosen["chosen"][0] | {"position": run.labeled_positions(2)[0]})
    write_json(folder / "selection.json", chosen)
    assert "was labelled before" in checks.selection(run, 2)
    assert "labels: wrong: labelled are" in checks.labels(run, 2)

    write_json(folder / "losses.json", [1.0, float("nan")])
    assert "a loss is not finite" in checks.training(run, 2)

    evaluation = run.evaluation(2)
    evaluation["miss_rate"][-1] += 0.5
    write_json(folder / "evaluation.json", evaluation)
    assert "miss_rate differs" in checks.evaluation(run, 2)
    assert "the miss rate rises" in checks.evaluation(run, 2)


def test_checks_see_an_unfinished_store(toy_experiment, tmp_path):
    import zarr

    from alkit.loop.store import IncompleteStore

    out = tmp_path / "out"
    shutil.copytree(toy_experiment, out)
    run = runs.open_run(out / "divergence/seed_0")
    zarr.open_group(run.cycle(1) / "scores.zarr", mode="r+")["done"][3] = False
    with pytest.raises(IncompleteStore, match="1 of 40 frames"):
        checks.scores(run, 1)
    assert records.read(run, 1, "2_score")
