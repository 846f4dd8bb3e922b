"""The files of labeling tools: what is written, what is taken, and all that is refused."""

import csv
import json
import os
import re
import zipfile
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from answering import (
    CLASSES,
    FORMATS,
    IGNORE,
    PERSON,
    PROPOSALS,
    RIDER,
    SIZES,
    TRUTH,
    contents,
    edit,
    finish,
    position_of,
    with_oracle,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from alkit.labeling import exchange, session
from alkit.loop import answers, records, steps
from alkit.loop.runs import open_run
from alkit.loop.task import task

FILES = {
    "coco": "annotations/instances_default.json",
    "label-studio": "tasks.json",
    "cvat": "annotations.xml",
}
SAYS = {  # "looked at, nothing there"
    "coco": '`"looked_at": true` in the record of its image',
    "label-studio": "a submitted annotation of its task",
    "cvat": "the image's tag `looked_at`",
    "yolo": "an empty text file",
}
PIXELS = {"coco": 1e-9, "label-studio": 1e-9, "cvat": 0.011, "yolo": 3e-4}  # what digits leave
EACH = pytest.mark.parametrize("format_", FORMATS)


@pytest.fixture(scope="module")
def wanted(asked_experiment):
    """What is to be labeled; read only."""
    return task(open_run(asked_experiment / "divergence/seed_0"), 1)


@pytest.fixture
def own(asked):
    """The same in a copy of the experiment."""
    return task(open_run(asked / "divergence/seed_0"), 1)


@pytest.fixture
def exported(own, tmp_path):
    """A function that exports, and fills in what `TRUTH` says or something else."""

    def export(format_, truth=TRUTH, to="given"):
        folder = exchange.export(own, format_, tmp_path / to)
        if truth is not None:
            finish(folder, format_, truth)
        return folder

    return export


@pytest.fixture
def refused(own):
    """A function that imports what is wrong: its message, and nothing changed on disk."""

    def refuse(path, *arguments, **options) -> str:
        before = contents(own.run.out)
        with pytest.raises(ValueError, match=": ") as caught:
            exchange.take(own, path, *arguments, **options)
        assert contents(own.run.out) == before
        return str(caught.value)

    return refuse


def boxes_of(found: dict, position: int) -> list:
    return [(box["label"], box["bbox"]) for box in found[position].boxes]


def assert_same(found: list, expected: list, pixels: float):
    assert [name for name, _ in found] == [name for name, _ in expected]
    values = [[bbox for _, bbox in boxes] for boxes in (found, expected)]
    np.testing.assert_allclose(*[np.reshape(v, (-1, 4)) for v in values], rtol=0, atol=pixels)


def empty_frame(own) -> int:
    """A chosen frame that shows nothing and for which nothing is proposed: the export says so."""
    return next(p for p in own.positions if not TRUTH[p] and not PROPOSALS[p])


def full_frame(own) -> int:
    return next(p for p in own.positions if len(TRUTH[p]) == 6)


# ---- what is written -----------------------------------------------------------------------------


def test_the_frames_of_the_task(wanted):
    assert len(wanted.positions) == 5
    assert wanted.classes == CLASSES
    assert {p: wanted.sizes[p] for p in wanted.positions} == {p: SIZES[p] for p in wanted.positions}
    found = {p: [box["bbox"] for box in boxes] for p, boxes in wanted.proposals.items()}
    assert found == {p: PROPOSALS[p] for p in wanted.positions}
    assert wanted.proposals[0][0] == {"bbox": [0, 25, 8.75, 37.5], "label": PERSON, "score": 0.9}


@EACH
def test_images_are_written_as_they_are(wanted, tmp_path, format_):
    folder = exchange.export(wanted, format_, tmp_path / "out")
    with open(folder / "frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["position"]) for row in rows] == wanted.positions
    assert [float(row["z"]) for row in rows] == [frame["z"] for frame in wanted.chosen]
    for row in rows:
        position = int(row["position"])
        assert row["file"] == f"{position:06d}-{position}-script-alert-1.png"
        assert row["name"] == f"{position} <script>alert(1)&.png"
        (path,) = folder.rglob(row["file"])
        image = cv2.imread(str(path))[..., ::-1]
        picture = np.random.default_rng(position).integers(
            0, 256, (*SIZES[position], 3), dtype=np.uint8
        )
        np.testing.assert_array_equal(image[..., ::-1], picture)
    assert not list(tmp_path.glob("*.partial"))


def test_proposals_in_coco(wanted, tmp_path):
    data = json.loads((exchange.export(wanted, "coco", tmp_path / "o") / FILES["coco"]).read_text())
    assert [image["looked_at"] for image in data["images"]] == [False] * 5
    assert [category["name"] for category in data["categories"]] == list(CLASSES)
    of = {image["id"]: position_of(image["file_name"]) for image in data["images"]}
    for position in wanted.positions:
        given_ = [a["bbox"] for a in data["annotations"] if of[a["image_id"]] == position]
        assert given_ == PROPOSALS[position]
    first = next(a for a in data["annotations"] if of[a["image_id"]] == 0)
    assert (first["score"], first["area"], first["category_id"]) == (0.9, 328.12, 1)


def test_proposals_in_label_studio(wanted, tmp_path):
    folder = exchange.export(wanted, "label-studio", tmp_path / "o")
    found = json.loads((folder / FILES["label-studio"]).read_text())
    tasks = {position_of(task_["data"]["file"]): task_ for task_ in found}
    (prediction,) = tasks[0]["predictions"]
    assert prediction["score"] == 0.75  # of 0.9 and 0.6
    value = prediction["result"][1]["value"]  # [10, 12.5, 12.5, 37.5] of 160 × 120
    expected = {"x": 6.25, "y": 100 * 12.5 / 120, "width": 7.8125, "height": 31.25}
    assert {k: value[k] for k in expected} == pytest.approx(expected)
    assert "annotations" not in tasks[0]
    config = ElementTree.parse(folder / "label_config.xml")
    assert [label.get("value") for label in config.iter("Label")] == list(CLASSES)


def test_proposals_in_cvat(wanted, tmp_path):
    folder = exchange.export(wanted, "cvat", tmp_path / "o")
    root = ElementTree.parse(folder / FILES["cvat"]).getroot()
    (image,) = (i for i in root.iter("image") if position_of(i.get("name")) == 0)
    assert (image.get("width"), image.get("height")) == ("160", "120")
    first = image.find("box")
    sides = [first.get(side) for side in ("xtl", "ytl", "xbr", "ybr")]
    assert sides == ["0.00", "25.00", "8.75", "62.50"]
    assert first.get("label") == PERSON
    assert first.find("attribute").text == "0.9000"
    assert image.find("tag") is None
    names = [label["name"] for label in json.loads((folder / "labels.json").read_text())]
    assert names == [*CLASSES, "looked_at"]


def test_proposals_in_yolo(wanted, tmp_path):
    """A frame for which nothing is proposed has no file, for an empty one is an answer."""
    folder = exchange.export(wanted, "yolo", tmp_path / "o")
    files = {position_of(f.name): f.read_text() for f in (folder / "labels/train").iterdir()}
    assert set(files) == {p for p in wanted.positions if PROPOSALS[p]}
    # center (4.375, 43.75) and size (8.75, 37.5) of 160 × 120
    assert files[0].splitlines()[0] == "0 0.0273438 0.3645833 0.0546875 0.3125000"


def test_an_export_overwrites_nothing(wanted, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="mine: the folder is not empty; choose another"):
        exchange.export(wanted, "coco", tmp_path / "mine")
    with pytest.raises(ValueError, match=r"format: unknown name 'cocoa' \(did you mean coco\?\)"):
        exchange.export(wanted, "cocoa", tmp_path / "new")
    assert contents(tmp_path) == {"mine/notes.txt": b"mine"}


# ---- what is taken -------------------------------------------------------------------------------


@EACH
def test_the_labels_are_those_of_the_oracle_that_says_the_same(own, exported, tmp_path, format_):
    """The pool's filter, at the run's size: too small, too wide, another class, `ignore`."""
    oracle = open_run(with_oracle(own.run.out, tmp_path / "oracle") / "divergence/seed_0")
    expected = steps.label(oracle, 1).labels(1)
    exchange.take(own, exported(format_))
    found = steps.label(own.run, 1).labels(1)
    assert found["images"] == expected["images"]
    assert found["categories"] == expected["categories"]
    marks = [[(a["image_id"], a["ignore"]) for a in d["annotations"]] for d in (found, expected)]
    assert marks[0] == marks[1]
    assert {0, 1} == {ignore for _, ignore in marks[0]}
    for key in ("bbox", "vis_bbox"):
        values = [[a[key] for a in d["annotations"]] for d in (found, expected)]
        np.testing.assert_allclose(*values, rtol=0, atol=0.02)


@EACH
def test_the_labels_by_hand(own, exported, format_):
    exchange.take(own, exported(format_))
    found = steps.label(own.run, 1).labels(1)
    of = {image["id"]: image["position"] for image in found["images"]}
    for position in own.positions:
        given_ = [a for a in found["annotations"] if of[a["image_id"]] == position]
        ignore = {0: [0, 0, 1, 1, 1, 1], 1: [0, 1, 1, 1, 1, 1], 2: [0, 1, 1], 3: [1, 1, 1]}
        assert [a["ignore"] for a in given_] == ignore.get(position, [])
    if 1 in own.positions:  # 192 × 256, half of it
        first = next(a for a in found["annotations"] if of[a["image_id"]] == 1)
        np.testing.assert_allclose(first["bbox"], [5, 10, 10, 25], atol=0.01)
    timed = format_ == "label-studio"
    assert found["info"] == {
        "source": f"import of {format_}",
        "labeling_seconds": 5 * (12.5 if timed else 45),
        "frames_timed": 5 if timed else 0,
    }


@EACH
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_answers_come_back_as_they_were_given(own, exported, tmp_path, format_, packed):
    path = exported(format_)
    if packed:
        path = tmp_path / "given.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in contents(tmp_path / "given").items():
                archive.writestr(f"some/folder/{name}" if format_ != "yolo" else name, data)
        if format_ == "cvat":  # labels.json is for the label constructor alone
            assert "labels.json" in contents(tmp_path / "given")
    counts, notes = exchange.take(own, path)
    assert notes == []
    found = answers.read(own)
    assert list(found) == own.positions
    assert counts["finished"] == 5
    assert counts[PERSON] == sum(n == PERSON for p in own.positions for n, _ in TRUTH[p])
    for position in own.positions:
        assert found[position].looked_at is True
        assert_same(boxes_of(found, position), TRUTH[position], PIXELS[format_] + 0.005)


def side(start, length, pixels):
    """A side that stays inside the image, from ten thousandths of it."""
    return min(length, 1e4 - start) * pixels / 1e4


def read_back(wanted, path, format_=None) -> dict:
    """What an import does but for writing."""
    bundle = exchange.Bundle(path)
    module = exchange.FORMATS[format_ or exchange._guessed(bundle)]
    found, _ = exchange._by_position(wanted, module.read(bundle), bundle)
    return answers.checked(wanted, found, path, module.SAYS)


BOXES = st.lists(
    st.tuples(
        st.sampled_from(CLASSES),
        st.tuples(*[st.integers(0, 9900)] * 2, *[st.integers(100, 9900)] * 2),
    ),
    max_size=4,
)


@EACH
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=st.lists(BOXES, min_size=6, max_size=6))
def test_any_boxes_come_back(wanted, tmp_path_factory, format_, drawn):
    """Shares of an image in hundredths of a percent to boxes in it, at least a hundredth wide."""
    truth = []
    for position, own_boxes in enumerate(drawn):
        height, width = SIZES[position]
        boxes = [
            (name, [x * width / 1e4, y * height / 1e4, side(x, w, width), side(y, h, height)])
            for name, (x, y, w, h) in own_boxes
        ]
        different = [(name, tuple(np.round(bbox, 0))) for name, bbox in boxes]
        assume(len(set(different)) == len(different))
        truth.append(boxes)
    folder = exchange.export(wanted, format_, tmp_path_factory.mktemp("drawn") / "given")
    finish(folder, format_, truth)
    found = read_back(wanted, folder)
    for position in wanted.positions:
        assert_same(boxes_of(found, position), truth[position], PIXELS[format_] + 0.0051)


def test_images_are_known_by_their_own_names_too(own, exported):
    folder = exported("coco")

    def change(data):
        for image in data["images"]:
            image["file_name"] = f"{position_of(image['file_name'])} <script>alert(1)&.png"

    edit(folder / FILES["coco"], change)
    exchange.take(own, folder)
    assert_same(boxes_of(answers.read(own), 0), TRUTH[0], 0)


def test_label_studio_puts_letters_before_names(own, exported):
    folder = exported("label-studio")

    def change(tasks):
        for item in tasks:
            file = item["data"].pop("file")
            item["data"]["image"] = f"/data/upload/3/a1b2c3d4-{file}"

    edit(folder / FILES["label-studio"], change)
    exchange.take(own, folder)
    assert_same(boxes_of(answers.read(own), 0), TRUTH[0], 0.005)


def test_boxes_to_ignore_in_coco(own, exported):
    folder = exported("coco")

    def change(data):
        for a, mark in zip(data["annotations"], ({"iscrowd": 1}, {"ignore": True}), strict=False):
            a.update(mark)

    edit(folder / FILES["coco"], change)
    exchange.take(own, folder)
    names = [box["label"] for p in answers.read(own).values() for box in p.boxes]
    assert names[:2] == [IGNORE, IGNORE]
    assert names[2:] == [n for p in own.positions for n, _ in TRUTH[p]][2:]


def test_a_pixel_over_the_border_is_cut_off(own, exported):
    position = full_frame(own)
    width = SIZES[position][1]
    truth = TRUTH[:position] + [[(PERSON, [-0.9, -0.5, width + 1.8, 40])]] + TRUTH[position + 1 :]
    exchange.take(own, exported("coco", truth))
    assert boxes_of(answers.read(own), position) == [(PERSON, [0, 0, width, 39.5])]


@EACH
def test_answers_are_exported_and_come_back(own, exported, tmp_path, format_):
    """Also when they are in use: whoever needs them elsewhere has them as a file."""
    exchange.take(own, exported("label-studio"))
    kept = answers.read(own)
    steps.label(own.run, 1)
    folder = exchange.export(own, format_, tmp_path / "again")
    answers.path_of(own.run, 1).unlink()
    records.record_path(own.run, 1, "5_label").unlink()
    exchange.take(own, folder)
    found = answers.read(own)
    for position in own.positions:
        assert_same(boxes_of(found, position), boxes_of(kept, position), PIXELS[format_] + 0.011)
        assert found[position].seconds == (12.5 if format_ == "label-studio" else None)


@EACH
def test_an_export_goes_on_from_the_answers(own, refused, tmp_path, format_):
    """Finished, begun, and not yet seen."""
    full, empty = full_frame(own), empty_frame(own)
    begun = next(p for p in own.positions if p not in (full, empty) and PROPOSALS[p])
    drawn = answers.Answer([{"bbox": [1, 2, 9, 30], "label": RIDER}], False, 3.0)
    finished = answers.Answer([{"bbox": [3, 2, 9, 30], "label": IGNORE}], True, 3.0)
    answers.write(own, {full: finished, begun: drawn}, "a test")
    folder = exchange.export(own, format_, tmp_path / "given")
    problems = refused(folder)
    assert f"(position {full})" not in problems
    assert (f"(position {begun})" in problems) == (format_ in ("coco", "label-studio"))
    assert f"(position {empty})" in problems
    if format_ != "label-studio":  # whose answers are those that were submitted
        exchange.take(own, folder, all_looked_at=True, replace=True)
        found = answers.read(own)
        assert_same(boxes_of(found, full), [(IGNORE, [3, 2, 9, 30])], PIXELS[format_] + 0.005)
        assert_same(boxes_of(found, begun), [(RIDER, [1, 2, 9, 30])], PIXELS[format_] + 0.005)


# ---- looked at or not ----------------------------------------------------------------------------


@EACH
def test_nothing_there_is_an_answer_and_not_looked_at_is_none(own, exported, refused, format_):
    empty = empty_frame(own)
    unseen = TRUTH[:empty] + [None] + TRUTH[empty + 1 :]
    message = refused(exported(format_, unseen, "unseen"))
    assert "nothing was imported" in message
    assert SAYS[format_] in message
    assert "--looked-at-all" in message
    said = {"yolo": "not in the file", "cvat": "does not say that it was looked at"}
    name = re.escape(f"{empty} <script>alert(1)&.png (position {empty})")
    assert re.search(f"{name}: .*{said.get(format_, 'not yet looked at')}", message)
    assert message.count("\n") == 1  # and of the others nothing
    exchange.take(own, exported(format_))
    kept = answers.read(own)[empty]
    assert (kept.boxes, kept.looked_at) == ([], True)
    assert kept.seconds == (12.5 if format_ == "label-studio" else None)


@EACH
def test_an_untouched_export_is_refused(exported, refused, format_):
    message = refused(exported(format_, None))
    said = {
        "coco": "not yet looked at",
        "label-studio": "not yet looked at",
        "cvat": "does not say that it was looked at",
        "yolo": "not in the file",
    }
    assert said[format_] in message


@pytest.mark.parametrize("format_", ["coco", "cvat", "yolo"])
def test_proposals_that_nobody_touched_are_refused(own, exported, refused, format_):
    """Also where the frames without proposals are answered, or the tool drops our marks."""
    truth = [[(PERSON, bbox) for bbox in own_boxes] if own_boxes else [] for own_boxes in PROPOSALS]
    for p in own.positions:
        if not truth[p]:
            del own.proposals[p][:]
            own.proposals[p].append({"bbox": [1, 1, 9, 30], "label": PERSON, "score": 0.9})
            truth[p] = [(PERSON, [1, 1, 9, 30])]
    folder = exported(format_, truth)
    if format_ == "coco":
        edit(folder / FILES["coco"], lambda d: [i.pop("looked_at") for i in d["images"]])
    if format_ == "cvat":
        text = (folder / FILES["cvat"]).read_text()
        (folder / FILES["cvat"]).write_text(re.sub(r"<tag [^>]*/>", "", text))
    assert "all boxes are exactly those that were exported" in refused(folder)
    exchange.take(own, folder, all_looked_at=True)
    assert_same(boxes_of(answers.read(own), 0), truth[0], 0.02)


@pytest.mark.parametrize("format_", ["coco", "cvat"])
def test_somebody_says_that_all_were_looked_at(own, exported, format_):
    exchange.take(own, exported(format_, None), all_looked_at=True)
    found = answers.read(own)
    for position in own.positions:
        assert [box["bbox"] for box in found[position].boxes] == PROPOSALS[position]
        assert found[position].looked_at is True


def test_frames_never_submitted_keep_no_boxes_to_accept(own, exported, refused):
    """Label Studio's proposals are no annotations: to accept them all would drop them all."""
    message = refused(exported("label-studio", None), all_looked_at=True)
    with_proposals = [p for p in own.positions if PROPOSALS[p]]
    assert message.count("it does not hold the boxes that were exported") == len(with_proposals)
    assert "mark this frame as finished" in message


def test_one_frame_without_a_word_needs_somebody_to_say_it(own, exported, refused):
    folder, empty = exported("coco"), empty_frame(own)
    edit(folder / FILES["coco"], lambda d: [i.pop("looked_at") for i in d["images"]])
    assert '`"looked_at": true` in the record of its image, or of all' in refused(folder)
    exchange.take(own, folder, all_looked_at=True)
    assert answers.read(own)[empty].boxes == []


# ---- what is refused -----------------------------------------------------------------------------


def drop_first(data):
    gone = data["images"].pop(0)
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] != gone["id"]]


