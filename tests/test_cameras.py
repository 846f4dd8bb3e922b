"""A pool of five videos of three sizes: each evaluated alone, looked at, labeled, and reported."""

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml

from alkit import catalog
from alkit.evaluation import evaluate
from alkit.labeling import exchange
from alkit.loop import answers, checks, experiment, runs, steps
from alkit.loop.settings import checked
from alkit.loop.steps.shared import evaluated
from alkit.loop.task import task
from alkit.pages import report
from alkit.pages.explorer.page import Explorer

VIDEOS = {  # size (height, width), frames, width and height of the person
    "cam 10": ((96, 128), 12, (12, 30)),
    "cam 2": ((96, 128), 9, (12, 24)),
    "low": ((60, 160), 10, (10, 24)),
    "nobody": ((120, 160), 8, (12, 30)),  # in its last quarter
    "tall": ((120, 160), 11, (20, 50)),
}
EMPTY = "nobody"
FURTHER = (96, 128), 10, (12, 30)  # joined to the pool, with a filter that all its people fail


def write_video(root, name, size, n, person):
    folder, rng, lines = root / name, np.random.default_rng(n), []
    (folder / "img1").mkdir(parents=True)
    for k in range(1, n + 1):
        image = rng.integers(60, 200, (*size, 3), np.uint8)
        if not (name == EMPTY and k > 6):
            left, top = 3 * k, 5 + k % 4
            image[top : top + person[1], left : left + person[0]] = 0
            lines.append(f"{k},{1 + k // 7},{left + 1},{top + 1},{person[0]},{person[1]},1,1,1")
        cv2.imwrite(str(folder / "img1" / f"{k:06d}.png"), image)
    (folder / "gt").mkdir()
    (folder / "gt/gt.txt").write_text("\n".join(lines))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={name}\nimDir=img1\nseqLength={n}\nimWidth={size[1]}\nimHeight={size[0]}\n"
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A folder with videos and strays, a catalog of their first and last frames, and what an
    experiment on them needs."""
    root = tmp_path_factory.mktemp("several")
    for name, video in VIDEOS.items():
        write_video(root / "videos", name, *video)
    write_video(root, "further", *FURTHER)
    (root / "videos/__MACOSX/low").mkdir(parents=True)
    shutil.copy(root / "videos/low/seqinfo.ini", root / "videos/__MACOSX/low/seqinfo.ini")
    for stray in ("old_gt.txt", "old_seqinfo.ini"):
        (root / "videos/low" / stray).write_text("of another version")
    (root / "videos/notes").mkdir()
    (root / "videos/notes/plan.png").write_bytes(b"no picture")
    entries = yaml.safe_load((runs.ROOT / "data_catalog.yaml").read_text())
    shared = {
        "reader": "mot",
        "root": str(root / "videos"),
        "filter": {"rule": "paper", "scale": 5},
    }
    shared |= {"kind": "video", "each": "sequence"}
    entries["datasets"] |= {
        "first": {**shared, "args": {"frames": [0, 0.75]}},
        "last": {**shared, "args": {"frames": [0.75, 1]}},
        "further": {**shared, "root": str(root / "further"), "each": None},
        "both": {"join": ["first", "further"]},
    }
    entries["datasets"]["further"]["filter"] = {"rule": "paper", "min_height": 1000}
    (root / "catalog.yaml").write_text(yaml.safe_dump(entries))
    return root / "catalog.yaml", {
        "name": "several", "labeled": "street-source", "pool": "both", "test": "last",
        "data": {"street-source": {"frames": 8}}, "profile": "demo",
        "set": {"image_size": [96, 128], "pretrain_epochs": 1, "epochs": 1, "exclude_now": 1},
        "strategies": ["divergence"], "cycles": 1, "budget": 12,
    }  # fmt: skip


@pytest.fixture(scope="module")
def out(settings, tmp_path_factory):
    """The folder of a complete experiment."""
    path, own = settings
    folder = runs.create(tmp_path_factory.mktemp("runs") / "several", checked(own, "test"), path)
    experiment.run(folder, notebooks=False)
    return folder


@pytest.fixture(scope="module")
def run(out):
    return runs.open_run(out / "divergence/seed_0")


def test_each_video_gives_its_share(run):
    pool, test = run.catalog["first"].open(), run.frames("test")
    counts = {name: round(0.75 * n) for name, (_, n, _) in VIDEOS.items()}
    order = ["cam 2", "cam 10", "low", "nobody", "tall"]
    assert list(dict.fromkeys(pool.sequence.tolist())) == order
    assert {name: int((pool.sequence == name).sum()) for name in order} == counts
    names = [f"{name}/{k:06d}" for name in order for k in range(1, VIDEOS[name][1] + 1)]
    assert sorted([*pool.name, *test.name]) == sorted(names)
    assert len(pool.name) + len(test.name) == len(names)
    people = {i: set() for i in order}
    for i, name in enumerate(pool.sequence.tolist()):
        people[name] |= {*pool.boxes[i].identity.tolist()}
    assert len(set().union(*people.values())) == sum(map(len, people.values()))


def test_boxes_follow_each_videos_own_size(run):
    frames = run.frames("test")
    for name, ((height, width), _, person) in VIDEOS.items():
        factor = min(96 / height, 128 / width)
        for i in np.flatnonzero(frames.sequence == name):
            for box in frames.boxes[i].ltwh:
                np.testing.assert_allclose(box[2:], np.multiply(person, factor))
                left, top, right, bottom = *box[:2], *(box[:2] + box[2:])
                inside = frames.images(i)[
                    int(top) + 2 : int(bottom) - 2, int(left) + 2 : int(right) - 2
                ]
                assert inside.mean() < 30


# --- each video is evaluated alone


@pytest.fixture
def found(run):
    """Detections of which some hit; none come from a network."""
    frames, rng, found = run.frames("test"), np.random.default_rng(1), []
    for i in range(len(frames)):
        boxes = [b for b in frames.boxes[i].ltwh.tolist() if rng.random() < 0.6]
        boxes += rng.uniform(10, 40, (rng.integers(0, 4), 4)).tolist()
        found += [
            {"image_id": i + 1, "category_id": 1, "bbox": b, "score": rng.random()} for b in boxes
        ]
    return found


def test_the_curve_is_the_mean_of_the_videos_curves(run, found):
    frames, curves = run.frames("test"), {}
    for name in VIDEOS:
        ids = [i + 1 for i in range(len(frames)) if frames.sequence[i] == name]
        truth = {"images": [{"id": i} for i in ids], "annotations": []}
        for i in ids:
            own = frames.boxes[i - 1]
            truth["annotations"] += [
                {"image_id": i, "bbox": box, "ignore": int(ignored)}
                for box, ignored in zip(own.ltwh.tolist(), own.ignore, strict=True)
            ]
        curves[name] = evaluate(truth, [d for d in found if d["image_id"] in ids])
    with pytest.warns(UserWarning, match=f"no pedestrian in {EMPTY}"):
        result = evaluated(run, "test", "caltech", found)
    assert {*result["parts"]} == {*VIDEOS}
    known = [name for name in VIDEOS if name != EMPTY]
    for name in known:
        assert result["parts"][name]["miss_rate_at_1"] == curves[name].miss_rate_at(1.0)
        assert result["parts"][name]["images"] == curves[name].n_images
    assert result["parts"][EMPTY]["boxes"] == 0
    assert np.isnan(result["parts"][EMPTY]["miss_rate_at_1"])
    for name, value in (("lamr", "lamr"), ("miss_rate_at_1", None)):
        own = [getattr(curves[k], value) if value else curves[k].miss_rate_at(1.0) for k in known]
        assert result[name] == pytest.approx(sum(own) / len(own))
    for x, y in zip(result["fppi"], result["miss_rate"], strict=True):
        own = []
        for name in known:
            rate = 1.0
            for fppi, miss_rate in zip(curves[name].fppi, curves[name].miss_rate, strict=True):
                rate = miss_rate if fppi <= x else rate
            own.append(rate)
        assert y == pytest.approx(sum(own) / len(own))
    at_1 = max(i for i, x in enumerate(result["fppi"]) if x <= 1)
    assert result["miss_rate"][at_1] == pytest.approx(result["miss_rate_at_1"])
    assert result["images"] == len(frames)


def test_the_ledger_says_what_each_video_misses(run, out):
    ledger = experiment.ledger(out)
    for cycle in (0, 1):
        stored = run.evaluation(cycle)
        (row,) = ledger[ledger["cycle"] == cycle].to_dict("records")
        for name in VIDEOS:
            expected = stored["parts"][name]["miss_rate_at_1"]
            assert np.array_equal(row[f"{name}, at FPPI 1"], expected, equal_nan=True)
        assert row["miss rate at FPPI 1"] == stored["miss_rate_at_1"]
        assert checks.evaluation(run, cycle).startswith("evaluation: the curve is that")


def test_what_is_evaluated_alone_makes_a_run_stale(settings):
    path, _ = settings
    entry = catalog.load(path)["last"]
    whole = entry.model_copy(update={"each": None})
    assert catalog.fingerprint(entry) != catalog.fingerprint(whole)


# --- looked at, labeled, reported


def test_the_explorer_shows_frames_of_every_size(run):
    explorer, pool = Explorer(run, 1, {}), run.frames("pool")
    for name in VIDEOS:
        position = int(np.flatnonzero(pool.sequence == name)[0])
        explorer.controls.position.value = position
        shown = explorer.view.image.data_source.data["image"][0].view(np.uint8)
        shown = shown.reshape(96, 128, 4)[..., :3]
        assert shown.tobytes() == pool.images(position).tobytes()


def test_people_label_what_the_oracle_would(settings, run, tmp_path):
    path, own = settings
    waiting = runs.create(
        tmp_path / "asked", checked(own | {"labels": "import", "test": None}, "test"), path
    )
    with pytest.raises(answers.LabelsWanted):
        experiment.run(waiting, notebooks=False)
    asked = task(runs.open_run(waiting / "divergence/seed_0"), 1)
    assert asked.names == task(run, 1).names
    exported = tmp_path / "export"
    exchange.export(asked, "coco", exported)
    file = exported / "annotations/instances_default.json"
    data = json.loads(file.read_text())
    truth, ignored = run.catalog["both"].open_unfiltered(), []
    data["annotations"] = []
    for image in data["images"]:
        position = int(image["file_name"][:6])
        size = truth.images(position).shape[:2]
        video = truth.sequence[position]
        assert (image["height"], image["width"]) == size == VIDEOS.get(video, FURTHER)[0]
        ignored += [int(video == "further")] * len(truth.boxes[position])
        image["looked_at"] = True
        for box in truth.boxes[position].ltwh.tolist():
            number = len(data["annotations"]) + 1
            data["annotations"].append(
                {"id": number, "image_id": image["id"], "category_id": 1, "bbox": box}
            )
    file.write_text(json.dumps(data))
    exchange.take(asked, exported)
    labels, expected = steps.label(asked.run, 1).labels(1), run.labels(1)
    assert labels["images"] == expected["images"]
    assert {*ignored} == {0, 1}  # both parts of the pool were chosen from
    assert sorted(a["ignore"] for a in labels["annotations"]) == sorted(ignored)
    assert len(labels["annotations"]) == len(expected["annotations"])
    for one, other in zip(labels["annotations"], expected["annotations"], strict=True):
        assert (one["image_id"], one["ignore"]) == (other["image_id"], other["ignore"])
        np.testing.assert_allclose(one["bbox"], other["bbox"], atol=0.02)


def test_the_report_has_a_number_for_each_video(out, tmp_path):
    text = report.write(out, tmp_path / "report.html").read_text()
    assert all(f"{name}, at FPPI 1" in text for name in VIDEOS)
    assert f"no pedestrian in {EMPTY}" in text
