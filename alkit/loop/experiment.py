"""Cycles × strategies × seeds: the plan of an experiment, its execution, its state, its ledger."""

import contextlib
import fcntl
import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from alkit.loop import answers, cluster, labels, lanes, progress, records, steps, storage
from alkit.loop.jsonfile import read_json
from alkit.loop.kernels import KernelAhead
from alkit.loop.runs import Run
from alkit.loop.settings import PRETRAIN
from alkit.loop.step import Step
from alkit.protocols import PROTOCOLS


@dataclass(frozen=True)
class Task:
    """One step of one cycle of one run."""

    run: Run
    cycle: int
    step: Step

    def __str__(self):
        return f"{self.run.folder.relative_to(self.run.out)} cycle {self.cycle} {self.step.name}"


def tasks(out: Path, strategies=None, seeds=None, cycles=None) -> list:
    """All tasks of an experiment in the order in which they are done."""
    settings = read_json(out / "experiment.json")
    planned = []
    for seed in seeds if seeds is not None else settings["seeds"]:
        shared = Run(out / PRETRAIN / f"seed_{seed}")
        planned += [Task(shared, 0, steps.pretrain), Task(shared, 0, steps.evaluate)]
        for name in strategies or settings["strategies"]:
            run = Run(out / name / f"seed_{seed}")
            own = steps.of_strategy(run.strategy)
            for cycle in range(1, (cycles or settings["cycles"]) + 1):
                planned += [Task(run, cycle, step) for step in own]
    return planned


def state(task: Task) -> tuple[str, str]:
    """('complete' | 'stale' | 'cleaned' | 'running' | 'interrupted' | 'waiting', why)."""
    run, cycle, step = task.run, task.cycle, task.step
    record = records.read(run, cycle, step.name)
    if record is None:
        last = progress.latest(run.cycle(cycle), step.name)
        if last is None:
            return "waiting", _labels_wanted(task)
        said = f"{last['done']}/{last['total']}" + (
            f", loss {last['loss']}" if "loss" in last else ""
        )
        return ("running" if locked(run.out) else "interrupted"), said
    try:
        plan = step.plan(run, cycle)
    except FileNotFoundError as error:
        return "stale", f"a step before it is gone: {error}"
    if record["key"] != plan.key:
        return "stale", "; ".join(plan.differences(record))
    missing = step.missing(run, cycle, record)
    if missing:
        return "cleaned", f"{', '.join(missing)} deleted; made again when needed"
    return "complete", f"as {record['reused']}" if record.get("reused") else ""


def _labels_wanted(task: Task) -> str:
    """How far people have come, where their labels are all that a step waits for."""
    run, cycle = task.run, task.cycle
    by_people = task.step is steps.label and run.experiment.labels != "oracle"
    if not by_people or records.read(run, cycle, "4_select") is None:
        return ""
    finished, total = answers.progress(run, cycle)
    goes_on = ": `alkit run` goes on" if finished == total else ""
    return f"labels by people: {finished} of {total} frames are finished{goes_on}"


def check_data(out: Path):
    """Open every data set that the experiment names, and try the URL of its stores, so that a wrong
    one stops it at once.

    Raises what opening raises, what `storage.check` raises, and ValueError for a problem of
    `data_problems`.
    """
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
    """What is wrong with the data sets of an experiment, each by its role: a budget that the pool
    cannot meet, a data set without boxes, a test set without a pedestrian or, for a protocol in
    native pixels, without one image size."""
    experiment, problems = run.experiment, []
    wanted = experiment.budget * experiment.cycles
    if "pool" in frames and wanted > len(frames["pool"]):
        problems.append(
            f"pool {experiment.pool}: {wanted} images are to be labeled, {experiment.budget} in "
            f"each of {experiment.cycles} cycles, but it has {len(frames['pool'])}"
        )
    for role, opened in frames.items():
        if opened.boxes is None and (role != "pool" or experiment.labels == "oracle"):
            hint = "; let people label it with `labels: import`" if role == "pool" else ""
            problems.append(f"{role} {getattr(experiment, role)}: it has no boxes{hint}")
    test = frames["test"].boxes if "test" in frames else None
    if test is not None and all(np.all(boxes.ignore) for boxes in test):
        problems.append(
            f"test {experiment.test}: no frame holds a pedestrian that passes the filter, so no "
            "miss rate can be measured"
        )
    protocol = experiment.numbers.protocol
    if PROTOCOLS[protocol].by_name and run.entry("test").image_size is None:
        problems.append(
            f"protocol {protocol}: its heights are native pixels, but {experiment.test} has no "
            "image_size in the catalog; choose protocol caltech, or a data set of one size"
        )
    return problems


