"""Our files are read by the labeling tools' own code, and theirs by ours.

Their code runs in an environment of its own, since it pins other versions: `theirs.py` in
.venv-formats says in plain JSON what it saw. All numbers below are written by hand.
"""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from alkit.labeling import exchange
from alkit.loop import answers
from alkit.loop.task import IGNORE, Task

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-formats/bin/python"

# CVAT writes hundredths of a pixel, and datumaro keeps no more; YOLO has six or seven digits of a
# side, here less than a thousandth of a pixel.
PIXELS = 0.011

RIDER = """rider & bike <"fast"> ü"""
CLASSES = ("person", RIDER, IGNORE)
# position: (name in the data set, name of the exported image, [height, width])
FRAMES = {
    7: ("b/7_ü.jpg", "000007-7.png", [80, 50]),
    3: ("Straße 5 & Platz/frame 003.png", "000003-frame-003.png", [48, 64]),
    12: ("12.png", "000012-12.png", [77, 123]),
}
PROPOSALS = {  # [left, top, width, height, label], best score first
    7: [],
    3: [[1.25, 2.5, 10.33, 20.4, "person"], [30, 4, 12.5, 9.75, RIDER]],
    12: [[100.01, 50.02, 22.99, 26.98, IGNORE]],
}
SCORES = {7: [], 3: [0.875, 0.25], 12: [0.5]}
FINISHED = {  # what somebody made of them
    7: [],
    3: [[1.5, 2.25, 10.1, 20.33, "person"], [30, 4, 12.5, 9.75, RIDER], [0, 0, 8, 9.1, IGNORE]],
    12: [[90.07, 40.01, 32.93, 36.99, "person"]],
}


@pytest.fixture
def task(tmp_path):
    """Three chosen frames of different sizes, the first of them without a proposal."""
    names = {p: name for p, (name, _, _) in FRAMES.items()}
    folder = tmp_path / "runs/divergence/seed_0"
    run = SimpleNamespace(
        folder=folder,
        out=tmp_path / "runs",
        cycle=lambda cycle: folder / f"cycle_{cycle:02d}",
        experiment=SimpleNamespace(labels="import"),
        first=1,
    )
    made = Task(run, 1)
    made.__dict__.update(  # what a run would say
        chosen=[
            {
                "position": p,
                "name": names[p],
                "sequence": "",
                "frame": p,
                "z": 1.5,
                "ranked_by": 2.5,
            }
            for p in FRAMES
        ],
        frames=SimpleNamespace(
            name=[names.get(p, f"other {p}") for p in range(13)], image_size=None, images=_image
        ),
        classes=CLASSES,
        proposals={
            p: [
                {"bbox": bbox, "label": label, "score": score}
                for (*bbox, label), score in zip(PROPOSALS[p], SCORES[p], strict=True)
            ]
            for p in FRAMES
        },
    )
    return made


def _image(position):
    return np.full((*FRAMES[position][2], 3), position, np.uint8)


