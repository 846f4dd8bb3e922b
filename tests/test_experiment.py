"""The driver: the loop through papermill and in one process, killed and resumed, stale, refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from alkit import training
from alkit.cli import main
from alkit.frames import FrameSet
from alkit.loop import branches, checks, experiment, records, runs, status, steps
from alkit.loop import step as stepping
from alkit.loop.jsonfile import read_json, write_json
from alkit.loop.runs import Run, open_run
from alkit.loop.settings import checked, read_experiment, read_folds
from alkit.loop.steps.shared import frame_table
from alkit.threads import made_ahead

ALKIT = [sys.executable, "-m", "alkit.cli"]
SLOW_PLUGIN = '''
"""Divergence, so slow that a test can kill it in the middle."""
import time
from alkit.scores import divergence
from alkit.strategies import Strategy

def slow(p):
    time.sleep(0.05)
    return divergence(p, 2)

scores = {"slow": slow}
strategies = {"slow-divergence": Strategy("slow")}
'''


def alkit(*arguments, **options):
    return subprocess.run(
        [*ALKIT, *map(str, arguments)], capture_output=True, text=True, timeout=600, **options
    )


@pytest.fixture
def alkit_here(monkeypatch, capsys):
    """The same command in this process, which has imported all of it: several times as fast."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["alkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, out, err)

    return run


def write_experiment(folder, settings, **changes):
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings | changes))
    return path


def results(out) -> dict:
    """What must be equal however an experiment was run: artifacts and records, not their times."""
    found = {}
    for path, record in records.all_records(out):
        kept = {k: record[k] for k in ("step", "key", "inputs", "parameters", "code", "artifacts")}
        found[str(path.relative_to(out))] = kept | {"reused": record.get("reused")}
    for store in sorted(out.glob("*/seed_*/cycle_*/*.zarr")):
        run, cycle = Run(store.parents[1]), int(store.parent.name[-2:])
        if store.name == "scores.zarr":
            found[str(store.relative_to(out))] = run.scores(cycle).values.tobytes()
        else:
            found[str(store.relative_to(out))] = {
                name: array.values.tobytes() for name, array in run.logits(cycle).items()
            }
    return found


def test_a_complete_experiment_is_left_alone(toy_experiment):
    assert set(status.table(toy_experiment)["state"]) == {"complete"}
    before = {p: p.stat().st_mtime_ns for p in toy_experiment.rglob("*.json")}
    experiment.run(toy_experiment, notebooks=False)
    assert {p: p.stat().st_mtime_ns for p in toy_experiment.rglob("*.json")} == before


def test_the_loop_is_the_papers(toy_experiment, toy_settings):
    """Cycle by cycle: predicts the unlabeled alone, never chooses twice, starts from W_l."""
    run = open_run(toy_experiment / "divergence" / "seed_0")
    n = toy_settings["data"]["street-pool"]["frames"]
    budget, labeled = toy_settings["budget"], set()
    for cycle in (1, 2):
        assert set(run.logits(cycle)["position"].values) == set(range(n)) - labeled
        chosen = [frame["position"] for frame in run.selection(cycle)["chosen"]]
        assert 0 < len(chosen) <= budget
        assert not labeled & set(chosen)
        assert [image["position"] for image in run.labels(cycle)["images"]] == chosen
        labeled |= set(chosen)
        record = records.read(run, cycle, "6_retrain")
        assert record["inputs"]["W_l"] == stepping.weights_key(run, 0)
        assert {k for k in record["inputs"] if k.startswith("labels")} == {
            f"labels {k}" for k in range(1, cycle + 1)
        }
        assert run.evaluation(cycle)["labeled"]["images"] == len(labeled)
    truth = run.frames("pool")
    for image in run.labels(1)["images"]:
        real = truth.boxes[image["position"]].ltwh.tolist()
        given = [a["bbox"] for a in run.labels(1)["annotations"] if a["image_id"] == image["id"]]
        assert given == real


def test_every_cycle_retrains_from_w_l(toy_copy, monkeypatch):
    run, started = open_run(toy_copy / "divergence/seed_0"), []

    def kept(detector, *_, **__):
        started.append({k: v.numpy().copy() for k, v in detector.state_dict().items()})
        return [1.0]

    monkeypatch.setattr(training, "train", kept)
    records.record_path(run, 2, "6_retrain").unlink()
    steps.retrain(run, 2)
    w_l = load_file(run.weights(0))
    assert all((started[0][k] == w_l[k]).all() for k in w_l)


def test_each_cycle_draws_its_own_random_numbers(toy_experiment):
    run = open_run(toy_experiment / "guided-random/seed_0")
    one, two = (run.selection(cycle)["ranked_by"] for cycle in (1, 2))
    assert not set(one) & set(two)


def test_random_strategies_skip_predictions(toy_experiment):
    names = {p.name for p in (toy_experiment / "guided-random/seed_0/cycle_01").iterdir()}
    assert "4_select.json" in names
    assert not names & {"1_predict.json", "2_score.json", "3_aggregate.json", "logits.zarr"}


