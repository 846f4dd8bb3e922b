"""Caltech Pedestrian: .vbb files written here in two ways, the reader's frames and boxes."""

import contextlib
import io
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from alkit import catalog
from alkit.data import filters
from alkit.data.matfile import read_mat
from alkit.data.readers import caltech
from alkit.data.readers.caltech import read_vbb
from alkit.studies import survey

SIDE = 32  # pixels of a frame
LABELS = ["person", "people", "person?", "person-fa"]


@contextlib.contextmanager
def little_memory(limit=2**24):
    """What runs in this block must not allocate more bytes than this at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def thing(number=1, pos=(101, 51, 20, 60), occl=0, posv=(0, 0, 0, 0)):
    """One object in one frame."""
    return {"id": number, "pos": list(pos), "occl": occl, "lock": 0, "posv": list(posv)}


def annotation(frames, labels=LABELS, **other):
    """The struct A for a list of frames, each a list of things."""
    n = len(labels)
    fields = {"nFrame": len(frames), "objLists": frames, "maxObj": n, "objInit": [1] * n}
    fields |= {"objLbl": labels, "objStr": [1] * n, "objEnd": [len(frames)] * n}
    fields |= {"objHide": [0] * n, "altered": 0, "log": [733000.5], "logLen": 1}
    return fields | other


def row(value):
    return np.atleast_2d(np.array(value, float))


def cell(values):
    cells = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        cells[0, i] = value
    return cells


def save(path, fields, compressed=False):
    """Write with SciPy what `annotation` gives."""

    def objects(things):
        if not things:
            return np.zeros((0, 0))
        array = np.empty((1, len(things)), [(name, object) for name in things[0]])
        for i, one in enumerate(things):
            array[0, i] = tuple(row(value) for value in one.values())
        return array

    known = {"objLists": lambda v: cell([objects(t) for t in v]), "objLbl": cell}
    a = {
        name: known.get(name, row)(value) if isinstance(value, list | int) else value
        for name, value in fields.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        scipy.io.savemat(file, {"A": a, "vers": 1.4}, do_compression=compressed)
    return path


def element(kind, content):
    """An element of MATLAB's format; up to four bytes lie in the tag."""
    if kind != 14 and 0 < len(content) <= 4:
        return struct.pack("<I", len(content) << 16 | kind) + content.ljust(4, b"\0")
    return struct.pack("<II", kind, len(content)) + content.ljust(
        len(content) + -len(content) % 8, b"\0"
    )


def matrix(kind, shape, content, name=""):
    flags = element(6, struct.pack("<II", kind, 0))
    dims = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, flags + dims + element(1, name.encode()) + content)


def as_matlab(value, name=""):
    """A value as MATLAB itself writes it: whole numbers in a byte, texts in two bytes a letter,
    a list of dicts as a struct array, which keeps its fields when it is empty."""
    if isinstance(value, str):
        return matrix(
            4,
            (1, len(value)),
            element(4, value.encode("utf-16-le")),
            name,
        )
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list) and (value == [] or isinstance(value[0], dict)):
        names = list(value[0] if value else thing())
        text = b"".join(n.encode().ljust(32, b"\0") for n in names)
        content = element(5, struct.pack("<i", 32)) + element(1, text)
        content += b"".join(as_matlab(one[n]) for one in value for n in names)
        return matrix(2, (1, len(value)), content, name)
    if isinstance(value, list) and isinstance(value[0], str | list):
        content = b"".join(as_matlab(one) for one in value)
        return matrix(1, (1, len(value)), content, name)
    numbers = row(value)
    if (numbers == numbers.astype(np.uint8)).all():
        content = element(2, numbers.astype(np.uint8).tobytes())
    else:
        content = element(9, numbers.astype("<f8").tobytes())
    return matrix(6, numbers.shape, content, name)


def file_head():
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)


def write_matlab(path, fields):
    path.write_bytes(file_head() + as_matlab(fields, "A") + as_matlab(1.4, "vers"))
    return path


FRAMES = [
    [],
    [thing(2), thing(1, pos=(5.25, 6, 7, 8.5), occl=1, posv=(5.25, 6, 3, 4))],
    [],
    [thing(3)],
]


