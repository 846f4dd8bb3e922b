"""A project: where its root is, that it may be moved, copied and started without a checkout."""

import os
import shutil
import subprocess
import sys
import urllib.request

import pytest
import yaml

import alkit
from alkit.cli import main
from alkit.data.project import project_root
from alkit.loop import branches, experiment, runs, status
from alkit.loop.jsonfile import read_json, write_json
from alkit.loop.settings import read_experiment

CATALOG = runs.ROOT / "data_catalog.yaml"
PLUGIN = """
from alkit.strategies import Strategy
strategies = {"mine": Strategy("divergence")}
"""


@pytest.fixture
def command(monkeypatch, capsys):
    """The command `alkit` in this process: its exit status, and what it said."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["alkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, "".join(capsys.readouterr())

    return run


@pytest.fixture
def project(tmp_path, toy_settings):
    """A project with an experiment that names a plugin; its name is not its file's."""
    root = tmp_path / "A"
    (root / "experiments").mkdir(parents=True)
    shutil.copy(CATALOG, root)
    (root / "experiments/mine.py").write_text(PLUGIN)
    settings = toy_settings | {"name": "toy", "plugins": ["mine.py"]}
    (root / "experiments/file.yaml").write_text(yaml.safe_dump(settings))
    return root


@pytest.fixture
def finished(project, toy_experiment):
    """The same, its experiment finished and branched."""
    out = shutil.copytree(toy_experiment, project / "runs/toy")
    settings = read_json(out / "experiment.json")
    plugins = [str(project / "experiments/mine.py")]
    write_json(out / "experiment.json", settings | {"plugins": plugins})
    own = read_experiment(project / "experiments/file.yaml")
    runs.create(out, own, project / "data_catalog.yaml")  # another catalog of the same content
    branches.branch(out / "divergence/seed_0", 2, {"radius": 20}, project / "runs/wide")
    return project


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_moved_or_copied_project_reads_its_own_files(how, finished, tmp_path):
    root = tmp_path / "B"
    if how == "moved":
        finished.rename(root)
    else:
        shutil.copytree(finished, root)
        (finished / "data_catalog.yaml").write_text("damaged")
        (finished / "experiments/mine.py").write_text("damaged")
    for name in ("runs/toy/experiment.json", "runs/toy/branches.json", "runs/wide/experiment.json"):
        assert str(tmp_path) not in (root / name).read_text()
    out, wide = root / "runs/toy", root / "runs/wide"
    assert (status.table(out)["state"] == "complete").all()
    run = runs.open_run(wide / "divergence/seed_0")
    assert run.catalog.path == root / "data_catalog.yaml"
    own = [str(root / "experiments/mine.py")]
    assert run.experiment.plugins == read_experiment(wide / "experiment.yaml").plugins == own
    runs.create(out, read_experiment(root / "experiments/file.yaml"), root / "data_catalog.yaml")
    runs.create(wide, read_experiment(wide / "experiment.yaml"), root / "data_catalog.yaml")
    assert f"{wide} needs it" in branches.clean(out)
    branches.branch(out / "divergence/seed_0", 1, {"radius": 4}, root / "runs/narrow")