def rename_first(data):
    data["images"][0]["file_name"] = "000017-<script>.png"


def set_first(part, **changes):
    return lambda data: data[part][0].update(changes)


def again(part):
    return lambda data: data[part].append(dict(data[part][0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_first, r"frame \d <script>alert\(1\)&.png \(position \d\): not in the file"),
        (rename_first, "1 of 5 images are not among .*'000017-<script>.png'. Are these the labels"),
        (set_first("images", width=161), r"the file says \(\d+, 161\) pixels \(height, width\)"),
        (set_first("images", width="wide"), r"images.0.width: .*'wide'"),
        (set_first("images", looked_at="yes"), "images.0.looked_at: .*'yes'"),
        (set_first("images", id=[1]), r"images.0.id.*\[1\]"),
        (again("images"), "the id in images 1 comes twice"),
        (set_first("categories", id=2), "the id in categories 2 comes twice"),
        (set_first("categories", name=None), r"categories.0.name: .*None"),
        (
            set_first("categories", name="<b>car</b>"),
            "box 1: class '<b>car</b>' is unknown; the cl",
        ),
        (set_first("annotations", bbox=[5, 5, 0, 9]), r"box 1 \[5, 5, 0, 9\] has no area in the"),
        (set_first("annotations", bbox=[5, 5, 9, -9]), r"annotations.0.bbox.3: .*-9"),
        (set_first("annotations", bbox=[5, float("nan"), 9, 9]), r"annotations.0.bbox.1: .*nan"),
        (set_first("annotations", bbox=[5, 5, 10**400, 9]), r"annotations.0.bbox.2: "),
        (set_first("annotations", bbox=[5, 5, "x", 9]), r"annotations.0.bbox.2: .*'x'"),
        (set_first("annotations", bbox=[5, 5, 9]), r"annotations.0.bbox.3: Field required"),
        (set_first("annotations", bbox=[5, 5, 900, 9]), r"box 1 \[5, 5, 900, 9\] reaches out of"),
        (set_first("annotations", bbox=[-2, 5, 9, 9]), r"box 1 \[-2, 5, 9, 9\] reaches out of the"),
        (set_first("annotations", image_id=99), "annotations.0: none of the images has the id 99"),
        (
            set_first("annotations", category_id=9),
            "annotations.0: none of the categories has the id 9",
        ),
        (set_first("annotations", iscrowd=2), "annotations.0.iscrowd: .*2"),
        (again("annotations"), r"id in annotations 1 comes twice"),
        (lambda data: data.pop("categories"), "none of the categories has the id 1"),
        (lambda data: data["images"].append(None), "images.5: .*None"),
    ],
)
def test_what_is_wrong_in_coco_is_said_with_where(exported, refused, change, message):
    folder = exported("coco")
    edit(folder / FILES["coco"], change)
    found = refused(folder)
    assert re.search(message, found)
    assert str(folder) in found


