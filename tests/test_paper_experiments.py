"""The paper's experiment files: as they are, and run to the end on tiny files in the real formats.

Only sizes are overridden. The catalog is the repository's own.
"""

import re

import numpy as np
import pytest
import realdata
import yaml
from typer.testing import CliRunner

from alkit import cli, evaluation, prediction, profiles
from alkit.catalog import load
from alkit.loop import experiment, runs, status
from alkit.loop.settings import checked, read_experiment

FILES = {
    name: runs.ROOT / f"experiments/{name}.yaml"
    for name in ("paper-caltech", "paper-bdd100k", "released-bdd100k")
}
PAPER = ("paper-caltech", "paper-bdd100k")
SMALL = {"width": 0.25, "pretrain_epochs": 1, "epochs": 1, "mc_passes": 2}
SIZES = {
    "paper-caltech": {"budget": 3, "set": SMALL | {"image_size": [96, 128]}},
    "paper-bdd100k": {"budget": 2, "set": SMALL | {"image_size": [96, 171]}},
    "released-bdd100k": {
        "budget": 2,
        "set": SMALL
        | {"image_size": [144, 256], "length_scale": 0.2, "labeled_rows": 96, "crop": [96, 128]}
        | {"pretrain_epochs": None, "pretrain_iterations": 6},
    },
}
POOL = {
    "paper-caltech": sum(realdata.CALTECH_POOL.values()) // 2,
    "paper-bdd100k": 8,
    "released-bdd100k": 8,
}
# (images, people) of the test set, counted by hand from `realdata.people`. The paper's rule takes
# one in an image of even number and three in one of odd number: who is half seen or cut by the
# border is in, who is too small or of class people is out. Caltech: frame 29 of sets 6 to 10. The
# released rule takes four in an odd one, and its test set every 10th frame.
TEST = {
    ("paper-caltech", "paper"): (5, 3 + 1 + 3 + 1 + 3),
    ("paper-bdd100k", "paper"): (3, 1 + 3 + 1),
    ("paper-caltech", "released"): (15, 3 * (1 + 4 + 1 + 4 + 1)),
    ("released-bdd100k", "released"): (3, 1 + 4 + 1),
}


def settings_of(name, **changes):
    """The experiment of a file with some settings changed."""
    return checked(yaml.safe_load(FILES[name].read_text()) | changes, FILES[name])


