"""What people answer about the chosen frames of a cycle: one file, whole at every moment.

`cycle_01/answers.json` holds the boxes of every frame in native pixels, whether somebody said that
the frame is finished, and the seconds spent on it. "Looked at, nothing there" is an answer without
boxes; "not yet looked at" is a frame that is not finished.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Strict

from alkit.data import filters
from alkit.data.records import Box, Record, check
from alkit.frames import Boxes, LazySequence
from alkit.loop import labels as coco
from alkit.loop.jsonfile import read_json, write_json
from alkit.loop.records import digest
from alkit.loop.runs import Run
from alkit.loop.task import IGNORE, Task, inside

SLACK = 1.0  # pixels that a box may reach over the border, cut off without a word
SAME = 0.05  # pixels: boxes that differ by less in all sides are the same box


class LabelsWanted(RuntimeError):
    """A cycle waits for people to label its frames."""


class LabeledBox(Record):
    """A box, [left, top, width, height] in native pixels, and its class."""

    bbox: Box
    label: str


@dataclass
class Answer:
    """What is known about one frame: boxes [{"bbox", "label"}]; `looked_at`: True for "finished",
    False for "not yet", None where a file does not say; `seconds` spent, `size` (height, width)
    as a file states it, None where unknown."""

    boxes: list = field(default_factory=list)
    looked_at: bool | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None


class StoredAnswer(Record):
    """An answer in the file."""

    boxes: list[LabeledBox]
    looked_at: bool
    seconds: float | None


class Stored(Record):
    """The file: answers by position, what they are answers to, and in words where they are from."""

    task: str
    run: str
    cycle: int
    source: str
    frames: dict[Annotated[int, Strict(False)], StoredAnswer]


def path_of(run: Run, cycle: int) -> Path:
    """Where the answers of a cycle lie."""
    return run.cycle(cycle) / "answers.json"


def _stored(run: Run, cycle: int) -> dict:
    """The content of the file, empty where there is none. Raises ValueError if it is damaged."""
    path = path_of(run, cycle)
    if not path.exists():
        return {}
    stored = read_json(path)
    check(Stored, stored, f"{path}: damaged; move it away, or put a copy of it in its place")
    return stored


def read(task: Task) -> dict:
    """The answers so far: position → Answer; empty before the first.

    Raises ValueError if the file is damaged or answers another choice of frames.
    """
    stored = _stored(task.run, task.cycle)
    if stored and stored["task"] != task.id:
        raise ValueError(
            f"{path_of(task.run, task.cycle)}: these answers are about {stored['run']}, cycle "
            f"{stored['cycle']}, with other chosen frames than {task.run.folder} now has in cycle "
            f"{task.cycle}. Move the file away to label the frames chosen now"
        )
    return {
        int(position): Answer(frame["boxes"], frame["looked_at"], frame["seconds"])
        for position, frame in stored.get("frames", {}).items()
    }


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
    about = {"task": task.id, "run": str(run.folder.relative_to(run.out)), "cycle": task.cycle}
    write_json(path_of(run, task.cycle), about | {"source": source, "frames": frames})


def answers_digest(run: Run, cycle: int) -> str | None:
    """A digest of a cycle's answers, for the record of step 5; None before the first."""
    stored = _stored(run, cycle)
    return digest(stored["frames"]) if stored else None


def progress(run: Run, cycle: int) -> tuple[int, int]:
    """How many of a cycle's chosen frames are finished, and how many there are."""
    task = Task(run, cycle)
    found = read(task)
    return sum(p in found and found[p].looked_at for p in task.positions), len(task.positions)


def wanted(run: Run, cycle: int) -> str:
    """What is missing of a cycle's answers, and what to do; empty if nothing is."""
    finished, total = progress(run, cycle)
    if finished == total:
        return ""
    which = f"{run.folder} --cycle {cycle}"
    return (
        f"{run.folder}, cycle {cycle}, waits for labels: {finished} of {total} frames are "
        f"finished. Draw them with `alkit labels draw {which}` or in notebooks/5_label.ipynb; or "
        f"write them out with `alkit labels export {which} --format FORMAT`, have them labeled and "
        f"take them back with `alkit labels import {which} FILE`. The same `alkit run` then goes on"
    )


