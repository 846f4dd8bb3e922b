"""What all steps share: their plan, their record, their random numbers, and when to do nothing."""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alkit import catalog
from alkit.data.remembered import remembered
from alkit.loop import progress, records, runs, storage, store
from alkit.loop.plugins import SCORES, plugin_of
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
        return records.place_of(self.folder, name)


class NotComplete(FileNotFoundError):
    """A step that another one reads from is not complete."""


class State(NamedTuple):
    """How far a step is."""

    kind: str  # complete, cleaned, stale, damaged, failed, interrupted, running or waiting
    why: str = ""


@dataclass(frozen=True)
class Step:
    """A step: its work, what it writes, and what its result depends on beside alkit's code."""

    name: str
    work: Callable[[Job], None]
    artifacts: tuple
    inputs: Callable[..., dict]  # of run, cycle
    parameters: tuple  # numbers of the profile
    # Job -> (what makes something of each frame of some blocks, in order; what writes a shard)
    open_shards: Callable | None = None

    def plan(self, run: Run, cycle: int) -> records.Plan:
        """What the step would be made from, now. Raises NotComplete, DamagedStep, and what opening
        the data raises."""
        inputs = self.inputs(run, cycle)
        numbers = {name: getattr(run.numbers(cycle), name) for name in self.parameters}
        own = {k: v for k, v in inputs.items() if not k.startswith("input_")}
        keys = {k.removeprefix("input_"): v for k, v in inputs.items() if k.startswith("input_")}
        code = records.code_digests()
        if self.name == "2_score" and run.strategy.score not in SCORES:
            file = plugin_of(run.strategy.score, run.experiment.plugins)
            code = code | {file.name: records.code_digest(file)}
        return records.Plan(self.name, keys, own | numbers, code)

    def state(self, run: Run, cycle: int) -> State:
        """Whether the step is complete and still holds, and if not, why."""
        try:
            record = records.read(run, cycle, self.name)
        except records.DamagedStep as error:
            return State("damaged", str(error.args[1]))
        if record is None:
            last = progress.latest(run.cycle(cycle), self.name)
            if last is None:
                return State("waiting")
            if "error" in last:
                return State("failed", last["error"])
            loss = f", loss {last['loss']}" if "loss" in last else ""
            kind = "running" if runs.locked(run.out) else "interrupted"
            return State(kind, f"{last['done']}/{last['total']}{loss}")
        try:
            plan = self.plan(run, cycle)
        except (NotComplete, records.DamagedStep) as error:
            return State("stale", f"a step before it is gone: {error}")
        if record["key"] != plan.key:
            return State("stale", "; ".join(plan.differences(record)))
        folder = records.holder(run.cycle(cycle), record)
        wrong = {name: records.damage(folder, name, record, file_digest) for name in self.artifacts}
        if found := [*filter(None, wrong.values())]:
            return State("damaged", "; ".join(found))
        if gone := [name for name, what in wrong.items() if what is None]:
            return State("cleaned", f"{', '.join(gone)} deleted; made again when needed")
        return State("complete", f"as {record['reused']}" if "reused" in record else "")

    def job(self, run: Run, cycle: int, key: str, progress: Callable) -> Job:
        """What the step's work gets, here or on a worker."""
        numbers = Numbers(run.numbers(cycle), self.parameters)
        return Job(run, cycle, numbers, run.cycle(cycle), key, progress)

    def __reduce__(self):
        """Pickled by reference to its work, a function: a worker takes the step of its own code."""
        return _step_of, (self.work,)

    def __call__(self, run, cycle: int, save: bool = True) -> Run:
        """Do the step if it is not complete; the run comes back, to read its artifacts from. Raises
        StaleStep, DamagedStep, or RuntimeError if it is not complete and `save` is false."""
        run = run if isinstance(run, Run) else open_run(run)
        check_cycle(run, cycle, self.name)
        state = self.state(run, cycle)
        if state.kind == "complete":
            return run
        where = f"{run.cycle(cycle)}: step {self.name}"
        if state.kind in ("stale", "damaged"):
            raise records.unusable(where, *state)
        if not save:
            said = f"{where} is not complete and save is False; set save = True to do it here"
            raise RuntimeError(f"{said}, or `alkit run` the experiment")
        plan = self.plan(run, cycle)
        start, said = time.monotonic(), []
        equal = records.find_equal(run, plan, self.artifacts)
        if equal is None:
            with progress.follow(run.cycle(cycle), self.name) as report, progress.heard() as said:
                try:
                    self.work(self.job(run, cycle, plan.key, report))
                except store.DamagedStore as error:
                    store.condemn(error.args[0])
                    raise
        records.write(run, cycle, plan, self.artifacts, time.monotonic() - start, equal, said)
        return run

    def discard(self, run: Run, cycle: int):
        """Take a step back, to make it again. Shards and files of it that hold are kept."""
        folder, record = run.cycle(cycle), None
        with contextlib.suppress(records.DamagedStep):
            record = records.read(run, cycle, self.name)
        for name in self.artifacts:
            if not name.endswith(".zarr") and (not record or records.damage(folder, name, record)):
                (folder / name).unlink(missing_ok=True)
        records.record_path(run, cycle, self.name).unlink()


