"""The files of labeling tools: chosen frames out, finished labels back in.

Each format is a module with `write(frames, classes, folder)`, which writes the annotations of the
proposals beside the images, and `read(bundle)`, which gives a list of (name of an image, Answer).
A frame to write is what the selection says of it (`position`, `z`, …), with its `rank`, `file`
name, `height` and `width`, and `boxes`, the proposals.
What a format cannot say itself is agreed on in the same way for all: a box to ignore has the class
"ignore", and the name of an exported image starts with its position in the pool.
"""

import itertools
import os
import re
import shutil
from pathlib import Path, PurePosixPath

import cv2
import pandas as pd
from tqdm import tqdm

from alkit.data.records import read_json
from alkit.labeling import session
from alkit.labeling.exchange import coco, cvat, label_studio, yolo
from alkit.labeling.exchange.bundle import Bundle
from alkit.loop import answers
from alkit.loop.task import Task
from alkit.profiles import unknown

FORMATS = {"coco": coco, "label-studio": label_studio, "cvat": cvat, "yolo": yolo}


def export(task: Task, format_: str, folder: Path) -> Path:
    """Write a folder with the chosen frames as PNG, the detector's boxes as annotations to start
    from, and `frames.csv` with ranks and scores; it appears under its name when it is whole.

    Raises ValueError for an unknown format and for a folder that is not empty.
    """
    if format_ not in FORMATS:
        raise ValueError(f"format: {unknown(format_, FORMATS)}")
    module, folder = FORMATS[format_], Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: the folder is not empty; choose another one with --to")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / module.IMAGES).mkdir(parents=True)
    frames = []
    for rank, chosen in enumerate(tqdm(task.chosen, desc="writing frames", unit="frame"), 1):
        position = chosen["position"]
        image, file = task.frames.images(position), image_name(task, position)
        if not cv2.imwrite(str(partial / module.IMAGES / file), image[..., ::-1]):
            raise OSError(f"{partial / module.IMAGES / file}: the image could not be written")
        own = {"rank": rank, "file": file} | chosen
        own |= {"height": image.shape[0], "width": image.shape[1]}
        frames.append(own | {"boxes": task.proposals[position]})
    module.write(frames, task.classes, partial)
    pd.DataFrame(frames).drop(columns="boxes").to_csv(partial / "frames.csv", index=False)
    if folder.exists():
        folder.rmdir()
    os.replace(partial, folder)
    return folder


def take(task: Task, path: Path, format_: str | None = None, all_looked_at=False, replace=False):
    """Check the finished labels in a file, folder or zip file, and keep them; the number of boxes
    comes back. Nothing changes unless all of it is right. `replace` sets earlier answers aside.

    Raises ValueError that says what is wrong where, and RuntimeError while somebody draws labels.
    """
    path = Path(path)
    session.refuse(task)
    with session.hold(task.run, task.cycle, f"importing {path.name}"):
        bundle = Bundle(path)
        name = format_ or _guessed(bundle)
        if name not in FORMATS:
            raise ValueError(f"format: {unknown(name, FORMATS)}")
        found = _by_position(task, FORMATS[name].read(bundle), path)
        if name == "yolo" and all_looked_at:  # many tools leave no file where there are no boxes
            found = {p: answers.Answer() for p in task.positions} | found
        checked = answers.checked(task, found, path, all_looked_at)
        session.refuse(task)
        stored = answers.path_of(task.run, task.cycle)
        if stored.exists():
            names = (f"answers.replaced_{k}.json" for k in itertools.count(1))
            aside = next(file for file in map(stored.with_name, names) if not file.exists())
            if not replace:
                raise ValueError(
                    f"{stored}: there are answers for this cycle already; --replace sets them "
                    f"aside as {aside.name}"
                )
            shutil.copy2(stored, aside)
        answers.write(task, checked, f"import of {name}")
    return answers.count(checked)


def image_name(task: Task, position: int) -> str:
    """The file name of an exported frame: its position, and its name in plain letters."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", Path(str(task.frames.name[position])).stem).strip("-")
    return f"{position:06d}-{words}"[:80].rstrip("-") + ".png"


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


def _by_position(task: Task, found: list, where) -> dict:
    """Answers by position. Images are known by the name of their exported file, or by their own.

    Raises ValueError for images that are none of the chosen ones, or come twice.
    """
    known = {Path(image_name(task, p)).stem: p for p in task.positions}
    own = {str(task.frames.name[p]): p for p in task.positions}
    of, strangers = {}, []
    for name, answer in found:
        # tools put things before the name of a file: a folder, an address, eight digits
        stem = PurePosixPath(name).stem
        ours = (position for end, position in known.items() if stem.endswith(end))
        position = own.get(name, next(ours, None))
        if position is None:
            strangers.append(name)
        elif position in of:
            raise ValueError(f"{where}: nothing was imported: image {name!r} is there twice")
        else:
            height, width = task.sizes[position]
            for box in answer.boxes:
                if "shares" in box:  # of the image's sides
                    sides = zip(box.pop("shares"), (width, height, width, height), strict=True)
                    box["bbox"] = [share * side for share, side in sides]
            of[position] = answer
    if strangers:
        raise ValueError(
            f"{where}: nothing was imported: {len(strangers)} of {len(found)} images are not among "
            f"the chosen frames of {task.run.folder}, cycle {task.cycle}; the first is "
            f"{strangers[0]!r}. Are these the labels of another run or cycle?"
        )
    return of
