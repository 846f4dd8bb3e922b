"""Whether a finished file answers what was asked, before anything of it is kept."""

from dataclasses import replace

import numpy as np

from alkit.loop import answers
from alkit.loop.answers import Answer
from alkit.loop.task import Task

SAME = 0.05  # pixels: boxes that differ by less in all sides are the same box


def checked(task: Task, found: dict, where, says: str, all_looked_at: bool = False) -> dict:
    """The answers of a file, by position, as they may be kept: every frame finished, boxes cut to
    the image. `found` maps positions to Answers; `says` is how the file's format says "looked at,
    nothing there".

    Raises ValueError that lists what is wrong where; `all_looked_at` says that frames without
    boxes and without a word were looked at and show nothing.
    """
    kept, problems, given = {}, [], answers.begun(task)
    for p in task.positions:
        try:
            kept[p] = _taken(task, p, found.get(p), len(given[p].boxes), all_looked_at, says)
        except ValueError as error:
            problems.append(str(error))
    if not problems and not all_looked_at and _untouched(found, given):
        problems.append(
            "all boxes are exactly those that were exported, and nothing says that anybody looked "
            "at them. If they are right as they are, give --looked-at-all"
        )
    if problems:
        raise ValueError("\n  ".join([f"{where}: nothing was imported:", *problems]))
    return kept


def _taken(task, position: int, answer: Answer | None, given: int, all_looked_at, says) -> Answer:
    """The answer of a file about one frame, finished; `given` boxes of it were exported."""
    what = task.title(position)
    if answer is None:
        raise ValueError(
            f"{what}: not in the file. One that shows nothing has to be there too: {says}"
        )
    if answer.size is not None and answer.size != task.sizes[position]:
        raise ValueError(
            f"{what}: the file says {answer.size} pixels (height, width), the image has "
            f"{task.sizes[position]}"
        )
    if answer.looked_at is False and all_looked_at and given and not answer.boxes:
        raise ValueError(
            f"{what}: not yet looked at, the file says, and it does not hold the boxes that were "
            f"exported ({given}); mark this frame as finished: {says}"
        )
    if not all_looked_at and not (answer.looked_at or (answer.looked_at is None and answer.boxes)):
        said = "the file says that it was not yet looked at"
        if answer.looked_at is None:
            said = "no boxes, and the file does not say that it was looked at"
        raise ValueError(
            f"{what}: {said}. What says so of one frame: {says}. If all frames were, give "
            "--looked-at-all"
        )
    now = {"size": task.sizes[position], "pixels": task.pixels(position)}
    return replace(answers.cleaned(task, position, answer), looked_at=True, **now)


def _untouched(found: dict, given: dict) -> bool:
    """Whether a file holds nothing but what was exported, and nobody says that it is right."""

    def same(a, b):
        near = np.allclose(a["bbox"], b["bbox"], rtol=0, atol=SAME)
        return near and a["label"] == b["label"]

    return all(
        not (found[p].looked_at or given[p].looked_at)
        and len(found[p].boxes) == len(given[p].boxes)
        and all(any(same(own, box) for box in given[p].boxes) for own in found[p].boxes)
        for p in given
    )
