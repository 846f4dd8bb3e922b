"""What people answer about the chosen frames of a cycle: one file, whole at every moment.

`cycle_01/answers.json` holds the boxes of every frame in native pixels, whether somebody said that
the frame is finished, and the seconds spent on it. "Looked at, nothing there" is an answer without
boxes; "not yet looked at" is a frame that is not finished.
"""

import math
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from alkit.data import filters
from alkit.frames import Boxes, LazySequence
from alkit.loop import labels as coco
from alkit.loop.jsonfile import read_json, write_json
from alkit.loop.records import digest
from alkit.loop.runs import Run
from alkit.loop.task import IGNORE, Task, inside

FILE = "answers.json"
SHOWN = 20  # problems of a file that an error lists
SLACK = 1.0  # pixels that a box may reach over the border, cut off without a word
SAME = 0.05  # pixels: boxes that differ by less in all sides are the same box
AROUND = [(x, y) for x in (0, -1, 1) for y in (0, -1, 1)]  # whole pixels that a same box may be at


class LabelsWanted(RuntimeError):
    """A cycle waits for people to label its frames."""


@dataclass
class Answer:
    """What is known about one frame: boxes [{"bbox", "label"}]; `looked_at`: True for "finished",
    False for "not yet", None where a file does not say; `seconds` spent, `size` (height, width)
    as a file states it, None where unknown."""

    boxes: list = field(default_factory=list)
    looked_at: bool | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None


def path_of(run: Run, cycle: int) -> Path:
    """Where the answers of a cycle lie."""
    return run.cycle(cycle) / FILE


def read(task: Task) -> dict:
    """The answers so far: position → Answer; empty before the first.

    Raises ValueError if the file is damaged or answers another choice of frames.
    """
    return _read(task)[0]


def _read(task: Task) -> tuple[dict, str]:
    """`read`, and where the answers are from."""
    path = path_of(task.run, task.cycle)
    if not path.exists():
        return {}, ""
    stored = _stored(path)
    if stored["task"] != task.id:
        raise ValueError(
            f"{path}: these answers are about {stored['run']}, cycle {stored['cycle']}, "
            f"with other chosen frames than {task.run.folder} now has in cycle {task.cycle}. Move "
            "the file away to label the frames chosen now"
        )
    answers = {
        int(position): Answer(frame["boxes"], frame["looked_at"], frame["seconds"])
        for position, frame in stored["frames"].items()
    }
    return answers, stored["source"]


def _stored(path: Path) -> dict:
    """The file of answers. Raises ValueError if it is damaged."""
    stored = read_json(path)
    try:
        _ = [stored[name] for name in ("task", "run", "cycle", "source")]
        for position, frame in stored["frames"].items():
            seconds = frame["seconds"]
            right = seconds is None or isinstance(seconds, int | float)
            if not (int(position) >= 0 and right and isinstance(frame["looked_at"], bool)):
                raise ValueError(f"frame {position}")
            for box in frame["boxes"]:
                _check_box(box)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: damaged, these are no answers ({error}). Move the file away, or put a copy "
            "of it in its place"
        ) from None
    return stored


def _check_box(box):
    """Raise ValueError unless it is {"bbox": four numbers, "label": text}; it may have more."""
    good = isinstance(box, dict) and isinstance(box.get("label"), str)
    bbox = box.get("bbox") if good else None
    if not isinstance(bbox, list | tuple) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        raise ValueError(
            f"got {str(box)[:120]}; a box is {{'bbox': [left, top, width, height], 'label': class}}"
        )


def _is_number(value) -> bool:
    """A number that a float can hold; NaN is one."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and (isinstance(value, float) or abs(value) < 1e300)


def write(task: Task, answers: dict, source: str):
    """Keep the answers, atomically; `source` says in words where they are from."""
    run = task.run
    frames = {
        str(position): {
            "name": str(task.frames.name[position]),
            "looked_at": bool(answer.looked_at),
            "seconds": None if answer.seconds is None else round(answer.seconds, 1),
            "boxes": answer.boxes,
        }
        for position, answer in answers.items()
    }
    write_json(
        path_of(run, task.cycle),
        {
            "task": task.id,
            "run": str(run.folder.relative_to(run.out)),
            "cycle": task.cycle,
            "source": source,
            "frames": frames,
        },
    )


def progress(run: Run, cycle: int) -> tuple[int, int]:
    """How many of a cycle's chosen frames are finished, and how many there are."""
    task = Task(run, cycle)
    return _progress(task, read(task))


