"""Plain folders of pictures and of videos, notes of orientation, images of 16 bits, lengths of
videos, and what is remembered of files."""

import json
import os
import struct
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from alkit import catalog
from alkit.catalog import CatalogError, Entry
from alkit.data.imagefile import read_image
from alkit.data.readers import folder, mot
from alkit.data.remembered import remembered
from alkit.data.video import Video
from alkit.loop import answers, experiment, runs
from alkit.loop.settings import checked
from alkit.pages.explorer.cycle import Cycle
from alkit.studies import survey

N = 12
EDGES = np.zeros((40, 60, 3), np.uint8)  # each quarter another gray
EDGES[:20, :30], EDGES[:20, 30:], EDGES[20:, :30], EDGES[20:, 30:] = 40, 90, 140, 190


def save(path, image=EDGES, note=None):
    """An image with a note of its orientation (EXIF 274)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if note is not None:
        exif[274] = note
    Image.fromarray(image).save(path, exif=exif)


def quarters(image):
    """The grays of the four quarters, row by row."""
    h, w = image.shape[:2]
    own = [image[y, x].mean() for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]
    return [int(min((40, 90, 140, 190), key=lambda gray: abs(gray - v))) for v in own]


def video(path, n=N, code="MJPG"):
    """A video whose frame k, from 0, is flat and of gray 20 (k + 1)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 7, (60, 40))
    assert writer.isOpened()
    for k in range(n):
        writer.write(np.full((40, 60, 3), 20 * (k + 1), np.uint8))
    writer.release()


def grays(frames):
    return [round(float(frames.images(i).mean()) / 20) for i in range(len(frames))]


def entry(path, **fields):
    return Entry(**{"name": "own", "reader": "folder", "root": str(path)} | fields)


def notes(found):
    return [line.found for line in found if line.expected is None and line.what == "warning"]


# --- pictures