def check_frames(found):
    """Pixels count from 1 in the file and from 0 here."""
    assert [len(boxes) for boxes in found] == [0, 2, 0, 1]
    assert found[1].identity.tolist() == [2, 1]
    assert found[1].label.tolist() == ["people", "person"]
    assert found[1].ltwh.tolist() == [[100, 50, 20, 60], [4.25, 5, 7, 8.5]]
    assert found[1].visible.tolist() == [[100, 50, 20, 60], [4.25, 5, 3, 4]]
    assert found[3].label.tolist() == ["person?"]


@pytest.mark.parametrize("compressed", [False, True])
def test_vbb_as_scipy_writes_it(tmp_path, compressed):
    check_frames(read_vbb(save(tmp_path / "V000.vbb", annotation(FRAMES), compressed)))


def test_vbb_as_matlab_writes_it(tmp_path):
    check_frames(read_vbb(write_matlab(tmp_path / "V000.vbb", annotation(FRAMES))))


def test_a_file_that_matlab_wrote():
    """CityPersons' annotations, against SciPy's reader."""
    if "ALKIT_DATA" not in os.environ:
        pytest.skip("set ALKIT_DATA for a file that MATLAB wrote")
    folder = Path(__file__).resolve().parent.parent / os.environ["ALKIT_DATA"]
    path = folder / "citypersons" / "annotations" / "anno_train.mat"
    found = read_mat(path)["anno_train_aligned"]
    wanted = scipy.io.loadmat(path)["anno_train_aligned"].ravel(order="F")
    assert len(found) == len(wanted) == 2975
    for (one,), other in zip(found, wanted, strict=True):
        assert tuple(one) == other.dtype.names
        assert one["im_name"] == other["im_name"].item().item()
        assert np.array_equal(one["bbs"], other["bbs"].item())


def test_vbb_without_objects(tmp_path):
    found = read_vbb(save(tmp_path / "V000.vbb", annotation([[], [], []], [[]])))
    assert [len(boxes) for boxes in found] == [0, 0, 0]
    assert len(read_vbb(save(tmp_path / "V000.vbb", annotation([], [])))) == 0


@pytest.mark.parametrize("name", ["nFrame", "objLists", "objLbl"])
def test_vbb_a_missing_field_is_named(tmp_path, name):
    fields = annotation(FRAMES)
    del fields[name]
    path = save(tmp_path / "V000.vbb", fields)
    with pytest.raises(ValueError, match=rf"V000\.vbb: A: {name}: Field required"):
        read_vbb(path)


def test_vbb_without_a(tmp_path):
    path = tmp_path / "V000.vbb"
    for variables in ({"B": 1}, {"A": np.eye(3)}, {"A": "text"}):
        with open(path, "wb") as file:
            scipy.io.savemat(file, variables)
        with pytest.raises(ValueError, match=r"V000\.vbb: A: "):
            read_vbb(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nFrame": 4_000_000_000}, r"A\.nFrame is 4000000000, but A\.objLists has 4 cells"),
        ({"nFrame": "many"}, r"A: nFrame: .*'many'"),
        ({"nFrame": np.array([2.0, 2.0])}, r"A: nFrame: .*\[2\.0, 2\.0\]"),
        ({"nFrame": np.array(2.5)}, r"A: nFrame: .*2\.5"),
        ({"objLists": np.eye(4)}, r"A: objLists\.0: "),
        ({"objLbl": cell([1.0] * 4)}, r"A: objLbl\.0\.str: .*1\.0"),
    ],
)
def test_vbb_a_wrong_field_is_named(tmp_path, change, said):
    path = save(tmp_path / "V000.vbb", annotation(FRAMES, **change))
    with pytest.raises(ValueError, match=r"V000\.vbb: " + said):
        read_vbb(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pos": [1, 2, 3]}, r"1\.pos\.3: Field required"),
        ({"pos": [1, 2, 3, float("inf")]}, r"1\.pos\.3: .*inf"),
        ({"pos": [1, 2, -3, 4]}, r"1\.pos\.2: .*-3"),
        ({"posv": []}, r"1\.posv"),
        ({"occl": 2}, r"1\.occl: .*2"),
        ({"id": 1.5}, r"1\.id: .*1\.5"),
    ],
)
def test_vbb_a_wrong_object_is_named(tmp_path, change, said):
    path = save(tmp_path / "V000.vbb", annotation([[], [thing(2), thing(1) | change]]))
    with pytest.raises(ValueError, match=r"V000\.vbb: A: objLists\.1\." + said):
        read_vbb(path)


