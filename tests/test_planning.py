"""The plan of an experiment against the records of the same experiment, run to its end."""

import json
import math
import re
from collections import Counter, defaultdict

import pytest
import yaml
import zarr
from safetensors.numpy import load_file
from typer.testing import CliRunner

from alkit import cli
from alkit.loop import experiment, planning, runs
from alkit.loop.settings import checked, read_experiment

# Strategies that share the first prediction, the first score maps, or everything.
TWIN = """
from alkit.strategies import Strategy
strategies = {"twin": Strategy("divergence")}
"""
SHARING = """
name: sharing
labeled: street-source
pool: street-pool
test: street-test
held_out: street-held-out
data:
  street-source: {frames: 7}
  street-held-out: {frames: 3}
  street-pool: {frames: 9, domain: test, world: 2}
  street-test: {frames: 2}
profile: demo
set:
  image_size: [64, 96]       # wider than street's images, whose own aspect X_l keeps
  pretrain_epochs: 2
  epochs: 3
  empty_labeled: keep
  exclude_now: 0             # every cycle finds its budget
  exclude_later: 0
  mc_passes: 2
plugins: [twin.py]
strategies: [divergence, twin, mean-aggregation, mc-dropout, random]
seeds: [3]
cycles: 2
budget: 3
"""
# Seconds that no sum of others gives by chance.
COSTS = {
    "predict": 1000.0,
    "train": 7000.0,
    "score": {"divergence": 11.0, "mutual_information": 13.0},
    "aggregate": 0.125,
    "kernel": 0.0,
    "weights": 850_420,  # a detector of width 0.25
}


@pytest.fixture(scope="module")
def sharing(tmp_path_factory):
    """The folder of an experiment whose strategies share much, run to its end."""
    folder = tmp_path_factory.mktemp("sharing")
    (folder / "twin.py").write_text(TWIN)
    (folder / "sharing.yaml").write_text(SHARING)
    settings = read_experiment(folder / "sharing.yaml")
    out = runs.create(folder / "out", settings, runs.ROOT / "data_catalog.yaml")
    experiment.run(out, notebooks=False)
    return out


def counted(out):
    """What was really done, from the files of the folder alone: how often each step, on how many
    images or iterations, in how many seconds at `COSTS`, with how many bytes, as compressed as
    `planning.STORED` says."""
    times, items, seconds, size = Counter(), Counter(), defaultdict(float), Counter()
    source = 85 / 96  # of the pool's area, for street's own aspect at 64 rows
    for path in sorted(out.glob("*/**/[0-7]_*.json")):
        step, folder = path.stem, path.parent
        if "reused" in json.loads(path.read_text()):
            continue
        times[step] += 1
        if step in ("0_pretrain", "6_retrain"):
            log = map(json.loads, (folder / f"{step}.log").read_text().splitlines())
            n = [line for line in log if "loss" in line][-1]["total"]
            seconds[step] += n * COSTS["train"] * (1 if step == "6_retrain" else source)
            tensors = load_file(folder / "weights.safetensors").values()
            size[step] += sum(tensor.nbytes for tensor in tensors)
            if step == "0_pretrain":
                held_out = json.loads((folder / "held_out.json").read_text())["images"]
                seconds[step] += held_out * COSTS["predict"] * source
        elif step in ("1_predict", "2_score"):
            name = {"1_predict": "logits.zarr", "2_score": "scores.zarr"}[step]
            group = zarr.open_group(folder / name, mode="r")
            n = group["position"].shape[0]
            strategy = folder.parent.parent.name
            score = {"mc-dropout": "mutual_information"}.get(strategy, "divergence")
            cost = COSTS["predict"] if step == "1_predict" else COSTS["score"][score]
            seconds[step] += n * cost
            whole = sum(array.nbytes for _, array in group.arrays() if array.ndim > 1)
            size[step] += whole * planning.STORED["logits" if step == "1_predict" else score]
        elif step == "3_aggregate":
            n = len((folder / "image_scores.csv").read_text().splitlines()) - 1
            seconds[step] += n * COSTS["aggregate"]
        elif step == "4_select":
            selection = json.loads((folder / "selection.json").read_text())
            n = sum(code != selection["reason_names"]["LABELED"] for code in selection["reason"])
        elif step == "5_label":
            n = len(json.loads((folder / "labels.json").read_text())["images"])
        elif step == "7_evaluate":
            n = json.loads((folder / "evaluation.json").read_text())["images"]
            seconds[step] += n * COSTS["predict"]
        items[step] += n
    return times, items, seconds, size


def planned(out):
    """The plan's table of an experiment's folder, at `COSTS`."""
    tasks = experiment.tasks(out)
    counts, missing, opened = planning.count_images(tasks[0].run)
    assert missing == []
    return planning.plan(tasks, counts, COSTS, planning.foreseen(tasks, opened["pool"])[0])


