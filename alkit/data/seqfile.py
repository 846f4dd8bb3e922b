"""The .seq container of the Caltech Pedestrian videos: any frame at once, without unpacking it.

NorPix StreamPix writes such files, and P. Dollár's toolbox in the same form (seqReaderPlugin.m,
seqWriterPlugin.m). All numbers are little-endian. A header of 1024 bytes: uint32 0xFEED; "Norpix
seq" in UTF-16, 24 bytes; int32 version, 3; uint32 header size, 1024; description in UTF-16, 512
bytes; nine uint32: width, height, bits a pixel, bits a channel, bytes of a raw image, image format,
number of frames, 0, bytes from one raw frame to the next; float64 frames a second; zeros. Then the
frames: a uint32 that counts itself and the image, the image as JPEG, the time as uint32 seconds and
uint16 milliseconds, and zeros, 8 or 16 bytes with the time.
"""

import functools
import io
import struct
from pathlib import Path

import numpy as np

from alkit.data.imagefile import read_image
from alkit.data.remembered import remembered
from alkit.frames import LazySequence

HEADER_BYTES = 1024
MAGIC = struct.pack("<I", 0xFEED) + "Norpix seq".encode("utf-16-le")
JPEGS = (102, 201)  # image formats, gray and color; others are raw, PNG or a Bayer pattern
SIGNATURE = b"\xff\xd8"  # that a JPEG begins with
MIN_FRAME = 64  # bytes, less than any whole JPEG


class SeqFile(LazySequence):
    """The frames of a .seq file, uint8 RGB **(y, x, 3)**, decoded when asked for, in any order.

    Opening reads the header alone, and `len` is the number of frames that it states. The first
    access to a frame walks from frame to frame through the file, reading a few bytes of each, and
    keeps where they start: 16 bytes a frame. Every access opens the file and closes it again, so
    hundreds of `SeqFile`s hold no file open, and threads and forked processes share one safely.

    Frames are JPEG, as all of Caltech's are; gray becomes RGB. Raises FileNotFoundError, or
    ValueError with the file's name: on opening where it is no .seq file, its frames are not JPEG,
    or its size cannot hold the frames that its header states; when a frame is read, with the
    frame's number from 0, where this one is truncated, damaged, of another size than the header
    says, or missing. Frames before a damaged one stay readable.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        with open(self.path, "rb") as file:
            header = file.read(HEADER_BYTES)
            self._bytes = file.seek(0, 2)
        if header[: len(MAGIC)] != MAGIC or len(header) < HEADER_BYTES:
            raise ValueError(
                f"{self.path}: not a .seq file, or truncated: expected a header of {HEADER_BYTES} "
                f"bytes with 'Norpix seq', got {len(header)} bytes that begin with {header[:24]!r}"
            )
        (header_bytes,) = struct.unpack_from("<I", header, 32)
        width, height, _, depth, _, code, n = struct.unpack_from("<7I", header, 548)
        if header_bytes != HEADER_BYTES or code not in JPEGS or depth != 8:
            raise ValueError(
                f"{self.path}: expected a header of {HEADER_BYTES} bytes, an image format of "
                f"{JPEGS} (JPEG) and 8 bits a channel, got {header_bytes}, {code} and {depth}"
            )
        self.image_size = (height, width)
        room = (self._bytes - HEADER_BYTES) // MIN_FRAME
        if not 1 <= n <= room:
            raise ValueError(
                f"{self.path}: the header states {n} frames, but the file of {self._bytes} "
                f"bytes has room for {room} at most; the header is damaged or the file is truncated"
            )
        super().__init__(n, self._image)

    def count(self) -> int:
        """How many frames can be read, whatever the header states: counted once, and remembered."""
        return remembered("seq frames", [self.path], lambda _: len(self._frames))[0]

    def _image(self, i: int) -> np.ndarray:
        where = f"{self.path}, frame {i} (from 0)"
        if i >= len(self._frames):
            raise ValueError(
                f"{where}: the file ends, or is damaged, after {len(self._frames)} frames; its "
                f"header states {len(self)}. A truncated file has to be copied or downloaded again"
            )
        start, size = self._frames[i].tolist()
        with open(self.path, "rb") as file:
            file.seek(start)
            return read_image(io.BytesIO(file.read(size)[4:]), self.image_size, where)

    @functools.cached_property
    def _frames(self) -> np.ndarray:
        """Start and size in bytes of all frames before a damaged one, stated or not (n, 2)."""
        frames, start, footer = [], HEADER_BYTES, None
        with open(self.path, "rb", buffering=0) as file:
            while start + 4 <= self._bytes:
                file.seek(start)
                head = file.read(4 + len(SIGNATURE))
                size = int.from_bytes(head[:4], "little")
                if head[4:] != SIGNATURE or start + size > self._bytes:
                    break  # no whole image; there is no way past it
                frames.append((start, size))
                if footer is None:  # 8 bytes, known by the image behind them, or 16
                    file.seek(start + size + 8 + 4)
                    footer = 8 if file.read(len(SIGNATURE)) == SIGNATURE else 16
                start += size + footer
        return np.array(frames, np.int64).reshape(-1, 2)