def test_vbb_an_object_twice_or_without_label(tmp_path):
    path = save(tmp_path / "V000.vbb", annotation([[thing(1), thing(1)]]))
    with pytest.raises(ValueError, match=r"V000\.vbb: the id in A\.objLists\.0 1 comes twice"):
        read_vbb(path)
    save(path, annotation([[thing(2)]], ["person", []]))
    with pytest.raises(ValueError, match=r"A\.objLists\.0: not all of the ids \[2\] have"):
        read_vbb(path)


def test_vbb_not_a_matlab_file(tmp_path):
    path = tmp_path / "V000.vbb"
    hdf5 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    for text in (b"", b"text" * 100, bytes(1000), hdf5 + bytes(512)):
        path.write_bytes(text)
        with pytest.raises(
            ValueError, match=r"V000\.vbb: not a MATLAB file that can be read: its hea"
        ):
            read_vbb(path)
    with pytest.raises(FileNotFoundError, match=r"V001\.vbb"):
        read_vbb(tmp_path / "V001.vbb")


def test_vbb_damaged_anywhere(tmp_path):
    """Random bytes at random places: boxes, or an error that names the file; never much memory."""
    path = save(tmp_path / "V000.vbb", annotation(FRAMES))
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    taken = 0
    with little_memory():
        for _ in range(200):
            text = bytearray(whole)
            for at in rng.integers(128, len(text), rng.integers(1, 4)):
                text[at] = rng.choice([0, 1, 127, 255, rng.integers(256)])
            path.write_bytes(text)
            try:
                read_vbb(path)
            except ValueError as error:
                refused += str(error).startswith(f"{path}: ")
            else:
                taken += 1
    assert refused + taken == 200
    assert refused > 50


# ---- the reader ----------------------------------------------------------------------------------


def picture(k):
    return np.full((SIDE, SIDE, 3), (3 * k) % 250, np.uint8)


def number_of(image):
    return round(float(image.mean()) / 3)