def file_digest(file: Path | str) -> str:
    """sha256 of a file, remembered: status asks for many, and often."""
    (found,) = remembered("artifacts", [Path(file)], records.digest_of)
    return found


def _step_of(work: Callable) -> Step:
    """The step that does this work; both are of one module."""
    names = vars(sys.modules[work.__module__]).values()
    return next(step for step in names if isinstance(step, Step) and step.work is work)


@cache
def _fingerprint(file: Path, project: Path, name: str, box_filter: str, arguments: str) -> str:
    entry = catalog.load(file, project)[name].under(box_filter)
    return catalog.fingerprint(entry, json.loads(arguments))


def data_key(run: Run, role: str) -> str:
    """A digest of all that determines a data set: files, reader arguments, filter."""
    name = getattr(run.experiment, role)
    arguments = json.dumps(run.data_arguments(name), sort_keys=True)
    box_filter = run.experiment.numbers.box_filter
    return _fingerprint(run.catalog.path, run.catalog.project, name, box_filter, arguments)


def key_of(run: Run, cycle: int, step: str) -> str:
    """The key of a complete step. Raises NotComplete if it is not."""
    record = records.read(run, cycle, step)
    if record is None:
        where = f"{run.cycle(cycle)}: step {step}"
        raise NotComplete(f"{where} is not complete; run it first (`alkit run`)")
    return record["key"]


def weights_key(run: Run, cycle: int) -> str:
    """Of the weights themselves too: trained again elsewhere they may come out otherwise."""
    step = "0_pretrain" if cycle == 0 else "6_retrain"
    own = key_of(run, cycle, step)
    artifacts = records.read(run, cycle, step)["artifacts"]
    return records.digest([own, artifacts.get("weights.safetensors")])


def labels_keys(run: Run, cycles) -> dict:
    return {f"input_labels {k}": key_of(run, k, "5_label") for k in cycles}


def check_cycle(run: Run, cycle: int, step: str):
    """Raise ValueError for a cycle that a run does not have."""
    first = 0 if step in ("0_pretrain", "7_evaluate") else 1
    alone = step == "0_pretrain" or run.strategy_name == PRETRAIN
    last = 0 if alone else run.settings["cycles"]
    if type(cycle) is not int or not first <= cycle <= last:
        raise ValueError(
            f"cycle is {cycle!r}; step {step} of {run.folder} has cycles {first} … {last} (W_l is "
            f"cycle 0, which is all that a run folder of {PRETRAIN} has)"
        )
    if run.ends_with(cycle - 1):
        raise ValueError(f"{run.folder} ended: no frame was left to choose in cycle {cycle}")
