"""The files of labeling tools: chosen frames out, finished labels back in.

Each format is a module with `write(frames, classes, folder)`, which writes annotations beside the
images, and `read(bundle)`, which gives a list of (names of an image, Answer); `SAYS` is how the
format says "looked at, nothing there". A frame to write is what the selection says of it
(`position`, `z`, …), with its `rank`, `file` name, `height` and `width`, and what labeling goes on
from: `boxes`, those of the detector with their `score`, whether it was `looked_at`, and `seconds`.
What a format cannot say itself is agreed on in the same way for all: a box to ignore has the class
"ignore", and the name of an exported image starts with its position in the pool.
"""

import itertools
import os
import shutil
import warnings
from collections import Counter
from pathlib import Path

import cv2
import pandas as pd
from tqdm import tqdm

from alkit.data.records import read_json
from alkit.labeling import session
from alkit.labeling.exchange import coco, cvat, label_studio, yolo
from alkit.labeling.exchange.bundle import Bundle
from alkit.labeling.exchange.names import TABLE, Names, image_name
from alkit.loop import answers
from alkit.loop.task import Task
from alkit.profiles import unknown

FORMATS = {"coco": coco, "label-studio": label_studio, "cvat": cvat, "yolo": yolo}


def export(task: Task, format_: str, folder: Path) -> Path:
    """Write a folder with the chosen frames as PNG, the answers so far as annotations, the
    detector's boxes where there is none, and `frames.csv` with ranks and scores; it appears under
    its name when it is whole. Where the pool cannot be read, it holds all that people answered
    about the chosen frames, at the size that they saw, without images; a warning says so. Raises
    what reading the pool raises if nobody answered anything."""
    if format_ not in FORMATS:
        raise ValueError(f"format: {unknown(format_, FORMATS)}")
    module = FORMATS[format_]
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: the folder is not empty; choose another one with --to")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / module.IMAGES).mkdir(parents=True)
    try:
        frames = _frames(task, answers.begun(task), task.sizes)
        for frame in tqdm(frames, desc="writing frames", unit="frame"):
            file = partial / module.IMAGES / frame["file"]
            if not cv2.imwrite(str(file), task.frames.images(frame["position"])[..., ::-1]):
                raise OSError(f"{file}: the image could not be written")
    except (ValueError, OSError) as error:
        known = {p: answer for p, answer in answers.known(task).items() if answer.size}
        if not (frames := _frames(task, known, {p: answer.size for p, answer in known.items()})):
            raise
        warnings.warn(f"{len(frames)} answers are written without images: {error}", stacklevel=2)
    module.write(frames, task.classes, partial)
    table = pd.DataFrame(frames).drop(columns=["boxes", "size", "pixels", "source"])
    table.to_csv(partial / TABLE, index=False)
    if folder.exists():
        folder.rmdir()
    os.replace(partial, folder)
    return folder


def _frames(task: Task, about: dict, sizes: dict) -> list:
    """What a format's `write` gets, of the chosen frames that answers are `about`."""
    found = []
    for rank, chosen in enumerate(task.chosen, 1):
        if answer := about.get(position := chosen["position"]):
            own = {"rank": rank, "file": image_name(task.names[position], position)}
            size = dict(zip(("height", "width"), sizes[position], strict=True))
            found.append(own | chosen | vars(answer) | size)
    return found


