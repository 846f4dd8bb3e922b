"""MOTChallenge: a folder with seqinfo.ini and gt/gt.txt, or a folder of such folders; what has no
seqinfo.ini is read as `folder` does."""

import configparser
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, validate_call

from alkit.data.imagefile import SUFFIXES, Orientation, files_below, read_image
from alkit.data.readers import folder
from alkit.data.records import LTWH, FileName, check, check_pixels, unique
from alkit.data.sequences import Range, joined, taken
from alkit.data.video import Video
from alkit.frames import Boxes, FrameSet, LazySequence, boxes_by_image

# Classes 1 to 13 of MOT16, MOT17 and MOT20 (Milan et al. 2016, Table 3; 13 is MOT20's).
CLASSES = (
    "pedestrian",
    "person on vehicle",
    "car",
    "bicycle",
    "motorbike",
    "non-motorised vehicle",
    "static person",
    "distractor",
    "occluder",
    "occluder on the ground",
    "occluder, full",
    "reflection",
    "crowd",
)


class Info(BaseModel):
    """What seqinfo.ini says."""

    name: str
    seqlength: PositiveInt
    imwidth: PositiveInt
    imheight: PositiveInt
    imdir: FileName | None = None
    video: FileName | None = None


@validate_call
def read(
    root: Path,
    *,
    kind: Literal["stills", "video"] | None = None,
    frames: Range | None = None,
    step: PositiveInt = 1,
    orientation: Orientation | None = None,
) -> FrameSet:
    """The frames of one video, or of several in natural order, at native pixels.

    `root` is a MOTChallenge folder, whose seqinfo.ini names the image folder (`imDir`) or a video
    file (`video`); or a folder that holds such folders, where all else is passed over; anything
    else is read by `folder.read`, which `kind` is for. Images count in natural order, whatever
    their digits, and have to be `seqLength` consecutive ones.

    `frames` and `step` take a part of each video, as `sequences.taken` does: [1, 500] or shares, as
    [0, 0.65]. `.frame` is the file's own number, **from 1**, divided by `step`; names are
    "SEQUENCE/000001", and where two sequences have one name their folder's comes before it.

    Boxes: left and top count from 1 in the file and from 0 here. Ten columns (MOT15): frame, id,
    left, top, width, height, confidence, three world coordinates; all are pedestrians, and
    confidence 0 is an ignore box. Nine columns (MOT16 and later): frame, id, left, top, width,
    height, active, class, visibility; active 0 is an ignore box, and labels are those of
    `CLASSES`, or of gt/labels.txt (CVAT writes it), a name a line. The file gives the visible part
    as a fraction only, not its place: `visible` is the box shrunk about its center, in both
    directions alike, to this fraction of its area. Without gt/gt.txt there are no boxes.

    Raises as all readers do, also for a frame outside the video, an id twice in a frame, and ten
    columns whose last three are no world coordinates, as of VisDrone.
    """
    if not (folders := _sequences(root)):
        return folder.read(root, kind=kind, frames=frames, step=step, orientation=orientation)
    each = [_read(one, frames, step, orientation) for one in folders]
    return joined(each, root.name, bits=30) if folders != [root] else each[0]


def sources(root: Path, **_) -> tuple[list, list]:
    """seqinfo.ini, and gt.txt and labels.txt where they are there; the images, or the video."""
    if not (folders := _sequences(root)):
        return folder.sources(root)
    texts = [f / name for f in folders for name in ("seqinfo.ini", "gt/gt.txt", "gt/labels.txt")]
    return [file for file in texts if file.is_file()], [m for f in folders for m in _media(f)[1]]


def _sequences(root: Path) -> list[Path]:
    """The folders with seqinfo.ini: `root` itself, or those below it."""
    if (root / "seqinfo.ini").is_file():
        return [root]
    below = files_below(root, ("seqinfo.ini", "gt.txt"))
    found = [file.parent for file in below if file.name.lower() == "seqinfo.ini"]
    truths = [file for file in below if file.parts[-2:] == ("gt", "gt.txt")]
    lost = [file for file in truths if file.parents[1] not in found]
    if found and lost:
        raise ValueError(f"{lost[0]}: expected seqinfo.ini of its sequence in {lost[0].parents[1]}")
    return found


