"""Images that come back under other names than they were given: which frame each of them is."""

import json
import unicodedata
import zipfile
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest

from alkit.labeling import exchange
from alkit.loop import answers
from alkit.loop.task import IGNORE, Task

SIZE = (60, 80)
CAFE = unicodedata.normalize("NFD", "Café 3.png")
POOL = [
    *("cam1/gate north.jpg", "cam2/gate north.jpg", "gate north.jpg", "東京.jpg", CAFE),
    *("5.png", "gate 5.png", "what? 7.png", "a/8.png", "b/8.png", "9.png", "9.jpg", "IMG_0010.JPG"),
]


def made(folder, chosen, pool=POOL):
    """A task by hand: frames of one size, no proposals."""
    runs = folder / "runs"
    run = SimpleNamespace(
        folder=runs / "random/seed_0",
        out=runs,
        cycle=lambda cycle: runs / f"random/seed_0/cycle_{cycle:02d}",
        experiment=SimpleNamespace(labels="import"),
        first=1,
    )
    task, positions = Task(run, 1), [pool.index(name) for name in chosen]
    frame = {"sequence": "", "frame": 0, "z": 1.5, "ranked_by": 2.5}
    task.__dict__.update(
        id="made by hand",
        chosen=[{"position": p, "name": pool[p], **frame} for p in positions],
        frames=SimpleNamespace(
            name=pool, image_size=SIZE, images=lambda p: np.full((*SIZE, 3), p, np.uint8)
        ),
        classes=("person", IGNORE),
        proposals={p: [] for p in positions},
    )
    return task


def box(k):
    """A box that says which one it is."""
    return [k, 2, 10, 30]


def write_coco(file, names, **more):
    """A COCO json of images with one box each, in the order of the names."""
    images = [{"id": k, "file_name": n, "height": 60, "width": 80} for k, n in enumerate(names)]
    boxes = [{"image_id": k, "category_id": 1, "bbox": box(k)} for k in range(len(names))]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
    for image, extra in zip(images, more.get("extra", ()), strict=False):
        image["extra"] = {"name": extra}
    file.write_text(json.dumps(content))
    return file


def taken(task, file, **how):
    """Names of the frames in the order of the boxes of the file, and what was said."""
    _, notes = exchange.take(task, file, **how)
    boxes = {a.boxes[0]["bbox"][0]: POOL[p] for p, a in answers.read(task).items()}
    return [boxes[k] for k in sorted(boxes)], notes


# ---- the exported name ---------------------------------------------------------------------------

SIGNED = "https://store.example.org/b/{}?X-Amz-Credential=AK%2F20261128%2F5%2Faws4&X-Amz-Date=9"
RENAMED = {  # the name of an exported file or of the data set, by what happened to it
    "a hash": "0a1b2c3d__{0}",
    "an upload to Label Studio": "/data/upload/3/a1b2c3d4-{0}",
    "a folder of Windows": "images\\{0}",
    "a second upload": "{stem}_ZoqW18z.png",
    "Roboflow": "{stem}_png.rf.0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d.jpg",
    "two suffixes": "{0}.jpg",
    "large letters": "{stem}.PNG",
    "underscores": "images/{underscores}.png",
    "a signed address": SIGNED,
    "a copy": "Copy of {stem} (copy).png",
    "a quoted address": "https://example.org/o/images%2F{0}?alt=media",
}


def renamed(how, name):
    stem = name.rpartition(".")[0]
    underscores = stem.replace(" ", "_").replace("-", "_")
    given = quote(name) if "://" in RENAMED[how] else name
    return RENAMED[how].format(given, stem=stem, underscores=underscores)


@pytest.mark.parametrize("own", [False, True], ids=["exported", "own"])
@pytest.mark.parametrize("how", RENAMED)
def test_what_tools_make_of_names(tmp_path, how, own):
    """In another order than they were given, and each is said."""
    chosen = ["5.png", "gate 5.png", "IMG_0010.JPG", "cam2/gate north.jpg", "b/8.png"]
    task = made(tmp_path, chosen)
    folder = exchange.export(task, "coco", tmp_path / "given")
    files = json.loads((folder / "annotations/instances_default.json").read_text())["images"]
    names = chosen[::-1] if own else [image["file_name"] for image in files][::-1]
    names = [renamed(how, name) for name in names]
    found, notes = taken(task, write_coco(tmp_path / "a.json", names))
    assert found == chosen[::-1]
    assert len(notes) == 5
    for name, frame in zip(names, found, strict=True):
        assert any(name in note and frame in note for note in notes)