def write_seq(path, n, frames=None):
    """A .seq file of n flat pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = struct.pack("<I", 0xFEED) + "Norpix seq\0\0".encode("utf-16-le")
    text = (text + struct.pack("<iI", 3, 1024)).ljust(548, b"\0")
    stated = n if frames is None else frames
    text += struct.pack("<9I", SIDE, SIDE, 24, 8, SIDE * SIDE * 3, 201, stated, 0, 0)
    text = text.ljust(1024, b"\0")
    for k in range(n):
        memory = io.BytesIO()
        Image.fromarray(picture(k)).save(memory, "JPEG")
        image = memory.getvalue()
        text += struct.pack("<I", 4 + len(image)) + image + bytes(16)
    path.write_bytes(text)


# Frames of each video, and those of them with a pedestrian that the released rule takes.
LENGTHS = {"set01/V000": 7, "set01/V001": 5, "set02/V000": 4}
POSITIVES = {"set01/V000": [1, 2, 5, 6], "set01/V001": [0, 4], "set02/V000": [3]}


@pytest.fixture
def root(tmp_path):
    """Three small videos with annotations. Every third frame has someone who is too small."""
    root = tmp_path / "caltech"
    for name, n in LENGTHS.items():
        write_seq(root / f"{name}.seq", n)
        frames = [[thing(3, pos=(2, 3, 4, 10))] if k % 3 == 0 else [] for k in range(n)]
        for k in POSITIVES[name]:
            frames[k] = [thing(1), *frames[k]]
        save(root / "annotations" / f"{name}.vbb", annotation(frames, ["person"] * 4))
    return root


def test_all_frames(root):
    frames = caltech.read(root, sets=["set01", "set02"])
    assert len(frames) == 16
    assert frames.image_size == (SIDE, SIDE)
    assert frames.name[:2] == ["set01/V000/I00000", "set01/V000/I00001"]
    assert frames.name[-1] == "set02/V000/I00003"
    assert frames.sequence.tolist() == ["set01/V000"] * 7 + ["set01/V001"] * 5 + ["set02/V000"] * 4
    assert frames.frame.tolist() == [*range(7), *range(5), *range(4)]
    for i in (15, 0, 8, 6):
        assert number_of(frames.images(i)) == frames.frame[i]
    found = [len(boxes) for boxes in frames.boxes]
    assert found == [1, 1, 1, 1, 0, 1, 2, 2, 0, 0, 1, 1, 1, 0, 0, 2]
    assert len(caltech.read(root, sets=["set02"])) == 4
    assert caltech.read(root, sets=["set02", "set01"]).sequence[0] == "set02/V000"


def test_every_second_frame_of_each_video_and_across(root):
    each = caltech.read(root, sets=["set01", "set02"], step=2)
    assert each.name == [f"{name}/I{k:05d}" for name, n in LENGTHS.items() for k in range(0, n, 2)]
    assert each.frame.tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1]
    every = [f"{name}/I{k:05d}" for name, n in LENGTHS.items() for k in range(n)]
    across = caltech.read(root, sets=["set01", "set02"], step=2, across_videos=True)
    assert across.name == every[::2]
    assert across.frame.tolist() == [0, 1, 2, 3, 0.5, 1.5, 0, 1]
    assert [number_of(across.images(i)) for i in range(8)] == [0, 2, 4, 6, 1, 3, 0, 2]
    assert [len(boxes) for boxes in across.boxes] == [1, 1, 0, 2, 0, 1, 1, 0]
    later = caltech.read(root, sets=["set01", "set02"], step=3, first=4, across_videos=True)
    assert later.name == every[4::3]


@pytest.mark.parametrize("lengths", [[29, 30, 31], [59, 60, 61, 90], [1]])
def test_the_fields_test_set(tmp_path, lengths):
    """Frames 29, 59, … of each video, as a loop of the benchmark's own goes."""
    wanted = []
    for v, n in enumerate(lengths):
        write_seq(tmp_path / "set06" / f"V{v:03d}.seq", n)
        f = 29
        while f < n:
            wanted.append(f"set06/V{v:03d}/I{f:05d}")
            f += 30
    if not wanted:
        with pytest.raises(ValueError, match="no frame is left of 1 in 1 videos: first is 29, ste"):
            caltech.read(tmp_path, sets=["set06"], annotations=None, first=29, step=30)
        return
    frames = caltech.read(tmp_path, sets=["set06"], annotations=None, first=29, step=30)
    assert frames.name == wanted
    assert frames.boxes is None
    assert number_of(frames.images(0)) == 29
    assert np.allclose(frames.frame % 1, 29 / 30)


def test_frames_without_positives_are_left_out_before_the_count(root):
    pairs = [f"{name}/I{k:05d}" for name in LENGTHS for k in POSITIVES[name]]
    rule = {"sets": ["set01", "set02"], "with_positives": "released-caltech"}
    assert caltech.read(root, **rule).name == pairs
    across = caltech.read(root, **rule, step=3, across_videos=True)
    assert across.name == pairs[::3]
    each = caltech.read(root, **rule, step=3)
    assert each.name == [f"{name}/I{k:05d}" for name in LENGTHS for k in POSITIVES[name][::3]]
    for frames in (across, each):
        for boxes in frames.with_boxes(
            lambda boxes, _: filters.apply(filters.RULES["released-caltech"], boxes)
        ).boxes:
            assert (~boxes.ignore).sum() == 1


def one_frame(tmp_path, things, labels=LABELS):
    write_seq(tmp_path / "set01" / "V003.seq", 1)
    save(tmp_path / "annotations" / "set01" / "V003.vbb", annotation([things], labels))
    return caltech.read(tmp_path, sets=["set01"]).boxes[0]


def test_pixels_count_from_zero_and_labels_are_kept(tmp_path):
    things = [thing(k, pos=(k, 51.5, 20, 60)) for k in (1, 2, 3, 4)]
    boxes = one_frame(tmp_path, things)
    assert boxes.ltwh.tolist() == [[k, 50.5, 20, 60] for k in range(4)]
    assert boxes.label.tolist() == LABELS
    assert not boxes.ignore.any()


