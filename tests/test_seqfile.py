"""The .seq container against files written byte by byte here, the real one, and hostile ones."""

import io
import os
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from alkit.data.seqfile import SeqFile

N = 6
WIDTH, HEIGHT = 64, 48
PEDS30 = "caltech/peds30.seq"


def picture(k):
    """Frame k: a flat picture whose gray tells k after any compression."""
    return np.full((HEIGHT, WIDTH, 3), 20 * k + 10, np.uint8)


def number_of(image):
    return round((float(image.mean()) - 10) / 20)


def encode(image, form="JPEG", mode="RGB"):
    memory = io.BytesIO()
    Image.fromarray(image).convert(mode).save(memory, form)
    return memory.getvalue()


JPEGS = [encode(picture(k)) for k in range(N)]


def header(frames=N, code=201, width=WIDTH, height=HEIGHT, bits=24, stride=0, size=1024, depth=8):
    text = struct.pack("<I", 0xFEED) + "Norpix seq\0\0".encode("utf-16-le")
    text += struct.pack("<iI", 3, size) + "No Description".encode("utf-16-le").ljust(512, b"\0")
    raw_bytes = WIDTH * HEIGHT * bits // 8
    text += struct.pack("<9I", width, height, bits, depth, raw_bytes, code, frames, 0, stride)
    return (text + struct.pack("<d", 30.0)).ljust(1024, b"\0")


def frame(image, k=0, footer=16):
    time = struct.pack("<IH", k, 33).ljust(footer, b"\0")
    return struct.pack("<I", 4 + len(image)) + image + time


def write(path, images=JPEGS, footer=16, **fields):
    """A .seq file of encoded images."""
    text = header(**{"frames": len(images)} | fields)
    path.write_bytes(text + b"".join(frame(image, k, footer) for k, image in enumerate(images)))
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "V000.seq")


def damage(path, at, data):
    text = bytearray(path.read_bytes())
    text[at : at + len(data)] = data
    path.write_bytes(text)


def start_of(k):
    """Where frame k of the file that `write` makes by default begins."""
    return 1024 + sum(4 + len(image) + 16 for image in JPEGS[:k])


def real_file():
    if "ALKIT_DATA" not in os.environ:
        pytest.skip("set ALKIT_DATA for the real .seq file")
    return Path(__file__).resolve().parent.parent / os.environ["ALKIT_DATA"] / PEDS30


def test_any_frame_in_any_order(path):
    seq = SeqFile(path)
    assert len(seq) == N
    assert seq.image_size == (HEIGHT, WIDTH)
    assert [number_of(seq[i]) for i in (4, 0, 5, 5, 1, 3, 2)] == [4, 0, 5, 5, 1, 3, 2]
    assert seq[2].shape == (HEIGHT, WIDTH, 3)
    assert seq[2].dtype == np.uint8
    assert np.array_equal(seq[2], np.array(Image.open(io.BytesIO(JPEGS[2]))))
    for i in (N, -1):
        with pytest.raises(IndexError, match=rf"position {i} of 6"):
            seq[i]


@pytest.mark.parametrize("footer", [8, 16])
def test_bytes_between_frames(tmp_path, footer):
    seq = SeqFile(write(tmp_path / "a.seq", footer=footer))
    assert [number_of(image) for image in seq] == list(range(N))


def test_a_single_frame_without_footer(tmp_path):
    assert number_of(SeqFile(write(tmp_path / "a.seq", JPEGS[3:4], footer=6))[0]) == 3


def test_more_frames_than_the_header_states(tmp_path):
    assert len(SeqFile(write(tmp_path / "a.seq", frames=4))) == 4


def test_gray_frames(tmp_path):
    images = [encode(picture(1), mode="L")]
    (image,) = SeqFile(write(tmp_path / "a.seq", images, code=102))
    assert np.array_equal(image, np.array(Image.open(io.BytesIO(images[0])).convert("RGB")))


def test_opening_reads_the_header_alone(path):
    damage(path, 1024, bytes(path.stat().st_size - 1024))
    seq = SeqFile(path)
    assert len(seq) == N
    with pytest.raises(ValueError, match=r"V000\.seq, frame 0 \(from 0\): .*after 0 frames"):
        seq[0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"frames": 4_000_000_000},
            r"states 4000000000 frames, but the file of \d+ bytes has",
        ),
        ({"frames": 0}, "states 0 frames"),
        ({"code": 101}, r"an image format of \(102, 201\) \(JPEG\).*got 1024, 101 and 8"),
        ({"code": 2}, "got 1024, 2 and 8"),
        ({"size": 8192}, "got 8192, 201 and 8"),
        ({"depth": 10}, "got 1024, 201 and 10"),
    ],
)
def test_absurd_headers(path, fields, said):
    damage(path, 0, header(**fields))
    with pytest.raises(ValueError, match=r"V000\.seq: .*" + said):
        SeqFile(path)


