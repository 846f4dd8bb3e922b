"""The notebooks: how they are stored, and that each of them works and checks what it claims."""

import functools
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import papermill
import pytest
from firststeps import leave, leave_json
from IPython.core.interactiveshell import InteractiveShell
from papermill.exceptions import PapermillExecutionError
from papermill.parameterize import parameterize_notebook
from PIL import Image
from traitlets.config import Config

import alkit
from alkit import training
from alkit.loop import (
    checks,
    experiment,
    notebooks,
    plugins,
    records,
    runs,
    status,
    steps,
)
from alkit.profiles import DEMO

NOTEBOOKS = sorted((runs.ROOT / "notebooks").glob("*.ipynb"))
STEPS = [path for path in NOTEBOOKS if re.match(r"\d_", path.name)]
GETTING_STARTED = runs.ROOT / "notebooks/getting_started.ipynb"
YOUR_OWN_SCORE = runs.ROOT / "notebooks/your_own_score.ipynb"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(runs.ROOT), "OMP_NUM_THREADS": "1"}
CHECKED = {"nbval-check-output", "keep_output"}


def cells(path, tag=None):
    """The code cells, or those with a tag."""
    found = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return [cell for cell in found if tag is None or tag in cell.metadata.get("tags", [])]


def lines(cell):
    return cell.source.count("\n") + 1


def by_name(path):
    return path.stem


def run_here(path, until=None, **values):
    """The names of a notebook after its code ran in this process, which spares a kernel its start;
    up to the cell with `until`."""
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    for cell in cells(path):
        if until and until in cell.source:
            break
        shell.run_cell(cell.source).raise_error()
        shell.user_ns.update(values if "parameters" in cell.metadata.get("tags", []) else {})
    plt.close("all")
    return shell.user_ns


@pytest.fixture(autouse=True)
def no_window():
    plt.switch_backend("agg")


@pytest.fixture(scope="module")
def w_l(tmp_path_factory):
    """A file of W_l as the demo leaves it, but of an untrained detector."""
    path = tmp_path_factory.mktemp("w_l") / "weights.safetensors"
    training.save_weights(training.new_detector(DEMO, np.random.SeedSequence(0)), path)
    return path


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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_they_are_thin(path):
    """What is longer belongs to alkit, where it can be tested."""
    assert max(map(lines, cells(path))) <= 25
    assert sum(map(lines, cells(path))) <= 90


@pytest.mark.parametrize("path", STEPS, ids=by_name)
def test_a_step_writes_only_where_save_says_so(path):
    source = "\n".join(cell.source for cell in cells(path))
    assert re.search(r"= steps\.\w+\(run, cycle, save\)\n?", source)
    assert source.count("steps.") == 1


@pytest.mark.parametrize("path", STEPS, ids=by_name)
def test_a_step_says_at_its_end_where_its_artifacts_lie_and_what_comes_next(path):
    end = nbformat.read(path, 4).cells[-1].source
    for artifact in steps.STEPS[path.stem].artifacts:
        assert f"`{artifact}`" in end
    _, _, following = end.partition("**Next:**")
    links = re.findall(r"\]\((\w+\.ipynb)\)", following)
    later = STEPS[(STEPS.index(path) + 1) % len(STEPS) or 1]
    assert links[0] == later.name
    assert all((path.parent / link).is_file() for link in links)


def test_the_first_notebooks_are_short_and_take_six_calls():
    for path, most in ((GETTING_STARTED, 12), (YOUR_OWN_SCORE, 10)):
        assert len(nbformat.read(path, 4).cells) <= most
        source = "\n".join(cell.source for cell in cells(path))
        assert set(re.findall(r"alkit\.([\w.]+)\(", source)) <= set(alkit.CALLS)
    assert len(alkit.CALLS) == 6


def test_alkit_reaches_its_modules_and_calls_and_imports_them_when_asked():
    light = "import alkit, sys; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", light], env=ENVIRONMENT, check=True)
    for name, module in alkit.CALLS.items():
        assert getattr(alkit, name) is getattr(getattr(alkit, module), name)
        assert name in dir(alkit)
    assert alkit.loop.runs.ROOT == runs.ROOT
    with pytest.raises(AttributeError, match="no attribute 'divergense'"):
        alkit.divergense  # noqa: B018


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


def arguments(path, toy_experiment, w_l) -> dict:
    """Parameters under which a notebook reads the toy experiment."""
    pretrain = toy_experiment / "pretrain/seed_0"
    if path in STEPS:
        run, cycle = toy_experiment / "divergence/seed_0", 2
        if path.name[0] in "567":
            run, cycle = toy_experiment / "guided-random/seed_0", 1
        if path.name[0] == "0":
            run, cycle = pretrain, 0
        return {"run": str(run), "cycle": cycle, "save": False}
    return {
        "report": {"out": str(toy_experiment)},
        "street": {"run": str(pretrain), "headroom": str(toy_experiment)},
        "fidelity": {"run": str(pretrain), "frames": 24},
        "getting_started": {"count": 10, "weights": str(w_l)},
        "your_own_score": {"count": 10, "weights": str(w_l)},
    }[path.stem]