OCCLUDED = [
    thing(1, (11, 21, 20, 60), 0, (0, 0, 0, 0)),
    thing(2, (11, 21, 20, 60), 0, (11, 21, 20, 30)),  # not occluded: posv is left from before
    thing(3, (11, 21, 20, 60), 1, (11, 21, 20, 30)),
    thing(4, (11, 21, 20, 60), 1, (0, 0, 0, 0)),  # occluded, but nothing labeled as visible
    thing(5, (11, 21, 20, 60), 1, (11, 21, 20, 60)),
]
FULL, HALF = [10, 20, 20, 60], [10, 20, 20, 30]


def test_visible_parts(tmp_path):
    boxes = one_frame(tmp_path, OCCLUDED, ["person"] * 5)
    assert boxes.ltwh.tolist() == [FULL] * 5
    assert boxes.visible.tolist() == [FULL, FULL, HALF, FULL, FULL]
    kept = filters.apply(filters.RULES["released-caltech"], boxes)
    assert kept.ignore.tolist() == [False, False, True, False, False]


def test_identities_are_the_same_whatever_is_read(root):
    def identities(sets):
        frames = caltech.read(root, sets=sets)
        return [
            (name, int(k))
            for name, boxes in zip(frames.sequence, frames.boxes, strict=True)
            for k in boxes.identity
        ]

    both, second = identities(["set01", "set02"]), identities(["set02"])
    assert [pair for pair in both if pair[0] == "set02/V000"] == second
    of = {}
    for name, k in both:
        of.setdefault(k, set()).add(name)
    assert all(len(names) == 1 for names in of.values())
    assert set(of) == {s * 10**9 + k for s in (10000, 10001, 20000) for k in (1, 3)}


def test_identities_in_folders_of_other_names(root):
    (root / "set01").rename(root / "day")
    (root / "annotations" / "set01").rename(root / "annotations" / "day")
    frames = caltech.read(root, sets=["day", "set02"])
    found = {int(k) // 10**9 for boxes in frames.boxes for k in boxes.identity}
    assert found == {0, 1, 2}
    assert frames.sequence[0] == "day/V000"


def test_annotations_are_read_when_asked_for_and_once(root):
    (root / "annotations" / "set01" / "V001.vbb").write_bytes(b"damaged")
    frames = caltech.read(root, sets=["set01", "set02"])
    assert len(frames.boxes[0]) == 1
    (root / "annotations" / "set01" / "V000.vbb").unlink()
    assert len(frames.boxes[6]) == 2
    with pytest.raises(ValueError, match=r"V001\.vbb: not a MATLAB file"):
        frames.boxes[7]
    assert number_of(frames.images(7)) == 0
    assert len(frames.boxes[15]) == 2


def test_a_frame_behind_the_last_annotated_one(root):
    save(root / "annotations" / "set01" / "V000.vbb", annotation([[]] * 6))
    frames = caltech.read(root, sets=["set01"])
    assert len(frames.boxes[5]) == 0
    with pytest.raises(ValueError, match=r"V000\.vbb annotates 6 frames, but .*V000\.seq has 7"):
        frames.boxes[6]


def test_a_truncated_video(root):
    path = root / "set01" / "V000.seq"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"V000\.seq: the header states 7 frames, but .* after 2"):
        caltech.read(root, sets=["set01"])
    write_seq(path, 7, frames=5)
    with pytest.warns(UserWarning, match=r"V000\.seq: the header states 5 frames, .* holds 7"):
        assert len(caltech.read(root, sets=["set01"], annotations=None).take([0, 4])) == 2
    write_seq(path, 3, frames=4_000_000_000)
    with pytest.raises(ValueError, match=r"V000\.seq: the header states 4000000000 frames"):
        caltech.read(root, sets=["set01"])


def test_the_toolboxs_layout(root, tmp_path):
    """Videos in a folder of their own; beside them files of macOS."""
    wanted = caltech.read(root, sets=["set01", "set02"])
    wanted_image, wanted_boxes = wanted.images(9), list(wanted.boxes)
    (tmp_path / "other").mkdir()
    (root / "annotations").rename(tmp_path / "other/annotations")
    root.rename(tmp_path / "other/videos")
    (tmp_path / "other/videos/set01/._V000.seq").write_bytes(b"junk")
    frames = caltech.read(tmp_path / "other", sets=["set01", "set02"])
    assert frames.name == wanted.name
    assert np.array_equal(frames.images(9), wanted_image)
    for boxes, same in zip(frames.boxes, wanted_boxes, strict=True):
        assert np.array_equal(boxes.ltwh, same.ltwh)