@pytest.fixture
def odd_surroundings(tmp_path, monkeypatch):
    """Another environment's kernel, startup files, and a style that needs LaTeX and a screen."""
    kernel = tmp_path / "share/kernels/python3/kernel.json"
    argv = [str(tmp_path / "no/python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    startup = tmp_path / "ipython/profile_default/startup/mine.py"
    style = tmp_path / "matplotlibrc"
    for file, text in {
        kernel: json.dumps({"argv": argv, "display_name": "another", "language": "python"}),
        startup: "import sys\nprint('mine')\nn: list[int] = []\ncycel = 1\n",
        style: "text.usetex: True\nfont.family: Times\n",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONSTARTUP", str(startup))
    monkeypatch.setenv("MATPLOTLIBRC", str(style))
    monkeypatch.setenv("MPLBACKEND", "QtAgg")


def test_papermill_and_plain_calls_give_the_same(
    odd_surroundings, toy_experiment, toy_settings, tmp_path, alkit_here
):
    file = write_experiment(tmp_path, toy_settings, strategies=["divergence"], cycles=1)
    out = runs.create(tmp_path / "out", read_experiment(file), "data_catalog.yaml")
    shutil.copytree(toy_experiment / "pretrain", out / "pretrain")
    done = alkit_here("run", file, "--out", out)
    assert done.returncode == 0, done.stderr
    shared = ("pretrain", "divergence/seed_0/cycle_01")
    plain = {k: v for k, v in results(toy_experiment).items() if k.startswith(shared)}
    assert results(out) == plain
    notebooks = sorted(path.stem for path in (out / "divergence/seed_0/cycle_01").glob("*.ipynb"))
    assert notebooks == sorted(step.name for step in steps.CYCLE)
    for name in notebooks:
        cells = read_json(out / f"divergence/seed_0/cycle_01/{name}.ipynb")["cells"]
        said = [one for cell in cells for one in cell.get("outputs", []) if "name" in one]
        assert {one["name"] for one in said} == {"stdout"}  # and no bar
    assert "9 of 9 steps complete" in done.stdout
    assert "miss rate at FPPI 1" in done.stdout


def start_and_kill(yaml_file, out, is_time, *options):
    """Start a run and SIGKILL it as soon as `is_time()`."""
    process = subprocess.Popen(
        [*ALKIT, "run", str(yaml_file), "--out", str(out), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 600
    while not is_time():
        assert process.poll() is None, f"ended before it could be killed: {process.stderr.read()}"
        assert time.monotonic() < deadline, "the step to kill never came"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_in_step_2_and_in_step_6_and_resumed(toy_settings, tmp_path):
    """Through papermill, and without."""
    (tmp_path / "slow.py").write_text(SLOW_PLUGIN)
    file = write_experiment(
        tmp_path,
        toy_settings,
        plugins=["slow.py"],
        strategies=["slow-divergence"],
        cycles=1,
        set=toy_settings["set"] | {"epochs": 60},
    )
    undisturbed = runs.create(tmp_path / "a", read_experiment(file), "data_catalog.yaml")
    experiment.run(undisturbed, notebooks=False)

    out = runs.create(tmp_path / "b", read_experiment(file), "data_catalog.yaml")
    shutil.copytree(undisturbed / "pretrain", out / "pretrain")
    steps.predict(out / "slow-divergence/seed_0", 1)
    cycle = out / "slow-divergence/seed_0/cycle_01"
    done = cycle / "scores.zarr/done/c/0"  # written after the first of two shards
    start_and_kill(file, out, done.exists)
    assert not (cycle / "2_score.json").exists()
    start_and_kill(file, out, (cycle / "6_retrain.log").exists, "--no-notebooks")
    assert not (cycle / "6_retrain.json").exists()
    experiment.run(out, notebooks=False)
    assert results(out) == results(undisturbed)


def test_a_full_disk_in_step_2_loses_nothing(toy_experiment, toy_yaml, tmp_path, alkit_here):
    """The system refuses files beyond a size: an error that names the step; then it goes on."""
    out = tmp_path / "out"
    shutil.copytree(toy_experiment, out)
    run = open_run(out / "divergence" / "seed_0")
    for name in ("2_score", "3_aggregate"):
        records.record_path(run, 1, name).unlink()
    shutil.rmtree(run.cycle(1) / "scores.zarr")
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))\n"
        "from alkit.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", limited, "run", str(toy_yaml), "--out", str(out)]
    full = subprocess.run([*command, "--no-notebooks"], capture_output=True, text=True, timeout=600)
    assert full.returncode == 1
    assert "divergence/seed_0 cycle 1 2_score failed: OSError" in full.stderr
    assert "divergence/seed_0 cycle 1 2_score: failed: OSError" in status.format_status(out)
    assert not records.record_path(run, 1, "2_score").exists()
    done = alkit_here("run", toy_yaml, "--out", out, "--no-notebooks")
    assert done.returncode == 0, done.stderr
    assert results(out) == results(toy_experiment)


def test_a_failed_step_names_step_notebook_and_error(toy_experiment, toy_settings, tmp_path):
    (tmp_path / "broken.py").write_text(
        "from alkit.strategies import Strategy\n"
        "def broken(p):\n    raise ArithmeticError('no score today')\n"
        "scores = {'broken': broken}\nstrategies = {'broken': Strategy('broken')}\n"
    )
    file = write_experiment(tmp_path, toy_settings, plugins=["broken.py"], strategies=["broken"])
    out = runs.create(tmp_path / "out", read_experiment(file), "data_catalog.yaml")
    shutil.copytree(toy_experiment / "pretrain", out / "pretrain")
    steps.predict(out / "broken/seed_0", 1)
    with pytest.raises(experiment.StepFailed) as failed:
        experiment.run(out)
    said = str(failed.value)
    assert "broken/seed_0 cycle 1 2_score failed: " in said
    assert "broken.py, line 3: ArithmeticError: no score today" in said
    notebook = out / "broken/seed_0/cycle_01/2_score.ipynb"
    assert str(notebook) in said
    assert "no score today" in notebook.read_text()
    (line,) = [line for line in status.format_status(out).splitlines() if "2_score: failed" in line]
    assert "no score today" in line
    assert str(notebook) in line


SYNTAX = '''"""Docstring."""
from . import x
from a.b import c as d

@decorator(1)
class A(B, metaclass=M, **kw):
    """Doc."""
    x: int = 3
    async def f(self, a, /, b: int = 1, *args: T, c, d=2, **kw) -> None:
        "doc"
        async with a as b, c: await d
        return [i async for i in j if k]

n = None, True, ..., 1.5, 1e400, 2j, 123456789012345678901234567890, 0x10, -1_000, b"\\xff"
s = "é \\u200b \\U0001fadf \\ud800", r"\\d", "a" 'b', u"u", ""
f = f"", f"{{a}}{x!s:>{w}}", f"{x = !r:^{w}.{p}}", f"{x:}"
h = "" f"a{x}" "b" f"{y}" "", f"{ {1: 2}[1] }", rf"\\d{x}"
g = lambda *a, b=1: (yield), {1: 2, **e}, [*w, 1][1:2, ::3, ...], (z := 5), a if b else not c
try: a
except* (B, C) as d: raise E from f
else: pass
match a:
    case None | -2.5 | 1 + 2j: b
    case [x, *_] if z: c
    case {"k": v, **rest}: d
    case Cls(1, k=2) as g: e
    case _: ...
'''


@pytest.mark.parametrize(
    "written",
    [
        SYNTAX.encode(),
        SYNTAX.replace("\n", "\r\n").encode(),
        SYNTAX.replace("Doc", "Ein Wört").encode("utf-8-sig"),
        b"# coding: latin-1\n" + SYNTAX.replace("    pass", "    ...").encode("latin-1"),
    ],
)
def test_the_digest_of_code_is_the_same_everywhere(tmp_path, written):
    """What Python 3.11.7, 3.12.1, 3.12.7, 3.13.0 and 3.14.2 gave, under UTF-8 and ASCII."""
    (tmp_path / "a.py").write_bytes(written)
    assert records.code_digest(tmp_path / "a.py").startswith("3e37c13ec857")


def test_threads_parse_one_file_at_a_time(monkeypatch):
    """Python 3.11 raises a SystemError where its garbage collection lets another one parse, too."""
    parse, inside, most = records.ast.parse, [], []

    def slow(*given):
        inside.append(given)
        most.append(len(inside))
        time.sleep(0.01)
        inside.remove(given)
        return parse(*given)

    files = sorted(records.PACKAGE.glob("*.py"))[:6]
    with monkeypatch.context() as patch:
        patch.setattr(records.ast, "parse", slow)
        digests = {*made_ahead(records.code_digest, files, 3)}
    assert len(digests) == len(files)
    assert {*most} == {1}


def test_a_run_is_the_same_in_a_locale_of_ascii(tmp_path, toy_settings):
    """Code, settings and names of images are those of UTF-8; what cannot be shown is replaced."""
    for name in ("ä.png", "ß.png"):
        image = np.full((96, 128, 3), 99, np.uint8)
        (tmp_path / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    images = [
        {"id": i, "file_name": name, "height": 96, "width": 128}
        for i, name in enumerate(("ä.png", "ß.png"))
    ]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [9, 9, 20, 60]} for i in range(2)]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "x.json").write_text(json.dumps(coco, ensure_ascii=False), encoding="utf-8")
    entry = {
        "title": "Größe",
        "reader": "coco",
        "root": str(tmp_path),
        "args": {"annotations": "x.json"},
    }
    catalog = yaml.safe_dump({"datasets": {"own": entry}}, allow_unicode=True)
    (tmp_path / "c.yaml").write_text(catalog, encoding="utf-8")
    own = dict.fromkeys(("labeled", "pool", "test", "held_out"), "own")
    file = write_experiment(tmp_path, toy_settings, **own, data={}, budget=1)
    out = runs.create(tmp_path / "out", read_experiment(file), tmp_path / "c.yaml")
    steps.pretrain(out / "pretrain/seed_0", 0)
    ascii_ = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = alkit("status", out, env=os.environ | ascii_)
    assert (done.returncode, done.stderr) == (0, "")
    assert "out: 1 of 24 steps complete" in done.stdout


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Changes a file of alkit, as the keys of steps see it."""
    package = tmp_path / "edited"
    shutil.copytree(records.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))

    def edit(file, old, new):
        text = (package / file).read_text()
        assert old in text
        (package / file).write_text(text.replace(old, new, 1))
        records.code_digests.cache_clear()

    monkeypatch.setattr(records, "PACKAGE", package)
    yield edit
    records.code_digests.cache_clear()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("profiles.py", "length * self.scale + 0.5", "length * self.scale"),
        ("training.py", "load_file(path)", "dict(load_file(path))"),
        ("loop/store.py", "QUANTA, STORED = 511", "QUANTA, STORED = 255"),
        ("data/readers/street.py", "\nimport numpy", "\nimport math\nimport numpy"),
    ],
)
def test_changed_code_makes_what_is_complete_stale(toy_copy, edited, file, old, new):
    edited(file, old, new)
    assert set(status.table(toy_copy)["state"]) == {"stale"}
    part = Path(file).parts[0].removesuffix(".py")
    assert f"code of {part} changed" in status.format_status(toy_copy)


def test_other_words_change_nothing(toy_copy, edited):
    edited("cli.py", "Active learning", "Actively learning")
    edited("scores.py", '"""', '"""More about it. ')
    edited("training.py", "\nimport math", "\n# why\nimport math")
    two_sides = "def _two_sides(exclude, name):\n"
    edited("selection.py", two_sides, two_sides + '    """Before and after."""\n')
    assert set(status.table(toy_copy)["state"]) == {"complete"}


def test_a_stale_step_is_neither_reused_nor_overwritten(toy_copy, edited):
    edited("aggregation.py", "\nimport numpy", "\nimport os\nimport numpy")
    before = results(toy_copy)
    with pytest.raises(records.StaleStep, match=r"0_pretrain is stale: code of aggregation"):
        experiment.run(toy_copy, notebooks=False)
    with pytest.raises(records.StaleStep, match="neither reused nor overwritten"):
        steps.aggregate(toy_copy / "divergence/seed_0", 1)
    assert results(toy_copy) == before
    experiment.run(toy_copy, strategies=["guided-random"], notebooks=False, redo=True)
    states = status.table(toy_copy).groupby("run")["state"].agg(set)
    assert states["pretrain/seed_0"] == states["guided-random/seed_0"] == {"complete"}
    assert "complete" not in states["divergence/seed_0"]


def zero_tail(file):
    data = file.read_bytes()
    file.write_bytes(data[:-500] + bytes(500))


def test_what_is_damaged_is_named_not_used_and_made_again(toy_copy, toy_yaml, alkit_here):
    """Artifacts and records of all steps, each in another way, in one experiment."""
    before, one, two = results(toy_copy), "divergence/seed_0/cycle_01", "divergence/seed_0/cycle_02"
    random = "guided-random/seed_0/cycle_02"
    harm = {
        "pretrain/seed_0/weights.safetensors": zero_tail,
        f"{one}/logits.zarr/logits_stride4/c/1/0/0/0": Path.unlink,
        f"{one}/region_maxima.npy": lambda file: os.truncate(file, 200),
        f"{one}/selection.json": lambda file: file.write_text(file.read_text() + "\n"),
        f"{one}/labels.json": lambda file: file.write_text('{"images": [], "annotations": []}'),
        f"{one}/weights.safetensors": lambda file: os.truncate(file, 0),
        f"{two}/pool_detections.json.gz": zero_tail,
        f"{two}/logits.zarr/zarr.json": lambda file: os.truncate(file, 0),
        f"{two}/scores.zarr/highest/c/0": Path.unlink,
        f"{two}/3_aggregate.json": lambda file: os.truncate(file, 100),
        f"{random}/5_label.json": lambda file: file.write_text("{}"),
        "guided-random/seed_0/cycle_01/evaluation.json": Path.unlink,
    }
    for name, spoil in harm.items():
        spoil(toy_copy / name)
    said = alkit_here("status", toy_copy)
    assert said.returncode == 0, said.stderr
    for name in harm:
        assert name.rpartition(".zarr/")[2] in said.stdout, name
    run = "run", toy_yaml, "--out", toy_copy, "--no-notebooks"
    refused = alkit_here(*run)
    assert refused.returncode == 1
    assert "0_pretrain is damaged: " in refused.stderr
    with pytest.raises(records.DamagedStep, match=r"labels\.json is not what the step wrote"):
        open_run(toy_copy / "divergence/seed_0").labels(1)
    again = alkit_here(*run, "--redo")
    assert again.returncode == 0, again.stderr
    assert results(toy_copy) == before
    assert {*status.table(toy_copy)["state"]} == {"complete"}


def test_damage_that_keeps_size_and_time_is_found_where_it_is_read(toy_copy):
    run = open_run(toy_copy / "divergence/seed_0")
    file = run.weights(1)
    status.table(toy_copy)  # which remembers
    before, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(records.DamagedStep, match=r"6_retrain is damaged: .*weights"):
        run.weights(1)
    assert steps.retrain.state(run, 1).kind == "damaged"


def test_what_is_not_a_step_may_be_damaged_too(toy_copy, toy_yaml, alkit_here):
    (toy_copy / "leaks.json").write_text("")
    records.record_path(Run(toy_copy / "divergence/seed_0"), 1, "5_label").unlink()
    said = alkit_here("status", toy_copy)
    assert said.returncode == 0, said.stderr
    assert "leaks.json: damaged" in said.stdout
    (toy_copy / "experiment.json").write_text("[]")
    assert "experiment.json: damaged" in alkit_here("status", toy_copy).stderr
    (toy_copy / "experiment.json").unlink()
    again = alkit_here("run", toy_yaml, "--out", toy_copy, "--no-notebooks")
    assert again.returncode == 0, again.stderr
    assert {*status.table(toy_copy)["state"]} == {"complete"}


def test_weights_that_come_out_otherwise_make_what_follows_stale(toy_copy):
    """As of another processor."""
    run, other = open_run(toy_copy / "divergence/seed_0"), toy_copy / "other.safetensors"
    weights = load_file(run.weights(1))
    save_file({name: value * np.float32(1 + 1e-6) for name, value in weights.items()}, other)
    plan, seconds = steps.retrain.plan(run, 1), 1.0
    other.replace(run.cycle(1) / "weights.safetensors")
    records.write(run, 1, plan, steps.retrain.artifacts, seconds)
    states = status.table(toy_copy).query("run == 'divergence/seed_0'")
    stale = states[states.state == "stale"]
    assert [*zip(stale.cycle, stale.step, strict=True)] == [(1, "7_evaluate"), (2, "1_predict")]
    assert {*stale.note} == {"input weights changed"}


def test_strategies_share_an_equal_first_cycle(toy_copy, toy_settings, tmp_path, alkit_here):
    file = write_experiment(tmp_path, toy_settings, strategies=["no-rules"], cycles=1)
    done = alkit_here("run", file, "--out", toy_copy, "--no-notebooks")
    assert done.returncode == 0, done.stderr
    run = Run(toy_copy / "no-rules" / "seed_0")
    shared = records.read(run, 1, "1_predict")
    assert shared["reused"] == "../../../divergence/seed_0/cycle_01"
    assert not (run.cycle(1) / "logits.zarr").exists()
    original = open_run(toy_copy / "divergence" / "seed_0")
    assert (run.scores(1).values == original.scores(1).values).all()
    assert records.read(run, 1, "4_select").get("reused") is None


def test_weights_differ_between_seeds_and_not_between_runs_of_one(toy_experiment, toy_copy):
    one = load_file(open_run(toy_experiment / "divergence/seed_0").weights(2))
    two = load_file(open_run(toy_copy / "divergence/seed_0").weights(2))
    assert all((one[k] == two[k]).all() for k in one)
    first = load_file(open_run(toy_experiment / "pretrain/seed_0").weights(0))
    assert any(not np.array_equal(one[k], first[k]) for k in one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bugdet": 3}, "bugdet: Extra inputs are not permitted (got 3); did you mean budget?"),
        (
            {"set": {"raduis": 4}},
            "raduis: Extra inputs are not permitted (got 4); did you mean r",
        ),
        ({"set": {"radius": "wide"}}, "radius"),
        ({"profile": "papper"}, "profile 'papper' is unknown"),
        ({"strategies": ["divergance"]}, "unknown name 'divergance' (did you mean divergence"),
        ({"pool": "street-pol", "data": {}}, "nearest names: street-pool"),
        ({"budget": 0}, "budget: Input should be greater than or equal to 1 (got 0)"),
        ({"budget": -3}, "budget: Input should be greater than or equal to 1 (got -3)"),
        ({"cycles": "three"}, "cycles"),
        ({"data": {"street-pol": {}}}, "'street-pol' is none of this experiment"),
        ({"data": {"street-pool": {"frmes": 4}}}, "frames"),
        ({"plugins": ["missing.py"]}, "missing.py: FileNotFoundError"),
        ({"plugins": ["taken.py"]}, "scores['divergence'] has the name of alkit's own"),
        (
            {"plugins": ["no_strategy.py"]},
            "strategies['mine'] is 'divergence'; expected a Strategy(",
        ),
        ({"set": {"protocol": "caltec"}}, "protocol: Input should be 'caltech'"),
        ({"set": {"exclude_now": -3}}, "exclude_now"),
        ({"set": {"decode_window": -5}}, "decode_window"),
        ({"set": {1: 2}}, "1: Keys should be strings"),
        ({"seeds": [-1]}, "seeds"),
        ({"folds": {}}, "folds: expected a mapping of names"),
        ({"start": 2, "cycles": 1}, "expected 2 or more"),
        ({"start": ["a", "a"]}, "'a' is given more than once"),
        ({"start": 999}, "start: 999 of the pool's"),
        ({"start": ["test-00/006"]}, "unknown name 'test-00/006' (did you mean test-000/006"),
        ({"strategies": ["foreground-random"], "held_out": None}, "as `held_out`"),
        ({"strategies": ["oracle-count"], "labels": "import"}, "oracle-count sees hidden boxes"),
        ({"weights": "gone.safetensors"}, "gone.safetensors: not a readable safetensors file"),
        ({"seeds": [0, 1, 0]}, "seeds: 0 is given more than once"),
        ({"plugins": ["own.py", "./own.py"]}, "own.py' is given more than once"),
        ({"folds": {"a": {}, "A": {}}}, "two names differ only in case"),
        ({"folds": {"a": {"strategies": ["random"] * 2}}}, "fold a: strategies: 'random' is given"),
    ],
)
def test_wrong_settings_stop_before_anything_is_done(
    toy_settings, tmp_path, changes, message, alkit_here
):
    (tmp_path / "taken.py").write_text("scores = {'divergence': lambda p: p[0]}\n")
    (tmp_path / "no_strategy.py").write_text("strategies = {'mine': 'divergence'}\n")
    file = write_experiment(tmp_path, toy_settings, **changes)
    stopped = alkit_here("run", file, "--out", tmp_path / "out", "--no-notebooks")
    assert stopped.returncode == 1
    assert message in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not list(tmp_path.glob("out/*/*/*.json"))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("budget: 4\nseeds: [0]\nbudget: 5\n", (3, 1)),
        ("set:\n  epochs: 1\n  'epochs': 2\n", (3, 2)),
        ("folds:\n  a: {}\n  b: {}\n  a: {}\n", (4, 2)),
        ("folds:\n  1: {}\n  '1': {}\n", (3, 2)),
        ("folds:\n  a:\n    data:\n      x: {frames: 1}\n      x: {}\n", (5, 4)),
        ("data: {x: {frames: 1,\n  frames: 2}}\n", (2, 1)),
    ],
)
def test_a_name_that_stands_twice_is_refused(tmp_path, text, lines):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"e\.yaml: .*line {lines[0]}: .*line {lines[1]}"):
        read_folds(tmp_path / "e.yaml")


@pytest.mark.parametrize("twice", [("--seeds", "0-2,1"), ("--strategies", "random,random")])
def test_options_that_name_something_twice_are_refused(toy_yaml, tmp_path, alkit_here, twice):
    stopped = alkit_here("run", toy_yaml, "--out", tmp_path / "out", *twice)
    assert "is given more than once" in stopped.stderr
    none = alkit_here("run", toy_yaml, "--out", tmp_path / "out", "--dry-run", twice[0], "")
    assert none.returncode == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_has_a_seed_twice_is_still_read(toy_copy):
    settings = read_json(toy_copy / "experiment.json")
    write_json(toy_copy / "experiment.json", settings | {"seeds": [0, 0]})
    assert f"{toy_copy.name}: 24 of 24 steps complete" in status.format_status(toy_copy)


def test_without_a_test_set_frames_are_chosen(
    toy_copy, toy_settings, tmp_path, alkit_here, fixed_costs
):
    """Nothing is evaluated; a test set that is named later is measured on, with what is there."""
    for file in toy_copy.glob("*/seed_0/**/*evalu*"):
        file.unlink()
    settings = read_json(toy_copy / "experiment.json") | {"test": None, "data": {}}
    write_json(toy_copy / "experiment.json", settings)
    named = write_experiment(tmp_path, toy_settings, data={})
    text = named.read_text().replace("test: street-test\n", "")
    (tmp_path / "choose.yaml").write_text(text)
    assert "7_evaluate" not in alkit_here("run", tmp_path / "choose.yaml", "--dry-run").stdout
    assert len(status.table(toy_copy)) == 19
    assert experiment.ledger(toy_copy).empty
    runs.create(toy_copy, read_experiment(named), "data_catalog.yaml")
    states = status.table(toy_copy).groupby("step")["state"].agg(set)
    assert states["7_evaluate"] == {"waiting"}


def test_a_pool_that_grew_says_what_is_made_again(toy_copy):
    settings = read_json(toy_copy / "experiment.json")
    settings["data"]["street-pool"]["frames"] += 4
    write_json(toy_copy / "experiment.json", settings)
    again = r"divergence/seed_0/cycle_01 \(1 2 3 4 5 6 7\).*random/seed_0/cycle_02 \(4 5 6 7\)"
    with pytest.raises(records.StaleStep, match=again + r".*stays is pretrain/seed_0 \(0 7\)"):
        experiment.run(toy_copy, notebooks=False)
    assert re.search(again, status.format_status(toy_copy))


def test_names_of_sequences_stay_text(tmp_path, monkeypatch):
    names = np.array(["NA", "null", "nan", "1e5", "007", "", "None", "-", "TRUE"])
    frames = FrameSet("x", names, None, (1, 1), sequence=names, frame=np.arange(9.0))
    for own in (frames, replace(frames, sequence=None, frame=None)):
        table = frame_table(own, np.arange(9)).assign(z=0.1)
        table.to_csv(tmp_path / "image_scores.csv", index=False)
        monkeypatch.setattr(Run, "artifact", lambda *_: tmp_path / "image_scores.csv")
        read = Run(tmp_path).image_scores(1)
        assert [*read["name"]] == [*names]
        assert [*read["sequence"]] == ([""] * 9 if own.sequence is None else [*names])
        assert read["frame"].isna().all() == (own.frame is None)
        assert read["z"].tolist() == [0.1] * 9


def test_settings_may_be_corrected_until_a_step_is_complete(toy_settings, tmp_path):
    wrong = read_experiment(write_experiment(tmp_path, toy_settings, budget=30))
    runs.create(tmp_path / "out", wrong, "data_catalog.yaml")
    right = read_experiment(write_experiment(tmp_path, toy_settings))
    out = runs.create(tmp_path / "out", right, "data_catalog.yaml")
    assert Run(out / "divergence/seed_0").experiment.budget == toy_settings["budget"]


def test_a_run_ends_when_no_frame_is_left(toy_experiment, toy_settings, tmp_path, alkit_here):
    """By the rules after one cycle; by the end of the pool after a short one. The other goes on."""
    settings = toy_settings | {"strategies": ["guided-random", "random"], "cycles": 4, "budget": 16}
    rules = {"exclude_now": 100, "exclude_later": 100}
    file = write_experiment(tmp_path, settings | {"set": settings["set"] | rules})
    out = runs.create(tmp_path / "out", read_experiment(file), "data_catalog.yaml")
    shutil.copytree(toy_experiment / "pretrain", out / "pretrain")
    done = alkit_here("run", file, "--out", out, "--no-notebooks")
    assert done.returncode == 0, done.stderr
    guided, free = (Run(out / name / "seed_0") for name in settings["strategies"])
    videos = set(guided.frames("pool").sequence)
    ledger = experiment.ledger(out).groupby("strategy")["chosen"].apply(list).to_dict()
    assert ledger == {"W_l": [0], "guided-random": [len(videos)], "random": [16, 16, 8]}
    why = f"{len(videos)} labeled, {40 - len(videos)} excluded_later"
    assert re.search(f"^ended: guided-random/seed_0 with cycle 1 of 4: .* {why}", done.stdout, re.M)
    assert re.search("^ended: random/seed_0 with cycle 3 of 4: .* 40 labeled", done.stdout, re.M)
    assert re.search("8 of 16 frames could be chosen; .* 32 labeled", done.stdout)
    assert not guided.cycle(2).exists()
    assert not free.cycle(4).exists()
    assert set(status.table(out)["state"]) == {"complete"}
    assert checks.ledger([out]).startswith("ledger: one row for each evaluated cycle")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*_*.json")}
    experiment.run(out, notebooks=False)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*_*.json")} == before
    with pytest.raises(ValueError, match="no frame was left to choose in cycle 2"):
        steps.choose(guided, 2)

    with pytest.raises(ValueError, match="has cycles 1 … 2"):
        branches.branch(guided.folder, 3, {"exclude_later": 0}, tmp_path / "a")
    with pytest.raises(ValueError, match="no frame is left to choose"):
        branches.branch(guided.folder, 2, {"exclude_now": 0}, tmp_path / "a")
    new = branches.branch(guided.folder, 2, {"exclude_later": 0}, tmp_path / "a")
    assert max(task.cycle for task in experiment.tasks(new)) == 4

    # what a step that is made again no longer leads to goes
    shutil.copytree(guided.cycle(1), guided.cycle(2))
    experiment.run(out, notebooks=False)
    assert not [*guided.cycle(2).glob("[0-7]_*.json")]


@pytest.mark.parametrize("rate", [1e2, 1e6])
def test_a_training_that_ends_in_finite_nonsense_fails_in_its_own_step(
    toy_settings, tmp_path, alkit_here, rate
):
    own = {"pretrain_epochs": 1, "learning_rate": rate, "final_learning_rate": rate}
    file = write_experiment(tmp_path, toy_settings, set=toy_settings["set"] | own)
    failed = alkit_here("run", file, "--out", tmp_path / "out", "--no-notebooks")
    assert failed.returncode == 1
    assert "cycle 0 0_pretrain failed: FloatingPointError: street-source: " in failed.stderr
    assert "lower learning_rate (now 1" in failed.stderr
    assert not (tmp_path / "out/pretrain/seed_0/0_pretrain.json").exists()


def test_rules_that_exclude_nothing_say_so(toy_settings, tmp_path):
    settings = toy_settings | {"set": toy_settings["set"] | {"exclude_now": 0, "exclude_later": 0}}
    settings |= {"strategies": ["guided-random"], "cycles": 1}
    out = tmp_path / "out"
    settings = read_experiment(write_experiment(tmp_path, settings))
    runs.create(out, settings, "data_catalog.yaml")
    experiment.run(out, notebooks=False)
    (said,) = records.read(Run(out / "guided-random/seed_0"), 1, "4_select")["warnings"]
    assert "the temporal rules exclude no frame of this pool" in said


def test_a_labeled_set_without_a_pedestrian(toy_settings, tmp_path, alkit_here):
    """A pool of nothing but filtered boxes as X_l."""
    catalog = yaml.safe_load(Path("data_catalog.yaml").read_text())
    catalog["datasets"]["street-source"]["filter"] = {"rule": "paper", "min_height": 5000}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    file = write_experiment(tmp_path, toy_settings)
    stopped = alkit_here(
        "run", file, "--out", tmp_path / "out", "--catalog", tmp_path / "catalog.yaml",
        "--no-notebooks",
    )  # fmt: skip
    assert stopped.returncode == 1
    assert "none of the labeled frames holds a pedestrian" in stopped.stderr


def test_a_test_set_that_nothing_can_be_measured_on(toy_settings, tmp_path):
    catalog = yaml.safe_load(Path("data_catalog.yaml").read_text())
    catalog["datasets"]["street-test"]["filter"] = {"rule": "paper", "min_height": 5000}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    settings = read_experiment(write_experiment(tmp_path, toy_settings))
    out = runs.create(tmp_path / "out", settings, tmp_path / "catalog.yaml")
    with pytest.raises(ValueError, match="no frame holds a pedestrian"):
        experiment.run(out, notebooks=False)


@pytest.mark.parametrize("role", ["source", "pool", "test"])
@pytest.mark.parametrize("there", [True, False])
def test_a_data_set_without_a_box_of_its_classes(
    toy_settings, tmp_path, alkit_here, fixed_costs, role, there
):
    """It stops a run before step 0, but for a pool that people label."""
    catalog = yaml.safe_load(Path("data_catalog.yaml").read_text())
    entry = catalog["datasets"][f"street-{role}"]
    entry["filter"] = {"rule": "paper", "classes": ["Pedestrian"], "min_height": 5000 * there}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    file = write_experiment(tmp_path, toy_settings)
    for options in ([], ["--dry-run"]):
        ended = alkit_here(
            "run", file, "--out", tmp_path / "out", "--catalog", tmp_path / "catalog.yaml", *options
        )
        said = ended.stdout if options else ended.stderr
        assert re.search(rf"street-{role}: no box of .*'Pedestrian'.*'pedestrian' \d+", said)
    assert not list(tmp_path.glob("out/*/*/*.json"))
    by_people = read_experiment(write_experiment(tmp_path, toy_settings, labels="import"))
    out = runs.create(tmp_path / "asked", by_people, tmp_path / "catalog.yaml")
    if role == "pool":
        experiment.check_data(out)
    else:
        with pytest.raises(ValueError, match="no box of"):
            experiment.check_data(out)


WARNING_PLUGIN = """
import threading, warnings
from alkit.scores import divergence
from alkit.strategies import Strategy

