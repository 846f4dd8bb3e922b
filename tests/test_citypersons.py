"""CityPersons, both layouts: what is read, what is refused, and the numbers of the real file."""

import json
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from alkit import catalog
from alkit.data.filters import BoxFilter
from alkit.data.readers import citypersons
from alkit.studies import survey

IMAGES = "leftImg8bit/train"
MAT = {"annotations": "anno_train.mat", "images": IMAGES}
JSON = {"annotations": "gtBboxCityPersons/train", "images": IMAGES}
NAMES = [
    "aachen/aachen_000000_000019_leftImg8bit.png",
    "ulm/ulm_000003_000019_leftImg8bit.png",
    "zurich/zurich_000001_000019_leftImg8bit.png",
]
# [class, left, top, width, height, instance, visible left, top, width, height]
ROWS = [
    [
        [1, 900, 400, 41, 100, 24001, 905, 400, 36, 60],
        [2, -3, 440, 44, 106, 25000, 0, 445, 41, 101],
        [0, 10, 215, 28, 34, 0, 10, 215, 28, 34],
        [3, 892, 445, 21, 53, 24000, 892, 445, 21, 53],
        [4, 700, 445, 30, 53, 24002, 700, 445, 30, 53],
        [5, 993, 417, 11, 16, 24, 0, 0, 0, 0],  # as in the real file
    ],
    [],
    [[1, 2010, 472, 39, 97, 24007, 2010, 472, 39, 63]],
]
LABELS = ["ignore", "pedestrian", "rider", "sitting person", "person (other)", "person group"]


def cells(rows=ROWS, names=NAMES, dtype=np.uint16):
    """A cell array with a structure for each image, as MATLAB has it."""
    array = np.empty((1, len(names)), object)
    for i, name in enumerate(names):
        city, file = name.split("/")
        table = np.array(rows[i]).astype(dtype).reshape(-1, 10)
        array[0, i] = {"cityname": city, "im_name": file, "bbs": table}
    return array


def write_mat(root, array=None, variable="anno_train_aligned", **options):
    array = cells(dtype=np.int16) if array is None else array
    scipy.io.savemat(root / "anno_train.mat", {variable: array}, **options)


def objects(rows):
    return [
        {"label": LABELS[row[0]], "instanceId": row[5], "bbox": row[1:5], "bboxVis": row[6:]}
        for row in rows
    ]


def write_json(root, rows=ROWS, names=NAMES, size=(1024, 2048)):
    for name, found in zip(names, rows, strict=True):
        file = root / "gtBboxCityPersons" / "train" / name
        file = file.with_name(file.name.replace("leftImg8bit.png", "gtBboxCityPersons.json"))
        file.parent.mkdir(parents=True, exist_ok=True)
        record = {"imgHeight": size[0], "imgWidth": size[1], "objects": objects(found)}
        file.write_text(json.dumps(record))
    return file  # the last


def write_image(root, name, size=(1024, 2048), gray=90):
    file = root / IMAGES / name
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((*size, 3), gray, np.uint8))
    return file


# ---- what is read --------------------------------------------------------------------------------


def check_frames(frames):
    assert frames.name == NAMES
    assert frames.image_size == (1024, 2048)
    assert frames.sequence is None
    assert frames.frame is None
    first, empty, last = frames.boxes
    assert len(empty) == 0
    assert first.label.tolist() == [LABELS[row[0]] for row in ROWS[0]]
    assert first.ignore.tolist() == [False, False, True, False, False, False]
    assert first.ltwh.tolist() == [row[1:5] for row in ROWS[0]]
    assert first.visible[:5].tolist() == [row[6:] for row in ROWS[0][:5]]
    assert first.visible[5].tolist() == [993, 417, 11, 16]  # a group is all that is visible of it
    assert first.identity.tolist() == [-1] * 6
    assert last.visible.tolist() == [[2010, 472, 39, 63]]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float64])
def test_the_mat(tmp_path, compressed, dtype):
    write_mat(tmp_path, cells(dtype=dtype), do_compression=compressed)
    check_frames(citypersons.read(tmp_path, **MAT))


def test_the_json_folder(tmp_path):
    write_json(tmp_path)
    check_frames(citypersons.read(tmp_path, **JSON))