def test_pictures_have_their_own_names_through_all_folders(tmp_path):
    root = tmp_path / "pics"
    for name in ("img10.png", "img2.png", "gate north/b.JPG", "gate north/a.jpg", "zoë/東京.webp"):
        save(root / name)
    for name in ("._img2.png", "__MACOSX/img2.png", ".thumbs/img2.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"what a Mac adds")
    (root / "notes.txt").write_text("no picture")
    (root / "phone.HEIC").write_bytes(b"a picture that no library here decodes")
    with pytest.warns(UserWarning, match=r"1 files like phone\.HEIC are passed over"):
        frames = entry(root).open()
    assert frames.name == [
        *("img2.png", "img10.png", "gate north/a.jpg", "gate north/b.JPG", "zoë/東京.webp")
    ]
    assert frames.sequence is None
    assert frames.image_size == (40, 60)
    assert frames.images(4).shape == (40, 60, 3)
    as_video = entry(root, kind="video", step=2).open()
    assert as_video.name == ["img2.png", "gate north/a.jpg", "zoë/東京.webp"]
    assert as_video.sequence.tolist() == ["pics", "gate north", "zoë"]
    assert as_video.frame.tolist() == [0.5, 0.5, 0.5]


def test_pictures_of_several_sizes_are_resized_one_by_one(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", EDGES[:20])
    frames = entry(tmp_path).open((20, 30))
    assert frames.image_size == (20, 30)
    assert [frames.images(i).shape for i in range(2)] == [(20, 30, 3)] * 2
    assert entry(tmp_path).open().image_size is None


def test_links_are_followed_once(tmp_path):
    save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "pics")
    assert entry(tmp_path / "pics").open().name == ["linked/a.png"]


def test_a_folder_is_a_data_set_by_its_path(tmp_path, monkeypatch):
    save(tmp_path / "data" / "pics" / "a.png")
    known = catalog.load()
    assert known[str(tmp_path / "data" / "pics")].open().name == ["a.png"]
    monkeypatch.setenv("ALKIT_DATA", str(tmp_path / "data"))
    assert known["pics"].open().name == ["a.png"]
    assert catalog.open_frames(tmp_path / "data" / "pics", (20, 30)).image_size == (20, 30)
    with pytest.raises(CatalogError, match=r"no data set 'pic' .*nothing of this path"):
        known["pic"]
    with pytest.raises(CatalogError, match="no data set ''"):  # not all that lies there
        known[""]


@pytest.mark.parametrize(
    ("files", "error", "said"),
    [
        ((), FileNotFoundError, "0 pictures .* and 0 videos"),
        (("a.png", "b.avi"), ValueError, "1 pictures .* and 1 videos"),
    ],
)
def test_neither_or_both_is_refused(tmp_path, files, error, said):
    for name in files:
        (video if name.endswith("avi") else save)(tmp_path / name)
    with pytest.raises(error, match=said):
        folder.read(tmp_path)


@pytest.mark.parametrize("name", ["seqinfo.ini", "A/seqinfo.ini", "gt/gt.txt"])
def test_labels_of_mot_are_not_passed_over(tmp_path, name):
    save(tmp_path / "A" / "img1" / "000001.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("of somebody who labeled it")
    with pytest.raises(ValueError, match=rf"{name}"):
        entry(tmp_path, reader="folder").open()


def test_a_damaged_picture_is_named_on_opening(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"b\.png: the image cannot be read"):
        folder.read(tmp_path)


# --- videos


def test_each_video_of_a_folder_is_a_sequence(tmp_path):
    video(tmp_path / "clips" / "b" / "north.avi", 4)
    video(tmp_path / "clips" / "a.avi", 5)
    frames = entry(tmp_path / "clips").open()
    assert frames.sequence.tolist() == ["a"] * 5 + ["b/north"] * 4
    assert frames.name[3:6] == ["a/000004", "a/000005", "b/north/000001"]
    assert grays(frames) == [1, 2, 3, 4, 5, 1, 2, 3, 4]
    part = folder.read(tmp_path / "clips", frames=[2, 4], step=2)
    assert part.name == ["a/000002", "a/000004", "b/north/000002", "b/north/000004"]
    assert part.frame.tolist() == [1, 2, 1, 2]
    with pytest.raises(ValueError, match=r"1 to 4, .* got \[1, 5\]"):
        folder.read(tmp_path / "clips", frames=[1, 5])


def stated(path, n):
    """The same AVI with another number of frames in its headers."""
    data = bytearray(path.read_bytes())
    for chunk, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        struct.pack_into("<I", data, data.index(chunk) + offset, n)
    path.write_bytes(data)


@pytest.mark.parametrize("n", [N - 4, N + 9])
def test_frames_are_counted_whatever_the_container_states(tmp_path, n):
    path = tmp_path / "v.avi"
    video(path)
    stated(path, n)
    said = rf"v\.avi: the container says {n} frames, 12 can be decoded"
    with pytest.warns(UserWarning, match=said):
        frames = mot.read(path, frames=[1, N])
    assert grays(frames) == [*range(1, N + 1)]
    (line,) = notes(survey.check(entry(path, expect={"images": N}), progress=False))
    assert f"container says {n}" in line


def test_a_video_that_is_cut_is_read_to_its_end(tmp_path):
    path = tmp_path / "v.avi"
    video(path)
    path.write_bytes(b"00dc".join(path.read_bytes().split(b"00dc")[:9]))
    with pytest.warns(UserWarning, match="container says 12 frames, [78] can be decoded"):
        frames = folder.read(path)
    assert grays(frames) == [1, 2, 3, 4, 5, 6, 7, 8][: len(frames)]


# --- notes of orientation

TURNED = {
    3: [190, 140, 90, 40],
    6: [140, 40, 190, 90],
    8: [90, 190, 40, 140],
    2: [90, 40, 190, 140],
}


@pytest.mark.parametrize("note", [*TURNED])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_folder_without_boxes_is_read_upright(tmp_path, note, suffix):
    save(tmp_path / f"a.{suffix}", note=note)
    frames = entry(tmp_path).open()
    assert quarters(frames.images(0)) == TURNED[note]
    assert frames.image_size == ((60, 40) if note in (6, 8) else (40, 60))
    if suffix == "tif":  # which Pillow turns as it decodes
        with pytest.raises(ValueError, match=r"EXIF orientation is \d; expected .*upright"):
            read_image(tmp_path / "a.tif", orientation="stored")
    else:
        frames = entry(tmp_path, orientation="stored").open()
        assert quarters(frames.images(0)) == [40, 90, 140, 190]


def labeled(root, size):
    """A COCO json of a.jpg and b.jpg of a size (height, width)."""
    height, width = size
    images = [
        {"id": k, "file_name": f"{name}.jpg", "height": height, "width": width}
        for k, name in enumerate("ab")
    ]
    boxes = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [5, 5, 8, 20]}]
    people = [{"id": 1, "name": "pedestrian"}]
    text = json.dumps({"images": images, "annotations": boxes, "categories": people})
    (root / "labels.json").write_text(text)
    return {"reader": "coco", "args": {"annotations": "labels.json"}, "kind": "stills"}