def take(task: Task, path: Path, format_: str | None = None, all_looked_at=False, replace=False):
    """Check the finished labels in a file, folder or zip file, and keep them. The number of boxes
    comes back, and what is to be said about names. Nothing changes unless all of it is right.
    `replace` takes these answers in the place of earlier ones, whose file is set aside. Raises
    ValueError that says what is wrong where, and RuntimeError while somebody draws labels."""
    session.refuse(task)
    with session.hold(task.run, task.cycle, f"importing {path.name}"):
        bundle = Bundle(path)
        name = format_ or _guessed(bundle)
        if name not in FORMATS:
            raise ValueError(f"format: {unknown(name, FORMATS)}")
        format_ = FORMATS[name]
        kept = answers.path_of(task.run, task.cycle)
        asides = (kept.with_name(f"answers.replaced_{k}.json") for k in itertools.count(1))
        aside = next(file for file in asides if not file.exists())
        found, notes = _by_position(task, format_.read(bundle), bundle)
        if name == "yolo" and all_looked_at:  # many tools leave no file where there are no boxes
            found = {p: answers.Answer() for p in task.positions} | found
        checked = answers.checked(task, found, path, format_.SAYS, all_looked_at)
        session.refuse(task)
        if (earlier := answers.known(task)) and not replace:
            raise ValueError(
                f"{kept}: there are answers for {len(earlier)} of these frames already; --replace "
                f"takes those of {path.name} in their place, and keeps them as {aside.name}"
            )
        if replace and kept.exists():
            shutil.copy2(kept, aside)
        answers.write(task, checked, f"import of {name}")
    counts = Counter(finished=len(checked))
    counts.update(box["label"] for answer in checked.values() for box in answer.boxes)
    return counts, notes


def _guessed(bundle: Bundle) -> str:
    """The format whose files these are. Raises ValueError for none."""
    files = coco.files(bundle)
    data = read_json(*bundle.one(files, "one json"), "segmentation") if len(files) == 1 else None
    # Label Studio puts `notes.json`, a record without images, beside its label files of YOLO
    if isinstance(data, dict) and "images" in data:
        return "coco"
    # a list of records without `data` is that of CVAT's label names
    if isinstance(data, list) and all("data" in t for t in data if isinstance(t, dict)):
        return "label-studio"
    for name, suffix in (("cvat", ".xml"), ("yolo", ".txt")):
        if bundle.ending(suffix):
            return name
    raise ValueError(
        f"{bundle.path}: this looks like none of {', '.join(FORMATS)}. It holds "
        f"{', '.join([*bundle.files][:5]) or 'no annotation files'}"
    )


def _by_position(task: Task, found: list, bundle: Bundle) -> tuple[dict, list]:
    """Answers by position, and what is to be said about names. What is no answer, an error in its
    place, is passed over where it is of no chosen frame."""
    names, of, by, strangers, notes = Names(task, bundle), {}, {}, [], []
    wrong = f"{bundle.path}: nothing was imported"
    for (name, *others), answer in found:
        positions, exact = names.find([name, *others])
        if len(positions) > 1:
            both = " or ".join(str(task.frames.name[p]) for p in sorted(positions)[:5])
            raise ValueError(
                f"{wrong}: image {name!r} may be frame {both}. Rename it, or write its name into a "
                f"further column of {TABLE}, beside the frame that it is"
            )
        position = next(iter(positions & task.names.keys()), None)
        if isinstance(answer, ValueError):
            if position is not None:
                raise answer
            notes.append(f"{name} is passed over: no labels of a chosen frame")
        elif position is None:
            strangers.append(name)
        elif position in of:
            other = f"{by[position]!r} is frame {task.names[position]}, too"
            raise ValueError(f"{wrong}: image {name!r} is there twice: {other}")
        else:
            height, width = task.sizes[position]
            for box in answer.boxes:
                if "shares" in box:  # of the image's sides
                    sides = zip(box.pop("shares"), (width, height, width, height), strict=True)
                    box["bbox"] = [share * side for share, side in sides]
            of[position], by[position] = answer, name
            notes += [] if exact else [f"{name} is taken for frame {task.names[position]}"]
    if strangers:
        raise ValueError(
            f"{wrong}: {len(strangers)} of {len(found)} images are not among the chosen frames of "
            f"{task.run.folder}, cycle {task.cycle}; the first is {strangers[0]!r}. Are these the "
            "labels of another run or cycle? Whatever a tool calls an image, a further column of "
            f"{TABLE} beside its file may say so"
        )
    return of, notes