def test_not_a_seq_file(tmp_path, path):
    for text in (b"", b"no video" * 500, bytes(4096), JPEGS[0] * 3):
        (tmp_path / "x.seq").write_bytes(text)
        with pytest.raises(ValueError, match=r"x\.seq: not a \.seq file"):
            SeqFile(tmp_path / "x.seq")
    (tmp_path / "x.seq").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"x\.seq: .*truncated: .*got 1000 bytes"):
        SeqFile(tmp_path / "x.seq")
    with pytest.raises(FileNotFoundError, match=r"y\.seq"):
        SeqFile(tmp_path / "y.seq")


def test_a_truncated_file_is_readable_up_to_there(path):
    path.write_bytes(path.read_bytes()[: start_of(3) + 50])
    seq = SeqFile(path)
    assert len(seq) == N
    assert [number_of(seq[i]) for i in range(3)] == [0, 1, 2]
    for i in (3, 4, 5):
        with pytest.raises(ValueError, match=rf"frame {i} .*after 3 frames; its header states 6"):
            seq[i]


@pytest.mark.parametrize("cut", [1, 15, 16])
def test_a_last_footer_may_be_short(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    assert number_of(SeqFile(path)[5]) == 5


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_damaged_size(path, size):
    """The frames behind cannot be found; those before can be read."""
    damage(path, start_of(2), struct.pack("<I", size))
    seq = SeqFile(path)
    assert number_of(seq[1]) == 1
    with pytest.raises(ValueError, match=r"V000\.seq, frame 3 \(from 0\): .*; its header stat"):
        seq[3]


def test_a_damaged_image(path):
    damage(path, start_of(2) + 4 + 200, bytes(len(JPEGS[2]) - 200))
    seq = SeqFile(path)
    with pytest.raises(ValueError, match=r"V000\.seq, frame 2 \(from 0\): the image cannot be"):
        seq[2]
    assert number_of(seq[3]) == 3


def test_an_image_of_another_size(tmp_path):
    """A small file whose image unfolds to hundreds of megabytes is refused before that."""
    memory = io.BytesIO()
    Image.new("L", (9000, 9000)).save(memory, "JPEG")
    path = write(tmp_path / "a.seq", [encode(picture(1)), memory.getvalue()])
    seq = SeqFile(path)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"frame 1 .*is \(9000, 9000\) .*record says \(48, 64\)"):
        seq[1]
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


def test_hostile_sizes_allocate_nothing(path):
    tracemalloc.start()
    damage(path, start_of(1), struct.pack("<I", 0xFFFFFFFF))
    with pytest.raises(ValueError, match="frame 1"):
        SeqFile(path)[1]
    damage(path, 0, header(frames=0xFFFFFFFF))
    with pytest.raises(ValueError, match="has room for"):
        SeqFile(path)
    damage(path, 0, header(width=65535, height=65535))
    with pytest.raises(ValueError, match=r"its record says \(65535, 65535\)"):
        SeqFile(path)[0]
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


def test_a_file_that_shrinks_or_goes(path):
    seq = SeqFile(path)
    assert number_of(seq[5]) == 5
    path.write_bytes(path.read_bytes()[: start_of(5) + 10])
    with pytest.raises(ValueError, match="the image cannot be read whole"):
        seq[5]


def test_hundreds_hold_no_file_open(path):
    handles = len(os.listdir("/proc/self/fd"))
    many = [SeqFile(path) for _ in range(300)]
    assert all(number_of(seq[2]) == 2 for seq in many[::50])
    assert len(os.listdir("/proc/self/fd")) == handles


def test_threads_and_a_forked_process(path):
    seq = SeqFile(path)
    order = np.random.default_rng(0).integers(0, N, 200).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert [number_of(image) for image in pool.map(seq.__getitem__, order)] == order
    child = os.fork()
    if child == 0:
        os._exit(0 if [number_of(seq[i]) for i in order] == order else 1)
    assert [number_of(seq[i]) for i in order] == order
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_real_file():
    """Its JPEGs, found by their own first bytes, decoded by Pillow and by OpenCV."""
    path = real_file()
    seq = SeqFile(path)
    assert len(seq) == 30
    assert seq.image_size == (480, 640)
    parts = path.read_bytes().split(b"\xff\xd8\xff\xe0\x00\x10JFIF")[1:]
    assert len(parts) == 30
    wanted = []
    for part in parts:
        data = b"\xff\xd8\xff\xe0\x00\x10JFIF" + part
        image = np.array(Image.open(io.BytesIO(data)))
        other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        assert np.abs(image.astype(int) - other).max() <= 4
        wanted.append(image)
    for i in np.random.default_rng(0).permutation(30):
        assert np.array_equal(seq[int(i)], wanted[i])
    for image, other in zip(seq, wanted, strict=True):
        assert np.array_equal(image, other)
    assert not np.array_equal(wanted[0], wanted[1])