def test_digits_of_a_tool_take_no_frame_from_its_exported_name(tmp_path):
    task = made(tmp_path, ["5.png", "IMG_0010.JPG"])
    names = ["000005-5 (9).png", "images/000012-IMG-0010_5.png"]
    assert taken(task, write_coco(tmp_path / "a.json", names))[0] == ["5.png", "IMG_0010.JPG"]


@pytest.mark.parametrize("name", ["{}", "images/{}", "/data/local-files/?d=given/images/{}"])
def test_names_as_they_were_given_are_not_worth_a_word(tmp_path, name):
    task = made(tmp_path, ["5.png", "東京.jpg", "cam1/gate north.jpg"])
    folder = exchange.export(task, "yolo", tmp_path / "given")
    names = [name.format(file.name) for file in sorted((folder / "images/train").iterdir())]
    assert taken(task, write_coco(tmp_path / "a.json", names))[1] == []


def test_exported_names_are_unique_and_can_be_read(tmp_path):
    task = made(tmp_path, [*POOL])
    folder = exchange.export(task, "cvat", tmp_path / "given")
    names = sorted(file.name for file in (folder / "images").iterdir())
    assert [int(name[:6]) for name in names] == [*range(len(POOL))]
    assert names[:5:3] == ["000000-gate-north.png", "000003-東京.png"]


# ---- the data set's own --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ("cam1/gate north.jpg", "/data/local-files/?d=pool/cam1/gate%20north.jpg"),
        ("cam2/gate north.jpg", "pool/cam2/gate_north.png"),
        ("cam2/gate north.jpg", "cam2_gate north.jpg"),
        ("gate north.jpg", "gate north.jpg"),
        ("東京.jpg", "a1b2c3d4-東京.jpg"),
        ("東京.jpg", quote("東京.jpg")),
        (CAFE, unicodedata.normalize("NFC", CAFE)),
        ("b/8.png", "labels/b/8.png.jpg"),
        ("what? 7.png", "0a1b2c3d__what? 7.png"),
        ("9.jpg", "9.jpg"),
    ],
)
def test_own_names_in_folders_and_in_any_letters(tmp_path, chosen, name):
    assert taken(made(tmp_path, [chosen]), write_coco(tmp_path / "a.json", [name]))[0] == [chosen]


def test_roboflow_keeps_the_name_that_it_spoilt(tmp_path):
    names, own = ["-_jpg.rf.0a.jpg", "-_jpg.rf.0b.jpg"], ["東京.jpg", "5.png"]
    file = write_coco(tmp_path / "a.json", names, extra=own)
    assert taken(made(tmp_path, own), file)[0] == own


@pytest.mark.parametrize(
    ("chosen", "names", "message"),
    [
        (["a/8.png", "b/8.png"], ["8.png", "x.png"], r"'8.png' may be frame a/8.png or b/8.png"),
        (
            ["gate north.jpg"],
            ["0a-gate north.jpg"],
            "cam1/gate north.jpg or cam2/gate north.jpg or",
        ),
        (["9.png", "9.jpg"], ["0a1b__9.png"], r"may be frame 9.png or 9.jpg"),
        (["5.png"], ["5_9.png"], "may be frame 5.png or 9.png or 9.jpg"),
        (["5.png"], ["5.png", "0a1b2c3d__5.png"], "is there twice: '5.png' is frame 5.png, too"),
        (["5.png"], ["gate 5.png"], "1 of 1 images are not among"),  # a frame, not a chosen one
        (["5.png"], ["000006-gate-5.png"], "1 of 1 images are not among"),
        (["cam1/gate north.jpg"], ["cam2/gate_north.jpg"], "1 of 1 images are not among"),
        (["5.png"], ["15.png"], "1 of 1 images are not among"),
        (["5.png"], ["images/5/12.png"], "1 of 1 images are not among"),  # a folder says nothing
        (["5.png"], ["%25-a b" * 100_000], "1 of 1 images are not among"),
    ],
)
def test_names_that_may_be_two_or_another_are_refused(tmp_path, chosen, names, message):
    task, file = made(tmp_path, chosen), write_coco(tmp_path / "a.json", names)
    with pytest.raises(ValueError, match=f"a.json: nothing was imported: .*{message}"):
        exchange.take(task, file)
    assert not answers.path_of(task.run, 1).exists()