def test_the_plan_is_what_was_done(sharing):
    table = planned(sharing)
    times, items, seconds, size = counted(sharing)
    assert table["times"].to_dict() == times
    assert times["1_predict"] == 1 + 3  # one for all; then divergence, mean, dropout
    assert times["2_score"] == 2 + 3  # divergence, dropout; then all three
    assert table["images or iterations"].to_dict() == items
    for step in table.index:
        assert table["seconds"][step] == pytest.approx(seconds[step], rel=1e-12), step
        assert table["bytes"][step] == math.floor(size[step] + 1e-6), step


def test_replay_trains_on_x_l_too(toy_settings, tmp_path):
    toy_settings["set"] |= {"replay": True, "batch_size": 1, "empty_labeled": "keep"}
    settings = checked(toy_settings, "here")
    out = runs.create(tmp_path / "out", settings, runs.ROOT / "data_catalog.yaml")
    iterations = 2 * 2 * ((8 + 3) + (8 + 6))  # strategies, epochs, images of both cycles
    assert planned(out)["images or iterations"]["6_retrain"] == iterations


def test_iterations_do_not_depend_on_the_images(toy_settings, tmp_path):
    del toy_settings["set"]["epochs"]
    toy_settings["set"]["iterations"] = 7
    settings = checked(toy_settings, "here")
    out = runs.create(tmp_path / "out", settings, runs.ROOT / "data_catalog.yaml")
    assert planned(out)["images or iterations"]["6_retrain"] == 2 * 2 * 7  # strategies, cycles


def test_every_score_is_measured(toy_settings):
    names = ["divergence", "entropy", "mutual_information"]
    found = planning.measure(checked(toy_settings, "here"), names)
    assert found.keys() == COSTS.keys()
    assert list(found["score"]) == names
    parts = found["predict"], found["train"], *found["score"].values(), found["aggregate"]
    assert min(parts) > 0
    assert found["weights"] == COSTS["weights"]


# ---- what is said --------------------------------------------------------------------------------


