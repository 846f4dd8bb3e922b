"""Video bounding boxes: the .vbb annotations of P. Dollár's toolbox (vbb.m), MATLAB files.

A file holds the struct A: nFrame, the number of frames; objLists, a cell for each frame with a
struct array of its objects (id, pos, occl, lock, posv), empty where there are none; and for each
object objLbl, its label, objInit, objStr, objEnd, objHide; then maxObj, altered, log, logLen.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alkit.data.matfile import read_mat


@dataclass(frozen=True)
class VideoBoxes:
    """The objects of one video in flat arrays: those of frame f, from 0, are
    `start[f]:start[f + 1]`, in the file's order.

    `pos` and `posv` (n, 4) float64 are [left, top, width, height] as in the file, **left and top
    counted from 1**; posv is the visible part, all zeros where none was labelled. `occluded` (n,)
    is occl, `label` (n,) the object's name, `id` (n,) its number in the video, from 1.
    """

    start: np.ndarray
    id: np.ndarray
    label: np.ndarray
    pos: np.ndarray
    posv: np.ndarray
    occluded: np.ndarray

    @property
    def n_frames(self) -> int:
        return len(self.start) - 1


def read_vbb(path: Path) -> VideoBoxes:
    """The annotations of one video.

    Raises what `read_mat` does, and ValueError that names the file and the field, in MATLAB's
    notation that counts from 1, for: missing fields, values of another type or number than wanted,
    an objLists of another length than nFrame, ids without a label, an id twice in a frame, negative
    sizes.
    """
    path = Path(path)
    variables = read_mat(path)
    if "A" not in variables:
        raise ValueError(f"{path}: it lacks the variable A; it has {sorted(variables)}")
    fields = _struct(path, "A", variables["A"], ("nFrame", "objLists", "objLbl"))
    n = _whole(path, "A.nFrame", fields["nFrame"])
    lists = _cells(path, "A.objLists", fields["objLists"])
    if len(lists) != n:
        raise ValueError(f"{path}: A.nFrame is {n}, but A.objLists has {len(lists)} cells")
    cells = enumerate(_cells(path, "A.objLbl", fields["objLbl"]), start=1)
    label_of = {k: _text(path, f"A.objLbl{{{k}}}", cell) for k, cell in cells}

    start, rows = [0], []
    for f, objects in enumerate(lists, start=1):
        seen = set()
        for j, record in enumerate(_objects(path, f"A.objLists{{{f}}}", objects), start=1):
            row = _object(path, f"A.objLists{{{f}}}({j})", record, label_of)
            if row[0] in seen:
                raise ValueError(f"{path}: A.objLists{{{f}}} has the id {row[0]} twice")
            seen.add(row[0])
            rows.append(row)
        start.append(len(rows))
    ids, pos, posv, occluded = zip(*rows, strict=True) if rows else ((), (), (), ())
    return VideoBoxes(
        start=np.array(start, np.int64),
        id=np.array(ids, np.int64),
        label=np.array([label_of[k] for k in ids], np.str_),
        pos=np.array(pos, np.float64).reshape(-1, 4),
        posv=np.array(posv, np.float64).reshape(-1, 4),
        occluded=np.array(occluded, bool),
    )


def _object(path, where, fields, label_of) -> tuple[int, list, list, bool]:
    """One object in one frame: id, pos, posv, occluded."""
    number = _whole(path, f"{where}.id", fields["id"])
    if not label_of.get(number):
        raise ValueError(f"{path}: {where}.id is {number}, but A.objLbl has no label for it")
    pos = _box(path, f"{where}.pos", fields["pos"])
    posv = _box(path, f"{where}.posv", fields["posv"])
    (occluded,) = _numbers(path, f"{where}.occl", fields["occl"], 1)
    if occluded not in (0, 1):
        raise ValueError(f"{path}: {where}.occl is {occluded:g}; 0 or 1 is wanted")
    return number, pos, posv, occluded == 1


def _struct(path, where, value, wanted: tuple[str, ...]) -> dict:
    """The fields of a single struct, the wanted ones among them."""
    if not _is_structs(value) or len(value) != 1:
        raise ValueError(f"{path}: {where} is {_kind(value)}; one struct is wanted")
    missing = [name for name in wanted if name not in value[0]]
    if missing:
        raise ValueError(f"{path}: {where} lacks the fields {missing}; it has {list(value[0])}")
    return value[0]


def _objects(path, where, value) -> list[dict]:
    """The objects of a frame, from a struct array or from a cell of structs; none from []."""
    if isinstance(value, np.ndarray) and value.size == 0:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{path}: {where} is {_kind(value)}; a struct array or [] is wanted")
    singles = [[record] for record in value] if _is_structs(value) else value
    return [_struct(path, where, one, ("id", "pos", "occl", "posv")) for one in singles]


def _cells(path, where, value) -> list:
    """The cells of a cell array; none from []."""
    if isinstance(value, np.ndarray) and value.size == 0:
        return []
    if not isinstance(value, list) or _is_structs(value):
        raise ValueError(f"{path}: {where} is {_kind(value)}; a cell array is wanted")
    return value


def _text(path, where, value) -> str:
    """A label; "" from [], which stands for an object that does not exist."""
    if isinstance(value, np.ndarray) and value.size == 0:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{path}: {where} is {_kind(value)}; a text is wanted")
    return value


def _box(path, where, value) -> list[float]:
    box = _numbers(path, where, value, 4)
    if box[2] < 0 or box[3] < 0:
        raise ValueError(f"{path}: {where} is {box}; width and height must not be negative")
    return box


def _whole(path, where, value) -> int:
    (number,) = _numbers(path, where, value, 1)
    if number != int(number) or number < 0:
        raise ValueError(f"{path}: {where} is {number:g}; a whole number ≥ 0 is wanted")
    return int(number)


def _numbers(path, where, value, n: int) -> list[float]:
    if isinstance(value, np.ndarray) and value.size == n:
        numbers = value.ravel().tolist()
        if all(map(math.isfinite, numbers)):
            return numbers
    wanted = "a finite number is" if n == 1 else f"{n} finite numbers are"
    raise ValueError(f"{path}: {where} is {_kind(value)}; {wanted} wanted")


def _is_structs(value) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _kind(value) -> str:
    """What a value of the file is, in a few words."""
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, list):
        return f"{len(value)} {'structs' if _is_structs(value) else 'cells'}"
    return f"{value.tolist()}" if 1 <= value.size <= 4 else f"numbers {value.shape}"
