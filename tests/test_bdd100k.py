"""BDD100K labels in all their formats: what is read, what is refused, what memory it takes."""

import json
import os
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from alkit.data import filters
from alkit.data.readers import bdd100k

LANE = {
    "category": "lane",
    "attributes": {"laneStyle": "solid", "laneType": "crosswalk"},
    "manualShape": True,
    "poly2d": [{"vertices": [[503.6, 373.1], [357.7, 372.6]], "types": "LL", "closed": False}],
    "id": 8,
}


def label(category, x1, y1, x2, y2, **attributes):
    return {
        "category": category,
        "attributes": {"occluded": False, "truncated": False} | attributes,
        "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2},
        "id": 1,
    }


def labels_2018():
    """As bdd100k_labels_images_train.json of 2018."""
    frame = {"attributes": {"weather": "clear", "timeofday": "night"}, "timestamp": 10000}
    return [
        frame
        | {
            "name": "b.jpg",
            "labels": [
                label("person", 10.5, 20.25, 40.5, 100.25, occluded=True),
                LANE,
                label("traffic light", 1156.978645, 136.5, 1191.5, 210.75, trafficLightColor="red"),
                label("rider", 0, 0, 0, 720),  # the released file has boxes without a width
            ],
        },
        frame | {"name": "a.jpg", "labels": []},
        frame | {"name": "c.jpg", "labels": [LANE, label("person", 600, 300, 640, 400)]},
    ]


def labels_2020():
    """As det_20/det_train.json."""
    frame = {"attributes": {"weather": "clear"}, "timestamp": 10000, "videoName": "a"}
    return [
        frame
        | {
            "name": "b.jpg",
            "labels": [
                label("pedestrian", 10.5, 20.25, 40.5, 100.25, crowd=False),
                label("pedestrian", 1, 2, 31, 82, crowd=True),
                label("other person", 600, 300, 640, 400, crowd=False),
                label("pedestrian", 5, 5, 35, 85, ignored=True),
                LANE | {"box2d": None},
            ],
        },
        frame | {"name": "a.jpg", "labels": None},
        frame | {"name": "c.jpg"},
    ]


def read(folder, frames, **args):
    (folder / "labels.json").write_text(json.dumps(frames))
    return bdd100k.read(folder, annotations="labels.json", images="images/100k/train", **args)


def write_image(folder, name, size=(720, 1280), gray=90):
    file = folder / "images/100k/train" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((*size, 3), gray, np.uint8))
    return file


# ---- what is read --------------------------------------------------------------------------------


def check_2018(frames):
    assert frames.image_size == (720, 1280)
    assert frames.sequence is None
    first, empty, last = frames.boxes
    assert first.label.tolist() == ["person", "traffic light", "rider"]
    assert first.ltwh[0].tolist() == [10.5, 20.25, 30, 80]  # the second corner is an edge
    assert first.ltwh[1].tolist() == pytest.approx([1156.978645, 136.5, 34.521355, 74.25])
    assert first.ltwh[2].tolist() == [0, 0, 0, 720]
    assert first.ignore.tolist() == [False] * 3
    assert np.array_equal(first.visible, first.ltwh)
    assert first.identity.tolist() == [-1] * 3
    assert len(empty) == 0
    assert last.ltwh.tolist() == [[600, 300, 40, 100]]


def test_the_format_of_2018(tmp_path):
    frames = read(tmp_path, labels_2018())
    assert frames.name == ["b.jpg", "a.jpg", "c.jpg"]  # the order of the file
    check_2018(frames)


def test_the_format_of_2020(tmp_path):
    frames = read(tmp_path, labels_2020())
    assert frames.name == ["b.jpg", "a.jpg", "c.jpg"]
    first, second, third = frames.boxes
    assert first.label.tolist() == ["pedestrian", "pedestrian", "other person", "pedestrian"]
    assert first.ignore.tolist() == [False, True, False, True]
    assert first.ltwh.tolist()[:2] == [[10.5, 20.25, 30, 80], [1, 2, 30, 80]]
    assert (len(second), len(third)) == (0, 0)


def test_frames_as_scalabel_writes_them(tmp_path):
    check_2018(read(tmp_path, {"frames": labels_2018(), "groups": None, "config": None}))