@pytest.fixture
def dry_run(tmp_path, monkeypatch):
    """Call `alkit run --dry-run` on settings, at unit costs of `COSTS`; nothing may be written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "measure", lambda *_: COSTS)

    def call(settings, *arguments, status=0):
        file = tmp_path / "experiment.yaml"
        file.write_text(yaml.safe_dump(settings))
        before = sorted(tmp_path.rglob("*"))
        catalog = "--catalog", str(runs.ROOT / "data_catalog.yaml")
        command = ["run", str(file), *catalog, "--out", str(tmp_path / "out"), "--dry-run"]
        result = CliRunner().invoke(cli.app, [*command, *arguments])
        assert result.exit_code == status, result.output
        assert sorted(tmp_path.rglob("*")) == before
        return result.stdout

    return call


def missing_lines(text):
    return [line for line in text.splitlines() if line.startswith("MISSING ")]


def test_a_plan_of_street_lacks_nothing(toy_settings, dry_run):
    text = dry_run(toy_settings)
    assert text.startswith("toy: profile demo, 2 cycles of 3 images, strategies divergence, guided")
    assert "street-pool: 40 images" in text
    assert re.search(r"^1_predict +2 +77 ", text, re.MULTILINE)
    assert "a kernel for each of 24 steps" in text
    assert "at 96×128" in text
    assert text.endswith("\nNothing is missing.\n")


def test_a_part_of_the_experiment(toy_settings, dry_run):
    text = dry_run(toy_settings, "--strategies", "guided-random", "--seeds", "2-4")
    assert "strategies guided-random, seeds 2, 3, 4" in text
    assert "1_predict" not in text
    assert re.search(r"^0_pretrain +3 +12 ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "said", "chosen"),
    [
        ({"exclude_now": 100, "exclude_later": 100}, ["with temporal", "0 of 3 in cycle 2"], 1 + 6),
        ({"exclude_now": (0, 100), "exclude_later": 0}, ["with temporal", "1 of 3 in cycle 2"], 8),
        ({"fill": True, "exclude_later": 0, "exclude_now": 100}, [], 12),
        ({"budget": 25}, ["with temporal", "without temporal", "15 of 25 in cycle 2"], None),
        ({"budget": 50}, ["without temporal", "40 of 50 in cycle 1", "0 of 50 in cycle 2"], None),
    ],
)
def test_a_budget_that_the_pool_or_the_rules_cannot_fill(
    toy_settings, dry_run, changes, said, chosen
):
    """Random has no rules; both go on as far as they can."""
    settings = toy_settings | {"strategies": ["guided-random", "random"]}
    settings |= {"budget": changes.pop("budget", 3), "set": settings["set"] | changes}
    text = dry_run(settings)
    warned = "".join(line for line in text.splitlines() if line.startswith("warning: "))
    assert [part for part in said if part not in warned] == []
    assert bool(said) == bool(warned)
    if chosen:
        assert re.search(rf"^5_label +\d+ +{chosen} ", text, re.MULTILINE)


def test_what_is_complete_is_not_planned(toy_settings, toy_copy, dry_run, tmp_path):
    toy_copy.rename(tmp_path / "out")
    assert "24 complete\n\nNothing is missing" in dry_run(toy_settings)
    (tmp_path / "out/divergence/seed_0/cycle_02/7_evaluate.json").unlink()
    text = dry_run(toy_settings)
    assert re.findall(r"^(\d_\w+) +(\d+) +(\d+) ", text, re.M) == [("7_evaluate", "1", "10")]
    assert dry_run(toy_settings | {"budget": 4}, status=1) == ""  # the run itself refuses it


def test_a_test_set_that_shares_videos_is_said_in_advance(toy_settings, dry_run):
    toy_settings["data"]["street-pool"]["world"] = 0  # that of the test set
    assert "warning: street-pool and street-test share sequences" in dry_run(toy_settings)


@pytest.fixture
def catalog(tmp_path):
    """A catalog with three data sets that are not there: `half` has labels of five images and two
    images, `gone` has nothing and is expected to have 7 images, `unknown` has nothing."""
    names = [f"{k}.jpg" for k in range(5)]
    (tmp_path / "half/images").mkdir(parents=True)
    (tmp_path / "half/labels.json").write_text(json.dumps([{"name": name} for name in names]))
    for k in (0, 3):
        (tmp_path / f"half/images/{k}.jpg").write_bytes(b"an image")
    entry = {
        "title": "mine", "reader": "bdd100k", "kind": "stills", "image_size": [720, 1280],
        "args": {"annotations": "labels.json", "images": "images"},
        "license": "mine", "citation": "mine", "homepage": "mine",
    }  # fmt: skip
    known = yaml.safe_load((runs.ROOT / "data_catalog.yaml").read_text())
    known["datasets"] |= {
        "half": entry | {"root": str(tmp_path / "half")},
        "gone": entry | {"root": str(tmp_path / "gone"), "expect": {"images": 7}},
        "unknown": entry | {"root": str(tmp_path / "gone")},
    }
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(known))
    return path


@pytest.fixture
def without_test_set(toy_settings):
    """The settings of the toy experiment, for a test to name its test set."""
    del toy_settings["data"]["street-test"]
    return toy_settings


def test_images_that_are_not_there(without_test_set, dry_run, catalog, tmp_path):
    text = dry_run(without_test_set | {"test": "half"}, "--catalog", str(catalog), status=1)
    files, pedestrians = missing_lines(text)
    assert files == (
        f"MISSING test half: 3 of 5 image files, the first is {tmp_path}/half/images/1.jpg"
    )
    assert "test half: no box of the filter's class" in pedestrians  # as the run itself would say
    assert "half: 5 images" in text


def test_data_that_is_not_there_is_counted_as_expected(without_test_set, dry_run, catalog):
    text = dry_run(without_test_set | {"test": "gone"}, "--catalog", str(catalog), status=1)
    (line,) = missing_lines(text)
    assert line.startswith(f"MISSING test gone: there is nothing at {catalog.parent}/gone.")
    assert line.endswith("(it is counted as the catalog expects)")
    assert "gone: 7 images" in text
    assert re.search(r"^7_evaluate +5 +35 ", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["unknown", "gone"])
def test_an_unknown_number_of_images(without_test_set, dry_run, catalog, name):
    """The catalog does not say how many, or not for these arguments of the reader."""
    data = without_test_set["data"] | ({"gone": {"images": "b"}} if name == "gone" else {})
    text = dry_run(
        without_test_set | {"test": name, "data": data}, "--catalog", str(catalog), status=1
    )
    (line,) = missing_lines(text)
    assert line.endswith("(nothing says how many images)")
    assert f"{name}: unknown number of images" in text
    assert "In all" not in text


def test_a_disk_that_is_too_small(toy_settings, dry_run, tmp_path, monkeypatch):
    free = planning.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda folder: free)
    (line,) = missing_lines(dry_run(toy_settings, status=1))
    assert line.startswith("MISSING disk: ")
    assert line.endswith(f"at {tmp_path}, 0.98 kiB are free")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bugdet": 3}, "did you mean budget"),
        ({"plugins": ["gone.py"], "strategies": ["mine"]}, "gone.py: FileNotFoundError"),
        ({"plugins": ["twin.py"], "strategies": ["twin"]}, "name 'divergance' (did you mean div"),
    ],
)
def test_a_wrong_file_is_an_error_as_without_dry_run(toy_settings, tmp_path, changes, said):
    (tmp_path / "twin.py").write_text(TWIN.replace('"divergence"', '"divergance"'))
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(toy_settings | changes))
    result = CliRunner().invoke(cli.app, ["run", str(file), "--dry-run"])
    assert result.exit_code == 1
    assert said in str(result.exception)
