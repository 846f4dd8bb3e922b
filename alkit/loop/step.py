"""What all steps share: their plan, their record, their random numbers, and when to do nothing."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from alkit import catalog
from alkit.catalog import files
from alkit.loop import cluster, records, runs, storage
from alkit.loop.plugins import SCORES
from alkit.loop.progress import follow
from alkit.loop.runs import Run, open_run
from alkit.loop.settings import PRETRAIN

PURPOSES = ("weights", "training", "selection", "dropout")  # of random numbers


class Numbers:
    """A profile that shows only the numbers that a step declares, so that a record is complete."""

    def __init__(self, profile, names):
        self._profile, self._names = profile, {*names, "scale", "pixels", "odd_pixels"}

    def at(self, image_size):
        return Numbers(self._profile.at(image_size), self._names)

    def __getattr__(self, name):
        if name not in self._names:
            raise AttributeError(f"this step does not declare the number {name!r}")
        return getattr(self._profile, name)


@dataclass(frozen=True)
class Job:
    """What a step's work gets: the run, the cycle, its declared numbers, its folder, its key."""

    run: Run
    cycle: int
    numbers: Numbers
    folder: Path
    key: str
    progress: Callable

    def seed(self, purpose: str) -> np.random.SeedSequence:
        """Random numbers of this (seed, cycle, purpose)."""
        return np.random.SeedSequence(
            self.run.seed, spawn_key=(self.cycle, PURPOSES.index(purpose))
        )

    def place(self, name: str) -> storage.Place:
        """Where the step's store lies."""
        return runs.place_of(self.folder, name)


@dataclass(frozen=True)
class Step:
    """A step: its work, what it writes, and what its result depends on."""

    name: str
    work: Callable[[Job], None]
    artefacts: tuple
    inputs: Callable[..., dict]  # of run, cycle
    parameters: tuple  # numbers of the profile
    code: tuple  # modules of alkit beside its own
    # Job -> work(blocks of frames, tick), which computes one after the other and gives for each a
    # function that finishes it: a thread calls that while the next one is computed
    open_shards: Callable | None = None
    whole: bool = False  # takes long and has no shards: one task of a scheduler's workers

    @property
    def store(self) -> str | None:
        """The artefact that shards are written to, None where they are not."""
        return next((name for name in self.artefacts if name.endswith(".zarr")), None)

    def plan(self, run: Run, cycle: int) -> records.Plan:
        """What the step would be made from, now. Raises FileNotFoundError if a step before it is
        not complete."""
        inputs = self.inputs(run, cycle)
        numbers = {name: getattr(run.numbers(cycle), name) for name in self.parameters}
        own = {k: v for k, v in inputs.items() if not k.startswith("input_")}
        keys = {k.removeprefix("input_"): v for k, v in inputs.items() if k.startswith("input_")}
        modules = (*self.code, f"loop/steps/step_{self.name}", "loop/steps/shared", "loop/step")
        code = {name: code_digest(name) for name in modules}
        if self.name == "2_score" and run.strategy.score not in SCORES:
            code |= {Path(file).name: code_digest(file) for file in run.experiment.plugins}
        return records.Plan(self.name, keys, own | numbers, code)

    def job(self, run: Run, cycle: int, key: str, progress: Callable) -> Job:
        """What the step's work gets, here or on a worker."""
        numbers = Numbers(run.numbers(cycle), self.parameters)
        return Job(run, cycle, numbers, run.cycle(cycle), key, progress)

    def perform(self, run: Run, cycle: int, key: str, check: Callable = lambda: None):
        """The step's work in this process, with its log; `check` may stop it at any report."""
        with follow(run.cycle(cycle), self.name) as report:

            def progress(*done):
                check()
                report(*done)

            self.work(self.job(run, cycle, key, progress))

    def __reduce__(self):
        """Pickled by reference to its work, a function: a worker takes the step of its own code."""
        return _step_of, (self.work,)

    def missing(self, run: Run, cycle: int, record: dict) -> list:
        """Artefacts of a complete step that are no longer there."""
        folder = runs.holder(run.cycle(cycle), record)
        return [name for name in self.artefacts if not runs.is_there(folder, name, record["key"])]

    def __call__(self, run, cycle: int, save: bool = True) -> Run:
        """Do the step if it is not complete; the run comes back, to read its artefacts from.

        Raises StaleStep if it is complete but no longer up to date, RuntimeError if it is not
        complete and `save` is false.
        """
        run = run if isinstance(run, Run) else open_run(run)
        check_cycle(run, cycle, self.name)
        plan = self.plan(run, cycle)
        record = records.read(run, cycle, self.name)
        if record and record["key"] != plan.key:
            raise records.StaleStep(
                f"{run.cycle(cycle)}: step {self.name} is stale: "
                + "; ".join(plan.differences(record))
                + ". It is neither reused nor overwritten: start a new --out, `alkit branch`, or "
                "`alkit run --redo`, which makes stale steps and all after them again"
            )
        if record and not self.missing(run, cycle, record):
            return run
        if not save:
            raise RuntimeError(
                f"{run.cycle(cycle)}: step {self.name} is not complete and save is False; set "
                "save = True to do it here, or `alkit run` the experiment"
            )
        start = time.monotonic()
        equal = records.find_equal(run, plan, self.artefacts)
        run.cycle(cycle).mkdir(parents=True, exist_ok=True)
        made_in = cluster.perform(self, run, cycle, plan.key) if equal is None else None
        seconds = time.monotonic() - start
        records.write(run, cycle, plan, self.artefacts, seconds, equal, made_in)
        return run


