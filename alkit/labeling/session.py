"""Who labels a cycle right now: one person at a time, every change kept as it is made."""

import contextlib
import fcntl
import getpass
import json
import os
import socket
import time
from datetime import datetime
from pathlib import Path

from alkit.loop import answers, records
from alkit.loop.answers import Answer
from alkit.loop.runs import Run
from alkit.loop.task import Task

IDLE_SECONDS = 60  # a longer pause between two actions counts as so much


class Held(RuntimeError):
    """Somebody else labels this cycle."""


@contextlib.contextmanager
def hold(run: Run, cycle: int, doing: str):
    """Hold the answers of a cycle. Raises Held, saying who holds them."""
    holder = Holder(run, cycle, doing)
    try:
        yield
    finally:
        holder.release()


class Holder:
    """A lock on the answers of a cycle, from now until `release` or the end of the process."""

    def __init__(self, run: Run, cycle: int, doing: str):
        path = run.cycle(cycle) / "answers.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = holder(path)
            self._file.close()
            raise Held(
                f"{run.folder}, cycle {cycle}: {who} holds its answers. One at a time can label a "
                "cycle: end that session, or label another cycle or run"
            ) from None
        self._file.truncate(0)
        own = {
            "user": _user(), "host": socket.gethostname(), "process": os.getpid(), "doing": doing,
            "since": datetime.now().isoformat(" ", "minutes"),
        }  # fmt: skip
        self._file.write(json.dumps(own))
        self._file.flush()

    def release(self):
        """Let others hold the answers. Harmless when called again."""
        self._file.close()


def holder(path: Path) -> str:
    """Who holds a lock, in words."""
    try:
        own = json.loads(path.read_text())
        return (
            f"{own['user']} on {own['host']} (process {own['process']}, {own['doing']}, since "
            f"{own['since']})"
        )
    except (OSError, ValueError, KeyError):
        return "another process"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


def refuse(task: Task):
    """Raise ValueError if nobody is asked for labels, or step 5 of the cycle is complete."""
    if task.run.experiment.labels == "oracle":
        raise ValueError(
            f"{task.run.out}: the labels of this experiment are the oracle's. For labels by "
            "people set `labels: import` or `labels: interactive` in the experiment file"
        )
    if records.read(task.run, task.cycle, "5_label") is not None:
        raise ValueError(
            f"{task.run.folder}, cycle {task.cycle}: step 5 is complete, its labels are in use. "
            "`alkit branch --from-cycle` starts a run that may have others"
        )


class Session:
    """The labelling of a cycle by one person: answers in memory and on disk, the clock.

    A frame that was never opened starts from the detector's proposals. Every `keep` is on disk
    when it returns. Raises Held while somebody else labels, and ValueError where the experiment's
    labels are the oracle's or step 5 is complete.
    """

    def __init__(self, task: Task):
        refuse(task)
        self.task = task
        self._holder = Holder(task.run, task.cycle, "drawing labels")
        try:
            self.answers = answers.read(task)
        except BaseException:
            self._holder.release()
            raise
        self._last = time.monotonic()

    def answer(self, position: int) -> Answer:
        """What is known about a frame: its answer, or the proposals, not yet looked at."""
        if position in self.answers:
            return self.answers[position]
        boxes = [{k: b[k] for k in ("bbox", "label")} for b in self.task.proposals[position]]
        return Answer(boxes, False, 0.0)

    def begin(self):
        """Start the clock anew, as a frame comes up."""
        self._last = time.monotonic()

    def keep(self, position: int, boxes: list, looked_at: bool):
        """Keep the boxes [{"bbox", "label"}] of a frame and whether it is finished, on disk. Where
        the time spent before is unknown, as after an import, it stays so.

        Raises ValueError, and keeps nothing, for boxes that an import would refuse, for a frame
        that is none of the chosen ones, and once step 5 is complete.
        """
        if position not in self.task.positions:
            raise ValueError(f"position {position} is none of the chosen frames")
        if not isinstance(boxes, list):
            raise ValueError(f"boxes are {str(boxes)[:60]}; a list is wanted")
        refuse(self.task)
        now, before = time.monotonic(), self.answer(position).seconds
        spent = None if before is None else before + min(now - self._last, IDLE_SECONDS)
        new = answers.cleaned(self.task, position, Answer(boxes, bool(looked_at), spent))
        kept = self.answers | {position: new}
        answers.write(self.task, kept, "interactive")
        self.answers, self._last = kept, now

    def leave(self, position: int):
        """Count the time since the last action for a frame that is left as it is."""
        left = self.answer(position)
        self.keep(position, left.boxes, left.looked_at)

    def finished(self) -> int:
        """How many frames are finished."""
        return sum(bool(answer.looked_at) for answer in self.answers.values())

    def close(self):
        """Let others label."""
        self._holder.release()
