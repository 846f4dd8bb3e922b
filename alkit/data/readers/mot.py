"""MOTChallenge: a folder with seqinfo.ini and gt/gt.txt; also a plain folder of images, or one
video file, both without boxes."""

import configparser
import math
import re
from pathlib import Path

import numpy as np

from alkit.data.imagefile import SUFFIXES, read_image
from alkit.data.video import Video
from alkit.frames import NO_BOXES, Boxes, FrameSet, LazySequence

# Class numbers of MOT16, MOT17 and MOT20 (Milan et al. 2016, Table 3; 13 is MOT20's).
CLASSES = {
    1: "pedestrian",
    2: "person on vehicle",
    3: "car",
    4: "bicycle",
    5: "motorbike",
    6: "non-motorised vehicle",
    7: "static person",
    8: "distractor",
    9: "occluder",
    10: "occluder on the ground",
    11: "occluder, full",
    12: "reflection",
    13: "crowd",
}


def read(root: Path, *, frames: list[int] | None = None, step: int = 1) -> FrameSet:
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
    box shrunk about its centre, in both directions alike, to this fraction of its area.

    Raises ValueError that names the file and the line for a wrong number of columns, anything but
    finite numbers, negative sizes, a frame outside the video, a duplicate id in a frame.
    """
    root = Path(root)
    name, files, image_size = _source(root)
    n = len(files)
    boxes_of = None
    if (root / "gt" / "gt.txt").is_file():
        boxes_of = _ground_truth(root / "gt" / "gt.txt", n)

    span = [1, n] if frames is None else list(frames)
    if len(span) != 2 or any(type(f) is not int for f in span) or not 1 <= span[0] <= span[1] <= n:
        raise ValueError(
            f"{root}: frames is {span}; [first, last], 1 ≤ first ≤ last ≤ {n}, is wanted"
        )
    if type(step) is not int or step < 1:
        raise ValueError(f"{root}: step is {step!r}; an integer > 0 is wanted")
    number = np.arange(span[0], span[1] + 1, step)
    boxes = None
    if boxes_of is not None:
        boxes = LazySequence(len(number), lambda i: boxes_of(number[i]))
    return FrameSet(
        dataset=name,
        name=[f"{name}/{k:06d}" for k in number],
        read=lambda i: files[int(number[i]) - 1],
        image_size=image_size,
        boxes=boxes,
        sequence=np.full(len(number), name),
        frame=number / step,
    )


def sources(root: Path, **_) -> tuple[list, list]:
    """The files that the data comes from: (annotation files, image or video files)."""
    root = Path(root)
    texts = [file for file in (root / "seqinfo.ini", root / "gt" / "gt.txt") if file.is_file()]
    return texts, _media(root)[1]


def _media(root: Path) -> tuple[str, list[Path], dict]:
    """The video's name, its media files (one video, or the images in order), and seqinfo.ini."""
    if root.is_file():
        return root.stem, [root], {}
    info_file = root / "seqinfo.ini"
    if not info_file.is_file():
        images = _image_files(root) if root.is_dir() else []
        if not images:
            raise FileNotFoundError(
                f"{root}: no seqinfo.ini and no images here; a MOTChallenge folder, a folder of "
                f"images or a video file is wanted"
            )
        return root.name, images, {}

    parser = configparser.ConfigParser()
    try:
        parser.read_string(info_file.read_text())
        info = dict(parser["Sequence"])
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{info_file}: no section [Sequence] can be read: {error}") from None
    for key in ("name", "seqLength", "imWidth", "imHeight"):
        value = info.get(key.lower())
        if value is None or (key != "name" and not (value.isdecimal() and int(value) > 0)):
            raise ValueError(f"{info_file}: {key} is {value!r}; it must be given, numbers > 0")
    if ("imdir" in info) == ("video" in info):
        raise ValueError(f"{info_file}: either imDir (a folder) or video (a file) must be given")
    inside = Path(info.get("imdir") or info["video"])
    if inside.is_absolute() or ".." in inside.parts:
        raise ValueError(f"{info_file}: {inside} leads out of the folder")
    if "video" in info:
        return info["name"], [root / inside], info

    suffix = info.get("imext", ".jpg")
    files = [root / inside / f"{k:06d}{suffix}" for k in range(1, int(info["seqlength"]) + 1)]
    present = {file.name for file in (root / inside).iterdir()} if (root / inside).is_dir() else ()
    missing = [file for file in files if file.name not in present]
    if missing:
        raise FileNotFoundError(
            f"{info_file}: seqLength is {len(files)}, but {len(missing)} of these images are "
            f"missing, the first is {missing[0]}"
        )
    return info["name"], files, info


