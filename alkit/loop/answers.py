"""What people answer about the chosen frames of a cycle: one file, whole at every moment.

`cycle_01/answers.json` holds by the frame's name its boxes in native pixels, whether somebody said
that the frame is finished, and the seconds spent on it. "Looked at, nothing there" is an answer
without boxes; "not yet looked at" is a frame that is not finished.

An answer holds as long as the frame's name and size do, whatever else changed: a frame that is
chosen in another cycle when a run is made again finds it there, and one that is not chosen now
keeps its own in the file.
"""

import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, NamedTuple

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
    as a file states it, `pixels` a digest of the image that was answered, None where unknown."""

    boxes: list = field(default_factory=list)
    looked_at: bool | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None
    pixels: str | None = None


class StoredAnswer(Record):
    """An answer in the file. Before frames went by their names they went by their positions, with
    the `name` here, without size and pixels."""

    boxes: list[LabeledBox]
    looked_at: bool
    seconds: float | None
    size: Annotated[tuple[int, int], Strict(False)] | None = None
    pixels: str | None = None
    name: str | None = None


class Stored(Record):
    """The file: answers by the frame's name, and in words where they are from."""

    run: str
    cycle: int
    source: str
    frames: dict[str, StoredAnswer]


class Known(NamedTuple):
    """What the files of a run hold about a frame: the answer as stored, the file, its `source`."""

    answer: dict
    file: Path
    source: str


def path_of(run: Run, cycle: int) -> Path:
    """Where the answers of a cycle lie."""
    return run.cycle(cycle) / "answers.json"


def stored(path: Path) -> dict:
    """The content of a file of answers. Raises ValueError if it is damaged."""
    if not path.exists():
        return {"frames": {}}
    content = read_json(path)
    check(Stored, content, f"{path}: damaged; move it away, or put a copy of it in its place")
    frames = {answer.pop("name", None) or key: answer for key, answer in content["frames"].items()}
    return content | {"frames": frames}


def known(task: Task) -> dict:
    """What was answered about the chosen frames, by position: in the cycle's own file, else in
    that of another cycle of the run. Raises ValueError if a file is damaged."""
    own, found = path_of(task.run, task.cycle), {}
    for path in [own, *sorted(task.run.folder.glob("cycle_*/answers.json"))]:
        if len(found) < len(task.names):
            content = stored(path)
            for position, name in task.names.items():
                if name in content["frames"] and position not in found:
                    found[position] = Known(content["frames"][name], path, content["source"])
    return found


def _answer(frame: dict) -> Answer:
    size = frame.get("size") and tuple(frame["size"])
    return Answer(frame["boxes"], frame["looked_at"], frame["seconds"], size, frame.get("pixels"))


def read(task: Task) -> dict:
    """The answers so far: position → Answer; empty before the first.

    Raises ValueError if a file is damaged, or a frame was answered at another size than it has.
    """
    found = known(task)
    for position, (frame, path, _) in found.items():
        if frame.get("size") and tuple(frame["size"]) != task.sizes[position]:
            which = f"{task.run.folder} --cycle {task.cycle}"
            raise ValueError(
                f"{path}: {task.title(position)} was labeled at {tuple(frame['size'])} pixels "
                f"(height, width), its image has {task.sizes[position]} now. The answer is neither "
                f"used nor overwritten. `alkit labels export {which} --format FORMAT` writes all "
                "answers, with boxes scaled to the size that an image has now and such a frame as "
                f"not looked at; `alkit labels import {which} FILE --replace` takes them, when "
                "somebody has looked at those frames"
            )
    return {position: _answer(frame) for position, (frame, _, _) in found.items()}


def begun(task: Task) -> dict:
    """What labeling goes on from, by position: what is known about a frame, else the detector's
    boxes, not looked at. Boxes of an answer at another size are scaled to that of the image now,
    and count as not looked at."""
    found = {position: _answer(frame) for position, (frame, _, _) in known(task).items()}
    for position, answer in found.items():
        now, then = task.sizes[position], answer.size or task.sizes[position]
        if now != then:
            x, y = now[1] / then[1], now[0] / then[0]
            for box in answer.boxes:
                left, top, width, height = box["bbox"]
                box["bbox"] = inside((x * left, y * top, x * width, y * height), now)
            answer.looked_at = False
    return {p: found.get(p) or Answer(task.proposals[p], False) for p in task.positions}