def test_json_sizes_are_the_records(tmp_path):
    write_json(tmp_path, size=(512, 1024))
    write_image(tmp_path, NAMES[0], (512, 1024))
    write_image(tmp_path, NAMES[1])
    frames = citypersons.read(tmp_path, **JSON)
    assert frames.image_size == (512, 1024)
    assert frames.images(0).shape == (512, 1024, 3)
    with pytest.raises(ValueError, match=r"ulm_.*is \(1024, 2048\).*says \(512, 1024\)"):
        frames.images(1)
    write_json(tmp_path, ROWS[:1], NAMES[:1], size=(256, 512))
    frames = citypersons.read(tmp_path, **JSON)
    assert frames.image_size is None  # of several sizes
    with pytest.raises(ValueError, match=r"aachen_.*is \(512, 1024\).*says \(256, 512\)"):
        frames.images(0)


def test_a_mat_of_a_structure_array_and_beside_other_variables(tmp_path):
    array = np.zeros((1, 3), [("im_name", object), ("bbs", object)])
    for i, cell in enumerate(cells(dtype=np.int16)[0]):
        array[0, i] = (cell["im_name"], cell["bbs"])
    variables = {"anno_val_aligned": array, "made": "2017", "count": 3}
    scipy.io.savemat(tmp_path / "anno_train.mat", variables)
    check_frames(citypersons.read(tmp_path, **MAT))


@pytest.mark.parametrize("write", [write_mat, write_json])
def test_missing_images_are_named_when_read(tmp_path, write):
    write(tmp_path)
    args = MAT if write is write_mat else JSON
    frames = citypersons.read(tmp_path, **args)  # there is not even a folder
    assert sum(len(boxes) for boxes in frames.boxes) == 7
    write_image(tmp_path, NAMES[2], gray=77)
    write_image(tmp_path, NAMES[2].replace("_000001_", "_000009_"))  # of another set
    assert frames.images(2).shape == (1024, 2048, 3)
    assert (frames.images(2) == 77).all()
    with pytest.raises(FileNotFoundError, match=r"aachen/aachen_000000_000019_leftImg8bit\.png"):
        frames.images(0)
    texts, media = citypersons.sources(tmp_path, **args)
    assert media == [tmp_path / IMAGES / NAMES[2]]
    assert len(texts) == (1 if write is write_mat else 3)
    assert all(file.is_file() for file in texts)


def test_an_image_of_another_size(tmp_path):
    write_mat(tmp_path)
    write_image(tmp_path, NAMES[0], (512, 1024))
    with pytest.raises(ValueError, match=r"aachen_.*is \(512, 1024\).*says \(1024, 2048\)"):
        citypersons.read(tmp_path, **MAT).images(0)


# ---- hostile .mat --------------------------------------------------------------------------------


def assert_refuses(root, said, args=MAT):
    with pytest.raises(ValueError, match=said) as caught:
        citypersons.read(root, **args)
    assert str(root) in str(caught.value)


def change(**fields):
    """The cells with fields of the third image replaced, or taken away where None."""
    array = cells(dtype=np.float64)
    array[0, 2] = {k: v for k, v in (array[0, 2] | fields).items() if v is not None}
    return array


def row(**values):
    """The third image's one row of bbs with some columns changed."""
    table = np.array(ROWS[2], np.float64)
    for column, value in values.items():
        table[0, int(column[1:])] = value
    return table


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (change(bbs=None), "2.bbs: Field required"),
        (change(im_name=None), "2.im_name: Field required"),
        (change(bbs=np.ones((2, 9))), "2.bbs.0.9: Field required"),
        (change(bbs=np.ones((2, 10, 2))), "2.bbs.0.0: "),
        (change(bbs="many"), "2.bbs: "),
        (change(bbs=row(c3=np.nan)), "2.bbs.0.3: .*finite"),
        (change(bbs=row(c9=-1)), r"2.bbs.0.9: .*greater than or equal to 0 \(got -1.0"),
        (change(bbs=row(c1=4e9)), "2.bbs.0.1: .*less than or equal to 65536"),
        (change(bbs=row(c0=6)), "2.bbs.0.0: .*less than 6"),
        (change(bbs=row(c0=1.5)), "2.bbs.0.0: .*integer"),
        (change(im_name="../../a_1.png"), r"2.im_name: .*'\.\./\.\./a_1\.png'"),
        (change(im_name="..\\a_1.png"), "2.im_name: "),
        (change(im_name=7), "2.im_name: "),
        (change(im_name=NAMES[0].split("/")[1]), "'aachen/aachen_.*png' comes twice"),
    ],
)
def test_a_damaged_mat_names_the_cell(tmp_path, array, said):
    write_mat(tmp_path, array)
    assert_refuses(tmp_path, r"anno_train\.mat.* ?" + said)