def test_every_wrong_frame_is_listed(own, exported, refused):
    empty, full = empty_frame(own), full_frame(own)
    truth = list(TRUTH)
    truth[empty] = None
    truth[full] = [(PERSON, [5, 5, 9, 30]), (RIDER, [5, 5, 9, 30]), (PERSON, [5.01, 5, 9, 30])]
    lines = refused(exported("coco", truth)).splitlines()[1:]
    assert len(lines) == 2
    assert any(f"(position {full}): box 3 stands there twice" in line for line in lines)
    assert any(f"(position {empty}): the file says that it was not yet" in line for line in lines)


def first_region(tasks):
    return next(t for t in tasks if t["annotations"][0]["result"])["annotations"][0]["result"][0]


def in_region(**changes):
    return lambda tasks: first_region(tasks).update(changes)


def in_value(**changes):
    return lambda tasks: first_region(tasks)["value"].update(changes)


def in_answer(**changes):
    return lambda tasks: tasks[0]["annotations"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tasks: tasks.pop(), "not in the file"),
        (lambda tasks: tasks.append(tasks[0]), "image '00000.*' is there twice"),
        (lambda tasks: tasks.append("x"), r"tasks.json: 5: .*'x'"),
        (lambda tasks: tasks[0].update(data=[]), r"tasks.json: 0.data.image: Field required"),
        (lambda tasks: tasks[0]["data"].update(file="x.png"), "1 of 5 images are not among the ch"),
        (lambda tasks: tasks[0].update(annotations=[3]), "0.annotations.0: "),
        (lambda tasks: tasks[0].update(annotations=[]), "not yet looked at"),
        (
            lambda tasks: tasks[0].update(annotations=tasks[0]["annotations"] * 2),
            "0: 2 annotations; keep one of them for each image",
        ),
        (in_answer(result=7), "0.annotations.0.result: .*7"),
        (in_answer(lead_time=-1), "0.annotations.0.lead_time: .*-1"),
        (in_region(type="polygonlabels"), "result.0.type: .*rectanglelabels.*polygonlabels"),
        (in_region(original_width=None), "result.0.original_width: .*None"),
        (in_region(original_width=8), r"the file says \(\d+, 8\) pixels"),
        (in_value(rectanglelabels=["a", "b"]), "result.0.value.rectanglelabels: .*at most 1"),
        (in_value(rectanglelabels=["car"]), "box 1: class 'car' is unknown"),
        (in_value(rotation=30), "value.rotation: the box is rotated"),
        (in_value(x="left"), "result.0.value.x: .*left"),
        (in_value(width=float("nan")), "result.0.value.width: .*finite"),
        (in_value(width=99), "box 1 .* reaches out of"),
    ],
)
def test_what_is_wrong_in_label_studio_is_said_with_where(exported, refused, change, message):
    folder = exported("label-studio")
    edit(folder / FILES["label-studio"], change)
    assert re.search(message, refused(folder))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r"<image .*?</image>", "", "not in the file"),
        (r"(<image .*?</image>)", r"\1\1", "image '00000.*' is there twice"),
        (r'<image id="\d" name="[^"]*"', "<image", "image None: name: Field required"),
        (r'name="0000\d\d-', 'name="000017-<script>', "not XML as CVAT writes it, or cut off"),
        (r'name="[^"]*"', 'name="000017-&lt;script>"', "1 of 5 images are not among the chosen"),
        (r'width="\d+"', 'width="7"', r"the file says \(\d+, 7\) pixels"),
        (r'width="\d+"', 'width="1e999"', "width: .*1e999"),
        (r'xtl="[^"]*"', 'xtl="left"', "xtl: .*left"),
        (r'xtl="[^"]*"', 'xtl="nan"', "xtl: .*finite"),
        (r'xtl="[^"]*"', 'xtl="-7"', r"box 1 \[-7, .*reaches out"),
        (r'ytl="[^"]*"', 'ytl="190"', "box 1: bbox.3: .*greater than or equal to 0"),
        (r'label="person"', 'label="car"', r"box \d: class 'car' is unknown"),
        (r"<box ", '<box rotation="12" ', "rotation: .*12"),
        (r'(<box label="person"[^>]*/>)', r"\1\1", r"box \d stands there twice"),
        (r"<box ([^>]*)/>", r"<polygon \1/>", "expected boxes, got <polygon>"),
        (r"<annotations>", "<annotations><track/>", "not of tracks.*`CVAT for images 1.1`"),
        (r"annotations>", "labels>", "expected <annotations> .*got <labels>"),
        (r"</annotations>", "", "not XML as CVAT writes it, or cut off"),
        (r"<annotations>", "<annotations>&boom;", "not XML as CVAT writes it, or cut off"),
    ],
)
def test_what_is_wrong_in_cvat_is_said_with_where(exported, refused, old, new, message):
    folder = exported("cvat")
    text = (folder / FILES["cvat"]).read_text()
    changed = re.sub(old, new, text, count=2 if old == "annotations>" else 1, flags=re.DOTALL)
    assert changed != text
    (folder / FILES["cvat"]).write_text(changed)
    assert re.search(message, refused(folder))


