"""What people answer about the chosen frames of a cycle: one file, whole at every moment.

`cycle_01/answers.json` holds by the frame's name its boxes in native pixels, whether somebody said
that the frame is finished, and the seconds spent on it. "Looked at, nothing there" is an answer
without boxes; "not yet looked at" is a frame that is not finished.

An answer holds as long as the frame's name and size do, in whatever cycle the frame is chosen when
a run is made again; a file keeps the answers to frames that are not chosen now.
"""

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Strict

from alkit.data import filters
from alkit.data.records import Box, Record, check
from alkit.frames import Boxes, LazySequence
from alkit.loop import labels as coco
from alkit.loop.jsonfile import write_json
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
    """What is known about one frame; None is unknown."""

    boxes: list = field(default_factory=list)  # [{"bbox", "label"}]
    looked_at: bool | None = None  # finished
    seconds: float | None = None  # spent
    size: tuple[int, int] | None = None  # (height, width) as a file states it
    pixels: str | None = None  # a digest of the image that was answered
    source: str = field(default="", compare=False)  # where it is from, in words


class StoredAnswer(Record):
    """An answer in the file; in older files, which go by positions, with the frame's `name`."""

    boxes: list[LabeledBox]
    looked_at: bool
    seconds: float | None
    size: Annotated[tuple[int, int], Strict(False)] | None = None
    pixels: str | None = None
    name: str | None = None


class Stored(Record):
    """What is read of the file: answers by the frame's name, and where they are from."""

    source: str
    frames: dict[str, StoredAnswer]


def path_of(run: Run, cycle: int) -> Path:
    return run.cycle(cycle) / "answers.json"


def stored(path: Path) -> dict:
    """The answers in a file by the frame's name. Raises ValueError if it is damaged."""
    if not path.exists():
        return {}
    damaged = f"{path}: damaged; move it away, or put a copy of it in its place"
    content, found = check(Stored, path.read_bytes(), damaged), {}
    for key, own in content.frames.items():
        boxes = [{"bbox": [*box.bbox], "label": box.label} for box in own.boxes]
        about = own.looked_at, own.seconds, own.size, own.pixels, content.source
        found[own.name or key] = Answer(boxes, *about)
    return found


def known(task: Task) -> dict:
    """The answers about the chosen frames, at whatever size, by position: from the cycle's file,
    else another cycle's, or for `start` another strategy's. ValueError if a file is damaged."""
    found = stored(path_of(task.run, task.cycle))
    others = sorted(task.run.folder.glob("cycle_*/answers.json"))
    if task.cycle < task.run.first:  # the same frames for all strategies
        others += sorted(task.run.out.glob(f"*/{task.run.folder.name}/cycle_01/answers.json"))
    for path in others:
        if {*task.names.values()} - found.keys():
            found = stored(path) | found
    return {p: found[name] for p, name in task.names.items() if name in found}


def read(task: Task) -> dict:
    """The answers so far: position → Answer. Raises ValueError if a file is damaged, or a frame was
    answered at another size than it has."""
    found, which = known(task), f"{task.run.folder} --cycle {task.cycle}"
    for position, answer in found.items():
        if answer.size not in (None, task.sizes[position]):
            raise ValueError(
                f"{_frame(task, position)} was labeled at {answer.size} pixels (height, width) and "
                f"has {task.sizes[position]} now; its answer is neither used nor overwritten. Look "
                f"at it scaled, as `alkit labels export {which} --format FORMAT` writes it, then "
                f"`alkit labels import {which} FILE --replace`"
            )
    return found


def begun(task: Task) -> dict:
    """What labeling goes on from, by position: what is known about a frame, else the detector's
    boxes, not looked at. An answer at another size is scaled, and not looked at either."""
    found = known(task)
    for position, answer in found.items():
        now = task.sizes[position]
        if answer.size not in (None, now):
            factors = np.divide(now, answer.size)[[1, 0, 1, 0]]
            for box in answer.boxes:
                box["bbox"] = inside((factors * box["bbox"]).tolist(), now)
            answer.looked_at = False
    return {p: found.get(p) or Answer(task.proposals[p], False) for p in task.positions}


def write(task: Task, answers: dict, source: str):
    """Keep the answers, atomically, and those in the file about frames that are not chosen now.
    Unknown sizes and pixels become those of now. Raises ValueError if the file is damaged."""
    run, path = task.run, path_of(task.run, task.cycle)
    frames = stored(path)
    for p, a in answers.items():
        at = {"size": a.size or task.sizes[p], "pixels": a.pixels or task.pixels(p)}
        spent = None if a.seconds is None else round(a.seconds, 1)
        frames[task.names[p]] = replace(a, looked_at=bool(a.looked_at), seconds=spent, **at)
    kept = {n: {k: v for k, v in vars(a).items() if k != "source"} for n, a in frames.items()}
    about = {"run": str(run.folder.relative_to(run.out)), "cycle": task.cycle, "source": source}
    write_json(path, about | {"frames": kept})


def answers_digest(run: Run, cycle: int) -> str | None:
    """A digest of the answers about a cycle's frames, for the record of step 5; None before any."""
    found = known(Task(run, cycle)).items()
    return digest([[p, a.boxes, a.looked_at, a.seconds] for p, a in found]) if found else None