def write(task: Task, answers: dict, source: str):
    """Keep the answers, atomically, and those in the file of frames that are not chosen now;
    `source` says in words where they are from. An answer of unknown size or pixels gets those that
    the frame has now. Raises ValueError if the file is damaged."""
    run, path = task.run, path_of(task.run, task.cycle)
    frames = stored(path)["frames"] | {
        task.names[position]: {
            "size": answer.size or task.sizes[position],
            "pixels": answer.pixels or task.pixels(position),
            "looked_at": bool(answer.looked_at),
            "seconds": None if answer.seconds is None else round(answer.seconds, 1),
            "boxes": answer.boxes,
        }
        for position, answer in answers.items()
    }
    about = {"run": str(run.folder.relative_to(run.out)), "cycle": task.cycle, "source": source}
    write_json(path, about | {"frames": frames})


def hand_over(old: Run, new: Run, cycle: int):
    """Give a branch the answers about a cycle's chosen frames."""
    task = Task(old, cycle)
    if found := known(task):
        frames = {task.names[position]: frame for position, (frame, _, _) in found.items()}
        about = {"run": str(old.folder.relative_to(old.out)), "cycle": cycle}
        about |= {"source": _sources(found)}
        write_json(path_of(new, cycle), about | {"frames": frames})


def _sources(found: dict) -> str:
    return ", ".join(dict.fromkeys(source for _, _, source in found.values()))


def answers_digest(run: Run, cycle: int) -> str | None:
    """A digest of what was answered about a cycle's chosen frames, for the record of step 5; None
    before the first."""
    parts = ("boxes", "looked_at", "seconds")
    found = {p: [frame[k] for k in parts] for p, (frame, _, _) in known(Task(run, cycle)).items()}
    return digest(sorted(found.items())) if found else None


def progress(run: Run, cycle: int) -> tuple[int, int]:
    """How many of a cycle's chosen frames are finished, and how many there are."""
    task = Task(run, cycle)
    finished = sum(frame["looked_at"] for frame, _, _ in known(task).values())
    return finished, len(task.positions)


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

    Warns of frames whose pixels are others than those that people saw. Raises LabelsWanted if a
    frame is not finished, and what `read` raises.
    """
    if missing := wanted(run, cycle):
        raise LabelsWanted(missing)
    task = Task(run, cycle)
    answers = read(task)
    changed = [p for p, a in answers.items() if a.pixels and a.pixels != task.pixels(p)]
    if changed:
        names = ", ".join(task.names[p] for p in changed[:5]) + ", …" * (len(changed) > 5)
        warnings.warn(
            f"{run.folder}, cycle {cycle}: {len(changed)} of {len(answers)} frames show other "
            f"pixels than people labeled, under the same name and size: {names}. Their boxes are "
            "used; `alkit labels export` writes them, to be looked at",
            stacklevel=2,
        )
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
        "source": _sources(known(task)),
        "labeling_seconds": sum(seconds_each if t is None else t for t in times),
        "frames_timed": sum(t is not None for t in times),
    }
    return {"info": info, **coco.to_coco(frames, task.positions)}


def cleaned(task: Task, position: int, answer: Answer) -> Answer:
    """An answer with its boxes cut to the image. Raises ValueError for boxes that are wrong."""
    height, width = task.sizes[position]
    what, boxes, seen = task.title(position), [], set()
    for k, box in enumerate(answer.boxes, 1):
        where = f"{what}: box {k}"
        box = check(LabeledBox, box, where)
        if box.label not in task.classes:
            known = ", ".join(task.classes)
            raise ValueError(f"{where}: class {box.label!r} is unknown; the classes are {known}")
        left, top, w, h = box.bbox
        bbox = inside(box.bbox, (height, width))
        out = min(left, top, width - left - w, height - top - h) < -SLACK
        shares = max(left + w, top + h) <= 1
        if out or shares or min(bbox[2:]) <= 0 or max(bbox[2:]) < 1:
            numbers = ", ".join(f"{v:g}" for v in box.bbox)
            what_is = "is under one pixel in" if min(bbox[2:]) > 0 else "has no area in"
            what_is = "reaches out of" if out else what_is
            ask = ". Is it in pixels, not in shares of the sides?" if shares and not out else ""
            raise ValueError(f"{where} [{numbers}] {what_is} the {width}×{height} image{ask}")
        if (same := (box.label, *(round(v, 1) for v in bbox))) in seen:
            raise ValueError(f"{where} stands there twice")
        seen.add(same)
        boxes.append({"bbox": bbox, "label": box.label})
    return replace(answer, boxes=boxes)


def count(answers: dict) -> Counter:
    """Frames that are finished, and their boxes by class."""
    counts = Counter(finished=sum(bool(a.looked_at) for a in answers.values()))
    counts.update(box["label"] for a in answers.values() for box in a.boxes)
    return counts
