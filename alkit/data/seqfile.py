"""The .seq container: any frame of a video at once, without unpacking it.

NorPix StreamPix writes such files, and P. Dollár's toolbox in the same form (seqReaderPlugin.m,
seqWriterPlugin.m; the Caltech Pedestrian videos). All numbers are little-endian. A header of 1024
bytes: uint32 0xFEED; "Norpix seq" in UTF-16, 24 bytes; int32 version, 3; uint32 header size, 1024;
description in UTF-16, 512 bytes; nine uint32: width, height, bits a pixel, bits a channel, bytes of
a raw image, image format, number of frames, 0, bytes from one raw frame to the next; float64 frames
a second; zeros. Then the frames: for JPEG and PNG a uint32 that counts itself and the image, the
image, the time as uint32 seconds and uint16 milliseconds, and zeros, 8 or 16 bytes with the time.
"""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HEADER_BYTES = 1024
MAGIC = struct.pack("<I", 0xFEED) + "Norpix seq".encode("utf-16-le")
MAX_SIDE = 65535  # pixels, JPEG's own limit
MAX_FOOTER = 64  # bytes between an image and the next frame that are searched for that frame
MIN_FRAME = 64  # bytes, less than any whole JPEG or PNG

# The codes for the image format, and how a frame of each begins.
JPEG, PNG = b"\xff\xd8", b"\x89PNG"
COMPRESSED = {1: PNG, 2: PNG, 102: JPEG, 201: JPEG}
RAW_CHANNELS = {100: 1, 200: 3}  # grey, and blue green red
BAYER = (101, 103)  # raw and JPEG, to be demosaiced