def test_a_mat_without_a_cell_array_for_the_images(tmp_path):
    write_mat(tmp_path, variable="boxes")
    assert_refuses(tmp_path, r"anno_train\.mat: expected one cell array anno_.*are \['boxes'\]")
    write_mat(tmp_path, np.zeros((3, 10)))
    assert_refuses(tmp_path, r"anno_train\.mat: ")
    array = cells(dtype=np.int16)
    array[0, 1] = 5.0
    write_mat(tmp_path, array)
    assert_refuses(tmp_path, r"anno_train\.mat: 1: ")
    with pytest.raises(FileNotFoundError, match=r"anno_val\.mat"):
        citypersons.read(tmp_path, annotations="anno_val.mat", images=IMAGES)


def test_no_mat(tmp_path):
    path = tmp_path / "anno_train.mat"
    for content in (b"", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(600), bytes(4000)):
        path.write_bytes(content)
        assert_refuses(tmp_path, r"anno_train\.mat: not a MATLAB file")
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    assert_refuses(tmp_path, r"anno_train\.mat: .*'-v7'")
    scipy.io.savemat(path, {"anno": np.ones((2, 2))}, format="4")
    assert_refuses(tmp_path, r"anno_train\.mat: .*version 5 to 7")


@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_mat_never_passes(tmp_path, compressed):
    write_mat(tmp_path, do_compression=compressed)
    path = tmp_path / "anno_train.mat"
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        assert_refuses(tmp_path, r"anno_train\.mat")


def test_a_compressed_part_that_ends_early(tmp_path):
    """The outer sizes fit; only the checksum at its end is missing."""
    cell = matrix(1, (1, 1), matrix(1, (1, 0)), NAME)
    (tmp_path / "anno_train.mat").write_bytes(HEADER + element(15, zlib.compress(cell)[:-4]))
    assert_refuses(tmp_path, "compressed content is truncated")


def test_a_mat_with_flipped_bytes_is_read_or_refused(tmp_path):
    """Whatever bytes are changed: three images, or a ValueError with the file's name."""
    write_mat(tmp_path)
    path = tmp_path / "anno_train.mat"
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refusals = []
    for _ in range(200):
        damaged = bytearray(whole)
        for at in random.integers(124, len(whole), random.integers(1, 4)):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            frames = citypersons.read(tmp_path, **MAT)
            assert len(frames) == 3
            assert all(np.isfinite(boxes.ltwh).all() for boxes in frames.boxes)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 40
    assert all("anno_train.mat" in refusal for refusal in refusals)


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(class_, dims, rest=b"", name=b""):
    content = element(6, struct.pack("<II", class_, 0))
    content += element(5, struct.pack(f"<{len(dims)}i", *dims))
    return element(14, content + element(1, name) + rest)


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
NAME = b"anno_train_aligned"
BILLIONS = (1, 2**31 - 1)
FIELDS = element(5, struct.pack("<i", 8)) + element(1, b"im_name\0bbs\0\0\0\0\0")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (matrix(1, BILLIONS, name=NAME), "2147483647 cells or fields are claimed, 0 are"),
        (matrix(1, (70000, 70000), name=NAME), "4900000000 cells or fields are claimed, 0 are"),
        (matrix(2, BILLIONS, FIELDS, NAME), "4294967294 cells or fields are claimed, 0 are"),
        (matrix(4, BILLIONS, element(16, b""), NAME), "2147483647 characters in 0 bytes"),
        (matrix(6, BILLIONS, element(9, bytes(80)), NAME), "cannot reshape"),
        (matrix(1, (1, 1), matrix(4, BILLIONS, element(16, b""))), "2147483647 characters"),
        (matrix(1, (1, -1), name=NAME), r"a matrix of shape \(1, -1\)"),
        (matrix(1, (), name=NAME), r"a matrix of shape \(\)"),
        (matrix(5, (2, 2), element(5, bytes(8)), NAME), "sparse, complex, an object"),
        (matrix(17, (1, 1), name=NAME), "sparse, complex, an object"),
        (struct.pack("<II", 14, 2**32 - 1) + bytes(80), "claims 4294967295 bytes, 80 are there"),
        (element(9, bytes(80)), "an element of type 9 stands in place of a variable"),
    ],
)
def test_absurd_claims_are_refused_without_their_memory(tmp_path, content, said):
    for stored in (content, element(15, zlib.compress(content))):
        (tmp_path / "anno_train.mat").write_bytes(HEADER + stored)
        tracemalloc.start()
        assert_refuses(tmp_path, r"anno_train\.mat: .*" + said)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20