def test_one_file_an_image_from_before_august_2018(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    for frame, name in zip(labels_2018(), ("0a", "0b", "0c"), strict=True):
        old = {"name": name, "attributes": frame["attributes"]}
        old["frames"] = [{"timestamp": 10000, "objects": frame["labels"]}]
        (folder / f"{name}.json").write_text(json.dumps(old))
    frames = bdd100k.read(tmp_path, annotations="labels", images="images")
    assert frames.name == ["0a.jpg", "0b.jpg", "0c.jpg"]
    check_2018(frames)
    texts, media = bdd100k.sources(tmp_path, annotations="labels", images="images")
    assert [file.name for file in texts] == ["0a.json", "0b.json", "0c.json"]
    assert media == []


def test_the_released_rule_takes_pedestrians_of_both_formats(tmp_path):
    """At native pixels, in whole numbers: the corners 10.5, 20.25, 40.5, 100.25 are cut."""
    rule = filters.RULES["released-bdd100k"]
    for frames in (labels_2018(), labels_2020()):
        boxes = filters.apply(rule, read(tmp_path, frames).boxes[0])
        assert boxes.ltwh[~boxes.ignore][0].tolist() == [10, 20, 30, 80]
        assert "other person" not in boxes.label


def test_the_authors_test_set_is_without_empty_images(tmp_path):
    read(tmp_path, labels_2018())
    names = {"annotations": "labels.json", "images": "images"}
    frames = bdd100k.read(tmp_path, **names, with_positives="released-bdd100k")
    assert frames.name == ["b.jpg", "c.jpg"]
    assert len(frames.boxes[0]) > 1  # with all its boxes
    with pytest.raises(ValueError, match="with_positives"):
        bdd100k.read(tmp_path, **names, with_positives="relased")


def test_missing_images_are_named_when_read(tmp_path):
    frames = read(tmp_path, labels_2018())  # there is not even a folder
    write_image(tmp_path, "c.jpg", gray=60)
    write_image(tmp_path, "b.jpg", (360, 640))
    assert frames.images(2).shape == (720, 1280, 3)
    assert abs(int(frames.images(2).mean()) - 60) <= 1
    with pytest.raises(FileNotFoundError, match=r"images/100k/train/a\.jpg"):
        frames.images(1)
    with pytest.raises(ValueError, match=r"train/b\.jpg: the image is \(360, 640\).*720"):
        frames.images(0)
    (tmp_path / "images/100k/train/notes.txt").write_text("no image")
    texts, media = bdd100k.sources(tmp_path, annotations="labels.json", images="images/100k/train")
    assert texts == [tmp_path / "labels.json"]
    assert [file.name for file in media] == ["b.jpg", "c.jpg"]


def test_a_polygon_beside_a_box_hides_nothing(tmp_path):
    frames = labels_2018()
    frames[0]["labels"][0]["poly2d"] = LANE["poly2d"]
    check_2018(read(tmp_path, frames))


def test_a_truncated_file_never_passes(tmp_path):
    text = json.dumps(labels_2018())
    for end in [*range(0, len(text) - 40, 50), *range(len(text) - 40, len(text))]:
        (tmp_path / "labels.json").write_text(text[:end])
        with pytest.raises(ValueError, match=r"labels\.json: not JSON, or truncated"):
            bdd100k.read(tmp_path, annotations="labels.json", images=".")


def test_memory_is_without_the_lanes(tmp_path):
    """5 MB of text, nearly all of it lanes, which would be 30 MB of numbers."""
    lane = LANE | {"poly2d": [{"vertices": [[i + 0.25, i + 0.5] for i in range(300)]}]}
    frames = [
        {"name": f"{i}.jpg", "labels": [lane, label("person", i, 0, i + 40, 100), lane]}
        for i in range(500)
    ]
    (tmp_path / "labels.json").write_text(json.dumps(frames))
    size = (tmp_path / "labels.json").stat().st_size
    assert size > 4e6
    del frames
    tracemalloc.start()
    found = bdd100k.read(tmp_path, annotations="labels.json", images=".")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * size
    assert [boxes.ltwh[0, 0] for boxes in found.boxes] == list(range(500))


# ---- hostile files -------------------------------------------------------------------------------


def change(**fields):
    """A change of the first label of the first frame; None takes a field away."""

    def apply(frames):
        record = frames[0]["labels"][0]
        for key, value in fields.items():
            record[key] = value
            if value is None:
                del record[key]

    return apply


def corner(**values):
    return lambda frames: frames[0]["labels"][0]["box2d"].update(values)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: f[2].pop("name"), "frame 2: name: Field required"),
        (lambda f: f[2].update(name="a.jpg"), "the name 'a.jpg' comes twice"),
        (lambda f: f[2].update(name="../../etc/a.jpg"), "frame 2: name: it leads out"),
        (lambda f: f[2].update(name="..\\a.jpg"), "frame 2: name: it leads out"),
        (lambda f: f[2].update(name="/etc/a.jpg"), "frame 2: name: it leads out"),
        (lambda f: f.append("d.jpg"), "frame 3: .*'d.jpg'"),
        (lambda f: f[2].update(labels="none"), "frame 2: labels: .*'none'"),
        (lambda f: f[2]["labels"].append(5), r"frame 2: labels.2: .*5"),
        (change(category=None), "frame 0, labels.0: expected a category"),
        (change(category="p" * 10**6), "frame 0: labels.0.category: .*at most 100"),
        (change(attributes=[1]), r"frame 0: labels.0.attributes: .*\[1\]"),
        (change(attributes={"crowd": "no way"}), "frame 0: labels.0.attributes.crowd: .*'no way'"),
        (change(box2d={"x1": 1, "y1": 2, "x2": 3}), "frame 0: labels.0.box2d.y2: Field required"),
        (corner(x1="10"), "frame 0: labels.0.box2d.x1: .*'10'"),
        (corner(y2=float("nan")), "frame 0: labels.0.box2d.y2: .*nan"),
        (corner(y2=10**400), "frame 0: labels.0.box2d.y2: .*"),
        (corner(y2=4_000_000_000), "frame 0: labels.0.box2d.y2: .*less than or equal to 65536"),
        (corner(x2=10.25), "frame 0, labels.0: expected .*x1 ≤ x2"),
        (corner(y2=-3), "frame 0, labels.0: expected .*y1 ≤ y2"),
    ],
)
def test_a_damaged_record_is_named(tmp_path, damage, said):
    frames = labels_2018()
    damage(frames)
    with pytest.raises(ValueError, match=r"labels\.json: " + said) as caught:
        read(tmp_path, frames)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[]", "expected frames, there are none"),
        ("{}", "list of frames: "),
        ('{"frames": 5}', "list of frames: .*5"),
        ('{"name": "a", "frames": []}', "frames: 0: Field required"),
        ('{"name": "a", "frames": [{"objects": []}, {"objects": []}]}', "frames: .*at most 1"),
        ('{"name": "a", "frames": [{}]}', "frames: 0.objects: Field required"),
        ('[{"name": "a"} {"name": "b"}]', "not JSON"),
        ('[{"name": "a"}] [', "not JSON"),
        ("[" * 200_000, "not JSON"),
        ('[{"name": ' + "9" * 5000 + "}]", "not JSON"),
    ],
)
def test_a_wrong_text_is_refused(tmp_path, text, said):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(ValueError, match=r"labels\.json: .*" + said):
        bdd100k.read(tmp_path, annotations="labels.json", images=".")