ELSEWHERE = ("datasets", "explore_scores", "performance")  # have tests of their own


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.stem not in ELSEWHERE], ids=by_name)
def test_it_runs_and_its_checked_line_is_the_stored_one(path, toy_experiment, w_l, capsys):
    run_here(path, **arguments(path, toy_experiment, w_l))
    said = "\n" + capsys.readouterr().out
    if path in STEPS:
        assert said.startswith("\nname: toy\n")  # with what its run is made of
        assert "image_size: [96, 128]" in said
    assert said.endswith("\n" + cells(path)[-1].outputs[0].text)


def test_nbval_passes_and_fails_where_a_checked_line_differs(toy_experiment, w_l, tmp_path):
    path = runs.ROOT / "notebooks/5_label.ipynb"
    values = arguments(path, toy_experiment, w_l)
    notebook = with_parameters(path, tmp_path / "right.ipynb", **values)
    (checked,) = [cell for cell in notebook.cells if cell.get("outputs")]
    checked.outputs[0]["text"] = "labels: another sentence\n"
    nbformat.write(notebook, tmp_path / "wrong.ipynb")
    result = nbval(tmp_path)
    assert result.returncode == 1
    assert "1 failed" in result.stdout, result.stdout[-3000:]
    assert re.findall(r"^FAILED (\w+)", result.stdout, re.MULTILINE) == ["wrong"]


# --- what is computed on one frame