def labels(run: Run, cycle: int, seconds_each: float) -> dict:
    """The answers as the COCO dict of step 5, under the pool's filter at the run's image size, as
    the oracle's boxes are. A frame whose time is unknown counts `seconds_each`.

    Raises LabelsWanted if a frame is not finished.
    """
    if missing := wanted(run, cycle):
        raise LabelsWanted(missing)
    task = Task(run, cycle)
    answers, source = read(task), _stored(run, cycle)["source"]
    pool = run.frames("pool").unlabeled()
    # Not cut to whole pixels, as numbers of a data set's files may be.
    rule = run.entry("pool").filter.model_copy(update={"whole": None})
    scale = 1 / run.experiment.numbers.scale

    def boxes(position):
        right = cleaned(task, position, answers[position]).boxes  # the file may have been edited
        ignore = [box["label"] == IGNORE for box in right]
        # A box to ignore has to pass the filter's classes; which of them does not matter.
        names = [task.classes[0] if box["label"] == IGNORE else box["label"] for box in right]
        native = Boxes([box["bbox"] for box in right], names, ignore)
        return filters.apply(rule, native.scaled(task.factor(position)), scale)

    frames = replace(pool, boxes=LazySequence(len(pool), boxes))
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
    kept, problems = {}, []
    for position in task.positions:
        try:
            kept[position] = _taken(task, position, found.get(position), all_looked_at)
        except ValueError as error:
            problems.append(str(error))
    if not problems and not all_looked_at and _untouched(task, found):
        problems.append(
            "all boxes are exactly those that were exported, and nothing says that anybody looked "
            "at them. If they are right as they are, give --looked-at-all"
        )
    if problems:
        raise ValueError("\n  ".join([f"{where}: nothing was imported:", *problems]))
    return kept


def _taken(task: Task, position: int, answer: Answer | None, all_looked_at: bool) -> Answer:
    """The answer of a file about one frame, finished."""
    what = _frame(task, position)
    if answer is None:
        raise ValueError(
            f"{what}: not in the file. One that shows nothing has to be there too, without boxes "
            "(YOLO: an empty text file)"
        )
    if answer.size is not None and answer.size != task.sizes[position]:
        raise ValueError(
            f"{what}: the file says {answer.size} pixels (height, width), the image has "
            f"{task.sizes[position]}"
        )
    proposed = len(task.proposals[position])
    if answer.looked_at is False and all_looked_at and proposed and not answer.boxes:
        raise ValueError(
            f"{what}: not yet looked at, the file says, and it does not hold the boxes that were "
            f"exported ({proposed}); mark this frame as finished"
        )
    if not all_looked_at and not (answer.looked_at or (answer.looked_at is None and answer.boxes)):
        said = "the file says that it was not yet looked at"
        if answer.looked_at is None:
            said = "no boxes, and the file does not say that it was looked at"
        raise ValueError(f"{what}: {said}. If all frames were, give --looked-at-all")
    return replace(cleaned(task, position, answer), looked_at=True)


def cleaned(task: Task, position: int, answer: Answer) -> Answer:
    """An answer with its boxes cut to the image. Raises ValueError for boxes that are wrong."""
    height, width = task.sizes[position]
    what, boxes, seen = _frame(task, position), [], set()
    for k, box in enumerate(answer.boxes, 1):
        where = f"{what}: box {k}"
        box = check(LabeledBox, box, where)
        if box.label not in task.classes:
            known = ", ".join(task.classes)
            raise ValueError(f"{where}: class {box.label!r} is unknown; the classes are {known}")
        left, top, w, h = box.bbox
        bbox = inside(box.bbox, (height, width))
        out = min(left, top, width - left - w, height - top - h) < -SLACK
        if out or min(bbox[2:]) <= 0:
            numbers = ", ".join(f"{v:g}" for v in box.bbox)
            what_is = "reaches out of" if out else "has no area in"
            raise ValueError(f"{where} [{numbers}] {what_is} the {width}×{height} image")
        if (same := (box.label, *(round(v, 1) for v in bbox))) in seen:
            raise ValueError(f"{where} stands there twice")
        seen.add(same)
        boxes.append({"bbox": bbox, "label": box.label})
    return replace(answer, boxes=boxes)


def _untouched(task: Task, found: dict) -> bool:
    """Whether a file holds nothing but the proposals, and nobody says that they are right."""

    def same(a, b):
        near = np.allclose(a["bbox"], b["bbox"], rtol=0, atol=SAME)
        return near and a["label"] == b["label"]

    return all(
        not found[p].looked_at
        and len(found[p].boxes) == len(task.proposals[p])
        and all(any(same(own, box) for box in task.proposals[p]) for own in found[p].boxes)
        for p in task.positions
    )


def count(answers: dict) -> Counter:
    """Frames that are finished, and their boxes by class."""
    counts = Counter(finished=sum(bool(a.looked_at) for a in answers.values()))
    counts.update(box["label"] for a in answers.values() for box in a.boxes)
    return counts


def _frame(task: Task, position: int) -> str:
    return f"frame {task.frames.name[position]} (position {position})"