def test_videos_in_the_folder_itself(root):
    (root / "set02" / "V000.seq").rename(root / "walk.seq")
    (root / "annotations" / "set02" / "V000.vbb").rename(root / "annotations" / "walk.vbb")
    frames = caltech.read(root)
    assert frames.name[-1] == "walk/I00003"
    assert set(frames.sequence) == {"walk"}
    assert [len(boxes) for boxes in frames.boxes] == [1, 0, 0, 2]
    assert frames.boxes[3].identity.tolist() == [1, 3]


def test_missing_files(root):
    with pytest.raises(FileNotFoundError, match=r"set03: .* a folder with files \*\.seq"):
        caltech.read(root, sets=["set01", "set03"])
    with pytest.raises(FileNotFoundError, match=r"caltech: .* a folder with files \*\.seq"):
        caltech.read(root)
    (root / "annotations" / "set01" / "V001.vbb").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 files are missing, .*set01/V001"):
        caltech.read(root, sets=["set01", "set02"])
    with pytest.raises(FileNotFoundError, match=r"labels: 2 of 2 files are missing"):
        caltech.read(root, sets=["set01"], annotations="labels")
    assert caltech.read(root, sets=["set01"], annotations=None).boxes is None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"sets": []}, "sets"),
        ({"sets": ["set01", "set01"]}, "the name in sets 'set01' comes twice"),
        ({"sets": ["../caltech/set01"]}, r"sets\.0"),
        ({"sets": [".."]}, r"sets\.0"),
        ({"step": 0}, "step"),
        ({"first": -1}, "first"),
        ({"first": 7}, "no frame is left of 12 in 2 videos: first is 7, step 1"),
        ({"with_positives": "paper-caltech"}, "with_positives\n"),
        (
            {"with_positives": "paper", "annotations": None},
            "no labeled frame has a positive",
        ),
    ],
)
def test_wrong_arguments(root, args, said):
    with pytest.raises(ValueError, match=said):
        caltech.read(root, **{"sets": ["set01"]} | args)


def test_sources(root):
    texts, media = caltech.sources(root, sets=["set02", "set01"], step=2, first=1)
    names = ["set02/V000", "set01/V000", "set01/V001"]
    assert texts == [root / "annotations" / f"{name}.vbb" for name in names]
    assert media == [root / f"{name}.seq" for name in names]
    assert caltech.sources(root, sets=["set02"], annotations=None) == ([], media[:1])


def test_an_entry_of_the_catalog(root, tmp_path):
    """Opened, checked and fingerprinted through the catalog, under the released rule."""
    (tmp_path / "catalog.yaml").write_text(
        f"""
datasets:
  tiny:
    title: Three videos
    reader: caltech
    root: {root}
    args: {{sets: [set01, set02], across_videos: true}}
    filter: released-caltech
    kind: video
    image_size: [{SIDE}, {SIDE}]
    step: 2
    license: none
    citation: none
    homepage: none
    expect: {{images: 8, images_with_pedestrians: 2, instances: 2, sequences: 3}}
"""
    )
    entry = catalog.load(tmp_path / "catalog.yaml")["tiny"]
    wrong = [finding for finding in survey.check(entry, progress=False) if not finding.ok]
    assert ["outside" in finding.what for finding in wrong] == [True]  # of the tiny images
    assert survey.survey(entry).counts["labels"] == {"person": 6}
    before = catalog.fingerprint(entry)
    save(root / "annotations" / "set02" / "V000.vbb", annotation([[]] * 4))
    assert catalog.fingerprint(entry) != before


def test_the_real_video():
    if "ALKIT_DATA" not in os.environ:
        pytest.skip("set ALKIT_DATA for the real .seq file")
    root = Path(__file__).resolve().parent.parent / os.environ["ALKIT_DATA"] / "caltech"
    frames = caltech.read(root, annotations=None, step=4, first=1)
    assert frames.name == [f"peds30/I{k:05d}" for k in range(1, 30, 4)]
    assert frames.image_size == (480, 640)
    assert frames.boxes is None
    whole = caltech.read(root, annotations=None)
    for i in (7, 0, 3):
        assert np.array_equal(frames.images(i), whole.images(1 + 4 * i))