def test_a_document_type_is_refused_in_any_encoding(exported, refused):
    """As text of two bytes a letter nobody finds it by looking for its letters."""
    folder = exported("cvat")
    text = (folder / FILES["cvat"]).read_text()
    bomb = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]>'
    (folder / FILES["cvat"]).write_bytes((bomb + text).encode("utf-16"))
    assert "it has a document type" in refused(folder)


def test_a_small_archive_of_much_is_refused(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "much.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tasks.json", b" " * 100_000_000)
    assert "got 100 MB. Is this the right file?" in refused(tmp_path / "much.zip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 0.1", "line 1: 4: Field required"),
        ("0 0.5 0.5 0.1 0.2 0.9", "line 1: .*at most 5 items"),
        ("x 0.5 0.5 0.1 0.2", "line 1: 0: .*'x'"),
        ("7 0.5 0.5 0.1 0.2", r"line 1: class 7 has no name in \[0, 1, 2\]"),
        ("\n0 0.5 y 0.1 0.2", "line 2: 2: .*'y'"),
        ("0 0.5 0.5 0 0.2", "box 1 .* has no area in"),
        ("0 0.5 0.5 1e999 0.2", "line 1: 3: .*finite"),
        ("0 0.1 0.5 0.4 0.2", r"box 1 \[-.* reaches out of the"),
        ("0 0.5 0.5 0.1 0.2\n0 0.5 0.5 0.1 0.2", "box 2 stands there twice"),
        ("\xff".encode("latin-1"), "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_in_yolo_is_said_with_where(exported, refused, text, message):
    folder = exported("yolo")
    file = min((folder / "labels/train").iterdir())
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert re.search(message, refused(folder))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "expected data.yaml or classes.txt with the names of the classes"),
        ("names: {0: person", "data.yaml is not as YOLO's"),
        ("names: 7", "data.yaml: names: Input should be a valid dictionary (got 7)"),
        ("names: {a: person}", "data.yaml: names: a.[key]: "),
        ("- person", "data.yaml is not as YOLO's"),
        ("names: " + "[" * 5000, "data.yaml is not as YOLO's"),
        ("names: [car, bus, lorry]", "class 'car' is unknown; the classes are person"),
    ],
)
def test_names_of_yolos_classes(exported, refused, names, message):
    folder = exported("yolo")
    (folder / "data.yaml").unlink()
    if names is not None:
        (folder / "data.yaml").write_text(names)
    assert message in refused(folder)


