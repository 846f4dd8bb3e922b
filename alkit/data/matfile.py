"""MATLAB files of version 5 to 7, what `save -v6` and `-v7` write, read with care.

SciPy's loadmat makes what a header claims before it looks, two billion cells from 200 bytes, and
ends the whole process on some damaged files; annotations come from anywhere. Here nothing is made
before the bytes for it are seen. The format: MathWorks, "MAT-File Format", Level 5.
"""

import math
import struct
import zlib
from pathlib import Path

import numpy as np

MAX_BYTES = 64 * 2**20  # of a file, also decompressed; annotations have a few million
MAX_DEPTH = 16  # of cells and structures in each other

MATRIX, COMPRESSED = 14, 15
CELL, STRUCT, TEXT = 1, 2, 4
# Classes of numbers, and the types that they are stored as: often smaller ones, to save space.
CLASSES = dict(enumerate("f8 f4 i1 u1 i2 u2 i4 u4 i8 u8".split(), start=6))
TYPES = dict(enumerate("i1 u1 i2 u2 i4 u4 f4".split(), start=1)) | {9: "f8", 12: "i8", 13: "u8"}
LETTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
COMPLEX = 0x0800
NOTHING = np.zeros((0, 0))


def read_mat(path: Path) -> dict:
    """The variables of a MATLAB file by name.

    Numbers are arrays of their class and shape, logicals uint8; a text is a str; a cell array is
    the list of its cells and a structure array the list of its elements as dicts, also where it
    has one, both column by column.

    Raises FileNotFoundError, or ValueError that names the file for: another format (7.3 too), what
    is truncated or damaged, claims of more than the file holds, over `MAX_BYTES` bytes, sparse or
    complex numbers, objects and functions.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such annotation file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has over {MAX_BYTES} bytes")
        return _variables(path.read_bytes())
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"{path}: not a MATLAB file that can be read: {error}") from None


def _variables(data: bytes) -> dict:
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or struct.unpack_from(f"{order}H", data, 124) != (0x0100,):
        raise ValueError("its header is not one of version 5 to 7 (in MATLAB: save with '-v7')")
    variables, at, left = {}, 128, MAX_BYTES
    while at < len(data):
        kind, start, stop, at = _Elements(data, order).element(at, len(data))
        inside = _Elements(data, order)
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            plain = stream.decompress(data[start:stop], left + 1)
            left -= len(plain)
            if left < 0:
                raise ValueError(f"it decompresses to over {MAX_BYTES} bytes")
            if not stream.eof:
                raise ValueError("its compressed content is truncated")
            at = stop  # alone of all elements these are not padded
            inside = _Elements(plain, order)
            kind, start, stop, _ = inside.element(0, len(plain))
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind} stands in place of a variable")
        name, value = inside.matrix(start, stop)
        variables[name] = value
    return variables


class _Elements:
    """The elements in some bytes: each a tag and its content, which for a matrix are elements."""

    def __init__(self, data: bytes, order: str):
        self._data, self._order = data, order

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, self._data, at)

    def element(self, at: int, end: int) -> tuple[int, int, int, int]:
        """Type, begin and end of the content of the element at a byte, and where the next is."""
        kind, size = self._unpack("II", at)
        start, padded = at + 8, size + -size % 8
        if kind >> 16:  # a small one, with its content in the tag
            kind, size, start, padded = kind & 0xFFFF, kind >> 16, at + 4, 4
        room = min(end - start, 4 if start == at + 4 else end)
        if size > room:
            raise ValueError(f"an element claims {size} bytes, {room} are there")
        return kind, start, start + size, min(end, start + padded)

    def matrix(self, at: int, end: int, depth: int = 0) -> tuple[str, object]:
        """Name and value of the matrix whose content is at a byte."""
        if at == end:  # [] may be written as nothing at all
            return "", NOTHING
        if depth > MAX_DEPTH:
            raise ValueError(f"cells and structures are nested over {MAX_DEPTH} deep")
        _, start, _, at = self.element(at, end)
        (flags,) = self._unpack("I", start)
        _, start, stop, at = self.element(at, end)
        shape = self._unpack(f"{(stop - start) // 4}i", start)
        # Without columns there may be billions of rows in no bytes, until somebody lists them.
        hollow = 0 in shape and max(shape) > len(self._data)
        if len(shape) < 2 or min(shape) < 0 or hollow:
            raise ValueError(f"a matrix of shape {shape[:8]}")
        _, start, stop, at = self.element(at, end)
        name, kind = self._data[start:stop].decode("latin-1"), flags & 0xFF

        if kind == CELL:
            return name, self._parts(at, end, math.prod(shape), depth)
        if kind == STRUCT:
            return name, self._structs(at, end, math.prod(shape), depth)
        if kind == TEXT:
            return name, self._text(at, end, math.prod(shape))
        if kind not in CLASSES or flags & COMPLEX:
            raise ValueError(f"the matrix {name!r} is sparse, complex, an object or a function")
        return name, self._numbers(at, end, shape, CLASSES[kind])

    def _parts(self, at, end, count, depth) -> list:
        """The values of `count` matrices, one behind the other."""
        if 8 * count > end - at:  # an empty one takes eight bytes
            raise ValueError(f"{count} cells or fields in {end - at} bytes")
        values = []
        for _ in range(count):
            kind, start, stop, at = self.element(at, end)
            if kind != MATRIX:
                raise ValueError(f"an element of type {kind} stands in place of a cell or field")
            values.append(self.matrix(start, stop, depth + 1)[1])
        return values

    def _structs(self, at, end, count, depth) -> list[dict]:
        _, start, _, at = self.element(at, end)
        (length,) = self._unpack("i", start)
        _, start, stop, at = self.element(at, end)
        if length < 1:
            raise ValueError(f"a structure has field names of {length} bytes")
        texts = [self._data[k : min(stop, k + length)] for k in range(start, stop, length)]
        fields = [text.split(b"\0")[0].decode("latin-1") for text in texts]
        n = len(fields)  # without fields there is nothing in it, whatever the number of elements
        values = self._parts(at, end, count * n, depth)
        return [
            dict(zip(fields, values[k : k + n], strict=True)) for k in range(0, len(values), n or 1)
        ]

    def _text(self, at, end, count) -> str:
        kind, start, stop, _ = self.element(at, end)
        code = LETTERS.get(kind, "")
        if not code or count > stop - start:
            raise ValueError(f"{count} characters in {stop - start} bytes of type {kind}")
        if code in ("utf-16", "utf-32"):
            code += "-le" if self._order == "<" else "-be"
        return self._data[start:stop].decode(code)

    def _numbers(self, at, end, shape, dtype) -> np.ndarray:
        kind, start, stop, _ = self.element(at, end)
        stored = np.dtype(self._order + TYPES.get(kind, "V1"))
        if kind not in TYPES or stop - start != math.prod(shape) * stored.itemsize:
            raise ValueError(f"a matrix of shape {shape} has {stop - start} bytes of type {kind}")
        numbers = np.frombuffer(self._data[start:stop], stored)
        with np.errstate(invalid="ignore"):  # numbers that no file of this class can have
            return numbers.astype(dtype).reshape(shape, order="F")