@pytest.mark.parametrize("old", ["data_catalog.yaml", "catalogs/mine.yaml"])
def test_a_catalog_whose_old_place_is_gone_is_looked_for_in_the_project(
    old, finished, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    file = finished / "runs/toy/experiment.json"
    write_json(file, read_json(file) | {"catalog": f"/gone/checkout/{old}"})
    (finished / "catalogs").mkdir()
    shutil.copy(CATALOG, finished / "catalogs/mine.yaml")
    assert (status.table(finished / "runs/toy")["state"] == "complete").all()
    alone = finished.parent / "alone"
    (finished / "runs/toy").rename(alone)
    with pytest.raises(FileNotFoundError, match=r"/gone/checkout/.*--catalog"):
        _ = runs.Run(alone / "divergence/seed_0").catalog
    monkeypatch.chdir(finished)  # from where the folder was moved away
    assert "street-pool" in runs.Run(alone / "divergence/seed_0").catalog


def test_the_root_is_above_the_experiment_else_above_the_working_directory(project, monkeypatch):
    nested = project / "experiments"
    monkeypatch.chdir(project.parent)
    assert project_root() == project.parent
    assert project_root(nested / "file.yaml") == project
    assert project_root(project.parent, nested) == project
    monkeypatch.chdir(nested)
    assert project_root() == project_root(project.parent / "elsewhere.yaml") == project
    (nested / "data_catalog.yaml").touch()
    assert project_root("file.yaml") == nested


def test_a_run_from_anywhere_lands_in_the_project_by_its_name(
    project, tmp_path, monkeypatch, command
):
    monkeypatch.setattr(experiment, "run", lambda *_: None)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command("run", project / "experiments/file.yaml")[0] == 0
    assert (project / "runs/toy/experiment.json").is_file()
    monkeypatch.chdir(project / "experiments")
    settings = yaml.safe_load((project / "experiments/file.yaml").read_text())
    folds = {"name": "many", "folds": {"one": {"budget": 2}, "two": {}}}
    (project / "experiments/folds.yaml").write_text(yaml.safe_dump(settings | folds))
    assert command("run", "folds.yaml")[0] == 0
    assert read_json(project / "runs/many/folds.json") == ["one", "two"]
    assert os.listdir(tmp_path / "elsewhere") == []
    (project / "other.yaml").write_bytes(CATALOG.read_bytes())
    assert command("run", "file.yaml", "--catalog", "../other.yaml")[0] == 0
    assert command("run", "file.yaml")[0] == 0  # which keeps it
    assert read_json(project / "runs/toy/experiment.json")["catalog"] == "../../other.yaml"


def test_the_version_is_said(command):
    assert command("--version") == (0, f"alkit {alkit.__version__}\n")


def test_a_folder_that_cannot_be_written_names_the_option(project, monkeypatch, command):
    monkeypatch.chdir(project)
    (project / "runs").write_text("a file")
    code, said = command("run", "experiments/file.yaml")
    assert code == 1
    assert "runs" in said
    assert "--out" in said


def test_a_home_that_is_missing_is_said(project, monkeypatch, command):
    monkeypatch.chdir(project)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert "HOME is not set" in command("data", "check", "unknown")[1]


def test_init_writes_a_project_and_nothing_over_another(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, said = command("data", "list")
    assert code == 1
    assert "alkit init" in said
    assert command("init", "new")[0] == 0
    assert (tmp_path / "new/notebooks/0_pretrain.ipynb").is_file()
    assert not any(path.is_symlink() for path in (tmp_path / "new").rglob("*"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert command("init", "new")[0] == command("init", "new/data_catalog.yaml")[0] == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    monkeypatch.chdir(tmp_path / "new/notebooks")
    assert "street-pool" in command("data", "list")[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel, installed."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    names = "alkit", "notebooks", "experiments"
    for name in names:
        hidden = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(runs.ROOT / name, source / name, symlinks=True, ignore=hidden)
    for name in ("data_catalog.yaml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(runs.ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = [*pip, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", source, source]
    subprocess.run(built, check=True)
    (wheel,) = source.glob("*.whl")
    target = [*pip, "install", "--no-index", "--no-deps", "--target", site, wheel]
    subprocess.run(target, check=True)
    return site


def test_the_wheel_runs_a_loop_from_an_empty_folder(installed, toy_settings, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    before = {path for path in installed.rglob("*") if path.suffix != ".pyc"}

    def alkit_there(*arguments, cwd):
        done = [sys.executable, "-m", "alkit", *arguments]
        done = subprocess.run(done, cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    alkit_there("init", "work", cwd=tmp_path)
    own = {"strategies": ["guided-random"], "cycles": 1, "held_out": None}
    changes = {"set": {"image_size": [96, 128], "pretrain_epochs": 1, "epochs": 1}}
    file = tmp_path / "work/experiments/toy.yaml"
    file.write_text(yaml.safe_dump(toy_settings | own | changes))
    alkit_there("run", "toy.yaml", "--no-notebooks", cwd=file.parent)
    cycle = tmp_path / "work/runs/toy/guided-random/seed_0/cycle_01"
    (cycle / "7_evaluate.json").unlink()  # this one as a notebook; a kernel takes seconds
    assert "6 of 6 steps" in alkit_there("run", "toy.yaml", cwd=file.parent)
    assert "evaluation: " in (cycle / "7_evaluate.ipynb").read_text()
    after = {path for path in installed.rglob("*") if path.suffix != ".pyc"}
    assert {path for path in after - before if path.name != "__pycache__"} == set()


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
def test_a_page_is_served_at_an_address_of_either_kind(address):
    code = (
        "from alkit.pages import serving\n"
        f"serving.serve(lambda: serving.notice('here'), 'Title', 0, {address!r})"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as server:
        try:
            said = server.stdout.readline()
            with urllib.request.urlopen(said.split()[1]) as page:
                assert "Title" in page.read().decode()
        finally:
            server.kill()
