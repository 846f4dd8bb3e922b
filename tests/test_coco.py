"""COCO json: what is read, and what is refused, with the record named."""

import contextlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from alkit.data.imagefile import read_image
from alkit.data.readers import coco


def noise(height, width, seed=0):
    """A picture with detail everywhere, so that no part of its file is empty."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def small_data():
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "sub/b.jpg", "width": 20, "height": 24},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 5, "bbox": [1.5, 2, 3, 4]},
            {"id": 2, "image_id": 7, "category_id": 9, "bbox": [-2, 0, 50, 9], "iscrowd": 1},
            {"id": 9, "image_id": 3, "category_id": 9, "bbox": [0, 0, 0, 2], "ignore": 1},
            {"id": 4, "image_id": 3, "category_id": 5, "bbox": [5, 6, 7, 8], "iscrowd": 0},
        ],
        "categories": [{"id": 5, "name": "person"}, {"id": 9, "name": "car"}],
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    cv2.imwrite(str(tmp_path / "a.png"), noise(30, 40))
    cv2.imwrite(str(tmp_path / "sub" / "b.jpg"), noise(24, 20))
    return tmp_path


def read(folder, data=None, **args):
    (folder / "labels.json").write_text(json.dumps(small_data() if data is None else data))
    return coco.read(folder, annotations="labels.json", **args)


def video_data(folder, frames=(("v", 60), ("u", 30), ("v", 30), ("v", 45))):
    cv2.imwrite(str(folder / "x0.png"), noise(8, 8))
    for i in range(1, len(frames)):
        cv2.imwrite(str(folder / f"x{i}.png"), noise(8, 8, i))
    images = [
        {"id": i, "file_name": f"x{i}.png", "width": 8, "height": 8, "sequence": s, "frame": f}
        for i, (s, f) in enumerate(frames)
    ]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [i, 0, 1, 1]} for i in range(len(frames))
    ]
    return {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "pedestrian"}],
    }


def test_images_and_boxes_as_in_the_file(folder):
    frames = read(folder)
    assert frames.name == ["a.png", "sub/b.jpg"]
    assert frames.image_size is None
    assert frames.sequence is None
    assert frames.frame is None
    assert np.array_equal(frames.images(0), noise(30, 40)[:, :, ::-1])  # OpenCV wrote it as BGR
    crowd, second = frames.boxes
    assert crowd.ltwh.tolist() == [[-2, 0, 50, 9]]  # over the border, kept as it is
    assert crowd.ignore.tolist() == [True]
    assert second.ltwh.tolist() == [[1.5, 2, 3, 4], [0, 0, 0, 2], [5, 6, 7, 8]]
    assert second.label.tolist() == ["person", "car", "person"]
    assert second.ignore.tolist() == [False, True, False]


def test_images_alone_are_unlabeled(folder):
    assert read(folder, {"images": small_data()["images"]}).boxes is None


def test_an_image_without_annotations_has_no_boxes(folder):
    data = small_data()
    data["annotations"] = data["annotations"][:1]
    frames = read(folder, data)
    assert [len(boxes) for boxes in frames.boxes] == [0, 1]
    data["annotations"] = []
    assert [len(boxes) for boxes in read(folder, data).boxes] == [0, 0]


def test_boxes_keep_the_order_of_the_file_within_an_image(folder):
    data = small_data()
    data["annotations"] = [
        {"id": i, "image_id": 3 if i % 3 else 7, "category_id": 5, "bbox": [i, 0, 1, 1]}
        for i in range(999)
    ]
    first, second = read(folder, data).boxes
    assert first.ltwh[:, 0].tolist() == [i for i in range(999) if i % 3 == 0]
    assert second.ltwh[:, 0].tolist() == [i for i in range(999) if i % 3]


def test_video_frames_are_in_order_of_time(folder):
    frames = read(folder, video_data(folder), step=30)
    assert frames.sequence.tolist() == ["v", "v", "v", "u"]
    assert frames.frame.tolist() == [1, 1.5, 2, 1]
    assert frames.name == ["x2.png", "x3.png", "x0.png", "x1.png"]
    assert [int(boxes.ltwh[0, 0]) for boxes in frames.boxes] == [2, 3, 0, 1]
    assert frames.image_size == (8, 8)
    for i, number in enumerate([2, 3, 0, 1]):
        assert np.array_equal(frames.images(i), noise(8, 8, number)[:, :, ::-1])


def test_sequences_and_frames_take_a_part(folder):
    data = video_data(folder)
    assert read(folder, data, sequences=["u"]).name == ["x1.png"]
    assert read(folder, data, sequences=["v"], frames=[1, 2]).name == ["x3.png", "x0.png"]
    with pytest.raises(ValueError, match=r"expected sequences of \['u', 'v'\], got \['w'\]"):
        read(folder, data, sequences=["w"])
    for wrong in ([0, 3], [2, 1], [-1, 0], [0], [0, 1.5]):
        with pytest.raises(ValueError, match="frames"):
            read(folder, data, sequences=["v"], frames=wrong)
    with pytest.raises(ValueError, match="step"):
        read(folder, data, step=0)


def test_a_folder_of_images_elsewhere(folder):
    (folder / "labels").mkdir()
    (folder / "labels" / "l.json").write_text(json.dumps(small_data()))
    frames = coco.read(folder, annotations="labels/l.json", images=".")
    assert frames.images(1).shape == (24, 20, 3)
    with pytest.raises(FileNotFoundError, match=r"2 of 2 files are missing.*nowhere.*a\.png"):
        coco.read(folder, annotations="labels/l.json", images="nowhere")


def change(where, key, value):
    """A change of one record; DELETE takes the key away."""

    def apply(data):
        record = data[where[0]][where[1]] if isinstance(where, tuple) else data
        if value is DELETE:
            del record[key]
        else:
            record[key] = value

    return apply


DELETE = object()
IMAGE, SECOND, BOX, CLASS = ("images", 0), ("images", 1), ("annotations", 3), ("categories", 1)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change(None, "images", DELETE), "images: Field required"),
        (change(None, "annotations", {}), "annotations: "),
        (change(None, "images", []), "images: .*at least 1 item"),
        (change(None, "images", ["a.png"]), "images.0: .*'a.png'"),
        (change(IMAGE, "id", DELETE), "images.0.id: Field required"),
        (change(IMAGE, "id", 3), "the id in images 3 comes twice"),
        (change(IMAGE, "id", 1.5), "images.0.id.int: .*1.5"),
        (change(IMAGE, "id", "3"), "the id in images 3 comes twice"),
        (change(IMAGE, "width", 40.5), r"images.0.width: .*\(got 40.5\)"),
        (change(IMAGE, "height", 0), r"images.0.height: .*\(got 0\)"),
        (change(IMAGE, "file_name", "sub/b.jpg"), "the file name 'sub/b.jpg' comes twice"),
        (change(IMAGE, "file_name", "../../etc/a.png"), "images.0.file_name: it leads out"),
        (change(IMAGE, "file_name", "sub\\..\\..\\a.png"), "images.0.file_name: it leads out"),
        (change(IMAGE, "file_name", "/etc/a.png"), "images.0.file_name: it leads out"),
        (change(SECOND, "sequence", "v"), "image [37] has no sequence or no frame"),
        (change(BOX, "id", 1), "the id in annotations 1 comes twice"),
        (change(BOX, "image_id", 8), "annotations.3: none of the images has the id 8"),
        (change(BOX, "category_id", 6), "annotations.3: none of the categories has the id 6"),
        (change(BOX, "bbox", DELETE), "annotations.3.bbox: Field required"),
        (change(BOX, "bbox", [1, 2, -3, 4]), r"annotations.3.bbox.2: .*\(got -3\)"),
        (change(BOX, "bbox", [1, float("nan"), 3, 4]), "annotations.3.bbox.1: .*finite"),
        (change(BOX, "bbox", [1, 2, 3]), "annotations.3.bbox.3: Field required"),
        (change(BOX, "bbox", ["1", 2, 3, 4]), r"annotations.3.bbox.0: .*number \(got '1'\)"),
        (change(BOX, "bbox", None), "annotations.3.bbox: "),
        (change(BOX, "bbox", []), "annotations.3.bbox: there is no box, and no polygon"),
        (change(BOX, "bbox", [0.1, 0.2, 0.3, 0.4]), r"annotations.3: .*in pixels\?"),
        (change(BOX, "image_id", "03"), "annotations.3: none of the images has the id '03'"),
        (change(BOX, "rotation", 30), "annotations.3.rotation: the box is rotated"),
        (
            change(BOX, "attributes", {"rotation": "90"}),
            "annotations.3.attributes.rotation: the box is rot",
        ),
        (
            change(BOX, "attributes", {"rotation": -1e-3}),
            "annotations.3.attributes.rotation: the box is r",
        ),
        (change(BOX, "iscrowd", 2), "annotations.3.iscrowd: "),
        (change(CLASS, "id", 5), "the id in categories 5 comes twice"),
        (change(CLASS, "name", DELETE), "categories.1.name: Field required"),
    ],
)
def test_a_damaged_file_names_the_record(folder, damage, said):
    data = small_data()
    damage(data)
    with pytest.raises(ValueError, match=r"labels\.json: .*" + said):
        read(folder, data)


def one_box(**changes):
    """One image with one box of a person, some of the annotation's keys changed."""
    data = small_data()
    return data | {
        "images": data["images"][:1],
        "annotations": [{"image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4]} | changes],
    }


@pytest.mark.parametrize("ids", [str, float, int])
def test_an_id_is_the_same_as_number_and_as_text(folder, ids):
    data = small_data()
    for a in data["annotations"]:
        a.update(id=ids(a["id"]), image_id=ids(a["image_id"]), category_id=ids(a["category_id"]))
    data["images"][1]["id"] = float(3)
    data["categories"][0]["id"] = "5"
    assert [boxes.label.tolist() for boxes in read(folder, data).boxes] == [
        ["car"],
        ["person", "car", "person"],
    ]


def test_an_id_with_a_leading_zero_is_its_own(folder):
    data = small_data()
    data["images"][0]["id"] = "03"
    data["annotations"][1]["image_id"] = "03"
    assert [len(boxes) for boxes in read(folder, data).boxes] == [1, 3]


def test_annotations_need_no_id_and_no_mark(folder):
    data = small_data()
    for a in data["annotations"]:
        a["id"] = a["iscrowd"] = a["ignore"] = None
    del data["annotations"][0]["id"]
    assert [boxes.ignore.tolist() for boxes in read(folder, data).boxes] == [[False], [False] * 3]


@pytest.mark.parametrize("unknown", [-1, -1.0, None, DELETE])
def test_sizes_that_a_file_does_not_say_are_those_of_the_images(folder, unknown):
    data = small_data()
    change(IMAGE, "width", unknown)(data)
    change(IMAGE, "height", unknown)(data)
    data["images"][1]["width"] = 20.0
    frames = read(folder, data)
    assert frames.images(0).shape == (30, 40, 3)
    assert frames.images(1).shape == (24, 20, 3)
    change(IMAGE, "width", 41)(data)
    with pytest.raises(ValueError, match=r"a\.png: the image is \(30, 40\)"):
        read(folder, data).images(0)
    (folder / "a.png").write_text("no image")
    with pytest.raises(ValueError, match=r"a\.png: the image cannot be read"):
        read(folder, data)


@pytest.mark.parametrize("empty", [[], None, [0, 0, 0, 0], DELETE])
@pytest.mark.parametrize(
    "polygons",
    [
        [[3, 4, 9, 4.5, 5, 12]],
        [[3, 6, 5, 6, 5, 12], [9, 4, 9, 5, 8, 5]],
        [3, 4, 9, 4.5, 5, 12],
    ],
)
def test_a_polygon_without_a_box_has_the_box_around_it(folder, empty, polygons):
    data = one_box(segmentation=polygons)
    change(("annotations", 0), "bbox", empty)(data)
    assert read(folder, data).boxes[0].ltwh.tolist() == [[3, 4, 6, 8]]


@pytest.mark.parametrize(
    "outline",
    [
        [],
        {"size": [30, 40], "counts": [1, 2, 3]},
        {"size": [30, 40], "counts": "ab"},
        [[1, 2, 3]],
        [[1, 2]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [["x", "y"] * 3],
    ],
)
def test_without_a_box_and_without_a_polygon_the_record_is_named(folder, outline):
    with pytest.raises(ValueError, match=r"annotations\.0\.bbox"):
        read(folder, one_box(segmentation=outline, bbox=[]))


@pytest.mark.parametrize("angle", [0, 0.0, -0.0, 360, 360.0, "0", "360.0", None, False])
def test_a_box_turned_by_nothing_is_upright(folder, angle):
    whole = one_box(attributes={"rotation": angle, "occluded": True}, rotation=angle)
    assert len(read(folder, whole).boxes[0]) == 1
    for others in (["a", 3], "front", {}, None, {"rotations": 90}):
        assert len(read(folder, one_box(attributes=others)).boxes[0]) == 1


@pytest.mark.parametrize(
    "boxes",
    [
        [[0.1, 0.2, 0.3, 0.4]],
        [[0, 0, 1, 1]],
        [[0.5, 0.5, 0.9, 0.2], [0, 0, 0, 0]],  # a center, it seems
        [[-0.01, 0.5, 0.2, 0.2], [0.5, 0.5, 0.5, 0.5]],
    ],
)
def test_boxes_given_as_shares_of_the_sides_are_refused(folder, boxes):
    data = one_box()
    data["annotations"] = [data["annotations"][0] | {"bbox": box} for box in boxes]
    with pytest.raises(ValueError, match=r"labels\.json: .*in pixels\?"):
        read(folder, data)


@pytest.mark.parametrize("boxes", [[], [[0, 0, 0, 0]], [[0, 0, 0.5, 9]], [[3, 3, 0.5, 0.5]]])
def test_small_boxes_and_none_are_no_shares(folder, boxes):
    data = one_box()
    data["annotations"] = [data["annotations"][0] | {"bbox": box} for box in boxes]
    assert read(folder, data).boxes[0].ltwh.tolist() == boxes


def test_files_of_labels_are_read_alike():
    """As `alkit labels import` does."""
    data = one_box(image_id="7", bbox=None, segmentation=[[3, 4, 9, 4, 5, 12]])
    data["images"][0].update(width=-1, height=None)
    found = coco.load(json.dumps(data).encode(), "labels.json", coco.Coco)
    (image,), (box,) = found.images, found.annotations
    assert (image.id, image.width, image.height) == (box.image_id, None, None)
    assert box.bbox == (3, 4, 6, 8)
    for wrong in ({"rotation": 30}, {"attributes": {"rotation": 30}}, {"bbox": [0, 0, 0.5, 0.5]}):
        with pytest.raises(ValueError, match=r"labels\.json: annotations\.0"):
            coco.load(json.dumps(one_box(**wrong)).encode(), "labels.json", coco.Coco)


def test_frames_of_a_sequence(folder):
    with pytest.raises(ValueError, match=r"the frame \('v', 30.0\) comes twice"):
        read(folder, video_data(folder, (("v", 30), ("u", 30), ("v", 30))))
    with pytest.raises(ValueError, match="image 1 has no sequence or no frame number"):
        read(folder, video_data(folder, (("v", 30), ("u", None), ("v", 31))))


def test_not_json(folder):
    (folder / "labels.json").write_text(json.dumps(small_data())[:-30])
    with pytest.raises(ValueError, match=r"labels\.json: not JSON, or truncated"):
        coco.read(folder, annotations="labels.json")
    with pytest.raises(FileNotFoundError, match=r"other\.json"):
        coco.read(folder, annotations="other.json")


def test_a_missing_image_is_named_on_opening(folder):
    (folder / "sub" / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files are missing.*b\.jpg"):
        read(folder)


def test_an_image_of_another_size_than_its_record(folder):
    data = small_data()
    data["images"][0]["width"] = 41
    frames = read(folder, data)
    with pytest.raises(ValueError, match=r"a\.png: the image is \(30, 40\).*says \(30, 41\)"):
        frames.images(0)
    assert frames.images(1).shape == (24, 20, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_image_never_passes(tmp_path, suffix):
    """Wherever the file ends: an error that names it, or (when only padding is gone) the same
    pixels. OpenCV would return gray for the missing part of a JPEG."""
    file = tmp_path / f"whole{suffix}"
    cv2.imwrite(str(file), noise(60, 80))
    whole, data = read_image(file), file.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    refused = 0
    for end in [0, 1, 10, 100, *range(200, len(data) - 40, len(data) // 40), len(data) - 40]:
        cut.write_bytes(data[:end])
        with pytest.raises(ValueError, match="cut"):
            read_image(cut)
        refused += 1
    assert refused > 40
    for end in range(len(data) - 40, len(data)):
        cut.write_bytes(data[:end])
        with contextlib.suppress(ValueError):
            assert np.array_equal(read_image(cut), whole)


def test_image_modes(tmp_path):
    gray = noise(5, 6)[:, :, 0]
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    assert np.array_equal(read_image(tmp_path / "gray.png"), np.repeat(gray[:, :, None], 3, 2))
    cv2.imwrite(str(tmp_path / "deep.png"), gray.astype(np.uint16) * 256)
    with pytest.raises(ValueError, match=r"deep\.png.*8 bits"):
        read_image(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.png: the image cannot be read whole"):
        read_image(tmp_path / "text.png")


def test_sources_are_the_json_and_its_images(folder):
    (folder / "stray.png").write_bytes(b"")
    read(folder)
    texts, media = coco.sources(folder, annotations="labels.json")
    assert texts == [folder / "labels.json"]
    assert media == [folder / "a.png", folder / "sub" / "b.jpg"]


@pytest.mark.skipif("ALKIT_DATA" not in os.environ, reason="set ALKIT_DATA for the CamVid sample")
def test_camvid_against_a_plain_loop():
    root = Path(__file__).resolve().parent.parent / os.environ["ALKIT_DATA"] / "camvid"
    frames = coco.read(root, annotations="all.json", step=30)
    data = json.loads((root / "all.json").read_text())
    name_of = {image["id"]: image["file_name"] for image in data["images"]}
    assert sorted(frames.name) == sorted(name_of.values())
    for sequence in ("0001TP", "0006R0", "0016E5"):
        assert (np.diff(frames.frame[frames.sequence == sequence]) > 0).all()
    for i in range(0, len(frames), 31):
        wanted = [
            a["bbox"] for a in data["annotations"] if name_of[a["image_id"]] == frames.name[i]
        ]
        assert frames.boxes[i].ltwh.tolist() == wanted
        assert frames.images(i).shape == (360, 480, 3)