def test_boxes_count_stored_pixels_unless_the_entry_says_upright(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.jpg", note=3)
    own = labeled(tmp_path, (40, 60))
    (line,) = notes(survey.check(entry(tmp_path, **own), progress=False))
    assert "a.jpg: its EXIF orientation is 3" in line
    for orientation, found in (("stored", [40, 90, 140, 190]), ("upright", TURNED[3])):
        given = entry(tmp_path, orientation=orientation, **own)
        assert quarters(given.open().images(0)) == found
        assert not notes(survey.check(given, progress=False))
    with pytest.raises(CatalogError, match="reader street knows no orientation"):
        Entry(name="s", reader="street", orientation="upright", args={"frames": 2}).open()


def test_sizes_that_are_swapped_name_the_note(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.jpg", note=6)
    own = labeled(tmp_path, (60, 40))
    with pytest.raises(ValueError, match=r"a\.jpg: the image is \(40, 60\).*EXIF orientation is 6"):
        entry(tmp_path, **own).open().images(0)
    assert entry(tmp_path, orientation="upright", **own).open().images(0).shape == (60, 40, 3)


def rotated(path, degrees=90):
    """The same MP4 with a note that the picture is to be turned."""
    data = bytearray(path.read_bytes())
    a, b = {90: (0, 1), 180: (-1, 0)}[degrees]
    matrix = (a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 4 + 40, *matrix)
    path.write_bytes(data)


def test_one_rule_for_videos_too(tmp_path):
    path = tmp_path / "v.mp4"
    video(path, code="mp4v")
    rotated(path)
    assert folder.read(path).images(0).shape == folder.read(path).image_size + (3,) == (60, 40, 3)
    assert folder.read(path, orientation="stored").images(0).shape == (40, 60, 3)
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "gt.txt").write_text("1,1,1,1,10,20,1,1,1\n")
    info = f"name=V\nvideo=v.mp4\nseqLength={N}\nimWidth=60\nimHeight=40"
    (tmp_path / "seqinfo.ini").write_text(f"[Sequence]\n{info}\n")
    with pytest.warns(UserWarning, match=r"v\.mp4: a note says to turn the picture by 90°"):
        assert mot.read(tmp_path).images(0).shape == (40, 60, 3)


# --- images of more than 8 bits


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_refused(tmp_path, suffix, channels):
    deep = np.full((8, 9, channels), 300, np.uint16)
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), deep)
    with pytest.raises(ValueError, match=rf"a\.{suffix}: expected 8 bits a channel, got"):
        read_image(tmp_path / f"a.{suffix}")