def _source(root: Path):
    """The video's name, a sequence of decoded images, and (height, width)."""
    name, media, info = _media(root)
    size = (int(info["imheight"]), int(info["imwidth"])) if info else None
    if len(media) == 1 and media[0].suffix.lower() not in SUFFIXES:
        video = Video(media[0], int(info["seqlength"]) if info else None)
        return name, video, size or video.image_size
    size = size or read_image(media[0]).shape[:2]
    return name, LazySequence(len(media), lambda i: read_image(media[i], size)), size


def _image_files(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES]

    def natural(file):
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]

    return sorted(files, key=natural)


def _ground_truth(path: Path, n_frames: int):
    """A function from a frame's number, from 1, to its `Boxes`."""
    rows, labels, seen, columns = [], [], set(), None
    for line_number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {line_number}"
        fields = line.split(",")
        columns = columns or len(fields)
        if len(fields) not in (9, 10) or len(fields) != columns:
            raise ValueError(
                f"{where}: {len(fields)} columns; nine (MOT16 and later) or ten (MOT15) are "
                f"wanted, the same in every line"
            )
        row, label = _parse(where, fields, n_frames)
        key = (row[0], row[1])
        if row[1] >= 0 and key in seen:
            raise ValueError(f"{where}: frame {key[0]:.0f} has id {key[1]:.0f} twice")
        seen.add(key)
        rows.append(row)
        labels.append(label)

    rows = np.array(rows, np.float64).reshape(-1, 8)
    order = np.argsort(rows[:, 0], kind="stable")
    rows, labels = rows[order], np.array(labels, np.str_)[order]
    start = np.searchsorted(rows[:, 0], np.arange(1, n_frames + 2))

    def boxes_of(number):
        of = slice(start[number - 1], start[number])
        if of.start == of.stop:
            return NO_BOXES
        ltwh, active, visibility = rows[of, 2:6], rows[of, 6], rows[of, 7]
        kept_side = np.sqrt(visibility)[:, None]
        size = ltwh[:, 2:] * kept_side
        visible = np.concatenate([ltwh[:, :2] + (ltwh[:, 2:] - size) / 2, size], axis=1)
        identity = rows[of, 1].astype(np.int64)
        return Boxes(ltwh, labels[of], active == 0, visible, identity)

    return boxes_of


def _parse(where: str, fields: list[str], n_frames: int) -> tuple[list[float], str]:
    """One line as [frame, id, left, top, width, height, active, visibility] and its label."""
    try:
        values = [float(field) for field in fields]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{where}: not all values are finite: {','.join(fields)}")
    frame, identity, left, top, width, height, active = values[:7]
    if frame != int(frame) or identity != int(identity):
        raise ValueError(f"{where}: frame {frame:g} and id {identity:g} must be integers")
    if not 1 <= frame <= n_frames:
        raise ValueError(f"{where}: frame {frame:g}, but the video has frames 1 to {n_frames}")
    if width < 0 or height < 0:
        raise ValueError(f"{where}: width {width:g}, height {height:g}; they must not be negative")
    label, visibility = "pedestrian", 1.0
    if len(values) == 9:
        if values[7] not in CLASSES:
            raise ValueError(f"{where}: class {values[7]:g}; 1 to {max(CLASSES)} is wanted")
        label, visibility = CLASSES[int(values[7])], values[8]
        if not 0 <= visibility <= 1:
            raise ValueError(f"{where}: visibility {visibility:g}; 0 to 1 is wanted")
    # The file counts pixels from 1.
    return [frame, max(identity, -1), left - 1, top - 1, width, height, active, visibility], label