def said(p):
    warnings.warn("this score is a draft", RuntimeWarning)
    warnings.warn("old", DeprecationWarning)
    warnings.warn("new", FutureWarning)
    beside = threading.Thread(target=warnings.warn, args=("from a thread",))
    beside.start()
    beside.join()
    return divergence(p, 2)

scores = {"said": said}
strategies = {"warned": Strategy("said")}
"""


def test_what_a_step_warns_of_is_recorded_and_said(
    toy_experiment, toy_settings, tmp_path, alkit_here
):
    (tmp_path / "warned.py").write_text(WARNING_PLUGIN)
    changes = {"plugins": ["warned.py"], "strategies": ["warned", "guided-random"]}
    changes["set"] = toy_settings["set"] | {"exclude_now": 0, "exclude_later": 0}
    toy_settings["data"]["street-pool"]["world"] = 0  # that of the test set
    file = write_experiment(tmp_path, toy_settings, **changes)
    out = runs.create(tmp_path / "out", read_experiment(file), "data_catalog.yaml")
    shutil.copytree(toy_experiment / "pretrain", out / "pretrain")
    done = alkit_here("run", file, "--out", out, "--no-notebooks")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("measures memory") == 1
    texts = ["this score is a draft", "from a thread"]
    run = Run(out / "warned/seed_0")
    for cycle in (1, 2):
        assert records.read(run, cycle, "2_score")["warnings"] == texts
    assert records.read(run, 1, "7_evaluate")["warnings"] == []
    for text in texts:
        assert done.stderr.count(text) == 1
        assert f"warning: warned/seed_0 cycle 1 2_score: {text}\n" in done.stderr
    rules = "warning: warned/seed_0 cycle 1 4_select: the temporal rules exclude no frame"
    assert done.stderr.count("the temporal rules exclude no frame") == done.stderr.count(rules) == 1
    told = alkit_here("status", out).stdout
    assert told.count("measures memory") == 1
    for text in texts:
        assert f"warning: {text} (warned/seed_0 cycle 1 2_score and 1 more)" in told
    assert told.count("the temporal rules exclude no frame") == 1
    assert "draft" not in alkit_here("run", file, "--out", out, "--no-notebooks").stderr
    records.record_path(run, 2, "2_score").unlink()
    shutil.rmtree(run.cycle(2) / "scores.zarr")
    with pytest.warns(RuntimeWarning, match="this score is a draft"):  # as a notebook shows it
        steps.score(run, 2)


def test_a_folder_of_another_experiment_is_refused(toy_copy, toy_settings, tmp_path, alkit_here):
    other = alkit_here(
        "run", write_experiment(tmp_path, toy_settings, name="other"), "--out", toy_copy
    )
    assert other.returncode == 1
    assert "the run folder of experiment 'toy', not of 'other'" in other.stderr
    changed = write_experiment(tmp_path, toy_settings, budget=2)
    same_name = alkit_here("run", changed, "--out", toy_copy)
    assert "budget: 3 there, 2 now" in same_name.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    not_ours = alkit_here("run", changed, "--out", tmp_path / "full")
    assert "not empty and no experiment" in not_ours.stderr
    assert (tmp_path / "full" / "thesis.tex").read_text() == "mine"


def test_a_second_run_on_one_folder_is_refused(toy_copy):
    with runs.lock(toy_copy):
        assert runs.locked(toy_copy)
        with pytest.raises(RuntimeError, match=f"process {os.getpid()}"):
            experiment.run(toy_copy, notebooks=False)
    (toy_copy / ".lock").write_text("the last run's")
    assert not runs.locked(toy_copy)
    assert (toy_copy / ".lock").read_text() == "the last run's"  # who only asks writes nothing


def test_a_folds_files_are_found_from_where_the_experiment_lies(toy_settings, tmp_path):
    (tmp_path / "own.py").write_text("scores = {'mine': lambda p: p[0]}\n")
    own = {"weights": "w.safetensors", "plugins": ["own.py"]}
    folds = read_folds(write_experiment(tmp_path, toy_settings, folds={"a": own, "b": {}}))
    assert folds["a"].weights == str(tmp_path / "w.safetensors")
    assert folds["a"].plugins == [str(tmp_path / "own.py")]
    assert (folds["b"].weights, folds["b"].plugins) == (None, [])


def test_absurd_weights_from_a_file_are_named(toy_copy, toy_settings, tmp_path):
    weights = load_file(toy_copy / "pretrain/seed_0/weights.safetensors")
    save_file({name: 50 * value for name, value in weights.items()}, tmp_path / "w.safetensors")
    own = toy_settings | {"weights": str(tmp_path / "w.safetensors"), "name": "absurd"}
    out = runs.create(tmp_path / "absurd", checked(own, "here"), runs.ROOT / "data_catalog.yaml")
    with pytest.raises(experiment.StepFailed, match=r"w\.safetensors: logits .* expected trained"):
        experiment.run(out, notebooks=False)


def test_weights_of_another_network_in_a_run(toy_copy):
    run = open_run(toy_copy / "divergence/seed_0")
    records.record_path(run, 2, "6_retrain").unlink()
    settings = json.loads((toy_copy / "experiment.json").read_text())
    settings["set"]["width"] = 0.5
    (toy_copy / "experiment.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="weights of another network"):
        steps.retrain.work(
            stepping.Job(
                open_run(run.folder), 2, open_run(run.folder).numbers(2), run.cycle(2), "", None
            )
        )


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere/divergence/seed_0", "experiment.json does not exist"),
        ("divergence", "a run folder OUT/<strategy>/seed_<n> is wanted"),
        ("divergense/seed_0", "did you mean divergence"),
    ],
)
def test_a_wrong_run_folder_says_what_is_wanted(toy_experiment, folder, message):
    with pytest.raises(ValueError, match=message):
        open_run(toy_experiment / folder)


def test_a_wrong_cycle_says_which_there_are(toy_experiment):
    for cycle in (0, 3, True, 1.5):
        with pytest.raises(ValueError, match="has cycles 1 … 2"):
            steps.predict(toy_experiment / "divergence/seed_0", cycle)


def test_seeds_are_parsed():
    assert experiment.parse_seeds("0-2,5") == [0, 1, 2, 5]
    with pytest.raises(ValueError, match="seeds are 'a'"):
        experiment.parse_seeds("a")


def test_folds_are_experiments_of_their_own_that_share_w_l(toy_settings, tmp_path, alkit_here):
    settings = toy_settings | {"strategies": ["random"], "cycles": 1}
    pool = settings["data"]["street-pool"]
    file = write_experiment(
        tmp_path, settings, folds={"a": {}, "b": {"data": settings["data"] | {"street-pool": pool}}}
    )
    done = alkit_here("run", file, "--out", tmp_path / "out", "--no-notebooks")
    assert done.returncode == 0, done.stderr
    second = records.read(Run(tmp_path / "out/b/pretrain/seed_0"), 0, "0_pretrain")
    assert second["reused"] == "../../../a/pretrain/seed_0"
    assert "miss rate at FPPI 1, mean over seeds" in done.stdout
