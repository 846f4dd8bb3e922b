"""Cycles × strategies × seeds: the plan of an experiment, its execution, its ledger."""

import contextlib
import itertools
import os
import re
import sys
import uuid
import warnings
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import dask
import numpy as np
import pandas as pd
from tqdm import tqdm

from alkit import training
from alkit.data import filters
from alkit.frames import FrameSet
from alkit.loop import answers, cluster, labels, progress, records, runs, steps, storage
from alkit.loop.jsonfile import replacing
from alkit.loop.notebooks import NotebookFailed, Notebooks, broke_off
from alkit.loop.runs import Run
from alkit.loop.settings import PRETRAIN
from alkit.loop.step import State, Step, data_key
from alkit.profiles import unknown
from alkit.protocols import PROTOCOLS


class StepFailed(RuntimeError):
    """A step ended with an error; the run can go on from there."""


@dataclass(frozen=True)
class Task:
    """One step of one cycle of one run."""

    run: Run
    cycle: int
    step: Step

    def notebook(self) -> Path:
        return self.run.cycle(self.cycle) / f"{self.step.name}.ipynb"

    def state(self) -> State:
        return self.step.state(self.run, self.cycle)

    def __str__(self):
        return f"{self.run.folder.relative_to(self.run.out)} cycle {self.cycle} {self.step.name}"


def tasks(out: Path, strategies=None, seeds=None, ended=False) -> list:
    """All tasks of an experiment in the order in which they are done, those of `ended` runs too,
    which come after the last cycle that left frames to choose."""
    settings = Run(out / PRETRAIN / "seed_0").settings
    planned = []
    for seed in seeds if seeds is not None else settings["seeds"]:
        shared = Run(out / PRETRAIN / f"seed_{seed}")
        planned += [Task(shared, 0, step) for step in steps.of_cycle(shared, 0)]
        for name in strategies or settings["strategies"]:
            run = Run(out / name / f"seed_{seed}")
            for cycle in range(1, settings["cycles"] + 1):
                planned += [Task(run, cycle, step) for step in steps.of_cycle(run, cycle)]
                if not ended and run.ends_with(cycle):
                    break
    return planned


def check_data(out: Path):
    """Open every data set that the experiment names, and try the URL of its stores, so that a wrong
    one stops it at once. Raises what they raise, and ValueError for `data_problems`."""
    run = Run(out / PRETRAIN / "seed_0")
    if "stores_at" in run.settings:
        storage.check(storage.under(run.settings["stores_at"]))
    if problems := data_problems(run, {role: run.frames(role) for role in data_roles(run)}):
        raise ValueError("; ".join(problems))


def data_roles(run: Run) -> list:
    """The roles for which an experiment names a data set."""
    roles = ("labeled", "pool", "test", "held_out")
    return [role for role in roles if getattr(run.experiment, role) is not None]


def data_problems(run: Run, frames: dict) -> list:
    """What is wrong with the data sets of an experiment, each by its role: what the boxes lack, but
    of a pool that people label; no one image size, for a protocol in native pixels."""
    experiment, problems = run.experiment, []
    for role, opened in frames.items():
        by_people = role == "pool" and experiment.labels != "oracle"
        if not by_people and (lack := _lack(run, role, opened)):
            problems.append(f"{role} {getattr(experiment, role)}: {lack}")
    if "pool" in frames and isinstance(experiment.start, list):
        names = [*map(str, frames["pool"].name)]
        for name in sorted({*experiment.start} - {*names})[:5]:
            problems.append(f"start: {unknown(name, get_close_matches(name, names, cutoff=0))}")
    if "pool" in frames and isinstance(experiment.start, int):
        if experiment.start >= (n := len(frames["pool"])):
            problems.append(
                f"start: {experiment.start} of the pool's {n} frames leaves none to choose"
            )
    try:
        _ = experiment.weights and training.load_weights(experiment.weights, experiment.numbers)
    except ValueError as error:
        problems.append(f"weights: {error}")
    protocol = experiment.numbers.protocol
    native = "test" in frames and PROTOCOLS[protocol].by_name
    if native and run.entry("test").image_size is None:
        problems.append(
            f"protocol {protocol}: its heights are native pixels, but {experiment.test} has no "
            "image_size in the catalog; choose protocol caltech, or a data set of one size"
        )
    return problems


def _lack(run: Run, role: str, frames: FrameSet) -> str:
    """What the boxes of a data set lack to be learned from or to measure by; "" if nothing."""
    if frames.boxes is None:
        hint = "; let people label it with `labels: import`" if role == "pool" else ""
        return f"it has no boxes{hint}"
    entry = run.entry(role)
    if not any(np.isin(boxes.label, entry.filter.classes).any() for boxes in frames.boxes):
        everything = entry.open_unfiltered(**run.data_arguments(entry.name)).boxes
        counts = Counter(label for boxes in everything for label in boxes.label.tolist())
        if other := filters.no_box_of(entry.filter, counts):
            return other
    if role == "test" and all(np.all(boxes.ignore) for boxes in frames.boxes):
        return "no frame holds a pedestrian that passes the filter, so no miss rate can be measured"
    return ""