CHANGES = {  # a function of alkit, and another result of it
    "1_predict": ("alkit.prediction.predict_probabilities", lambda p: p[..., ::-1]),
    "2_score": ("alkit.scores.divergence", lambda s: s * 1.001),
    "3_aggregate": ("alkit.aggregation.region_maxima", lambda maxima: np.roll(maxima, 1)),
    "3_aggregate z": ("alkit.aggregation.image_score", lambda z: z * 1.001),
    "4_select ẑ": ("alkit.selection.smooth", lambda z: z * 1.001),
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_equals_what_alkit_computes_and_fails_where_that_changes(
    name, toy_experiment, monkeypatch
):
    path = runs.ROOT / f"notebooks/{name.split()[0]}.ipynb"
    values = {"run": str(toy_experiment / "divergence/seed_0"), "cycle": 2}
    run_here(path, until="plt.subplots", **values)
    function, change = CHANGES[name]
    module, _, attribute = function.rpartition(".")
    right = getattr(sys.modules[module], attribute)
    monkeypatch.setattr(function, lambda *args: change(right(*args)))
    with pytest.raises(AssertionError):
        run_here(path, until="plt.subplots", **values)


def test_a_wrong_selection_fails_too(toy_experiment, monkeypatch):
    values = {"run": str(toy_experiment / "divergence/seed_0"), "cycle": 2}
    right = alkit.selection.select

    def without_rule_1(*args, exclude_now, **rest):
        return right(*args, exclude_now=0, **rest)

    monkeypatch.setattr("alkit.selection.select", without_rule_1)
    with pytest.raises(AssertionError):
        run_here(runs.ROOT / "notebooks/4_select.ipynb", until="plt.subplots", **values)


@pytest.mark.parametrize(
    ("name", "result", "values"),
    [
        ("1_predict", "p", {"mirror": 0, "frame": 3}),
        ("2_score", "s", {"radius": 3}),
        ("3_aggregate", "z", {"region": 17}),
        ("4_select", "smooth_z", {"half_width": 2, "exclude_now": 0.0}),
        ("4_select", "chosen", {"exclude_now": 1, "exclude_later": 3.0}),
    ],
)
def test_a_parameter_changes_what_is_shown_and_not_the_run(
    name, result, values, toy_experiment, capsys
):
    path = runs.ROOT / f"notebooks/{name}.ipynb"
    own = {"run": str(toy_experiment / "divergence/seed_0"), "cycle": 2, "save": False}
    before = contents(toy_experiment)
    with_runs = run_here(path, "plt.subplots", **own)
    assert "--set" not in capsys.readouterr().out
    with_others = run_here(path, **own, **values)
    number = {"mirror": "double_evaluation", "frame": "double_evaluation"}
    said = capsys.readouterr().out  # what to do where the run is to have the number
    assert all(f"--set {number.get(value, value)}=" in said for value in values)
    assert not np.array_equal(with_others[result], with_runs[result], equal_nan=True)
    assert contents(toy_experiment) == before


@pytest.mark.parametrize("strategy", ["divergence", "guided-random"])
@pytest.mark.parametrize("kind", ["video", "stills"])
def test_a_choice_is_shown_for_every_strategy_and_for_stills(
    strategy, kind, toy_experiment, monkeypatch
):
    def frames(run, role):
        found = own(run, role)
        return found if kind == "video" else replace(found, sequence=None, frame=None)

    own = runs.Run.frames
    monkeypatch.setattr(runs.Run, "frames", frames)
    values = {"run": str(toy_experiment / strategy / "seed_0"), "cycle": 2}
    names = run_here(runs.ROOT / "notebooks/4_select.ipynb", "steps.choose", **values)
    assert len(names["chosen"]) > 0


# --- the first notebooks


def test_a_folder_of_images_is_ranked(w_l, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.jpg", "c.jpeg"):
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    names = run_here(GETTING_STARTED, images=str(tmp_path), weights=str(w_l))
    assert sorted(names["ranks"]["frame"]) == ["a.jpg", "b.png", "c.jpeg"]
    assert len(names["chosen"].indices) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: expected .*here are 0 pictures"):
        alkit.open_frames(tmp_path / "empty", (48, 64))
    with pytest.raises(alkit.catalog.CatalogError, match=r"'street-poll'.*nearest.*street-pool"):
        alkit.open_frames("street-poll", (48, 64))


def test_the_score_of_your_own_is_a_plugin(tmp_path):
    (cell,) = cells(YOUR_OWN_SCORE, "plugin")
    file = tmp_path / "my_scores.py"
    file.write_text(cell.source)
    assert plugins.load_strategies([file])["margin"].score == "margin"
    p = np.random.default_rng(0).random((5, 4, 6), np.float32)
    s = plugins.load_score("margin", [file], radius=5)(p)
    np.testing.assert_allclose(s, np.log(2) * (1 - abs(2 * p - 1)).sum(0), rtol=1e-6)


def test_the_short_road(w_l):
    demo = alkit.profiles.DEMO
    detector = alkit.initial_detector(demo, weights=w_l)
    frames = alkit.catalog.load()["street-pool"].open((240, 320))
    p = alkit.predict_probabilities(detector, frames.images(0), demo)
    s = alkit.scores.divergence(p, radius=5)
    z = alkit.aggregation.image_score(s, region=15)
    assert p.shape == (5, 240, 320)
    assert s.shape == (240, 320)
    assert 0 < z < s.max()


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


@pytest.mark.parametrize(
    ("injected", "said"),
    [
        ({}, None),
        ({"cycle": 2, "PAPERMILL_INPUT_PATH": "in.ipynb", "PAPERMILL_OUTPUT_PATH": "o"}, None),
        ({"cycel": 2}, "did you mean cycle"),
        ({"cycle": 2, "n": 3}, "unknown name 'n'"),
        ({"cycle": None}, "int is wanted"),
        ({"cycle": "first"}, "cycle is 'first', str; int is wanted"),
    ],
)
def test_only_what_was_injected_is_judged(injected, said):
    """Not what a startup file or an extension defines; and all cells may run again."""
    notebook = papermill.iorw.load_notebook_node(str(runs.ROOT / "notebooks/4_select.ipynb"))
    notebook = parameterize_notebook(notebook, injected) if injected else notebook
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    sources = sources[: 2 + bool(injected)]
    assert "check(globals())" in sources[-1]
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_cell("import numpy as np\nn: list[int] = []\nm: 'int'")
    for source in sources + sources:
        result = shell.run_cell(source, store_history=True)
        if said and source is sources[-1]:
            with pytest.raises(ValueError, match=said):
                result.raise_error()
        else:
            result.raise_error()
    if not said:  # a cell of one's own before the check is no papermill's
        shell.run_cell("mine = 1", store_history=True)
        shell.run_cell(sources[-1], store_history=True).raise_error()


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


def test_without_save_an_incomplete_step_is_an_error_and_nothing_is_written(unfinished):
    before = contents(unfinished)
    path = runs.ROOT / "notebooks/4_select.ipynb"
    with pytest.raises(RuntimeError, match="step 4_select is not complete and save is False"):
        run_here(path, run=str(unfinished), cycle=2, save=False)
    assert contents(unfinished) == before


# --- kernels


PARAMETERS = 'run: str = ""  # run folder\ncycle: int = 1  # cycle'


@pytest.fixture
def of_cell(tmp_path, monkeypatch):
    """Makes all steps' notebooks ones of parameters and another cell, in bare kernels."""
    monkeypatch.setattr(notebooks, "PRELOAD", "[]")
    monkeypatch.setattr(notebooks, "notebook", lambda name, root: tmp_path / name)

    def make(source):
        own = [nbformat.v4.new_code_cell(text) for text in (PARAMETERS, source)]
        own[0].metadata.tags = ["parameters"]
        kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
        whole = nbformat.v4.new_notebook(cells=own, metadata={"kernelspec": kernel})
        for path in STEPS:
            nbformat.write(whole, tmp_path / path.name)

    return make


def test_a_notebook_that_broke_off_is_executed_again(of_cell, toy_copy, tmp_path):
    """Its step being complete; others get none afterwards, and one that fails again stops none."""
    flag, run = tmp_path / "flag", runs.open_run(toy_copy / "divergence/seed_0")
    of_cell(f"open({str(flag)!r}); print('whole')")
    first, killed = (run.cycle(1) / f"{name}.ipynb" for name in ("4_select", "5_label"))
    with pytest.raises(notebooks.NotebookFailed, match="No such"), notebooks.Notebooks() as kernels:
        kernels.execute("4_select", {"cycle": 1}, run.cycle(1), True, tmp_path)
    assert str(first) in status.format_status(toy_copy)
    experiment.run(toy_copy)
    assert str(first) in status.format_status(toy_copy)
    flag.touch()
    killed.write_bytes(first.read_bytes()[:200])
    experiment.run(toy_copy)
    for path in (first, killed):
        assert "whole" in [one.get("text", "").strip() for one in cells(path)[-1].outputs]
    assert str(first) not in status.format_status(toy_copy)
    assert {*toy_copy.rglob("*.ipynb")} == {first, killed}


KERNEL = "if any('ipykernel_launcher' in a for a in getattr(sys, 'orig_argv', [])):"


def slow_to_start(tmp_path, monkeypatch, then):
    """Kernels need longer to start than papermill waits; then they do something."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys, time\n{KERNEL}\n    time.sleep(3)\n    {then}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    hasty = functools.partial(papermill.execute_notebook, start_timeout=1)
    monkeypatch.setattr(papermill, "execute_notebook", hasty)
    monkeypatch.setattr(notebooks, "SAID_SECONDS", 1)


def test_a_kernel_that_starts_slowly_is_waited_for(of_cell, tmp_path, monkeypatch, capsys):
    slow_to_start(tmp_path, monkeypatch, "pass")
    of_cell("print('at last')")
    with notebooks.Notebooks() as kernels:
        kernels.execute("2_score", {"cycle": 3}, tmp_path / "out", True, tmp_path)
    target = tmp_path / "out/2_score.ipynb"
    assert cells(target)[-1].outputs[0].text == "at last\n"
    assert f"{target}: its kernel has been starting" in capsys.readouterr().err


def test_a_kernel_that_ends_says_which_and_its_last_words(of_cell, tmp_path, monkeypatch):
    slow_to_start(tmp_path, monkeypatch, "sys.exit('no tea left')")
    of_cell("")
    with pytest.raises(notebooks.NotebookFailed) as failed, notebooks.Notebooks() as kernels:
        kernels.execute("2_score", {"cycle": 3}, tmp_path / "out", False, tmp_path)
    for words in ("no tea left", sys.executable):
        assert words in str(failed.value)


def test_an_interrupt_leaves_no_traceback(of_cell, tmp_path, caplog):
    (flag := tmp_path / "flag").touch()
    of_cell(f"import os, time; os.remove({str(flag)!r}); time.sleep(60)")

    def interrupt():
        while flag.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    # a shell's background jobs ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with notebooks.Notebooks() as kernels:
            kernels.execute("2_score", {"cycle": 1}, tmp_path / "out", True, tmp_path)
    except KeyboardInterrupt:
        caplog.clear()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not flag.exists()
    gc.collect()  # then a task says that nobody asked for its exception
    assert not caplog.records


# --- what the checked lines check


def test_checks_see_damage(toy_experiment, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(toy_experiment, out)
    run = runs.open_run(out / "divergence/seed_0")
    folder = run.cycle(2)
    assert "wrong" not in checks.selection(run, 2)

    table = (folder / "image_scores.csv").read_text()
    leave(folder / "image_scores.csv", f"{table.rsplit(chr(10), 2)[0]}\n".encode())
    left = 40 - len(run.labeled_positions(2))
    assert f"wrong: {left - 1} frames, but {left} to score" in checks.image_scores(run, 2)

    chosen = json.loads((folder / "selection.json").read_text())
    chosen["chosen"].append(chosen["chosen"][0] | {"position": run.labeled_positions(2)[0]})
    leave_json(folder / "selection.json", chosen)
    assert "was labeled before" in checks.selection(run, 2)
    assert "labels: wrong: labeled are" in checks.labels(run, 2)

    leave_json(folder / "losses.json", [1.0, float("nan")])
    assert "a loss is not finite" in checks.training(run, 2)

    evaluation = run.evaluation(2)
    evaluation["miss_rate"][-1] += 0.5
    leave_json(folder / "evaluation.json", evaluation)
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