def _progress(task: Task, answers: dict) -> tuple[int, int]:
    finished = sum(bool(answers[p].looked_at) for p in task.positions if p in answers)
    return finished, len(task.positions)


def wanted(run: Run, cycle: int) -> str:
    """What is missing of a cycle's answers, and what to do; empty if nothing is."""
    task = Task(run, cycle)
    return _wanted(task, read(task))


def _wanted(task: Task, answers: dict) -> str:
    finished, total = _progress(task, answers)
    if finished == total:
        return ""
    folder, cycle = _short(task.run.folder), task.cycle
    return (
        f"{folder}, cycle {cycle}, waits for labels: {finished} of {total} frames are finished. "
        f"Draw them with `alkit labels draw {folder} --cycle {cycle}` or in notebooks/5_label.ipynb"
        f"; or write them out with `alkit labels export {folder} --cycle {cycle} --format FORMAT`, "
        f"have them labelled and take them back with `alkit labels import {folder} --cycle "
        f"{cycle} FILE`. The same `alkit run` then goes on"
    )


def answers_digest(run: Run, cycle: int) -> str | None:
    """A digest of a cycle's answers, for the record of step 5; None before the first."""
    path = path_of(run, cycle)
    return digest(_stored(path)["frames"]) if path.exists() else None


def labels(run: Run, cycle: int, seconds_each: float) -> dict:
    """The answers as the COCO dict of step 5, under the pool's filter at the run's image size, as
    the oracle's boxes are. A frame whose time is unknown counts `seconds_each`.

    Raises LabelsWanted if a frame is not finished.
    """
    task = Task(run, cycle)
    answers, source = _read(task)  # once: somebody may still correct them
    missing = _wanted(task, answers)
    if missing:
        raise LabelsWanted(missing)
    pool, entry = run.frames("pool").unlabeled(), run.entry("pool")

    def boxes(position):
        right = cleaned(task, position, answers[position])  # the file may have been edited
        own = [(box["bbox"], box["label"]) for box in right.boxes]
        names = [name for _, name in own]
        ignore = np.array([name == IGNORE for name in names], bool)
        # A box to ignore has to pass the filter's classes; which of them does not matter.
        names = [task.classes[0] if name == IGNORE else name for name in names]
        native = Boxes(np.array([bbox for bbox, _ in own]).reshape(-1, 4), names, ignore)
        return native.scaled(task.factor(position))

    answered = replace(pool, boxes=LazySequence(len(pool), boxes))
    # Not cut to whole pixels, as numbers of a data set's files may be.
    rule = entry.filter.model_copy(update={"whole": None})
    scale = 1 / run.experiment.numbers.scale
    frames = answered.with_boxes(lambda own: filters.apply(rule, own, scale))
    times = [answers[p].seconds for p in task.positions]
    info = {
        "source": source,
        "labeling_seconds": sum(seconds_each if t is None else t for t in times),
        "frames_timed": sum(t is not None for t in times),
    }
    return {"info": info, **coco.to_coco(frames, task.positions)}


def checked(task: Task, found: dict, where, all_looked_at: bool = False) -> dict:
    """The answers of a file, by position, as they may be kept: every frame finished, boxes cut to
    the image. `found` maps positions to Answers.

    Raises ValueError that lists what is wrong where; `all_looked_at` says that frames without
    boxes and without a word were looked at and show nothing.
    """
    problems = []
    for position in task.positions:
        if position not in found:
            problems.append(
                f"{_frame(task, position)}: not in the file. One that shows nothing has to be "
                "there too, without boxes (YOLO: an empty text file)"
            )
            continue
        answer = found[position]
        if answer.size is not None and tuple(answer.size) != task.size(position):
            problems.append(
                f"{_frame(task, position)}: the file says {answer.size[1]}×{answer.size[0]} pixels "
                f"(width×height), the image has {task.size(position)[1]}×{task.size(position)[0]}"
            )
        problems += [
            f"{_frame(task, position)}: {p}" for p in _box_problems(task, position, answer)
        ]
        if all_looked_at:
            proposed = len(task.proposals[position])
            if answer.looked_at is False and proposed and not answer.boxes:
                problems.append(
                    f"{_frame(task, position)}: not yet looked at, the file says, and it does not "
                    f"hold the boxes that were exported ({proposed}); mark this frame as finished"
                )
            continue
        if answer.looked_at is False:
            problems.append(
                f"{_frame(task, position)}: not yet looked at, the file says. If all frames were, "
                "give --looked-at-all"
            )
        elif answer.looked_at is None and not answer.boxes:
            problems.append(
                f"{_frame(task, position)}: no boxes, and the file does not say that it was looked "
                "at. If all frames without boxes show nothing, give --looked-at-all"
            )
    problems += [f"position {p}: not among the chosen frames" for p in found if p not in
                 set(task.positions)]  # fmt: skip
    if not problems and not all_looked_at and _untouched(task, found):
        problems.append(
            "all boxes are exactly those that were exported, and nothing says that anybody looked "
            "at them. If they are right as they are, give --looked-at-all"
        )
    if problems:
        more = f"\n  … and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        lines = "".join(f"\n  {problem}" for problem in problems[:SHOWN])
        raise ValueError(f"{where}: nothing was imported:{lines}{more}")
    return {p: replace(_cut(task, p, found[p]), looked_at=True) for p in task.positions}


