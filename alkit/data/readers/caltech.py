"""Caltech Pedestrian: videos in .seq files, with the annotations of each in a .vbb file.

Sets set00 to set10 with 137 videos of about a minute at 30 frames a second. Labels: "person", an
individual; "people", a group; "person?", one that may be none; and in some files "person-fa".

Annotations are "video bounding boxes" of P. Dollár's toolbox (vbb.m), MATLAB files. Each holds the
struct A: nFrame, the number of frames; objLists, a cell for each frame with a struct array of its
objects (id, pos, occl, lock, posv), empty where there are none; and for each object objLbl, its
label, objInit, objStr, objEnd, objHide; then maxObj, altered, log, logLen.
"""

import functools
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, NonNegativeInt, PositiveInt, validate_call
from tqdm import tqdm

from alkit.data import filters
from alkit.data.imagefile import check_present, files_of
from alkit.data.matfile import read_mat, single
from alkit.data.records import Box, check, unique
from alkit.data.seqfile import SeqFile
from alkit.frames import Boxes, FrameSet, LazySequence, boxes_by_image

Sets = Annotated[list[Annotated[str, Field(pattern=r"^[^/\\]*[^/\\.]$")]], Field(min_length=1)]


@validate_call
def read(
    root: Path,
    *,
    sets: Sets | None = None,
    annotations: str | None = "annotations",
    step: PositiveInt = 1,
    first: NonNegativeInt = 0,
    across_videos: bool = False,
    with_positives: filters.RuleName | None = None,
) -> FrameSet:
    """Frames of the videos in `sets`, in this order, videos by name, at native pixels.

    Under `root` lie set01/V000.seq and so on, or under videos/ as the toolbox has them; `sets` None
    takes the .seq files in `root`. `annotations` is the folder with set01/V000.vbb; None: no boxes.

    **Which frames**, counted from 0: `first`, `first + step`, … of each video; with `across_videos`
    of all videos put one behind the other, so that the count goes on from one to the next.
    `with_positives` names a rule of `data.filters.RULES`: frames without a positive under it are
    left out before this count. The field's test set is every 30th frame from 29 (dbExtract.m of
    the benchmark's code 3.2.1): 4,024 images of set06 to set10. The authors' code counts across
    videos: every 2nd frame of set01 to set05 as the pool, ⌈102,726/2⌉ = 51,363; and every 10th
    of those frames of set06 to set10 that have a positive as the test set.

    Names are "set01/V000/I00029", sequences "set01/V000", `.frame` is the raw number / `step`.

    **Boxes**: left and top count from 1 in the file and from 0 here. `visible` is posv where occl
    is 1 and posv is not all zeros, else the full box. Where posv equals pos although occl is 1, the
    object is wholly visible, as in the benchmark's evaluation (dbEval.m) and in the authors' code;
    where the toolbox loads boxes to train on (bbGt.m), it is hidden. Identities are unique over the
    whole data set, the same in whatever part of it is read: (set · 10⁴ + video) · 10⁹ + id, or the
    video's position in place of set · 10⁴ + video where names are not as above.

    Opening counts the videos' frames, once. A video's annotations are read when one of its boxes is
    first asked for, and kept; `with_positives` reads all at once, with a progress bar.

    Raises as all readers do, also for a frame behind the last annotated one, and for no frame.
    """
    videos = _videos(root, sets)
    names, seqs = list(videos), [SeqFile(path) for path in videos.values()]
    for seq in tqdm(seqs, f"{root.name}: counting frames", delay=2, leave=False):
        if (n := seq.count()) < len(seq):
            raise ValueError(
                f"{seq.path}: the header states {len(seq)} frames, but the file ends, or is "
                f"damaged, after {n}; copy or download it again"
            )
        if n > len(seq):
            said = f"the header states {len(seq)} frames, which are used; the file holds {n}"
            warnings.warn(f"{seq.path}: {said}", stacklevel=2)
    vbbs = None if annotations is None else _annotation_files(root / annotations, names)
    annotated = functools.cache(lambda v: read_vbb(vbbs[v]))
    number_of = _video_numbers(names)
    pairs = [(v, f) for v, seq in enumerate(seqs) for f in range(len(seq))]

    def boxes_of(i):
        v, f = pairs[i]
        found = annotated(v)
        if f >= len(found):
            raise ValueError(
                f"{vbbs[v]} annotates {len(found)} frames, but {seqs[v].path} has {len(seqs[v])}: "
                "they are not of the same video, or one is incomplete"
            )
        return replace(found[f], identity=found[f].identity + number_of[v] * 10**9)

    sizes = {seq.image_size for seq in seqs}
    frames = FrameSet(
        dataset=root.name,
        name=[f"{names[v]}/I{f:05d}" for v, f in pairs],
        read=lambda i: seqs[pairs[i][0]][pairs[i][1]],
        image_size=sizes.pop() if len(sizes) == 1 else None,
        boxes=None if vbbs is None else LazySequence(len(pairs), boxes_of),
        sequence=np.array([names[v] for v, _ in pairs]),
        frame=np.array([f for _, f in pairs]) / step,
    )
    if with_positives is not None:
        frames = filters.with_positives(frames, with_positives)
    count = np.arange(len(frames))
    if not across_videos:
        _, start, video = np.unique(frames.sequence, return_index=True, return_inverse=True)
        count -= start[video]
    chosen = np.flatnonzero((count >= first) & ((count - first) % step == 0))
    if len(chosen) == 0:
        raise ValueError(
            f"{root}: no frame is left of {len(pairs)} in {len(seqs)} videos: first is {first}, "
            f"step {step}, with_positives {with_positives!r}"
        )
    return frames.take(chosen)


