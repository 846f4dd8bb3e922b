"""Video bounding boxes: the .vbb annotations of P. Dollár's toolbox (vbb.m), MATLAB files.

A file holds the struct A: nFrame, the number of frames; objLists, a cell for each frame with a
struct array of its objects (id, pos, occl, lock, posv), empty where there are none; and for each
object objLbl, its label, objInit, objStr, objEnd, objHide; then maxObj, altered, log, logLen.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict

from alkit.data.matfile import read_mat, single
from alkit.data.records import Box, check, unique
from alkit.frames import Boxes, LazySequence, boxes_by_image


def _plain(value):
    """A MATLAB array as a number, or the list of its numbers."""
    if not isinstance(value, np.ndarray):
        return value
    return value.item() if value.size == 1 else value.ravel().tolist()


Plain = BeforeValidator(_plain)


class Thing(BaseModel):
    """An object in one frame."""

    model_config = ConfigDict(allow_inf_nan=False)

    id: Annotated[int, Plain]
    pos: Annotated[Box, Plain]
    occl: Annotated[bool, Plain]
    posv: Annotated[Box, Plain]


class Annotation(BaseModel):
    """The struct A. A label is [] where no object has the number."""

    nFrame: Annotated[int, Plain]
    objLists: Annotated[list[Annotated[list[Thing], Plain]], Plain]
    objLbl: Annotated[list[Annotated[str | list, Plain]], Plain]


class File(BaseModel):
    """The variables of a .vbb file."""

    A: Annotated[Annotation, BeforeValidator(single)]


def read_vbb(path: Path) -> LazySequence:
    """The `Boxes` of each frame of a video, pixels counted from 0; identities are the numbers of
    the objects in the video, from 1.

    `visible` is posv where occl is 1 and posv is not all zeros, else pos.

    Raises what `read_mat` does, and ValueError that names the file and the field (A.objLists.1.0
    is the first object of the second frame) for: missing fields, values of another type or number
    than wanted, an objLists of another length than nFrame, ids without a label, an id twice in a
    frame, negative sizes.
    """
    a = check(File, read_mat(path), path).A
    n = len(a.objLists)
    if n != a.nFrame:
        raise ValueError(f"{path}: A.nFrame is {a.nFrame}, but A.objLists has {n} cells")
    label_of = {k: label for k, label in enumerate(a.objLbl, start=1) if label}
    for f, things in enumerate(a.objLists):
        ids = [thing.id for thing in things]
        unique(path, f"id in A.objLists.{f}", ids)
        if not label_of.keys() >= set(ids):
            raise ValueError(f"{path}: A.objLists.{f}: not all of the ids {ids} have an A.objLbl")
    everything = [thing for things in a.objLists for thing in things]
    pos = np.array([thing.pos for thing in everything]).reshape(-1, 4)
    posv = np.array([thing.posv for thing in everything]).reshape(-1, 4)
    occluded = np.array([thing.occl for thing in everything], bool) & posv.any(axis=1)
    visible = np.where(occluded[:, None], posv, pos)
    ids = [thing.id for thing in everything]
    from_zero = (1, 1, 0, 0)  # the file counts pixels from 1
    boxes = Boxes(pos - from_zero, [label_of[k] for k in ids], None, visible - from_zero, ids)
    frame = np.repeat(np.arange(n), [len(things) for things in a.objLists])
    return boxes_by_image(n, frame, boxes)