def test_names_that_grow_without_end_are_refused(exported, refused):
    """Ten lines of YAML that are ten thousand million names as text."""
    folder = exported("yolo")
    lines = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 11)]
    (folder / "data.yaml").write_text("\n".join(["a0: &a0 [x]", *lines, "names: [*a10]"]))
    message = refused(folder)
    assert "data.yaml: names: 0." in message
    assert len(message) < 2000


def test_a_label_file_twice(exported, refused):
    folder = exported("yolo")
    file = min((folder / "labels/train").iterdir())
    (folder / "labels/val").mkdir()
    (folder / "labels/val" / file.name).write_bytes(file.read_bytes())
    assert f"image 'labels/val/{file.stem}' is there twice" in refused(folder)


def test_a_frame_under_two_names(own, exported, refused):
    folder = exported("coco")

    def change(data):
        first = data["images"][0]
        own_name = f"{position_of(first['file_name'])} <script>alert(1)&.png"
        data["images"].append(first | {"id": 99, "file_name": own_name})

    edit(folder / FILES["coco"], change)
    assert "is there twice" in refused(folder)


# ---- files that are none of theirs ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b'{"images": [', "a.json: not JSON, or truncated"),
        ("a.json", b"\xff\xfe\x00", "a.json: not JSON, or truncated"),
        ("a.json", b"[" * 200_000, "a.json: not JSON, or truncated"),
        ("a.json", b"[" + b"9" * 5000 + b"]", "a.json: not JSON, or truncated"),
        ("a.json", b"17", "this looks like none of coco, label-studio, cvat, yolo. It holds a.js"),
        ("a.json", b"[]", "not in the file"),
        ("a.xml", b"", "a.xml: not XML as CVAT writes it, or cut off"),
        ("a.xml", b"<annotations>" + b"<a>" * 200_000, "a.xml: not XML as CVAT writes it"),
        ("a.png", b"picture", "this looks like none of .* It holds no annotation files"),
        ("a.zip", b"PK\x05\x06" + bytes(18), "this looks like none of"),
        ("a.zip", b"PK\x05\x06" + b"\xff" * 16 + b"\0\0", "a damaged zip file"),
    ],
)
def test_a_file_that_is_none_of_theirs(refused, tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    assert re.search(message, refused(tmp_path / name))


def test_a_zip_file_that_claims_less_than_it_unpacks_to(exported, refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.json", bytes(1_000_000))
    data = (tmp_path / "a.zip").read_bytes()
    claimed = (1_000_000).to_bytes(4, "little")
    assert data.count(claimed) == 2
    (tmp_path / "a.zip").write_bytes(data.replace(claimed, (7).to_bytes(4, "little")))
    assert "a damaged zip file" in refused(tmp_path / "a.zip")


def test_names_that_lead_out_of_a_zip_file_write_nothing(own, exported, refused, tmp_path):
    folder = exported("coco")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../../evil.json", (folder / FILES["coco"]).read_bytes())
    before = set(tmp_path.parent.iterdir())
    exchange.take(own, tmp_path / "a.zip")  # its content is right, its name of no concern
    assert set(tmp_path.parent.iterdir()) == before
    assert not list(tmp_path.rglob("evil*"))


def test_links_and_pipes_are_not_followed(own, exported, refused, tmp_path):
    folder = exported("coco")
    (folder / FILES["coco"]).rename(tmp_path / "elsewhere.json")
    (folder / FILES["coco"]).symlink_to(tmp_path / "elsewhere.json")
    assert "this looks like none of" in refused(folder)
    os.mkfifo(tmp_path / "pipe.json")
    assert "expected a file, a folder or a zip file" in refused(tmp_path / "pipe.json")
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such file or folder"):
        exchange.take(own, tmp_path / "nowhere")


def test_a_folder_without_annotations(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "It holds no annotation files" in refused(tmp_path / "empty")
    said = {"coco": "one COCO json", "label-studio": "one JSON export", "cvat": "one XML file"}
    for format_ in FORMATS:
        message = refused(tmp_path / "empty", format_)
        assert f"expected {said.get(format_, 'data.yaml or classes.txt')}" in message
    assert "format: unknown name 'cvta' (did you mean cvat?)" in refused(tmp_path / "empty", "cvta")


@pytest.mark.parametrize("format_", FILES)  # of YOLO's lines nobody can tell that some are missing
def test_a_file_cut_off_anywhere(exported, refused, format_):
    folder = exported(format_)
    file = folder / FILES[format_]
    whole = file.read_bytes()
    for k in range(12):
        file.write_bytes(whole[: len(whole) * k // 12])
        assert str(folder) in refused(folder)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), format_=st.sampled_from(FORMATS))
def test_a_damaged_zip_file_raises_nothing_else(wanted, packed, tmp_path, data, format_):
    """One byte of it changed, or its end missing: taken or refused, but no other error."""
    whole = packed[format_]
    at = data.draw(st.integers(0, len(whole) - 1), "at")
    damaged = bytearray(whole)
    damaged[at] ^= data.draw(st.integers(1, 255), "bits")
    if data.draw(st.booleans(), "cut"):
        damaged = damaged[:at]
    (tmp_path / "a.zip").write_bytes(damaged)
    read_or_refuse(wanted, tmp_path / "a.zip")


SCALARS = [None, True, 0.5, float("nan"), 0, 1, -1, 2**63, 10**400, "", "1e999", "../x", "<script>"]
ANYTHING = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value, path=()):
    """The paths of all values within a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield from places(inner, (*path, key))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), format_=st.sampled_from(["coco", "label-studio"]))
def test_any_value_anywhere_raises_nothing_else(wanted, filled, tmp_path, data, format_):
    content = json.loads(filled[format_])
    path = data.draw(st.sampled_from(list(places(content))), "path")
    new = data.draw(ANYTHING, "value")
    if path:
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = new
    else:
        content = new
    (tmp_path / "a.json").write_text(json.dumps(content))
    read_or_refuse(wanted, tmp_path / "a.json", format_)


def read_or_refuse(wanted, path, format_=None):
    """Whatever passes is right."""
    try:
        found, problem = read_back(wanted, path, format_), str(path)
    except ValueError as error:
        found, problem = {}, str(error)
    assert str(path) in problem
    for position, answer in found.items():
        height, width = SIZES[position]
        for box in answer.boxes:
            left, top, w, h = box["bbox"]
            assert box["label"] in CLASSES
            assert min(left, top) >= 0
            assert min(w, h) > 0
            assert left + w <= width + 0.01
            assert top + h <= height + 0.01


@pytest.fixture(scope="module")
def filled(wanted, tmp_path_factory):
    """Text of finished files, by format."""
    texts = {}
    for format_ in ("coco", "label-studio"):
        folder = exchange.export(wanted, format_, tmp_path_factory.mktemp("filled") / "given")
        finish(folder, format_, TRUTH)
        texts[format_] = (folder / FILES[format_]).read_text()
    return texts


@pytest.fixture(scope="module")
def packed(wanted, tmp_path_factory):
    """Zip files of finished labels, by format."""
    found = {}
    for format_ in FORMATS:
        base = tmp_path_factory.mktemp("packed")
        folder = exchange.export(wanted, format_, base / "given")
        finish(folder, format_, TRUTH)
        with zipfile.ZipFile(base / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in contents(folder).items():
                if not name.endswith(".png"):
                    archive.writestr(name, data)
        found[format_] = (base / "a.zip").read_bytes()
    return found


# ---- answers that are there already --------------------------------------------------------------


def test_earlier_answers_are_set_aside_one_and_all(own, exported, refused):
    folder, stored = exported("coco"), answers.path_of(own.run, 1)
    kept = []
    for k in (1, 2):
        truth = list(TRUTH)
        truth[full_frame(own)] = [(PERSON, [5 * k, 5, 20, 50])]
        finish(folder, "coco", truth)
        exchange.take(own, folder, replace=True)
        kept.append(stored.read_bytes())
    message = refused(folder)
    assert "there are answers for 5 of these frames already; --replace takes those of" in message
    exchange.take(own, folder, replace=True)
    aside = sorted(stored.parent.glob("answers.replaced_*.json"))
    assert [file.read_bytes() for file in aside] == kept


def test_damaged_answers_are_left_to_whoever_can_read_them(own, exported, refused):
    folder = exported("coco")
    answers.path_of(own.run, 1).write_text("{")
    assert "damaged" in refused(folder, replace=True)
    answers.path_of(own.run, 1).unlink()  # as the message says, but for a copy
    exchange.take(own, folder)
    assert len(answers.read(own)) == 5


def test_labels_in_use_are_not_replaced(own, exported, refused):
    folder = exported("coco")
    exchange.take(own, folder)
    steps.label(own.run, 1)
    message = refused(folder, replace=True)
    assert "step 5 is complete, its labels are in use. `alkit branch --from-cycle`" in message


def test_an_import_is_refused_while_somebody_draws(own, exported):
    folder, drawing = exported("coco"), session.Session(own)
    before = contents(own.run.out)
    with pytest.raises(session.Held, match=rf"process {os.getpid()}, drawing labels, since"):
        exchange.take(own, folder)
    assert contents(own.run.out) == before
    drawing.close()
    exchange.take(own, folder)


def test_nothing_stays_open(own, exported, refused, packed, tmp_path):
    (tmp_path / "right.zip").write_bytes(packed["coco"])
    (tmp_path / "wrong.zip").write_bytes(packed["coco"][:-60] + bytes(60))
    (tmp_path / "damaged.zip").write_bytes(packed["coco"].replace(b"PK\x01\x02", b"PK\x01\x03"))
    open_before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        exchange.take(own, tmp_path / "right.zip", replace=True)
        refused(tmp_path / "right.zip")
        for name in ("wrong.zip", "damaged.zip"):
            refused(tmp_path / name)
    assert len(os.listdir("/proc/self/fd")) == open_before
