"""Who labels a cycle right now: one person at a time, every change kept as it is made."""

import os
import socket
import time
from datetime import datetime

import filelock

from alkit.loop import answers, records
from alkit.loop.answers import Answer
from alkit.loop.runs import Run
from alkit.loop.task import Task

IDLE_SECONDS = 60  # a longer pause between two actions counts as so much


class Held(RuntimeError):
    """Somebody else labels this cycle."""


def hold(run: Run, cycle: int, doing: str) -> filelock.AcquireReturnProxy:
    """Hold the answers of a cycle in a `with`, or until `.lock.release()` or the end of the
    process; the lock's file says who does. Raises Held, saying who else holds them."""
    path = run.cycle(cycle) / "answers.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = filelock.FileLock(path, thread_local=False).acquire(blocking=False)
    except filelock.Timeout:
        raise Held(
            f"{run.folder}, cycle {cycle}: {path.read_text('utf-8') or 'another process'} holds "
            "its answers. One at a time can label a cycle: end that session, or label another "
            "cycle or run"
        ) from None
    who = f"{os.environ.get('USER', os.getuid())} on {socket.gethostname()} (process {os.getpid()}"
    path.write_text(f"{who}, {doing}, since {datetime.now().isoformat(' ', 'minutes')})", "utf-8")
    return held


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
    """The labeling of a cycle by one person: answers in memory and on disk, the clock. Raises Held
    while somebody else labels, and ValueError as `refuse` does."""

    def __init__(self, task: Task):
        refuse(task)
        _ = task.frames  # what is wrong with the pool is said now, not on the page
        self.task = task
        self._lock = hold(task.run, task.cycle, "drawing labels").lock
        try:
            self.answers = answers.read(task)
        except BaseException:
            self.close()
            raise
        self.begin()

    def answer(self, position: int) -> Answer:
        """What is known about a frame: its answer, or the proposals, not yet looked at."""
        return self.answers.get(position) or Answer(self.task.proposals[position], False, 0.0)

    def begin(self):
        """Start the clock anew, as a frame comes up."""
        self._last = time.monotonic()

    def keep(self, position: int, boxes: list, looked_at: bool):
        """Keep the boxes [{"bbox", "label"}] of a frame and whether it is finished, on disk. Where
        the time spent before is unknown, as after an import, it stays so. Raises ValueError, and
        keeps nothing, for what an import would refuse, and once step 5 is complete."""
        if position not in self.task.positions:
            raise ValueError(f"position {position} is none of the chosen frames")
        if not isinstance(boxes, list):
            raise ValueError(f"expected a list of boxes, got {str(boxes)[:60]}")
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

    def close(self):
        """Let others label."""
        self._lock.release()