def progress(run: Run, cycle: int) -> tuple[int, int]:
    """How many of a cycle's chosen frames are finished, and how many there are."""
    task = Task(run, cycle)
    return sum(answer.looked_at for answer in known(task).values()), len(task.positions)


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
    the oracle's boxes are. A frame whose time is unknown counts `seconds_each`. Raises LabelsWanted
    if a frame is not finished, and what `read` raises."""
    if missing := wanted(run, cycle):
        raise LabelsWanted(missing)
    task = Task(run, cycle)
    answers = read(task)
    changed = [p for p, a in answers.items() if a.pixels not in (None, task.pixels(p))]
    if changed:
        names = ", ".join(task.names[p] for p in changed[:5]) + ", …" * (len(changed) > 5)
        warnings.warn(
            f"{run.folder}, cycle {cycle}: {len(changed)} of {len(answers)} frames have other "
            f"pixels than people saw, under the same name and size: {names}. Their boxes are used",
            stacklevel=2,
        )
    pool = run.frames("pool").unlabeled()
    entry, scale = run.entry("pool"), 1 / run.experiment.numbers.scale
    # Not cut to whole pixels, as numbers of a data set's files may be; of a join all its classes.
    own = {"whole": None} | entry.filter.model_dump(include={"classes", "ignore_classes"})

    def boxes(position):
        right = cleaned(task, position, answers[position]).boxes  # the file may have been edited
        ignore = [box["label"] == IGNORE for box in right]
        # A box to ignore has to pass the filter's classes; which of them does not matter.
        names = [task.classes[0] if box["label"] == IGNORE else box["label"] for box in right]
        native = Boxes([box["bbox"] for box in right], names, ignore)
        rule = entry.filter_of(pool, position).model_copy(update=own)
        return filters.apply(rule, native.scaled(task.factor(position)), scale)

    frames = replace(pool, boxes=LazySequence(len(pool), boxes))
    times = [answers[p].seconds for p in task.positions]
    info = {
        "source": ", ".join(dict.fromkeys(answer.source for answer in answers.values())),
        "labeling_seconds": sum(seconds_each if t is None else t for t in times),
        "frames_timed": sum(t is not None for t in times),
    }
    return {"info": info, **coco.to_coco(frames, task.positions)}


def checked(task: Task, found: dict, where, says: str, all_looked_at: bool = False) -> dict:
    """The answers of a file, by position, as they may be kept: every frame finished, boxes cut to
    the image. `says` is how its format says "looked at, nothing there"; `all_looked_at` says it of
    all frames without boxes. Raises ValueError that lists what is wrong where."""
    kept, problems, given = {}, [], begun(task)
    for p, size in task.sizes.items():
        answer = found.get(p)
        try:
            if wrong := _lack(answer, size, len(given[p].boxes), says, all_looked_at):
                raise ValueError(f"{_frame(task, p)}: {wrong}")
            kept[p] = replace(cleaned(task, p, answer), looked_at=True)
        except ValueError as error:
            problems.append(str(error))
    if not problems and not all_looked_at and all(_same(found[p], given[p]) for p in given):
        problems.append(
            "all boxes are exactly those that were exported, and nothing says that anybody looked "
            "at them. If they are right as they are, give --looked-at-all"
        )
    if problems:
        raise ValueError("\n  ".join([f"{where}: nothing was imported:", *problems]))
    return kept


def _lack(answer: Answer | None, size: tuple, given: int, says: str, all_looked_at: bool) -> str:
    """Why an answer, to a frame exported with `given` boxes, does not finish it; "" if it does."""
    if answer is None:
        return f"not in the file; also one that shows nothing is to have {says}"
    if answer.size not in (None, size):
        return f"the file says {answer.size} pixels (height, width), the image has {size}"
    lost = answer.looked_at is False and given and not answer.boxes
    seen = answer.looked_at or (answer.looked_at is None and answer.boxes)
    if seen or (all_looked_at and not lost):
        return ""
    said = "the file says that it was not yet looked at"
    if all_looked_at:
        said += f", and it does not hold the boxes that were exported ({given})"
        return f"{said}; mark this frame as finished by {says}"
    if answer.looked_at is None:
        said = "no boxes, and the file does not say that it was looked at"
    return f"{said}; say so by {says}, or of all by --looked-at-all"


def _same(found: Answer, given: Answer) -> bool:
    """Whether a frame came back as it was exported, and nobody says that it is right."""

    def is_given(box):
        same = [b["bbox"] for b in given.boxes if b["label"] == box["label"]]
        return any(np.allclose(box["bbox"], bbox, rtol=0, atol=SAME) for bbox in same)

    said = found.looked_at or given.looked_at or len(found.boxes) != len(given.boxes)
    return not said and all(map(is_given, found.boxes))


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
        bbox, wrong, ask = inside(box.bbox, (height, width)), "", ""
        if min(left, top, width - left - w, height - top - h) < -SLACK:
            wrong = "reaches out of"
        elif min(bbox[2:]) <= 0:
            wrong = "has no area in"
        elif min(bbox[2:]) < 1 or max(left + w, top + h) <= 1:
            wrong = "is under one pixel in"
            ask = ". Is it in pixels, not in shares of the sides?"
        if wrong:
            numbers = ", ".join(f"{v:g}" for v in box.bbox)
            raise ValueError(f"{where} [{numbers}] {wrong} the {width}×{height} image{ask}")
        if (same := (box.label, *(round(v, 1) for v in bbox))) in seen:
            raise ValueError(f"{where} stands there twice")
        seen.add(same)
        boxes.append({"bbox": bbox, "label": box.label})
    return replace(answer, boxes=boxes)


def _frame(task: Task, position: int) -> str:
    return f"frame {task.names[position]} (position {position})"
