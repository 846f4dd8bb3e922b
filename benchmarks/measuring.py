"""What all rows share: options, the row itself, interleaved timing, memory of this process."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]  # where child processes find this package


class Missing(RuntimeError):
    """Something that rows need and that is not there; the message says how to get it."""


@dataclass(frozen=True)
class Options:
    """`run` is the folder of a complete demo, from the project's root; `quick` takes tiny sizes,
    for tests; `long` those that take more than an hour."""

    run: Path = Path("runs/demo")
    threads: int = 1
    quick: bool = False
    long: bool = False

    def pick(self, usual, quick, long=None):
        """A size: the usual one, the tiny one of tests, or that of `long` where there is one."""
        if self.quick:
            return quick
        return long if self.long and long is not None else usual


@dataclass(frozen=True)
class Row:
    """One line of the table. `ours` and `reference` are in `unit`; `judged` names the figure that
    has to be at least or at most the goal: "ratio" or "ours". `met` is None where there is no goal
    or nothing was measured. `details` are what the figures were made from."""

    key: str
    what: str
    ours: float | None
    unit: str
    against: str = ""
    reference: float | None = None
    ratio: float | None = None
    judged: str = "ours"
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    details: dict = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        value = getattr(self, self.judged)
        if value is None or (self.at_least is None and self.at_most is None):
            return None
        if self.at_least is not None:
            return bool(value >= self.at_least)
        return bool(value <= self.at_most)


def faster(key, what, ours, against, reference, at_least=None, **more) -> Row:
    """How many times as fast as the reference; `ours` and `reference` are lists of seconds."""
    ours, reference, details = _milliseconds(ours, reference)
    details |= more.pop("details", {})
    return Row(
        key,
        what,
        ours,
        "ms",
        against,
        reference,
        reference / ours,
        "ratio",
        at_least,
        details=details,
        **more,
    )


def slower(key, what, ours, against, reference, at_most=None, **more) -> Row:
    """How many times the time of the reference; `ours` and `reference` are lists of seconds."""
    ours, reference, details = _milliseconds(ours, reference)
    details |= more.pop("details", {})
    return Row(
        key,
        what,
        ours,
        "ms",
        against,
        reference,
        ours / reference,
        "ratio",
        None,
        at_most,
        details=details,
        **more,
    )


def _milliseconds(ours, reference):
    """Both medians, and all that was measured, in milliseconds."""
    times = {"ours_ms": rounded(ours, 1e3), "reference_ms": rounded(reference, 1e3)}
    return 1e3 * float(np.median(ours)), 1e3 * float(np.median(reference)), times


def rounded(values, factor=1.0) -> list:
    return [float(f"{factor * value:.4g}") for value in values]


def seconds(call) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(calls: dict, repeats: int, budget: float = 20.0) -> dict:
    """Seconds of every call by its name, one after the other and again: what slows the machine for
    a while slows all of them. A first round, which prepares much that later ones find, does not
    count. Ends early after `budget` seconds, never before three rounds."""
    taken = {name: [] for name in calls}
    start = time.perf_counter()
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            taken[name].append(seconds(call))
        if repeat >= 3 and time.perf_counter() - start > budget:
            break
    return {name: times[1:] for name, times in taken.items()}


def pin(threads: int):
    """Let torch and OpenCV use so many threads."""
    import cv2  # here: a process whose memory is measured may do without them
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def peak_memory() -> int:
    """The most bytes that this process had in memory since it started or since `reset_peak`. Not
    getrusage's figure: that starts from the parent's."""
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def memory() -> int:
    """Bytes that this process has in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
