"""A folder of pictures, a folder of videos, or one video file: frames without boxes."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import PositiveInt, validate_call

from alkit.data.imagefile import SUFFIXES, Orientation, files_below, read_image, size_of
from alkit.data.remembered import remembered
from alkit.data.sequences import Range, taken
from alkit.data.video import CACHE_BYTES, Video
from alkit.frames import FrameSet

VIDEOS = (
    *(".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".flv", ".mpg", ".mpeg", ".ts", ".wmv"),
    *(".3gp", ".mts", ".m2ts", ".ogv", ".vob", ".asf"),
)
UNREAD = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".ppm", ".pgm", ".tga", ".exr", ".hdr"),
    *(".dng", ".cr2", ".nef", ".arw", ".seq", ".h264", ".y4m"),
)


@validate_call
def read(
    root: Path,
    *,
    kind: Literal["stills", "video"] | None = None,
    frames: Range | None = None,
    step: PositiveInt = 1,
    orientation: Orientation | None = None,
) -> FrameSet:
    """The pictures or videos in and below a folder at native pixels, in natural order: 2 before 10.

    A picture's name is its path in the folder, as "gate north/IMG_2041.jpg". Pictures are stills,
    or with `kind` "video" the frames of videos, each folder one. A video "north.mp4" is a sequence
    "north" with frames "north/000001". `frames` and `step` take a part of each sequence, and of all
    stills, as `sequences.taken` does. `.frame` is the number of a frame from 1, divided by `step`.
    All are turned as a note in the file says, unless `orientation` is "stored".

    Names that begin with a dot, and folders `__MACOSX`, are passed over. Raises as all readers do,
    also for a folder with neither, and with both.
    """
    _, media = sources(root)
    names, sequence, sizes, image = _of_files(root, media, orientation or "upright")
    still = kind != "video" and media[0].suffix.lower() in SUFFIXES
    owner = np.array([root.name] * len(names) if still else sequence)
    grouped = pd.Series(owner).groupby(owner)
    number, length = grouped.cumcount().to_numpy() + 1, grouped.transform("size").to_numpy()
    found = FrameSet(
        dataset=root.stem,
        name=names,
        read=image,
        image_size=sizes.pop() if len(sizes) == 1 else None,
        sequence=None if still else owner,
        frame=None if still else number / step,
        files=media if len(media) == len(names) else None,
    )
    return found.take(taken(root, number, length, frames, step))


def _of_files(root: Path, media: list[Path], orientation: Orientation) -> tuple:
    """Names and sequences of all frames, their sizes as a set, and a function that reads one."""
    paths = [file.relative_to(root if root.is_dir() else root.parent) for file in media]
    if media[0].suffix.lower() in SUFFIXES:
        names, parents = [path.as_posix() for path in paths], [path.parent for path in paths]
        sequence = [root.name if parent == Path() else parent.as_posix() for parent in parents]
        upright = orientation == "upright"
        sizes = remembered(f"sizes {orientation}", media, lambda file: size_of(file, upright))
        sizes = [*map(tuple, sizes)]

        def image(i):
            return read_image(media[i], sizes[i], None, orientation)

        return names, sequence, {*sizes}, image
    short = [path.with_suffix("").as_posix() for path in paths]
    if len({*short}) < len(short):
        short = [path.as_posix() for path in paths]
    videos = [Video(file, orientation, CACHE_BYTES // len(media)) for file in media]
    pairs = [(v, k) for v, video in enumerate(videos) for k in range(len(video))]
    names = [f"{short[v]}/{k + 1:06d}" for v, k in pairs]
    sizes = {video.image_size for video in videos}
    return names, [short[v] for v, _ in pairs], sizes, lambda i: videos[pairs[i][0]][pairs[i][1]]


def sources(root: Path, **_) -> tuple[list, list]:
    """No annotations; the pictures, or the videos."""
    if root.is_file():
        return [], [root]
    if labeled := files_below(root, ("seqinfo.ini", "gt.txt")):
        raise ValueError(
            f"{root}: expected pictures or videos that nobody labeled, but here is {labeled[0]}; "
            "name the folder that holds its seqinfo.ini, with reader: mot"
        )
    if unread := files_below(root, UNREAD):
        said = f"{len(unread)} files like {unread[0].name} are passed over; convert them to JPEG"
        warnings.warn(f"{root}: {said}", stacklevel=2)
    media = files_below(root, SUFFIXES + VIDEOS)
    pictures = [file for file in media if file.suffix.lower() in SUFFIXES]
    if not media or 0 < len(pictures) < len(media):
        raise (ValueError if media else FileNotFoundError)(
            f"{root}: expected a folder of pictures or a folder of videos, or a folder of MOT with "
            f"seqinfo.ini; here are {len(pictures)} pictures ({', '.join(SUFFIXES)}) and "
            f"{len(media) - len(pictures)} videos. `root` may name one of the folders below it"
        )
    return [], media