class SeqFile(Sequence):
    """The frames of a .seq file, uint8 RGB **(y, x, 3)**, decoded when asked for, in any order.

    Opening reads the header alone, and `len` is the number of frames that it states (where it
    states 0, that of the frames found). The first access to a frame walks from frame to frame
    through the file, reading a few bytes of each, and keeps where they start: 16 bytes a frame.
    Every access opens the file and closes it again, so hundreds of `SeqFile`s hold no file open,
    and threads and forked processes share one safely.

    Reads JPEG (formats 102, 201), PNG (1, 2) and raw 8-bit frames (100 grey, 200 colour); grey
    becomes RGB. Bayer patterns (101, 103) are not read.

    Raises FileNotFoundError, or ValueError with the file's name: on opening where it is no .seq
    file, its format is not read, or its size cannot hold the frames that its header states; when a
    frame is read, with the frame's number from 0, where this one is truncated, damaged, of another
    size than the header says, or missing. Frames before a damaged one stay readable.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                header = file.read(HEADER_BYTES)
                self._bytes = file.seek(0, 2)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path}: there is no such video file") from None
        width, height, bits, self._format, stated, self._stride = self._parse(header)
        self.image_size = (height, width)
        self._channels = RAW_CHANNELS.get(self._format)
        self._frames = None  # start and size of each frame found, int64 (n, 2)

        smallest = MIN_FRAME
        if self._channels:
            smallest = height * width * self._channels
            if bits != 8 * self._channels or self._stride < smallest:
                raise ValueError(
                    f"{self.path}: raw frames of {width}×{height} pixels, {bits} bits each, in "
                    f"{self._stride} bytes; {8 * self._channels} bits in at least {smallest} bytes "
                    f"are wanted for image format {self._format}"
                )
        room = (self._bytes - HEADER_BYTES) // smallest
        if stated > room:
            raise ValueError(
                f"{self.path}: the header states {stated} frames, but the file of {self._bytes} "
                f"bytes has room for {room} at most; the header is damaged or the file is truncated"
            )
        self._stated = stated
        self._n = stated or len(self._index())
        if self._n == 0:
            raise ValueError(f"{self.path}: the file holds no frame")

    def _parse(self, header: bytes) -> tuple[int, ...]:
        """Width, height, bits a pixel, image format, number of frames, bytes of a raw frame."""
        if header[: len(MAGIC)] != MAGIC:
            raise ValueError(f"{self.path}: not a .seq file: it does not begin with 'Norpix seq'")
        if len(header) < HEADER_BYTES:
            raise ValueError(
                f"{self.path}: truncated in its header, after {len(header)} of {HEADER_BYTES} bytes"
            )
        (header_bytes,) = struct.unpack_from("<I", header, 32)
        width, height, bits, depth, _, code, frames, _, stride = struct.unpack_from(
            "<9I", header, 548
        )
        if header_bytes != HEADER_BYTES:
            raise ValueError(
                f"{self.path}: the header states its own size as {header_bytes} bytes; "
                f"{HEADER_BYTES} is wanted"
            )
        if code not in COMPRESSED and code not in RAW_CHANNELS:
            what = "a Bayer pattern" if code in BAYER else "unknown"
            raise ValueError(
                f"{self.path}: image format {code}, {what}, is not read; "
                f"{sorted(COMPRESSED | RAW_CHANNELS)} are"
            )
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise ValueError(
                f"{self.path}: the header states images of {width}×{height} pixels; 1 to "
                f"{MAX_SIDE} each way are possible"
            )
        if depth != 8:
            raise ValueError(f"{self.path}: {depth} bits a channel; 8 are wanted")
        return width, height, bits, code, frames, stride

    def __len__(self):
        return self._n

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < self._n:
            raise IndexError(f"frame {i} of {self._n} in {self.path}")
        where = f"{self.path}, frame {i} (from 0)"
        frames = self._index()
        if i >= len(frames):
            raise ValueError(
                f"{where}: the file ends, or is damaged, after {len(frames)} frames; its header "
                f"states {self._stated}. A truncated file has to be copied or downloaded again"
            )
        start, size = frames[i].tolist()
        if start + size > self._bytes:
            raise ValueError(
                f"{where}: it is to end at byte {start + size}, but the file ends at byte "
                f"{self._bytes}; it is truncated, or the frame's size is damaged"
            )
        with open(self.path, "rb") as file:
            file.seek(start)
            data = file.read(size)
        if len(data) < size:
            raise ValueError(f"{where}: the file has become shorter since it was opened")
        return self._raw_image(data) if self._channels else self._decode(where, data[4:])

    def _raw_image(self, data: bytes) -> np.ndarray:
        pixels = np.frombuffer(data, np.uint8).reshape(*self.image_size, self._channels)
        return np.repeat(pixels, 3, axis=2) if self._channels == 1 else pixels[:, :, ::-1].copy()

    def _decode(self, where: str, data: bytes) -> np.ndarray:
        signature = COMPRESSED[self._format]
        if not data.startswith(signature):
            raise ValueError(
                f"{where}: there is no {'JPEG' if signature == JPEG else 'PNG'} image of the "
                f"stated {len(data)} bytes; the file is damaged from here on"
            )
        try:
            # Pillow, as in `imagefile.read_image`: OpenCV fills what is missing with grey.
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                size = (image.height, image.width)
                if size != self.image_size:  # before any pixel is decoded
                    raise ValueError(
                        f"{where}: the image is {size} (height, width), but the header says "
                        f"{self.image_size}"
                    )
                return np.array(image if image.mode == "RGB" else image.convert("RGB"))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{where}: the image cannot be read whole ({error})") from error

    def _index(self) -> np.ndarray:
        """Start and size in bytes of each frame, int64 (n, 2). The last may reach over the end of
        the file or be no image: reading it then says so. Two threads that come here first both
        walk and find the same; a lock would be held for ever in a process forked meanwhile."""
        if self._frames is None:
            walk = self._walk_raw() if self._channels else self._walk_compressed()
            self._frames = np.array(walk, np.int64).reshape(-1, 2)
        return self._frames

    def _walk_raw(self) -> list[tuple[int, int]]:
        size = self.image_size[0] * self.image_size[1] * self._channels
        starts = range(HEADER_BYTES, self._bytes, self._stride)
        return [(start, size) for start in starts[: self._stated or None]]

    def _walk_compressed(self) -> list[tuple[int, int]]:
        signature, frames, start, footer = COMPRESSED[self._format], [], HEADER_BYTES, None
        with open(self.path, "rb", buffering=0) as file:
            while start + 4 <= self._bytes and (not self._stated or len(frames) < self._stated):
                file.seek(start)
                head = file.read(4 + len(signature))
                size = int.from_bytes(head[:4], "little")
                # Zeros after the last frame are no frame, where the header states no number.
                if size == 0 and not self._stated:
                    break
                frames.append((start, size))
                if size < 4 + len(signature) or head[4:] != signature:
                    break  # reading this frame will say what is wrong; there is no way past it
                if footer is None:
                    footer = self._footer(file, start + size)
                start += size + footer
        return frames

    def _footer(self, file, end: int) -> int:
        """How many bytes lie between an image's end and the next frame: 8 or 16, or others in
        files of another make, known by the signature of the next image."""
        signature = COMPRESSED[self._format]
        file.seek(end)
        after = file.read(MAX_FOOTER + 4 + len(signature))
        for footer in (8, 16, *range(6, MAX_FOOTER + 1)):
            size = int.from_bytes(after[footer : footer + 4], "little")
            if after[footer + 4 :].startswith(signature) and size >= 4 + len(signature):
                return footer
        return 8
