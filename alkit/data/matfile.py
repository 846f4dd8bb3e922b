"""MATLAB files of version 5 to 7, what `save -v6` and `-v7` write, read with care.

SciPy's loadmat makes what a header claims before it looks, two billion cells from 200 bytes, and
ends the whole process on some damaged files; annotations come from anywhere. Here nothing is made
before the bytes for it are seen. The format: MathWorks, "MAT-File Format", Level 5.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

MAX_BYTES = 64 * 2**20  # of a file, also decompressed; annotations have a few million
MAX_DEPTH = 16  # of cells and structures in each other

MATRIX, COMPRESSED = 14, 15
CELL, STRUCT, TEXT = 1, 2, 4
# Classes of numbers, and the types that they are stored as: often smaller ones, to save space.
CLASSES = dict(enumerate("f8 f4 i1 u1 i2 u2 i4 u4 i8 u8".split(), start=6))
TYPES = dict(enumerate("i1 u1 i2 u2 i4 u4 f4".split(), start=1)) | {9: "f8", 12: "i8", 13: "u8"}
LETTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}
COMPLEX = 0x0800


def read_mat(path: Path) -> dict:
    """The variables of a MATLAB file by name.

    Numbers are arrays of their class and shape, logicals uint8; a text is a str; a cell array is
    the list of its cells, a structure array that of its elements, dicts; both column by column.

    Raises FileNotFoundError, or ValueError that names the file for: another format (7.3 too), what
    is truncated or damaged, claims of more than the file holds, over `MAX_BYTES` bytes, sparse or
    complex numbers, objects and functions.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has over {MAX_BYTES} bytes")
        return _variables(path.read_bytes())
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"{path}: not a MATLAB file that can be read: {error}") from None


def single(value):
    """A structure or cell that stands alone, which MATLAB has as an array of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _variables(data: bytes) -> dict:
    if data[124:128] != b"\x00\x01IM":  # version and byte order
        raise ValueError("its header is not one of version 5 to 7 (in MATLAB: save with '-v7')")
    variables, left = {}, MAX_BYTES
    for kind, content in _elements(memoryview(data)[128:]):
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            plain = stream.decompress(content, left + 1)
            left -= len(plain)
            if left < 0:
                raise ValueError(f"it decompresses to over {MAX_BYTES} bytes")
            if not stream.eof:
                raise ValueError("its compressed content is truncated")
            ((kind, content),) = _elements(memoryview(plain))
        name, value = _matrix(kind, content)
        variables[name] = value
    return variables


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and content of the elements that follow each other in some bytes."""
    while data:
        kind, size = struct.unpack_from("<II", data)
        start, padded, room = 8, size + -size % 8, len(data) - 8
        if kind == COMPRESSED:  # alone of all elements these are not padded
            padded = size
        if kind >> 16:  # a small one, with its content in the tag
            kind, size, start, padded, room = kind & 0xFFFF, kind >> 16, 4, 4, 4
        if size > room:
            raise ValueError(f"an element claims {size} bytes, {room} are there")
        yield kind, data[start : start + size]
        data = data[start + padded :]


def _matrix(kind: int, data: memoryview, depth: int = 0) -> tuple[str, object]:
    """Name and value of an element that has to be a matrix."""
    if kind != MATRIX:
        raise ValueError(f"an element of type {kind} stands in place of a variable, cell or field")
    if not data:  # [] may be written as nothing at all
        return "", np.zeros((0, 0))
    if depth > MAX_DEPTH:
        raise ValueError(f"cells and structures are nested over {MAX_DEPTH} deep")
    parts = _elements(data)
    (_, flags), (_, dims), (_, name) = islice(parts, 3)
    (flags,), name = struct.unpack_from("<I", flags), bytes(name).decode("latin-1")
    shape = struct.unpack_from(f"<{len(dims) // 4}i", dims)
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"a matrix of shape {shape[:8]}")
    class_, count = flags & 0xFF, math.prod(shape)
    if class_ in (CELL, STRUCT):
        return name, _values(class_, count, parts, depth)
    if (class_ not in CLASSES and class_ != TEXT) or flags & COMPLEX:
        raise ValueError(f"the matrix {name!r} is sparse, complex, an object or a function")
    kind, content = next(parts, (0, b""))
    if class_ == TEXT:
        if kind not in LETTERS or count > len(content):
            raise ValueError(f"{count} characters in {len(content)} bytes of type {kind}")
        return name, bytes(content).decode(LETTERS[kind])
    if kind not in TYPES:
        raise ValueError(f"the numbers of {name!r} are of type {kind}")
    numbers = np.frombuffer(content, "<" + TYPES[kind])
    with np.errstate(invalid="ignore"):  # numbers that no file of this class can have
        return name, numbers.astype(CLASSES[class_]).reshape(shape, order="F")


def _values(class_: int, count: int, parts: Iterator, depth: int) -> list:
    """The cells of a cell array, or the elements of a structure array as dicts."""
    fields = []
    if class_ == STRUCT:
        (_, length), (_, text) = islice(parts, 2)
        (length,) = struct.unpack_from("<i", length)
        names = [bytes(text[k : k + length]) for k in range(0, len(text), length)]
        fields = [name.split(b"\0")[0].decode("latin-1") for name in names]
        count *= len(fields)  # without fields there is nothing in it, whatever its shape
    values = [_matrix(*part, depth + 1)[1] for part in parts]
    if count != len(values):
        raise ValueError(f"{count} cells or fields are claimed, {len(values)} are there")
    if class_ == CELL:
        return values
    n = len(fields)
    return [dict(zip(fields, values[k : k + n], strict=True)) for k in range(0, count, n or 1)]