def _step_of(work: Callable) -> Step:
    """The step that does this work; both are of one module."""
    names = vars(sys.modules[work.__module__]).values()
    return next(step for step in names if isinstance(step, Step) and step.work is work)


@cache
def code_digest(name: str) -> str:
    return records.code_digest(name)


@cache
def _fingerprint(catalog_path: str, name: str, box_filter: str, arguments: str) -> str:
    entry = catalog.load(catalog_path)[name].under(box_filter)
    return files.fingerprint(entry, json.loads(arguments))


def data_key(run: Run, role: str) -> str:
    """A digest of all that determines a data set: files, reader arguments, filter."""
    name = getattr(run.experiment, role)
    arguments = json.dumps(run.data_arguments(name), sort_keys=True)
    box_filter = run.experiment.numbers.box_filter
    return _fingerprint(run.settings["catalog"], name, box_filter, arguments)


def key_of(run: Run, cycle: int, step: str) -> str:
    """The key of a complete step. Raises FileNotFoundError if it is not complete."""
    record = records.read(run, cycle, step)
    if record is None:
        raise FileNotFoundError(
            f"{run.cycle(cycle)}: step {step} is not complete; run it first (`alkit run`)"
        )
    return record["key"]


def weights_key(run: Run, cycle: int) -> str:
    return key_of(run, cycle, "0_pretrain" if cycle == 0 else "6_retrain")


def labels_keys(run: Run, cycles) -> dict:
    return {f"input_labels {k}": key_of(run, k, "5_label") for k in cycles}


def check_cycle(run: Run, cycle: int, step: str):
    """Raise ValueError for a cycle that the experiment does not have."""
    cycles = run.settings["cycles"]
    first = 0 if step in ("0_pretrain", "7_evaluate") else 1
    last = 0 if step == "0_pretrain" else cycles
    if isinstance(cycle, bool) or not isinstance(cycle, int) or not first <= cycle <= last:
        raise ValueError(
            f"cycle is {cycle!r}; step {step} of {run.out} has cycles {first} … {last}"
        )
    if run.strategy_name == PRETRAIN and cycle != 0:
        raise ValueError(
            f"{run.folder} holds W_l, cycle 0, alone; for cycle {cycle} give the run folder of a "
            f"strategy: {', '.join(run.settings['strategies'])}"
        )