def theirs(*arguments, given=None):
    """What a command of theirs.py says."""
    done = subprocess.run(
        [str(PYTHON), str(HERE / "theirs.py"), *map(str, arguments)],
        input=json.dumps(given), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def close(boxes):
    """Boxes to compare with, whatever their order."""
    return [
        [*(pytest.approx(v, abs=PIXELS) for v in bbox), label] for *bbox, label in sorted(boxes)
    ]


def taken(task, path, **how):
    """The boxes by position that an import keeps; the format is to be recognized."""
    exchange.take(task, path, **how)
    kept = answers.read(task)
    assert all(answer.looked_at for answer in kept.values())
    return {p: sorted([*b["bbox"], b["label"]] for b in kept[p].boxes) for p in kept}


FINISHED_CLOSE = {p: close(boxes) for p, boxes in FINISHED.items()}


# ---- ours, read by them ----


@pytest.mark.parametrize("format_", ["coco", "cvat", "yolo"])
def test_datumaro_reads_what_is_exported(task, tmp_path, format_):
    saw = theirs("datumaro_read", format_, exchange.export(task, format_, tmp_path / "out"))
    # a missing file of YOLO's says that nobody looked: datumaro passes over that image
    seen = {p: frame for p, frame in FRAMES.items() if PROPOSALS[p] or format_ != "yolo"}
    assert set(saw["frames"]) == {name for _, name, _ in seen.values()}
    for position, (_, name, size) in seen.items():
        assert saw["frames"][name]["size"] == size
        assert sorted(saw["frames"][name]["boxes"]) == close(PROPOSALS[position])
    assert saw["classes"] == [*CLASSES, *(["looked_at"] if format_ == "cvat" else [])]


@pytest.mark.parametrize("format_", ["coco", "cvat"])
def test_datumaro_reads_the_scores_that_are_exported(task, tmp_path, format_):
    saw = theirs("datumaro_read", format_, exchange.export(task, format_, tmp_path / "out"))
    for position, (_, name, _) in FRAMES.items():
        frame = saw["frames"][name]
        found = zip([label for *_, label in frame["boxes"]], frame["scores"], strict=True)
        wanted = zip([label for *_, label in PROPOSALS[position]], SCORES[position], strict=True)
        assert {label: float(score) for label, score in found} == dict(wanted)  # CVAT's are text


def test_label_studio_takes_the_exported_tasks_under_the_exported_configuration(task, tmp_path):
    saw = theirs("label_studio_read", exchange.export(task, "label-studio", tmp_path / "out"))
    assert saw["problems"] == []
    assert saw["classes"] == [*CLASSES]
    of_url = {f"/data/local-files/?d=out/images/{name}": p for p, (_, name, _) in FRAMES.items()}
    assert set(saw["frames"]) == set(of_url)
    for url, values in saw["frames"].items():
        position = of_url[url]
        height, width = FRAMES[position][2]
        assert sorted(_pixels(v, width, height) for v in values) == close(PROPOSALS[position])


@pytest.mark.parametrize("format_", ["COCO", "YOLO"])
def test_label_studio_exports_tasks_whose_proposals_somebody_submitted(task, tmp_path, format_):
    """The way of a proposal: our tasks, Label Studio's export, and back."""
    out = exchange.export(task, "label-studio", tmp_path / "out")
    tasks = json.loads((out / "tasks.json").read_text())
    _export(format_, out, _submitted(tasks, lambda t: t["predictions"][0]["result"]), tmp_path)
    kept = taken(task, tmp_path / format_, all_looked_at=True)
    assert kept == {p: close(boxes) for p, boxes in PROPOSALS.items()}


def test_label_studio_makes_tasks_of_an_exported_coco_file(task, tmp_path):
    """And these come back as answers, with the images at the root of the local storage."""
    out = exchange.export(task, "coco", tmp_path / "out")
    source = out / "annotations/instances_default.json"
    theirs("label_studio_import", "coco", source, tmp_path / "tasks.json")
    kept = taken(task, tmp_path / "tasks.json")
    assert kept == {p: close(boxes) for p, boxes in PROPOSALS.items()}


UNSEEN = {
    "coco": "not yet looked at",
    "label-studio": "not yet looked at",
    "cvat": "no boxes, and the file does not say",
    "yolo": "not in the file",
}


@pytest.mark.parametrize("format_", exchange.FORMATS)
def test_an_export_is_recognized_and_takes_no_proposals_for_answers(task, tmp_path, format_):
    """With all files that lie beside the annotations, as those for CVAT's label constructor."""
    out = exchange.export(task, format_, tmp_path / "out")
    with pytest.raises(ValueError, match=UNSEEN[format_]):
        exchange.take(task, out)


@pytest.mark.parametrize("format_", ["coco", "cvat", "yolo"])
def test_an_export_comes_back_as_it_was(task, tmp_path, format_):
    kept = taken(task, exchange.export(task, format_, tmp_path / "out"), all_looked_at=True)
    assert kept == {p: close(boxes) for p, boxes in PROPOSALS.items()}


# ---- theirs, read by us ----


@pytest.mark.parametrize("format_", ["coco", "cvat", "yolo", "yolo_ultralytics"])
@pytest.mark.parametrize("zipped", [False, True])
def test_what_datumaro_writes_is_taken(task, tmp_path, format_, zipped):
    out = tmp_path / "back"
    theirs("datumaro_write", format_, out, given=_finished())
    if zipped:  # as CVAT gives it
        out = Path(shutil.make_archive(tmp_path / "job_1", "zip", out))
    assert taken(task, out, all_looked_at=format_ in ("coco", "cvat")) == FINISHED_CLOSE


@pytest.mark.parametrize("format_", ["coco", "cvat"])
def test_a_frame_without_boxes_is_asked_for_where_nothing_is_said(task, tmp_path, format_):
    theirs("datumaro_write", format_, tmp_path / "back", given=_finished())
    with pytest.raises(ValueError, match=r"b/7_ü.jpg \(position 7\): no boxes, and the file does"):
        exchange.take(task, tmp_path / "back")


def test_the_tag_of_cvat_says_that_a_frame_without_boxes_was_looked_at(task, tmp_path):
    theirs("datumaro_write", "cvat", tmp_path / "back", given=_finished(tagged="000007-7.png"))
    assert taken(task, tmp_path / "back") == FINISHED_CLOSE


def test_coco_of_datumaro_may_have_files_beside_that_of_the_boxes(task, tmp_path):
    """Image-level labels go into files of their own."""
    theirs("datumaro_write", "coco", tmp_path / "back", given=_finished(tagged="000007-7.png"))
    files = {file.name for file in (tmp_path / "back/annotations").iterdir()}
    assert files > {"instances_default.json", "labels_default.json"}
    assert taken(task, tmp_path / "back", all_looked_at=True) == FINISHED_CLOSE


@pytest.mark.parametrize("format_", ["JSON", "COCO", "YOLO"])
@pytest.mark.parametrize("zipped", [False, True])
def test_what_label_studio_exports_is_taken(task, tmp_path, format_, zipped):
    out = exchange.export(task, "label-studio", tmp_path / "out")
    tasks = json.loads((out / "tasks.json").read_text())
    done = {name: _regions(p) for p, (_, name, _) in FRAMES.items()}
    _export(format_, out, _submitted(tasks, lambda t: done[t["data"]["file"]]), tmp_path)
    back = tmp_path / format_
    if zipped:
        back = Path(shutil.make_archive(tmp_path / "project-1", "zip", back))
    assert taken(task, back, all_looked_at=format_ == "COCO") == FINISHED_CLOSE
    if format_ == "JSON":
        assert {p: answer.seconds for p, answer in answers.read(task).items()} == dict.fromkeys(
            FRAMES, 4.5
        )


def test_label_studio_keeps_the_names_of_uploaded_files(task, tmp_path):
    """Images that were uploaded in place of the local storage have eight digits in front."""
    tasks = [
        {"data": {"image": f"/data/upload/1/0a1b2c3d-{name}"}, "done": _regions(p)}
        for p, (_, name, _) in FRAMES.items()
    ]
    out = exchange.export(task, "label-studio", tmp_path / "out")
    _export("COCO", out, _submitted(tasks, lambda t: t.pop("done")), tmp_path)
    assert taken(task, tmp_path / "COCO", all_looked_at=True) == FINISHED_CLOSE


def test_label_studio_makes_tasks_of_a_yolo_folder_that_come_back(task, tmp_path):
    """Its layout is that of its own export: `images` and `labels` without subsets, classes.txt."""
    out = exchange.export(task, "label-studio", tmp_path / "out")
    tasks = json.loads((out / "tasks.json").read_text())
    done = {name: _regions(p) for p, (_, name, _) in FRAMES.items()}
    _export("YOLO", out, _submitted(tasks, lambda t: done[t["data"]["file"]]), tmp_path)
    shutil.copytree(out / "images", tmp_path / "YOLO/images", dirs_exist_ok=True)
    theirs("label_studio_import", "yolo", tmp_path / "YOLO", tmp_path / "again.json")
    assert taken(task, tmp_path / "again.json") == FINISHED_CLOSE


def _finished(tagged=None) -> dict:
    """What a labeling tool holds in the end; the image `tagged` has our tag besides."""
    frames = {
        name: {"size": size, "boxes": FINISHED[p], "tags": ["looked_at"] * (name == tagged)}
        for p, (_, name, size) in FRAMES.items()
    }
    return {"classes": [*CLASSES, "looked_at"], "frames": frames}


def _regions(position) -> list:
    """Label Studio's regions of a finished frame."""
    height, width = FRAMES[position][2]
    return [
        {
            "id": f"r{k}", "type": "rectanglelabels", "from_name": "label", "to_name": "image",
            "original_width": width, "original_height": height, "image_rotation": 0,
            "value": {
                "x": 100 * left / width, "y": 100 * top / height, "width": 100 * w / width,
                "height": 100 * h / height, "rotation": 0, "rectanglelabels": [label],
            },
        }
        for k, (left, top, w, h, label) in enumerate(FINISHED[position])
    ]  # fmt: skip


def _submitted(tasks, result) -> list:
    """Tasks as Label Studio stores them once an annotation of each was submitted."""
    return [
        task
        | {
            "id": k,
            "annotations": [
                {"id": 10 + k, "was_cancelled": False, "lead_time": 4.5, "result": result(task)}
            ],
        }
        for k, task in enumerate(tasks, 1)
    ]


def _export(format_, out, tasks, folder):
    """Label Studio's export of `tasks`, into a folder that is called like the format."""
    (folder / "finished.json").write_text(json.dumps(tasks))
    theirs(
        "label_studio_export", format_, out / "label_config.xml", folder / "finished.json",
        folder / format_,
    )  # fmt: skip


def _pixels(value, width, height) -> list:
    sides = zip(("x", "y", "width", "height"), (width, height, width, height), strict=True)
    (label,) = value["rectanglelabels"]
    return [*(value[k] * side / 100 for k, side in sides), label]