def _read(root: Path, frames: Range | None, step: int, orientation) -> FrameSet:
    info, media = _media(root)
    truth, size = root / "gt" / "gt.txt", (info.imheight, info.imwidth)
    orientation = orientation or (None if truth.is_file() else "upright")
    images = LazySequence(len(media), lambda i: read_image(media[i], size, None, orientation))
    if info.video:
        images = Video(media[0], orientation)
    n = len(images)
    if n != info.seqlength:
        raise ValueError(
            f"{root / 'seqinfo.ini'}: seqLength is {info.seqlength}, but {media[0].parent} holds "
            f"{n} frames; correct the one or complete the other"
        )
    number = np.arange(1, n + 1)
    video = FrameSet(
        dataset=root.name,
        name=[f"{info.name}/{k:06d}" for k in range(1, n + 1)],
        read=images.__getitem__,
        image_size=size,
        boxes=_ground_truth(truth, n) if truth.is_file() else None,
        sequence=np.full(n, info.name),
        frame=number / step,
        files=None if info.video else media,
    )
    return video.take(taken(root, number, n, frames, step))


def _media(root: Path) -> tuple[Info, list[Path]]:
    """What seqinfo.ini says, and the media files: one video, or the images in order."""
    info_file = root / "seqinfo.ini"
    parser = configparser.ConfigParser()
    try:
        parser.read_string(info_file.read_text("utf-8-sig"))
        info = dict(parser["Sequence"])
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{info_file}: no section [Sequence] can be read: {error}") from None
    info = check(Info, info, info_file)
    if (info.imdir is None) == (info.video is None):
        raise ValueError(f"{info_file}: expected either imDir (a folder) or video (a file)")
    if info.video is not None:
        return info, [root / info.video]
    images = files_below(root / info.imdir, SUFFIXES)
    if not images:
        raise FileNotFoundError(f"{info_file}: expected images in {root / info.imdir}, got none")
    numbers = [re.search(r"\d*$", file.stem)[0] for file in images]
    for k, (one, other) in enumerate(pairwise(numbers if all(numbers) else ())):
        if int(other) != int(one) + 1:  # the boxes of all images behind a gap would be others'
            said = f"expected images with consecutive numbers, but {images[k]} is followed by"
            raise FileNotFoundError(f"{info_file}: {said} {images[k + 1].name}")
    return info, images


def _ground_truth(path: Path, n_frames: int) -> LazySequence:
    """The `Boxes` of each frame of the video."""
    lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    table = np.ones((0, 9))
    try:
        table = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2) if lines else table
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if table.shape[1] not in (9, 10):
        raise ValueError(
            f"{path}: expected nine (MOT16 and later) or ten columns (MOT15), got {table.shape[1]}"
        )
    names, classes, nine = path.with_name("labels.txt"), CLASSES, table.shape[1] == 9
    if nine and names.is_file():
        classes = [*map(str.strip, names.read_text("utf-8-sig").rstrip().splitlines())]
    in_video = Annotated[int, Field(ge=1, le=n_frames)]
    known = Annotated[int, Field(ge=1, le=len(classes))], Annotated[float, Field(ge=0, le=1)]
    end = known if nine else (FiniteFloat,) * 3
    row = tuple[in_video, Annotated[int, Field(lt=1 << 30)], *LTWH, FiniteFloat, *end]
    check(list[row], table.tolist(), f"{path}: row, column")
    world = table[:, 7:10]
    if not nine and np.all(world % 1 == 0) and not np.isin(world, (-1, 0)).all():
        raise ValueError(
            f"{path}: expected three world coordinates at the end of ten columns (MOT15), got "
            f"{world[0].tolist()}, which are rather class, truncation and occlusion (VisDrone). "
            "Write nine columns, with class and visibility, and the classes' names in labels.txt"
        )
    frame, identity, _, _, _, _, active = table.T[:7]
    kind, visibility = table.T[7:] if nine else np.ones((2, len(table)))
    known = identity >= 0
    unique(path, "frame and id", zip(frame[known].tolist(), identity[known].tolist(), strict=True))
    check_pixels(path, table[:, 2:6], lambda i: f"row {i}")
    ltwh = table[:, 2:6] - (1, 1, 0, 0)  # the file counts pixels from 1
    size = ltwh[:, 2:] * np.sqrt(visibility)[:, None]
    visible = np.hstack([ltwh[:, :2] + (ltwh[:, 2:] - size) / 2, size])
    labels = np.array(classes)[kind.astype(int) - 1]
    boxes = Boxes(ltwh, labels, active == 0, visible, np.maximum(identity, -1))
    return boxes_by_image(n_frames, frame.astype(int) - 1, boxes)