def test_deep_nesting_is_refused(tmp_path):
    content = element(14, b"")
    for _ in range(3000):
        content = matrix(1, (1, 1), content)
    (tmp_path / "anno_train.mat").write_bytes(HEADER + content)
    assert_refuses(tmp_path, "nested over 16 deep")


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    """40 MB of zeros in 40 kB, where 1 MB is allowed; in one variable or in many."""
    monkeypatch.setattr("alkit.data.matfile.MAX_BYTES", 2**20)
    one = element(15, zlib.compress(matrix(9, (1, 4 * 10**7), element(2, bytes(4 * 10**7)), NAME)))
    many = b"".join(
        element(15, zlib.compress(matrix(9, (1, 10**5), element(2, bytes(10**5)), b"v%d" % i)))
        for i in range(20)
    )
    for content in (one, many):
        (tmp_path / "anno_train.mat").write_bytes(HEADER + content)
        tracemalloc.start()
        assert_refuses(tmp_path, "decompresses to over 1048576 bytes")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * 2**20


def test_a_file_written_by_hand(tmp_path):
    """With small elements, text in two bytes a letter, numbers of two bytes."""
    table, name = np.array(ROWS[2], "<i2"), NAMES[2].split("/")[1]
    fields = struct.pack("<HHi", 5, 4, 8) + element(1, b"im_name\0bbs\0\0\0\0\0")
    values = matrix(4, (1, len(name)), element(4, name.encode("utf-16-le")))
    values += matrix(10, (1, 10), element(3, table.tobytes()))
    cell = matrix(2, (1, 1), fields + values)
    (tmp_path / "anno_train.mat").write_bytes(HEADER + matrix(1, (1, 1), cell, NAME))
    frames = citypersons.read(tmp_path, **MAT)
    assert frames.name == NAMES[2:]
    assert frames.boxes[0].ltwh.tolist() == [[2010, 472, 39, 97]]


# ---- hostile json --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: r.pop("objects"), "objects: Field required"),
        (lambda r: r.update(imgHeight=0), "imgHeight: "),
        (lambda r: r.update(objects={}), "objects: "),
        (lambda r: r["objects"].append("person"), "objects.1: .*'person'"),
        (lambda r: r["objects"][0].pop("bboxVis"), "objects.0.bboxVis: Field required"),
        (lambda r: r["objects"][0].update(label="car"), "objects.0.label: .*'rider'.*'car'"),
        (lambda r: r["objects"][0].update(bbox=[1, 2, 3]), "objects.0.bbox.3: Field required"),
        (
            lambda r: r["objects"][0].update(bbox=[1, 2, float("nan"), 4]),
            "objects.0.bbox.2: ",
        ),
        (lambda r: r["objects"][0].update(bbox=[1, 2, 10**400, 4]), "objects.0.bbox.2: "),
        (lambda r: r["objects"][0].update(bboxVis=[1, 2, 3, -4]), "objects.0.bboxVis.3: .*-4"),
    ],
)
def test_a_damaged_json_names_file_and_object(tmp_path, damage, said):
    file = write_json(tmp_path)
    record = json.loads(file.read_text())
    damage(record)
    file.write_text(json.dumps(record))
    assert_refuses(tmp_path, r"zurich_000001_000019_gtBboxCityPersons\.json: .*" + said, JSON)


def test_no_json(tmp_path):
    file = write_json(tmp_path)
    whole = file.read_text()
    for text in (whole[:-1], whole[:50], "", "[" * 100_000, '"x"'):
        file.write_text(text)
        assert_refuses(tmp_path, r"zurich_000001_000019_gtBboxCityPersons\.json: ", JSON)
    (tmp_path / "gtBboxCityPersons" / "val").mkdir()
    with pytest.raises(FileNotFoundError, match=r"gtBboxCityPersons/val: .* a folder with files"):
        citypersons.read(tmp_path, annotations="gtBboxCityPersons/val", images=IMAGES)