def test_formats_of_unknown_depth_are_refused(tmp_path):
    assert cv2.imwrite(str(tmp_path / "a.ppm"), np.full((8, 9, 3), 300, np.uint16))
    with pytest.raises(ValueError, match=r"a\.ppm: .*one that is none of JPEG.* converted"):
        read_image(tmp_path / "a.ppm")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_images_of_eight_bits_are_read(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.fromarray(EDGES).convert(mode).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").shape == (40, 60, 3)


# --- what is remembered


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_is_asked_once_until_it_changes(tmp_path, cache):
    files, asked = [tmp_path / "data" / name for name in "ab"], []

    def length(file):
        asked.append(file.name)
        return len(file.read_text())

    (tmp_path / "data").mkdir()
    for file in files:
        file.write_text("one")
        os.utime(file, (1e9, 1e9))
    for _ in range(2):
        assert remembered("length", files, length) == [3, 3]
    assert asked == ["a", "b"]
    files[1].write_text("three")
    assert remembered("length", files, length) == [3, 5]
    assert remembered("other", files[:1], length) == [3]
    assert asked == ["a", "b", "b", "a"]
    files[1].write_text("seven")  # of the same size, and maybe in the same tick of the clock
    assert remembered("length", files, len_of := (lambda file: file.read_text())) == [3, "seven"]
    assert len_of


def test_a_damaged_or_forbidden_cache_costs_time_alone(tmp_path, cache):
    file = tmp_path / "a"
    file.write_text("one")
    os.utime(file, (1e9, 1e9))
    remembered("length", [file], lambda _: 3)
    (store,) = cache.rglob("*.json")
    for damaged in ("{", "[1]", '{"a": 3}', '{"a": [1, 2]}'):
        store.write_text(damaged)
        assert remembered("length", [file], lambda _: 4) == [4]
    store.unlink()
    store.parent.rmdir()
    store.parent.write_text("a file where the folder should be")
    assert remembered("length", [file], lambda _: 5) == [5]


def test_a_video_is_counted_once(tmp_path, cache):
    path = tmp_path / "v.avi"
    video(path)
    os.utime(path, (1e9, 1e9))
    assert len(Video(path)) == N
    (store,) = cache.rglob("*.json")
    known = json.loads(store.read_text())
    known["v.avi"][2][0] = known["v.avi"][2][1] = 7
    store.write_text(json.dumps(known))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Video(path)) == 7


# --- the same content in other bytes

SAME = {
    "labels.json": [
        '{"images": [1, 2], "annotations": [{"id": 160, "bbox": [0.5, 1]}]}',
        '{ "annotations":[{"bbox":[5e-1,1.0],"id":160.0}],\n"images":[1,2],"info":{"date":"now"}}',
    ],
    "gt.txt": ["1,2,3\n4,5,6\n", "1, 2 ,3\r\n\r\n4,5,6"],
    "seqinfo.ini": ["[Sequence]\nname=A\nseqLength=3\n", "[Sequence]\r\nseqLength = 3\r\nname = A"],
}
OTHER = {
    "labels.json": '{"images": [2, 1], "annotations": [{"id": 160, "bbox": [0.5, 1]}]}',
    "gt.txt": "4,5,6\n1,2,3\n",
    "seqinfo.ini": "[Sequence]\nname=A\nseqLength=4\n",
}


@pytest.mark.parametrize("name", [*SAME])
def test_a_file_counts_by_what_it_says(tmp_path, name):
    from alkit.data.remembered import content

    said = []
    for text in (*SAME[name], OTHER[name]):
        (tmp_path / name).write_bytes(text.encode())
        said.append(content(tmp_path / name))
    assert said[0] == said[1] != said[2]


# --- a whole cycle


def test_a_plain_folder_goes_through_a_cycle(tmp_path, toy_settings):
    """Pictures of several sizes, each under two names, named by their folder's path alone."""
    root, rng = tmp_path / "my photos", np.random.default_rng(0)
    for k, size in enumerate([(96, 128), (120, 160), (100, 90)]):
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        save(root / f"IMG_{k}.png", image)
        save(root / "again" / f"copy of {k}.png", image)
    settings = toy_settings | {"pool": str(root), "labels": "import", "cycles": 1, "budget": 4}
    settings |= {"strategies": ["divergence", "guided-random"], "held_out": None}
    del settings["data"]["street-pool"]
    out = runs.create(tmp_path / "out", checked(settings, "toy"), runs.ROOT / "data_catalog.yaml")
    with pytest.raises(answers.LabelsWanted, match="0 of 3 frames"):
        experiment.run(out, notebooks=False)
    for strategy in settings["strategies"]:
        run = runs.open_run(out / strategy / "seed_0")
        chosen = [frame["name"] for frame in run.selection(1)["chosen"]]
        assert {name[-5] for name in chosen} == {"0", "1", "2"}
        assert {*chosen} <= {*run.frames("pool").name}
        cycle = Cycle(run, 1)
        passed = [p for p in range(6) if p not in cycle.chosen]
        assert ["the same image" in cycle.reason(p) for p in passed] == [True] * 3