def sources(
    root: Path, *, sets: list[str] | None = None, annotations: str | None = "annotations", **_
) -> tuple[list, list]:
    """The .vbb and the .seq files."""
    videos = _videos(root, sets)
    texts = [] if annotations is None else _annotation_files(root / annotations, list(videos))
    return texts, list(videos.values())


def _videos(root: Path, sets: list[str] | None) -> dict[str, Path]:
    """The .seq files by the name of their sequence, in order."""
    base = root / "videos" if sets and (root / "videos").is_dir() else root
    unique(root, "name in sets", sets or ())
    videos = {}
    for folder in [root] if sets is None else [base / name for name in sets]:
        files = files_of(folder, "*.seq")
        videos |= {str(file.relative_to(base).with_suffix("")): file for file in files}
    return videos


def _annotation_files(base: Path, names: list[str]) -> list[Path]:
    """The .vbb file of each sequence, all of which exist."""
    files = [base / f"{name}.vbb" for name in names]
    check_present(base, files)
    return files


def _video_numbers(names: list[str]) -> list[int]:
    """A number for each video: of its set and its own, or its position where these have none."""
    matches = [re.fullmatch(r"set(\d{1,4})/V(\d{1,4})", name) for name in names]
    numbers = [int(m[1]) * 10**4 + int(m[2]) for m in matches if m]
    return numbers if len(set(numbers)) == len(names) else list(range(len(names)))


def _plain(value):
    """A MATLAB array as a number, or the list of its numbers."""
    if not isinstance(value, np.ndarray):
        return value
    return value.item() if value.size == 1 else value.ravel().tolist()


Plain = BeforeValidator(_plain)


class Thing(BaseModel):
    id: Annotated[int, Plain]
    pos: Annotated[Box, Plain]
    occl: Annotated[bool, Plain]
    posv: Annotated[Box, Plain]


class Annotation(BaseModel):
    """The struct A. A label is [] where no object has the number."""

    nFrame: Annotated[int, Plain]
    objLists: Annotated[list[Annotated[list[Thing], Plain]], Plain]
    objLbl: Annotated[list[Annotated[str | list, Plain]], Plain]


def read_vbb(path: Path) -> LazySequence:
    """The `Boxes` of each frame of a video, as `read` says; identities count in it from 1.

    Raises what `read_mat` does, and ValueError that names the file and the field (A: objLists.1.0
    is the first object of the second frame) for: missing fields, values of another type or number,
    an objLists of another length than nFrame, ids without a label or twice, negative sizes.
    """
    a = check(Annotation, single(read_mat(path).get("A")), f"{path}: A")
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
    ids = [thing.id for thing in everything]
    pos = np.array([thing.pos for thing in everything]).reshape(-1, 4)
    posv = np.array([thing.posv for thing in everything]).reshape(-1, 4)
    occluded = np.array([thing.occl for thing in everything], bool) & posv.any(axis=1)
    visible = np.where(occluded[:, None], posv, pos)
    from_zero = (1, 1, 0, 0)  # the file counts pixels from 1
    boxes = Boxes(pos - from_zero, [label_of[k] for k in ids], None, visible - from_zero, ids)
    frame = np.repeat(np.arange(n), [len(things) for things in a.objLists])
    return boxes_by_image(n, frame, boxes)