# ---- the real annotations ------------------------------------------------------------------------

needs_data = pytest.mark.skipif(
    "ALKIT_DATA" not in os.environ, reason="set ALKIT_DATA for the real CityPersons annotations"
)


@pytest.fixture(scope="module")
def real():
    """Of each image of the real file its name and its rows, read by SciPy."""
    root = Path(__file__).resolve().parent.parent / os.environ["ALKIT_DATA"] / "citypersons"
    array = scipy.io.loadmat(root / "annotations" / "anno_train.mat")["anno_train_aligned"]
    return [
        (f"{c['cityname'][0, 0][0]}/{c['im_name'][0, 0][0]}", c["bbs"][0, 0].astype(float).tolist())
        for c in array[0]
    ]


@needs_data
def test_the_real_file_against_a_plain_loop(real):
    frames = catalog.load()["citypersons-train"].open_unfiltered()
    assert frames.name == [name for name, _ in real]
    for boxes, (_, rows) in zip(frames.boxes, real, strict=True):
        assert boxes.label.tolist() == [LABELS[int(row[0])] for row in rows]
        assert boxes.ltwh.tolist() == [row[1:5] for row in rows]
        assert boxes.visible.tolist() == [row[6:] if row[0] in (1, 2) else row[1:5] for row in rows]


@needs_data
def test_table_1_follows_the_released_code(real):
    """7740 pedestrians in 1835 images, by the catalog and by a loop."""
    kept = [
        [row for row in rows if row[0] in (1, 2) and row[4] * 480 / 1024 > 45] for _, rows in real
    ]
    assert sum(map(len, kept)) == 7740
    assert sum(len(rows) > 0 for rows in kept) == 1835
    counts = survey.survey(catalog.load()["citypersons-train"]).counts
    assert (counts["images"], counts["image_size"]) == (2975, (1024, 2048))
    assert (counts["instances"], counts["images_with_pedestrians"]) == (7740, 1835)


@needs_data
def test_the_papers_text_gives_other_numbers(real):
    """Height ≥ 50 and width/height in [0.2, 0.65] at native size, pedestrians alone."""
    kept = [
        [r for r in rows if r[0] == 1 and r[4] >= 50 and 0.2 <= r[3] / r[4] <= 0.65]
        for _, rows in real
    ]
    assert (sum(map(len, kept)), sum(len(rows) > 0 for rows in kept)) == (12670, 2112)
    rule = BoxFilter(classes=("pedestrian",), min_height=50, aspect=(0.2, 0.65))
    entry = catalog.load()["citypersons-train"].model_copy(update={"filter": rule})
    counts = survey.survey(entry).counts
    assert (counts["instances"], counts["images_with_pedestrians"]) == (12670, 2112)


@needs_data
def test_check_counts_where_the_images_are_missing(tmp_path, monkeypatch):
    entry = catalog.load()["citypersons-train"]
    annotations = entry.folder() / "annotations"
    monkeypatch.setenv("ALKIT_DATA", str(tmp_path))
    (tmp_path / "citypersons").mkdir()
    (tmp_path / "citypersons" / "annotations").symlink_to(annotations)
    findings = survey.check(entry, progress=False)
    assert findings[0] == ("unreadable images", 0, "20 or more")
    assert "aachen/aachen_000000_000019_leftImg8bit.png: there is no such" in findings[1].found
    counted = {f.what: f.found for f in findings if f.ok}
    assert (counted["instances"], counted["images_with_pedestrians"]) == (7740, 1835)
    assert counted["images"] == 2975
    assert len(catalog.fingerprint(entry)) == 64


@needs_data
def test_a_real_image_at_the_papers_size():
    frames = catalog.load()["citypersons-train"].open(image_size=(480, 960))
    i = frames.name.index("aachen/aachen_000000_000019_leftImg8bit.png")
    boxes = frames.boxes[i]
    assert frames.images(i).shape == (480, 960, 3)
    rider = boxes.ltwh[~boxes.ignore]  # the one instance of 106 px at native size
    assert rider.tolist() == [[1844 * 15 / 32, 436 * 15 / 32, 44 * 15 / 32, 106 * 15 / 32]]