def test_not_text_at_all(tmp_path):
    (tmp_path / "labels.json").write_bytes(b"[\xff\xd8\xff\xe0" * 99)
    with pytest.raises(ValueError, match=r"labels\.json: not JSON"):
        bdd100k.read(tmp_path, annotations="labels.json", images=".")
    with pytest.raises(FileNotFoundError, match=r"other\.json: expected a file"):
        bdd100k.read(tmp_path, annotations="other.json", images=".")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: .* a folder with files \*\.json"):
        bdd100k.read(tmp_path, annotations="empty", images=".")


# ---- the real records ----------------------------------------------------------------------------


@pytest.mark.skipif("ALKIT_DATA" not in os.environ, reason="set ALKIT_DATA for the real records")
@pytest.mark.parametrize(("split", "name"), [("train", "1001.jpg"), ("val", "1002.jpg")])
def test_the_real_records_against_a_plain_loop(split, name):
    root = Path(__file__).resolve().parent.parent / os.environ["ALKIT_DATA"] / "bdd100k"
    annotations = f"bdd100k_labels_images_{split}.json"
    frames = bdd100k.read(root, annotations=annotations, images=f"images/100k/{split}")
    assert frames.name == [name]
    (record,) = json.loads((root / annotations).read_text())
    wanted = [found for found in record["labels"] if "box2d" in found]
    assert len(wanted) > 5
    boxes = frames.boxes[0]
    assert boxes.label.tolist() == [found["category"] for found in wanted]
    for ltwh, found in zip(boxes.ltwh.tolist(), wanted, strict=True):
        x1, y1, x2, y2 = (found["box2d"][key] for key in ("x1", "y1", "x2", "y2"))
        assert ltwh == [x1, y1, x2 - x1, y2 - y1]


def test_boxes_given_as_shares_of_the_sides_are_refused(tmp_path):
    shares = label("person", 0.1, 0.2, 0.3, 0.9)
    with pytest.raises(ValueError, match=r"labels\.json: .*b\.jpg: .*in pixels\?"):
        read(tmp_path, [{"name": "a.jpg"}, {"name": "b.jpg", "labels": [shares]}])
    with pytest.raises(ValueError, match=r"labels\.json: .*c\.jpg: .*in pixels\?"):
        read(tmp_path, [*labels_2018()[:2], {"name": "c.jpg", "labels": [LANE, shares]}])
    assert len(read(tmp_path, [{"name": "a.jpg", "labels": [label("rider", 0, 0, 0, 0)]}])) == 1