@pytest.mark.parametrize("sign", [",", ";"])
def test_a_column_of_frames_csv_says_what_a_tool_calls_them(tmp_path, sign):
    task = made(tmp_path, ["5.png", "gate 5.png"])
    folder = exchange.export(task, "coco", tmp_path / "given")
    write_coco(folder / "annotations/instances_default.json", ["images/b.png", "9.png"])
    table = (folder / "frames.csv").read_text().replace(",", sign).splitlines()
    for cells, said in (
        (("x/b.png", "9.png"), None),
        (("b.png", "b.png"), "'images/b.png' may be frame 5"),
    ):
        lines = [*map(sign.join, zip(table, ["tool", *cells], strict=True))]
        (folder / "frames.csv").write_text("\n".join(lines), encoding="utf-8-sig")
        if said is None:
            assert taken(task, folder) == (["5.png", "gate 5.png"], [])
        else:
            with pytest.raises(ValueError, match=said):
                exchange.take(task, folder, replace=True)


# ---- what lies beside ----------------------------------------------------------------------------


def write_yolo(folder, files):
    (folder / "labels").mkdir(parents=True)
    (folder / "data.yaml").write_text("names: [person]")
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


README = "# dataset\n\nExported from somewhere, 3 images\n"
LINE = "0 0.5 0.5 0.5 0.5\n"


def test_texts_beside_labels_are_passed_over_and_said(tmp_path):
    files = {"README.dataset.txt": README, "ReadMe.txt": README, "labels/5_jpg.rf.0a1b2c.txt": LINE}
    task = made(tmp_path, ["5.png"])
    _, notes = exchange.take(task, write_yolo(tmp_path / "a", files))
    assert len(answers.read(task)[5].boxes) == 1
    assert [note.split()[0] for note in notes] == ["README.dataset", "labels/5_jpg.rf.0a1b2c"]
    (tmp_path / "a/labels/5_jpg.rf.0a1b2c.txt").write_text(README)
    with pytest.raises(ValueError, match=r"labels/5_jpg.rf.0a1b2c.txt, line 1: 0: .*'#'"):
        exchange.take(task, tmp_path / "a", replace=True)


@pytest.mark.parametrize("format_", exchange.FORMATS)
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_what_a_system_puts_beside_files_is_passed_over(tmp_path, format_, zipped):
    task = made(tmp_path, ["5.png", "東京.jpg"])
    folder = exchange.export(task, format_, tmp_path / "a")
    files = [f for f in folder.rglob("*") if f.suffix in (".json", ".xml", ".txt", ".yaml")]
    if format_ == "yolo":
        (folder / "labels/train/000005-5.txt").write_text(LINE)
        files.append(folder / "labels/train/000005-5.txt")
    given = {f"./{file.relative_to(folder)}": file.read_bytes() for file in files}
    for file in files:
        inner = file.relative_to(folder)
        given[f"__MACOSX/{inner.parent}/._{file.name}"] = b"\0\5\26\7Mac OS X"
        given[f"{inner.parent}/._{file.name}"] = b"\0\5\26\7Mac OS X"
        given[f".ipynb_checkpoints/{file.name}"] = file.read_bytes()
    if zipped:
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            for name, data in given.items():
                archive.writestr(name.replace("/", "\\") if format_ == "coco" else name, data)
    else:
        for name, data in given.items():
            (tmp_path / "b" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "b" / name).write_bytes(data)
    back = tmp_path / ("b.zip" if zipped else "b")
    if format_ == "label-studio":  # which holds no answers
        with pytest.raises(ValueError, match=r"nothing was imported:\n.*not yet looked"):
            exchange.take(task, back)
    else:
        assert exchange.take(task, back, all_looked_at=True)[0]["finished"] == 2


# ---- boxes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rotation", "taken_"), [(30, False), (-0.5, False), (0, True), (360, True)]
)
def test_rotated_boxes_in_coco_are_refused(tmp_path, rotation, taken_):
    """CVAT writes the box before it was turned."""
    task, file = made(tmp_path, ["5.png"]), write_coco(tmp_path / "a.json", ["5.png"])
    content = json.loads(file.read_text())
    content["annotations"][0]["attributes"] = {"occluded": False, "rotation": rotation}
    file.write_text(json.dumps(content))
    if taken_:
        exchange.take(task, file)
        assert answers.read(task)[5].boxes[0]["bbox"] == box(0)
    else:
        with pytest.raises(ValueError, match=r"annotations.0.*rotat"):
            exchange.take(task, file)