def run(out: Path, strategies=None, seeds=None, notebooks=True, redo=False):
    """Do every task of an experiment that is not complete: one after the other, or with a scheduler
    (`alkit.loop.cluster`) the runs side by side, each as one task of a worker. With `notebooks`
    each step is a notebook executed in a process of its own, else a call, with the same result.

    Raises StaleStep and DamagedStep unless `redo`, which makes such steps again,
    StepFailed for one that ends with an error (on workers when the other runs are done), and
    `answers.LabelsWanted` when nothing is left to do before people have labeled frames.
    """
    with runs.lock(out):
        check_data(out)
        planned = tasks(out, strategies, seeds, ended=True)
        try:
            if address := os.environ.get(cluster.SCHEDULER):
                _do_on_workers(planned, notebooks, redo, address)
            else:
                with tqdm(total=len(planned), desc=out.name, unit="step") as bar:
                    do(planned, notebooks, redo, bar)
        except answers.LabelsWanted:
            write_ledger(out)
            raise
    write_ledger(out)


def do(planned: list, notebooks: bool, redo: bool, bar):
    """Do tasks in order, in this process or its kernels. A run that waits for labels is left there,
    and the others go on. Raises as `run` does."""
    waiting, ended = {}, set()
    with Notebooks() if notebooks else contextlib.nullcontext() as kernels:
        for i, task in enumerate(planned):
            if task.run.folder in waiting:
                continue
            if task.run.folder in ended or task.run.ends_with(task.cycle - 1):
                ended.add(task.run.folder)
                # a record that is there is of another time
                records.record_path(task.run, task.cycle, task.step.name).unlink(missing_ok=True)
                bar.update()
                continue
            bar.set_postfix_str(str(task))
            try:
                last = i + 1 == len(planned)
                if not is_done(task, planned[i + 1 :], redo):
                    _do_one(task, kernels, last)
                    for text in records.read(task.run, task.cycle, task.step.name)["warnings"]:
                        progress.tell(text, f"{task}: ")
                elif kernels and broke_off(task.notebook()) and task.state().kind == "complete":
                    with contextlib.suppress(StepFailed):  # the result is there; status tells it
                        _do_one(task, kernels, last)
                bar.update()
            except answers.LabelsWanted as wanted:
                waiting[task.run.folder] = str(wanted)
    if waiting:
        raise answers.LabelsWanted("\n".join(waiting.values()))


def _do_one(task: Task, kernels: Notebooks | None, last: bool):
    """A task as a notebook, or as a call. After the `last` one no kernel is started ahead."""
    run, cycle = task.run, task.cycle
    try:
        if kernels is None:
            with warnings.catch_warnings(record=True):  # they are told from the record
                task.step(run, cycle)
        else:
            given = {"run": str(run.folder), "cycle": cycle}
            kernels.execute(task.step.name, given, run.cycle(cycle), last, run.catalog.project)
    except Exception as error:
        where = task.notebook() if isinstance(error, NotebookFailed) else type(error).__name__
        if progress.is_wanted():
            progress.note_failure(run.cycle(cycle), task.step.name, f"{where}: {error}")
        raise StepFailed(f"{task} failed: {where}: {error}") from error


def is_done(task: Task, later: list, redo: bool) -> bool:
    """Whether a task needs nothing: complete, or cleaned with nobody left who would read it. One
    that is stale or damaged is taken back with `redo`."""
    kind, why = task.state()
    if kind in ("stale", "damaged"):
        if not redo:
            states = [(each, each.state().kind) for each in tasks(task.run.out)]
            raise records.unusable(str(task), kind, why, states)
        task.step.discard(task.run, task.cycle)
    if kind == "cleaned":  # the next step of the cycle that has its maps, or needs none, has to be
        own = [t for t in later if (t.run, t.cycle) == (task.run, task.cycle)]
        kinds = (other.state().kind for other in own)
        return next((kind == "complete" for kind in kinds if kind != "cleaned"), True)
    if kind != "complete" and task.step is steps.label and task.run.experiment.labels != "oracle":
        if missing := answers.wanted(task.run, task.cycle):
            raise answers.LabelsWanted(missing)
    return kind == "complete"


# ---- on workers ----------------------------------------------------------------------------------


