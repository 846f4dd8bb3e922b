"""MOTChallenge: a folder with seqinfo.ini and gt/gt.txt; also a plain folder of images, or one
video file, both without boxes."""

import configparser
import re
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, validate_call

from alkit.data.imagefile import SUFFIXES, check_present, read_image
from alkit.data.records import LTWH, FileName, check, unique
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
    imext: str = ".jpg"
    video: FileName | None = None


@validate_call
def read(
    root: Path, *, frames: tuple[PositiveInt, PositiveInt] | None = None, step: PositiveInt = 1
) -> FrameSet:
    """The frames of one video at native pixels.

    `root` is a MOTChallenge folder, whose seqinfo.ini names the image folder (`imDir`) or a video
    file (`video`); or a folder of images, sorted by name with numbers in natural order; or a video
    file. The last two, and a folder without gt/gt.txt, have no boxes.

    `frames` = [first, last] takes only these frames, **counted from 1** as MOTChallenge does, both
    included; `step` then takes every step-th of them. `.frame` is the file's own number, from 1,
    divided by `step`; names are "SEQUENCE/000001".

    Boxes: left and top count from 1 in the file and from 0 here. Ten columns (MOT15): frame, id,
    left, top, width, height, confidence, three world coordinates; all are pedestrians, and
    confidence 0 is an ignore box. Nine columns (MOT16 and later): frame, id, left, top, width,
    height, active, class, visibility; active 0 is an ignore box, and labels are those of
    `CLASSES`. The file gives the visible part as a fraction only, not its place: `visible` is the
    box shrunk about its center, in both directions alike, to this fraction of its area.

    Raises as all readers do, also for a frame outside the video and an id twice in a frame.
    """
    name, media, info = _media(root)
    size = (info.imheight, info.imwidth) if info else None
    if len(media) == 1 and media[0].suffix.lower() not in SUFFIXES:
        images = Video(media[0], info and info.seqlength)
        size = size or images.image_size
    else:
        size = size or read_image(media[0]).shape[:2]
        images = LazySequence(len(media), lambda i: read_image(media[i], size))
    n = len(images)
    first, last = frames or (1, n)
    if not first <= last <= n:
        raise ValueError(f"{root}: expected frames [first, last] of 1 to {n}, got {frames}")
    truth = root / "gt" / "gt.txt"
    video = FrameSet(
        dataset=name,
        name=[f"{name}/{k:06d}" for k in range(1, n + 1)],
        read=images.__getitem__,
        image_size=size,
        boxes=_ground_truth(truth, n) if truth.is_file() else None,
        sequence=np.full(n, name),
        frame=np.arange(1, n + 1) / step,
    )
    return video.take(range(first - 1, last, step))


def sources(root: Path, **_) -> tuple[list, list]:
    """seqinfo.ini and gt.txt where they are there; the images, or the video."""
    texts = [file for file in (root / "seqinfo.ini", root / "gt" / "gt.txt") if file.is_file()]
    return texts, _media(root)[1]


def _media(root: Path) -> tuple[str, list[Path], Info | None]:
    """The video's name, its media files (one video, or the images in order), and seqinfo.ini."""
    if root.is_file():
        return root.stem, [root], None
    info_file = root / "seqinfo.ini"
    if not info_file.is_file():
        images = [f for f in root.iterdir() if f.suffix.lower() in SUFFIXES]
        if not images:
            raise FileNotFoundError(
                f"{root}: expected a MOTChallenge folder, a folder of images or a video file; here "
                "are no seqinfo.ini and no images"
            )
        return root.name, sorted(images, key=_natural), None

    parser = configparser.ConfigParser()
    try:
        parser.read_string(info_file.read_text())
        info = dict(parser["Sequence"])
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{info_file}: no section [Sequence] can be read: {error}") from None
    info = check(Info, info, info_file)
    if (info.imdir is None) == (info.video is None):
        raise ValueError(f"{info_file}: expected either imDir (a folder) or video (a file)")
    if info.video is not None:
        return info.name, [root / info.video], info
    folder = root / info.imdir
    files = [folder / f"{k:06d}{info.imext}" for k in range(1, info.seqlength + 1)]
    check_present(info_file, files)
    return info.name, files, info


def _natural(file: Path) -> list:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]


def _ground_truth(path: Path, n_frames: int) -> LazySequence:
    """The `Boxes` of each frame of the video."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    table = np.ones((0, 9))
    try:
        table = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2) if lines else table
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if table.shape[1] not in (9, 10):
        raise ValueError(
            f"{path}: expected nine (MOT16 and later) or ten columns (MOT15), got {table.shape[1]}"
        )
    in_video = Annotated[int, Field(ge=1, le=n_frames)]
    known = Annotated[int, Field(ge=1, le=len(CLASSES))], Annotated[float, Field(ge=0, le=1)]
    end = known if table.shape[1] == 9 else (FiniteFloat,) * 3
    row = tuple[in_video, int, *LTWH, FiniteFloat, *end]
    check(list[row], table.tolist(), f"{path}: row, column")
    frame, identity, _, _, _, _, active = table.T[:7]
    kind, visibility = table.T[7:] if table.shape[1] == 9 else np.ones((2, len(table)))
    known = identity >= 0
    unique(path, "frame and id", zip(frame[known].tolist(), identity[known].tolist(), strict=True))
    ltwh = table[:, 2:6] - (1, 1, 0, 0)  # the file counts pixels from 1
    size = ltwh[:, 2:] * np.sqrt(visibility)[:, None]
    visible = np.hstack([ltwh[:, :2] + (ltwh[:, 2:] - size) / 2, size])
    labels = np.array(CLASSES)[kind.astype(int) - 1]
    boxes = Boxes(ltwh, labels, active == 0, visible, np.maximum(identity, -1))
    return boxes_by_image(n_frames, frame.astype(int) - 1, boxes)