def cleaned(task: Task, position: int, answer: Answer) -> Answer:
    """An answer with its boxes cut to the image. Raises ValueError for boxes that are wrong."""
    problems = _box_problems(task, position, answer)
    if problems:
        raise ValueError(f"{_frame(task, position)}: {'; '.join(problems)}")
    return _cut(task, position, answer)


def _cut(task: Task, position: int, answer: Answer) -> Answer:
    size = task.size(position)
    boxes = [{"bbox": inside(b["bbox"], size), "label": b["label"]} for b in answer.boxes]
    return replace(answer, boxes=boxes)


def _box_problems(task: Task, position: int, answer: Answer) -> list:
    height, width = task.size(position)
    problems, seen = [], {}
    for k, box in enumerate(answer.boxes, 1):
        try:
            _check_box(box)
        except ValueError as error:
            problems.append(f"box {k}: {error}")
            continue
        bbox, name = box["bbox"], box["label"]
        if name not in task.classes:
            known = ", ".join(task.classes)
            problems.append(f"box {k}: class {name!r} is unknown; the classes are {known}")
        if not all(map(math.isfinite, bbox)) or min(bbox[2:]) <= 0:
            problems.append(f"box {k} is {bbox}; finite numbers and a positive size are wanted")
            continue
        left, top, right, bottom = bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1] + bbox[3]
        if min(left, top) < -SLACK or right > width + SLACK or bottom > height + SLACK:
            numbers = ", ".join(f"{v:g}" for v in bbox)
            problems.append(f"box {k} [{numbers}] reaches out of the {width}×{height} image")
        elif min(inside(bbox, (height, width))[2:]) <= 0:
            numbers = ", ".join(f"{v:g}" for v in bbox)
            problems.append(f"box {k} [{numbers}] has no area in the {width}×{height} image")
        near = [(name, round(left) + step, round(top) + other) for step, other in AROUND]
        if any(_same(bbox, before) for place in near for before in seen.get(place, ())):
            problems.append(f"box {k} stands there twice")
        seen.setdefault(near[0], []).append(bbox)
    return problems


def _same(a, b) -> bool:
    return all(abs(x - y) < SAME for x, y in zip(a, b, strict=True))


def _untouched(task: Task, found: dict) -> bool:
    """Whether a file holds nothing but the proposals, and nobody says that they are right."""
    for position in task.positions:
        own, proposed = found[position].boxes, task.proposals[position]
        if found[position].looked_at or len(own) != len(proposed):
            return False
        for box, before in zip(_ordered(own), _ordered(proposed), strict=True):
            if box["label"] != before["label"] or not _same(box["bbox"], before["bbox"]):
                return False
    return True


def _ordered(boxes: list) -> list:
    return sorted(boxes, key=lambda box: [round(v, 1) for v in box["bbox"]])


def count(answers: dict) -> Counter:
    """Frames that are finished, and their boxes by class."""
    counts = Counter(finished=sum(bool(a.looked_at) for a in answers.values()))
    counts.update(box["label"] for a in answers.values() for box in a.boxes)
    return counts


def _frame(task: Task, position: int) -> str:
    return f"frame {task.frames.name[position]} (position {position})"


def _short(folder: Path) -> str:
    """A folder as a person would type it."""
    relative = os.path.relpath(folder)
    return str(folder) if relative.startswith("..") else relative
