"""Many workers on paper: what steps 1 to 3 and a whole experiment take on them.

Steps 1 to 3 are divided into shards of frames, a task for each shard and step (`loop.cluster`);
all other steps are done on one worker. Reading, writing and what Dask itself needs count nothing.
"""

import heapq
from dataclasses import dataclass

import pandas as pd

from alkit.loop.store import SHARD_FRAMES
from alkit.text import duration, size

WORKERS = 64
# Tasks a second that one Dask scheduler hands out at most: its documentation speaks of about 1 ms
# overhead a task.
SCHEDULER_TASKS = 1000


@dataclass(frozen=True)
class Work:
    """One step of one cycle: seconds on one worker, the frames by which it is divided, None where
    it is not, and the bytes that it stores."""

    seconds: float
    frames: int | None = None
    stored: float = 0.0

    def on(self, workers: int) -> float:
        """Seconds on so many workers: those of the worker that gets most, in whole shards."""
        if not self.frames:
            return self.seconds
        shards, rest = divmod(self.frames, SHARD_FRAMES)
        most = -(-shards // workers) * SHARD_FRAMES
        if shards % workers == 0:
            most += rest  # the last, smaller shard finds all workers equally far
        return self.seconds * most / self.frames


def sweep(runs: list, workers: int) -> float:
    """Seconds until all runs (strategies × seeds) are done; each is a function from a number of
    workers to its seconds.

    Each worker does whole runs, in the order given; more workers than runs share the prediction of
    theirs, equally many for each run.
    """
    free = [0.0] * min(workers, len(runs))  # when each group of workers is free
    for run in runs:
        heapq.heapreplace(free, free[0] + run(_group(runs, workers)))
    return max(free)


def _group(runs: list, workers: int) -> int:
    """How many workers each of the runs has that are done side by side."""
    return workers // min(workers, len(runs))


def first_cycle(steps: dict, workers=WORKERS) -> pd.DataFrame:
    """Steps 1 to 3 of one cycle, a row for each score, whose Works `steps` holds by its name:
    seconds, and frames, bytes stored and tasks a second. Each step waits for the one before."""
    rows = {}
    for score, works in steps.items():
        seconds = sum(work.on(workers) for work in works)
        tasks = sum(-(-work.frames // SHARD_FRAMES) for work in works)
        stored = sum(work.stored for work in works)
        rows[score] = seconds, works[0].frames / seconds, stored / seconds, tasks / seconds
    columns = ["seconds", "frames/s", "bytes/s", "tasks/s"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def whole(once: list, pretrained: list, runs: list, workers=WORKERS) -> pd.DataFrame:
    """An experiment in seconds of time and of workers: how long they are held (`cost`, since a
    price is not known here), work, wait while one of them does a step that is not divided
    (`alone`), and wait for another reason.

    First row: `once`, all Works with what strategies share counted once, one after the other.
    Second row, as `alkit run --scheduler` does it: side by side, first `pretrained`, the Works of
    each W_l, and then `runs`, the Works of each strategy and seed, of which only W_l is counted as
    shared.
    """

    def row(time, works, alone):
        cost, working = workers * time, sum(work.seconds for work in works)
        return time, cost, working, alone, cost - working - alone

    one_by_one = sum(work.on(workers) for work in once)
    rows = [row(one_by_one, once, (workers - 1) * _undivided(once))]
    time, alone = 0, 0
    for stage in (pretrained, runs):
        time += sweep([lambda n, run=run: sum(w.on(n) for w in run) for run in stage], workers)
        alone += (_group(stage, workers) - 1) * sum(map(_undivided, stage))
    rows.append(row(time, [work for run in (*pretrained, *runs) for work in run], alone))
    names = ["one after the other", f"side by side, {_group(runs, workers)} of {workers} each"]
    return pd.DataFrame(rows, names, ["time", "cost", "working", "alone", "otherwise"])


def _undivided(works: list) -> float:
    return sum(work.seconds for work in works if work.frames is None)


def describe(steps: dict, once: list, pretrained: list, runs: list, threads: int) -> str:
    """Both tables in words; the arguments are those of `first_cycle` and `whole`, and the threads
    of a worker."""
    plural = "s" if threads > 1 else ""
    lines = [
        f"On paper with {WORKERS} workers, each like this machine with {threads} thread{plural}; "
        "nothing is lost in reading, writing or giving out tasks.",
    ]
    if steps:
        frames = next(iter(steps.values()))[0].frames
        table = first_cycle(steps)
        shown = pd.DataFrame(
            {
                "time": table["seconds"].map(duration),
                "frames/s": table["frames/s"].map("{:.3g}".format),
                "stored/s": table["bytes/s"].map(size),
                "tasks/s": table["tasks/s"].map("{:.2g}".format),
            }
        )
        lines += [
            f"Steps 1 to 3 of the first cycle, {frames} frames in {-(-frames // SHARD_FRAMES)} "
            f"shards; a Dask scheduler manages about {SCHEDULER_TASKS} tasks/s:",
            shown.to_string(),
        ]
    table = whole(once, pretrained, runs)
    hours = (table.drop(columns="time") / 3600).map("{:,.1f}".format)
    hours.columns = ["worker-hours", "working", "waiting while one trains", "waiting otherwise"]
    hours.insert(0, "time", table["time"].map(duration))
    lines += [
        f"The whole experiment, {len(runs)} runs (strategies × seeds), and its cost in "
        "worker-hours; training and evaluation are not divided:",
        hours.to_string(),
    ]
    return "\n".join(lines)