def small(name, **changes):
    """The experiment of a file at small size: two cycles, one seed."""
    return settings_of(name, **({"cycles": 2, "seeds": [0]} | SIZES[name] | changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """$ALKIT_DATA with the three data sets of the paper, tiny."""
    root = tmp_path_factory.mktemp("data")
    realdata.write_citypersons(root / "citypersons")
    realdata.write_caltech(root / "caltech")
    realdata.write_bdd100k(root / "bdd100k")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALKIT_DATA", str(root))
        yield root


def complete(settings, out):
    """Run an experiment to its end."""
    runs.create(out, settings, runs.ROOT / "data_catalog.yaml")
    experiment.run(out, notebooks=False)
    assert set(status.table(out)["state"]) == {"complete"}
    return out


@pytest.fixture(scope="module", params=TEST, ids="-".join)
def done(request, data, tmp_path_factory):
    """(name of the file, its experiment run to the end under a profile)."""
    name, profile = request.param
    changes = {"profile": profile}
    if (name, profile) == ("paper-caltech", "released"):
        changes["test"] = "caltech-test-released"
        numbers = {"pretrain_epochs": None, "pretrain_iterations": 6}
        changes["set"] = SIZES[name]["set"] | numbers
    settings = small(name, **changes)
    return name, complete(settings, tmp_path_factory.mktemp("out") / "out")


# ---- as they are ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("profile", ["paper", "released"])
def test_the_files_state_the_papers_protocol(name, profile):
    own = read_experiment(FILES[name])
    assert own.profile == "paper"
    settings = settings_of(name, profile=profile)
    assert (settings.budget, settings.cycles, settings.seeds) == (500, 14, [0, 1, 2, 3, 4])
    assert settings.numbers.epochs == 50
    assert settings.numbers.pretrain_epochs == (50 if profile == "paper" else None)
    assert set(settings.set) <= {"image_size"}
    numbers = profiles.PROFILES[profile].model_dump() | {
        "image_size": {"paper-caltech": (480, 640), "paper-bdd100k": (480, 853)}[name]
    }
    assert settings.numbers.model_dump() == numbers
    assert "divergence" in settings.strategies
    catalog = load()
    for role in ("labeled", "pool", "test", "held_out"):
        assert getattr(settings, role) in catalog
    video = catalog[settings.pool].kind == "video"
    assert ("guided-random" if video else "random") in settings.strategies
    native = catalog[settings.pool].image_size
    width = native[1] * settings.numbers.image_size[0] / native[0]
    assert settings.numbers.image_size[1] == round(width)


# ---- run to the end ------------------------------------------------------------------------------


def one_video(out) -> bool:
    """Whether the rules go by positions, as on video under the profile `released`."""
    settings = runs.open_run(out / "divergence/seed_0").experiment
    return settings.pool == "caltech-train" and settings.numbers.one_video


def test_every_strategy_ends_with_evaluated_cycles(done):
    name, out = done
    ledger = experiment.ledger(out)
    settings = read_experiment(FILES[name])
    rows = list(zip(ledger["strategy"], ledger["cycle"], strict=True))
    assert rows == [("W_l", 0)] + [(s, c) for s in settings.strategies for c in (1, 2)]
    assert np.isfinite(ledger["miss rate at FPPI 1"]).all()
    assert ledger["miss rate at FPPI 1"].between(0, 1).all()
    budget = SIZES[name]["budget"]
    labeled = [0] + [budget, 2 * budget] * len(settings.strategies)
    if one_video(out):  # of 20 frames, 3 apart: the rules may leave fewer for the second cycle
        assert ledger["labeled images"].isin([0, 3, 4, 5, 6]).all()
    else:
        assert ledger["labeled images"].tolist() == labeled
        assert (ledger["labeled pedestrians"][1:] >= ledger["labeled images"][1:]).all()


def test_the_images_are_those_of_the_files(done):
    """Sizes, counts and boxes of all roles, against what was written."""
    name, out = done
    run = runs.open_run(out / "divergence/seed_0")
    settings = run.experiment
    height, width = settings.numbers.image_size
    sizes = {role: run.frames(role).image_size for role in ("labeled", "pool", "test", "held_out")}
    assert sizes == {
        "labeled": (96, 192), "held_out": (96, 192),
        "pool": (height, width), "test": (height, width),
    }  # fmt: skip
    assert len(run.frames("labeled")) == realdata.CITYPERSONS["train"]
    assert run.held_out()["images"] == realdata.CITYPERSONS["val"]
    pool = run.frames("pool")
    assert len(pool) == POOL[name]
    assert run.logits(1).sizes["frame"] == POOL[name]
    left = POOL[name] - settings.budget * (not settings.numbers.score_labeled)
    assert run.scores(2).shape == (left, height, width)
    result = run.evaluation(2)
    assert (result["images"], result["boxes"]) == TEST[name, settings.profile]
    # The labels are the oracle's: the one who stands in every image, where the files put it.
    first = run.labels(1)["images"][0]
    if name == "paper-caltech":
        k = realdata.caltech_number(first["sequence"].split("/")[0], 2 * int(first["frame"]))
    else:
        k = int(first["file_name"][:8], 16)
    native = load()[settings.pool].image_size
    factor = min(height / native[0], width / native[1])
    box = realdata.people(k, *native)[0][1]
    given = next(a["bbox"] for a in run.labels(1)["annotations"] if a["image_id"] == first["id"])
    left, top, w, h = box
    if (name, settings.profile) == ("paper-caltech", "released"):  # as in the file, from 1
        box = [left + 1, top + 1, w, h]
    if name == "released-bdd100k":  # whole corners
        corners = [int(v) for v in (left, top, left + w, top + h)]
        box = [*corners[:2], corners[2] - corners[0], corners[3] - corners[1]]
    assert given == pytest.approx([v * factor for v in box], abs=1e-6)


def test_the_temporal_rules_hold_on_video_and_not_on_stills(done):
    """The four pool frames of each video are within ±15 of each other: a cycle takes one."""
    name, out = done
    for strategy in read_experiment(FILES[name]).strategies:
        run = runs.open_run(out / strategy / "seed_0")
        for cycle in (1, 2):
            selection = run.selection(cycle)
            if one_video(out):
                continue
            videos = [frame["sequence"] for frame in selection["chosen"]]
            assert len(videos) == SIZES[name]["budget"]
            assert selection["rules"] == (name == "paper-caltech")
            if name == "paper-caltech":
                assert len(set(videos)) == len(videos)
            else:
                assert set(videos) == {None}


# ---- protocols by class name ---------------------------------------------------------------------


def caltech_truth() -> dict:
    """The test frames as a COCO dict, with the boxes as they were written and all classes."""
    categories = {"people": 7, "person": 3}
    truth = {
        "images": [{"id": i} for i in range(1, 6)],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": [],
    }
    for i, name in enumerate(realdata.CALTECH_TEST, start=1):
        for label, box, visible in realdata.people(realdata.caltech_number(name, 29), 480, 640):
            own = {"image_id": i, "category_id": categories[label], "bbox": box}
            truth["annotations"].append(own | {"vis_bbox": visible or box})
    return truth


def test_caltech_reasonable(data, tmp_path, monkeypatch):
    """Step 7 gives what `evaluate` gives for the boxes that were written, in native pixels, by the
    classes of the files. A detector so little trained finds nobody: every box is found for it."""
    truth, size = caltech_truth(), 96 / 480
    detect_all = prediction.detect_all

    def and_everybody(detector, frames, profile, progress):
        found = detect_all(detector, frames, profile, progress)
        if frames.dataset == "caltech-test":
            for k, own in enumerate(truth["annotations"]):
                box = [v * size for v in own["bbox"]]
                score = round(0.4 + k / 50, 6)
                own = {"image_id": own["image_id"], "category_id": 1, "bbox": box, "score": score}
                found.append(own)
        return found

    monkeypatch.setattr(prediction, "detect_all", and_everybody)
    settings = small("paper-caltech", strategies=["guided-random"], cycles=1)
    numbers = settings.set | {"protocol": "caltech-reasonable"}
    out = complete(settings.model_copy(update={"set": numbers}), tmp_path / "out")
    run = runs.open_run(out / "guided-random/seed_0")
    found = [
        {"image_id": d["image_id"], "bbox": [v / size for v in d["bbox"]], "score": d["score"]}
        for d in run.detections(1, "test")
    ]
    expected = evaluation.evaluate(truth, found, protocol="caltech-reasonable")
    result = run.evaluation(1)
    assert result["protocol"] == "caltech-reasonable"
    assert run.held_out()["protocol"] == "caltech"  # CityPersons knows no border of 640×480
    # Counted by hand: of class person, at least 50 px, seen, inside: one in each of the five.
    assert result["boxes"] == expected.n_boxes == 5
    assert len(found) > len(result["fppi"]) > 5
    assert min(result["miss_rate"]) == 0
    assert result["fppi"] == pytest.approx(expected.fppi.tolist(), abs=1e-12)
    assert result["miss_rate"] == pytest.approx(expected.miss_rate.tolist(), abs=1e-12)
    assert result["lamr"] == pytest.approx(expected.lamr, abs=1e-12)


# ---- --dry-run -----------------------------------------------------------------------------------


def dry_run(*arguments, status=1):
    result = CliRunner().invoke(cli.app, ["run", *map(str, arguments), "--dry-run"])
    assert result.exit_code == status, result.output
    return result.stdout


def rows(text) -> dict:
    """The plan's table: times, and images or iterations, by step."""
    found = re.findall(r"^(\d_\w+) +(\d+) +(\d+) ", text, re.MULTILINE)
    return {step: (int(times), int(items)) for step, times, items in found}


def test_the_plan_of_the_paper_without_any_data(fixed_costs, monkeypatch, tmp_path):
    monkeypatch.delenv("ALKIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    text = dry_run(FILES["paper-caltech"], "--out", tmp_path / "out")
    missing = [line for line in text.splitlines() if line.startswith("MISSING")]
    for role, name in [
        ("labeled", "citypersons-train"), ("pool", "caltech-train"), ("test", "caltech-test"),
        ("held_out", "citypersons-val"),
    ]:  # fmt: skip
        (line,) = [line for line in missing if line.startswith(f"MISSING {role} {name}: ")]
        assert "$ALKIT_DATA, which is not set" in line
    assert "caltech-train: 51363 images" in text
    # Worked by hand: 51363 − 500 · (cycle − 1) images are left, 47863 · 14 + 45500 in 14 cycles
    # for each of three scores, the first cycle's predictions shared by the three; five seeds.
    left = sum(51363 - 500 * k for k in range(14))
    assert rows(text) == {
        "0_pretrain": (5, 5 * 50 * 2975),
        "1_predict": (5 * (1 + 3 * 13), 5 * (3 * left - 2 * 51363)),
        "2_score": (5 * 3 * 14, 5 * 3 * left),
        "3_aggregate": (5 * 3 * 14, 5 * 3 * left),
        "4_select": (5 * 4 * 14, 5 * 4 * left),
        "5_label": (5 * 4 * 14, 5 * 4 * 7000),
        "6_retrain": (5 * 4 * 14, 5 * 4 * 50 * 500 * 105),
        "7_evaluate": (5 * (1 + 4 * 14), 5 * (1 + 4 * 14) * 4024),
    }
    assert not list(tmp_path.iterdir())


def test_the_plan_of_the_paper_with_tiny_data(fixed_costs, data, tmp_path):
    text = dry_run(FILES["paper-bdd100k"], "--out", tmp_path / "out", status=0)
    assert "bdd100k-train: 8 images" in text
    assert "at most 8 of 500 in cycle 1" in text
    assert "-train: 4 images\n" in text
    assert not (tmp_path / "out").exists()


def test_the_plan_of_what_was_run(data, tmp_path):
    """With unit costs measured, and nothing missing; then with an image and a video gone."""
    own = small("paper-caltech").model_dump(mode="json", exclude_defaults=True)
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(own))
    text = dry_run(file, "--out", tmp_path / "out", status=0)
    assert text.rstrip().endswith("Nothing is missing.")
    assert rows(text)["1_predict"] == (4, 20 + 3 * 17)
    assert "96×128" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (
            "citypersons/leftImg8bit/train/aachen/aachen_000002_000019_leftImg8bit.png",
            "labeled citypersons-train: 1 of 4 image files, the first is .*aachen_000002_000019",
        ),
        ("caltech/set03/V000.seq", r"pool caltech-train: .*set03: .* a folder with files \*\.seq"),
        (
            "caltech/annotations/set07/V000.vbb",
            "test caltech-test: .*set07",
        ),
        ("citypersons/annotations/anno_val.mat", r"held_out citypersons-val: .*anno_val\.mat"),
    ],
)
def test_one_file_gone(fixed_costs, data, tmp_path, gone, said):
    (data / gone).rename(tmp_path / "moved")
    try:
        text = dry_run(FILES["paper-caltech"], "--out", tmp_path / "out")
    finally:
        (tmp_path / "moved").rename(data / gone)
    missing = [line for line in text.splitlines() if line.startswith("MISSING")]
    (line,) = [line for line in missing if not re.search("7000 images|disk", line)]
    assert re.match(f"MISSING {said}", line), line