def _do_on_workers(planned: list, notebooks: bool, redo: bool, address: str):
    """Each run is a task of a worker. What the runs of a seed share, W_l and the first cycle's
    scores, is a task before them. Where there is one run alone, its shards go to all workers."""
    parts = {}  # by seed and strategy, None for what is shared
    own = planned[0].run
    first = own.first if own.experiment.labels == "oracle" else 1  # people are waited for by run
    for task in planned:
        early = task.cycle < first or (task.cycle == first and task.step in steps.SCORING)
        part = task.run.seed, None if early else task.run.strategy_name
        parts.setdefault(part, []).append(task)
    asked = notebooks, redo, fingerprint(planned[0].run)

    def submit(client):
        futures = {}
        for (seed, name), part in parts.items():
            alone = sum((name is None) == (other is None) for _, other in parts) == 1
            before = [] if name is None else [futures[seed, None]]
            key = f"{name or 'shared'}_seed_{seed}-{uuid.uuid4().hex}"
            # the worker opens runs, and takes steps of its own code
            names = [(str(t.run.folder.absolute()), t.cycle, t.step.name) for t in part]
            arguments = names, *asked, alone, *before
            futures[seed, name] = client.submit(do_on_worker, *arguments, key=key, pure=False)
        return [*futures.values()]

    waiting, failed = [], []
    with tqdm(total=len(parts), desc=planned[0].run.out.name, unit="run") as bar:
        for _, outcome in cluster.outcomes(address, "the sweep", submit):
            bar.update()
            if isinstance(outcome, Exception):
                if str(outcome) not in map(str, failed):  # runs that come after fail with it
                    bar.write(f"{outcome}; the other runs go on", sys.stderr)
                failed.append(outcome)
            elif outcome:
                waiting.append(outcome)
    if failed:
        raise failed[0]
    if waiting:
        raise answers.LabelsWanted("\n".join(waiting))


def fingerprint(run: Run) -> str:
    """A digest of alkit's code and of the data, which a worker's have to equal."""
    return records.digest([records.code_digests(), *(data_key(run, r) for r in data_roles(run))])


def do_on_worker(names, notebooks, redo, asked: str, alone: bool, _before=None) -> str:
    """Do tasks in a worker; what people are asked to label, if anything, comes back. A run that is
    `alone` on the workers frees this one for shards, and gives them out."""
    from distributed import get_worker, secede

    planned = [
        Task(cluster.find_run(folder), cycle, steps.STEPS[name]) for folder, cycle, name in names
    ]
    first = planned[0].run
    cluster.check_same(asked, fingerprint(first), f"the steps of {first.folder}")
    os.environ.pop(cluster.SCHEDULER, None)
    if alone:
        os.environ[cluster.SCHEDULER] = get_worker().scheduler.address
        secede()
    with dask.config.set(scheduler="synchronous") if alone else cluster.alone():
        try:
            do(planned, notebooks, redo, tqdm(disable=True))
        except answers.LabelsWanted as wanted:
            return str(wanted)
    return ""


# ---- results -------------------------------------------------------------------------------------


def parse_seeds(text: str) -> list:
    """'0-4' or '0,2,5' to a list of seeds. Raises ValueError."""
    parts = [re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part) for part in text.split(",")]
    ranges = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts if part]
    if not all(parts) or not all(ranges):  # a range that ends before it starts is empty
        raise ValueError(f"seeds are {text!r}; '0-4' or '0,2,5' is wanted")
    return [*itertools.chain(*ranges)]


def ledger(out: Path) -> pd.DataFrame:
    """One row for each evaluated cycle: what was labeled, and what the detector then missed, also
    of each sequence that is evaluated alone. `alkit status` leaves out the average precisions."""
    rows = []
    for task in tasks(out):
        run, cycle = task.run, task.cycle
        if task.step is not steps.evaluate or not records.read(run, cycle, task.step.name):
            continue
        result = run.evaluation(cycle)
        labeled, nothing = result["labeled"], {"images": 0, "pedestrians": 0}
        parts = result.get("parts", {})
        chosen = labels.count(run.labels(cycle)) if cycle else nothing
        rows.append(
            {
                "strategy": run.strategy_name if cycle else "W_l",
                "seed": run.seed,
                "cycle": cycle,
                "chosen": chosen["images"],
                "pedestrians chosen": chosen["pedestrians"],
                "labeled images": labeled["images"],
                "labeled pedestrians": labeled["pedestrians"],
                "labeling hours": round(labeled["labeling_seconds"] / 3600, 3),
                "miss rate at FPPI 1": result["miss_rate_at_1"],
                "log-average miss rate": result["lamr"],
                "AP at IoU 0.5": result["ap50"],
                "AP at IoU 0.5:0.95": result["ap"],
                **{f"{k}, at FPPI 1": p["miss_rate_at_1"] for k, p in parts.items()},
            }
        )
    return pd.DataFrame(rows)


def write_ledger(out: Path):
    """Write the ledger beside the experiment, atomically."""
    with replacing(out / "ledger.csv") as file:
        ledger(out).to_csv(file, index=False)