@contextlib.contextmanager
def lock(out: Path):
    """Hold the experiment's folder; a second run on it is refused."""
    with open(out / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RuntimeError(
                f"{out}: another `alkit run` works in this folder (process {file.read().strip()})"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def locked(out: Path) -> bool:
    """Whether a run works in the folder right now."""
    try:
        with open(out / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def run(out: Path, strategies=None, seeds=None, notebooks=True, redo=False):
    """Do every task of an experiment that is not complete, in order; with a scheduler
    (`alkit.loop.cluster`), the runs side by side.

    With `notebooks` each step is a notebook executed by papermill in a process of its own, else a
    call in this process; the records and artefacts are the same. Raises StaleStep for a step
    whose record no longer holds (unless `redo`, which makes it and all after it again),
    `lanes.StepFailed`, naming the step and the notebook, for one that ends with an error, and
    `answers.LabelsWanted` when nothing is left to do before people have labelled frames.
    """
    with lock(out), cluster.address() as scheduler:
        check_data(out)
        planned = tasks(out, strategies, seeds)
        kernels = KernelAhead(lanes.NOTEBOOKS) if notebooks else None
        order = partial(lanes.side_by_side, address=scheduler) if scheduler else lanes.one_by_one
        bar = tqdm(total=len(planned), desc=out.name, unit="step")
        try:
            order(planned, partial(is_done, redo=redo), kernels, bar)
        except answers.LabelsWanted:
            write_ledger(out)
            raise
        finally:
            bar.close()
            if kernels:
                kernels.close()
    write_ledger(out)


def is_done(task: Task, later: list, redo: bool) -> bool:
    """Whether a task needs nothing: complete, or cleaned with nobody left who would read it."""
    kind, why = state(task)
    if kind == "stale":
        if not redo:
            raise records.StaleStep(
                f"{task} is stale: {why}. It is neither reused nor overwritten: choose another "
                "--out, `alkit branch`, or give --redo to make it and what follows from it again"
            )
        records.record_path(task.run, task.cycle, task.step.name).unlink()
    if kind == "cleaned":
        return not _is_read(task, later)
    if kind != "complete" and task.step is steps.label and task.run.experiment.labels != "oracle":
        if missing := answers.wanted(task.run, task.cycle):
            raise answers.LabelsWanted(missing)
    return kind == "complete"


def _is_read(task: Task, later: list) -> bool:
    """Whether the next step of the cycle, which reads a cleaned task's maps, has work to do."""
    same = [t for t in later if (t.run.folder, t.cycle) == (task.run.folder, task.cycle)]
    if not same:
        return False
    kind, _ = state(same[0])
    return _is_read(same[0], same[1:]) if kind == "cleaned" else kind != "complete"


def parse_seeds(text: str) -> list:
    """'0-4' or '0,2,5' to a list of seeds. Raises ValueError."""
    seeds = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match:
            raise ValueError(f"seeds are {text!r}; '0-4' or '0,2,5' is wanted")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"seeds are {text!r}; {part.strip()!r} ends before it starts")
        seeds += range(first, last + 1)
    return seeds


def ledger(out: Path) -> pd.DataFrame:
    """One row for each evaluated cycle: what was labelled, and what the detector then missed.
    `alkit status` leaves out the average precisions."""
    rows, seen = [], set()
    for task in tasks(out):
        complete = records.read(task.run, task.cycle, task.step.name) is not None
        if task.step is not steps.evaluate or not complete:
            continue
        result = task.run.evaluation(task.cycle)
        chosen = {"chosen": 0, "pedestrians chosen": 0}
        if task.cycle:
            own = labels.count(task.run.labels(task.cycle))
            chosen = {"chosen": own["images"], "pedestrians chosen": own["pedestrians"]}
        labeled = result["labeled"]
        rows.append(
            {
                "strategy": task.run.strategy_name if task.cycle else "W_l",
                "seed": task.run.seed,
                "cycle": task.cycle,
                **chosen,
                "labeled images": labeled["images"],
                "labeled pedestrians": labeled["pedestrians"],
                "labeling hours": round(labeled["labeling_seconds"] / 3600, 3),
                "miss rate at FPPI 1": result["miss_rate_at_1"],
                "log-average miss rate": result["lamr"],
                "AP at IoU 0.5": result["ap50"],
                "AP at IoU 0.5:0.95": result["ap"],
            }
        )
        seen.add(task.cycle)
    return pd.DataFrame(rows)


def write_ledger(out: Path):
    """Write the ledger beside the experiment, atomically."""
    partial = out / "ledger.partial"
    ledger(out).to_csv(partial, index=False)
    partial.replace(out / "ledger.csv")
