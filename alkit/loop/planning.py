"""What an experiment will take before it is started: steps, images, time, disk, what is missing.

The steps are the driver's own, with what strategies share counted once. Counts of images come from
the data sets, or from what the catalog expects of data that is not there; times from unit costs
that are measured here (`alkit.loop.costs`).
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from alkit import prediction
from alkit.catalog import Catalog, Entry
from alkit.frames import FrameSet
from alkit.loop import experiment as driver
from alkit.loop import runs, scaling, store
from alkit.loop.costs import Costs, measure
from alkit.loop.experiment import Task
from alkit.loop.plugins import load_score, load_strategies
from alkit.loop.runs import Run
from alkit.loop.scaling import Work
from alkit.loop.settings import Experiment
from alkit.text import duration, size
from alkit.training import pretraining_epochs

ROLES = ("labeled", "pool", "test", "held_out")

# The share of its bytes that a store kept when compressed, in runs of experiments/demo.yaml at
# 240×320. Logits of a network in bfloat16 0.43 to 0.52, in float32 0.74; maps of divergence 0.10,
# of entropy 0.21, of mutual information 0.24.
STORED = {"logits": 0.75, "divergence": 0.1, "entropy": 0.21, "mutual_information": 0.24}


def describe(experiment: Experiment, catalog: Catalog, out: Path) -> str:
    """The plan of an experiment in words and a table, and lines MISSING for what it lacks.

    Nothing is written to `out` nor anywhere else that stays. Raises UnknownDataSet.
    """
    with tempfile.TemporaryDirectory() as folder:  # the driver plans from a folder's settings
        tasks = driver.tasks(runs.create(Path(folder) / "plan", experiment, catalog.path))
        run = tasks[0].run
        counts, missing = count_images(run)
        names, unknown = _scores(experiment)
        missing += unknown
        lines = _head(experiment, counts)
        if None in counts.values() or unknown:
            lines += ["", "No time, no disk: that takes all numbers of images, and all scores."]
        else:
            sizes = {run.image_size(role) for role in counts} | {_trained_size(run, "pool")}
            costs = measure(experiment, names, sizes)
            table = plan(tasks, counts, costs)
            lines += ["", _as_text(table), "", _totals(table, out), _measured(costs, experiment)]
            on_paper = for_workers(tasks, counts, costs)
            lines += ["", scaling.describe(*on_paper, torch.get_num_threads())]
            missing += _disk(table, out)
    lines += ["", *(f"MISSING {line}" for line in missing or ())]
    return "\n".join(lines if missing else [*lines, "Nothing is missing."])


# ---- what there is -------------------------------------------------------------------------------


def count_images(run: Run) -> tuple[dict, list]:
    """How many images the data set in each role has, None where neither it nor the catalog says;
    and sentences about what is missing."""
    experiment, counts, missing = run.experiment, {}, []
    for role in ROLES:
        name = getattr(experiment, role)
        if name is None:
            continue
        entry, given = run.entry(role), run.data_arguments(name)
        try:
            frames = run.frames(role)
            absent = _absent_images(entry, given, frames)
        except (ValueError, OSError) as error:
            counts[role] = n = _expected(run, role)
            so = "it is counted as the catalog expects" if n else "nothing says how many images"
            said = str(error).removeprefix(f"{name}: ")
            missing.append(f"{role} {name}: {said} ({so})")
            continue
        counts[role] = len(frames)
        by_people = role == "pool" and experiment.labels != "oracle"
        if frames.boxes is None and not by_people:
            missing.append(f"{role} {name}: it has no boxes")
        if absent:
            missing.append(
                f"{role} {name}: {len(absent)} of {len(frames)} image files, the first is "
                f"{absent[0]}"
            )
    wanted, pool = experiment.budget * experiment.cycles, counts["pool"]
    if pool is not None and wanted > pool:
        missing.append(
            f"pool {experiment.pool}: {wanted} images are to be labelled, {experiment.budget} in "
            f"each of {experiment.cycles} cycles, but it has {pool}"
        )
    return counts, missing


def _expected(run: Run, role: str) -> int | None:
    """The number of images that the catalog expects, which is that of the entry's own arguments."""
    entry = run.entry(role)
    if run.data_arguments(entry.name):
        return None
    dropped = role == "labeled" and run.experiment.numbers.empty_labeled == "drop"
    same_filter = entry.filter == run.catalog[entry.name].filter
    if dropped and same_filter and entry.expect.images_with_pedestrians:
        return entry.expect.images_with_pedestrians
    return entry.expect.images  # at most: what another filter leaves nobody has counted


def _absent_images(entry: Entry, given: dict, frames: FrameSet) -> list:
    """The image files that are not there, of readers that open a data set without them: these have
    an argument `images`, the folder that the names of the frames start from."""
    folder = entry.reader_args(**given).get("images")
    if folder is None:
        return []
    files = (entry.existing_root() / folder / name for name in frames.name)
    return [file for file in files if not file.is_file()]


def _scores(experiment: Experiment) -> tuple[set, list]:
    """The names of the scores that the strategies use, and sentences about those nobody defines."""
    known, unknown = set(), []
    for name in experiment.strategies:
        score = load_strategies(experiment.plugins)[name].score
        if score is None or score in known:
            continue
        try:
            load_score(score, experiment.plugins, radius=1)
            known.add(score)
        except ValueError as error:
            unknown.append(f"strategy {name}: {error}")
    return known, unknown


# ---- what it takes -------------------------------------------------------------------------------


def plan(tasks: list, counts: dict, costs: Costs) -> pd.DataFrame:
    """One row for each step: how often it is done and, over all times, images (iterations where it
    trains), seconds, bytes before compression, and bytes as they are likely to be stored.

    Every cycle is taken to find its whole budget. Each fold of an experiment is planned alone.
    """
    work = {}
    for task in _once(tasks):
        row = work.setdefault(task.step.name, np.zeros(5))
        row += (1, *_work(task, counts, costs))
    columns = ["times", "images or iterations", "seconds", "bytes", "stored"]
    table = pd.DataFrame.from_dict(work, orient="index", columns=columns).sort_index()
    return table.astype({name: int for name in columns if name != "seconds"})


def for_workers(tasks: list, counts: dict, costs: Costs) -> tuple[dict, list, list, list]:
    """The same for many workers: the arguments of `scaling.describe` but for the threads."""

    def works(tasks):
        found = []
        for task in tasks:
            images, seconds, _, stored = _work(task, counts, costs)
            found.append(Work(seconds, images if task.step.open_shards else None, stored))
        return found

    steps, pretrained, own = {}, [], []
    for folder in dict.fromkeys(task.run.folder for task in tasks):
        of_run = [task for task in tasks if task.run.folder == folder]
        (pretrained if of_run[0].cycle == 0 else own).append(works(of_run))
        divided = [task for task in of_run if task.cycle == 1 and task.step.open_shards]
        if divided:
            steps.setdefault(divided[0].run.strategy.score, works(divided))
    return steps, works(_once(tasks)), pretrained, own


def _once(tasks: list) -> list:
    """The tasks without those whose result another one gives."""
    first = {}
    for task in tasks:
        first.setdefault(_made_from(task), task)
    return list(first.values())


def _made_from(task: Task) -> tuple:
    """What a task's result depends on, as the key of its record says it: tasks for which this is
    equal are done once. Strategies first differ in the score, then in how it is aggregated."""
    step = task.step.name
    if task.cycle == 0:
        return step, task.run.seed
    strategy = task.run.strategy
    depends = strategy
    if task.cycle == 1:
        first = {"1_predict": (), "2_score": strategy.score}
        first["3_aggregate"] = (strategy.score, task.run.aggregation(task.cycle))
        depends = first.get(step, strategy)
    return step, task.run.seed, task.cycle, depends


def _work(task: Task, counts: dict, costs: Costs) -> tuple:
    """(images or iterations, seconds, bytes, bytes as stored) of one task."""
    run, cycle = task.run, task.cycle
    numbers, budget = run.experiment.numbers, run.experiment.budget
    left = max(0, counts["pool"] - (cycle - 1) * budget * (not numbers.score_labeled))

    def predicted(role):
        return counts[role] * costs.predict[run.image_size(role)]

    def trained(images, epochs, role):
        iterations = round(epochs * -(-images // numbers.batch_size))
        return iterations, iterations * costs.train[_trained_size(run, role)]

    match task.step.name:
        case "0_pretrain":
            epochs = pretraining_epochs(numbers, counts["labeled"])
            iterations, seconds = trained(counts["labeled"], epochs, "labeled")
            seconds += predicted("held_out") if "held_out" in counts else 0
            return iterations, seconds, costs.weights, costs.weights
        case "1_predict":
            arrays = prediction.logit_arrays(numbers).values()
            size = left * sum(np.prod(shape) * np.dtype(kind).itemsize for _, shape, kind in arrays)
            seconds = left * costs.predict[run.image_size("pool")]
            return left, seconds, size, size * STORED["logits"]
        case "2_score":
            name = run.strategy.score
            size = left * np.prod(numbers.image_size) * np.dtype(store.STORED).itemsize
            return left, left * costs.score[name], size, size * STORED.get(name, 1)
        case "3_aggregate":
            return left, left * costs.aggregate, 0, 0
        case "4_select":
            return left, 0, 0, 0
        case "5_label":
            return min(left, budget), 0, 0, 0
        case "6_retrain":
            labelled = min(cycle * budget, counts["pool"])
            labelled += counts["labeled"] if numbers.replay else 0
            return *trained(labelled, numbers.epochs, "pool"), costs.weights, costs.weights
        case "7_evaluate":
            return counts["test"], predicted("test"), 0, 0
    raise ValueError(f"step {task.step.name} has no plan")


def _trained_size(run: Run, role: str) -> tuple[int, int]:
    """(height, width) of what the detector is trained on: of a pool image it may be a part."""
    return (role == "pool" and run.experiment.numbers.crop) or run.image_size(role)


# ---- in words ------------------------------------------------------------------------------------


def _head(experiment: Experiment, counts: dict) -> list:
    return [
        f"{experiment.name}: profile {experiment.profile}, {experiment.cycles} cycles of "
        f"{experiment.budget} images, strategies {', '.join(experiment.strategies)}, seeds "
        f"{', '.join(map(str, experiment.seeds))}",
        *(
            f"  {role:9}{getattr(experiment, role)}: "
            + ("unknown number of images" if n is None else f"{n} images")
            for role, n in counts.items()
        ),
    ]


def _as_text(table: pd.DataFrame) -> str:
    shown = table[["times", "images or iterations"]].assign(
        time=[duration(s) if s else "–" for s in table["seconds"]],
        disk=[size(b) if b else "–" for b in table["stored"]],
    )
    return shown.to_string()


def _totals(table: pd.DataFrame, out: Path) -> str:
    folder, free = _free(out)
    return (
        f"In all {duration(table['seconds'].sum())}, and on top reading the images, and a few "
        f"seconds to start a kernel for each of {table['times'].sum()} steps.\n"
        f"On disk about {size(table['stored'].sum())}, by how stores were compressed in runs of "
        f"experiments/demo.yaml; {size(table['bytes'].sum())} if nothing could be "
        f"compressed. Notebooks, detections and curves come on top. {size(free)} are free at "
        f"{folder}; `alkit clean` deletes maps and logits."
    )


def _measured(costs: Costs, experiment: Experiment) -> str:
    def in_ms(costs_of, name):
        return ", ".join(f"{1e3 * s:.0f} ms {name(of)}" for of, s in costs_of.items())

    def at(size):
        return f"at {size[0]}×{size[1]}"

    numbers = experiment.numbers
    return (
        f"Measured here with {torch.get_num_threads()} threads, width {numbers.width}: one image "
        f"{in_ms(costs.predict, at)}; its score map {in_ms(costs.score, str) or '–'}; one training "
        f"iteration, batch size {numbers.batch_size}, {in_ms(costs.train, at)}."
    )


def _disk(table: pd.DataFrame, out: Path) -> list:
    folder, free = _free(out)
    needed = table["stored"].sum()
    return [f"disk: {size(needed)} at {folder}, {size(free)} are free"] if needed > free else []


def _free(out: Path) -> tuple[Path, int]:
    """The folder that is there of those that `out` lies in, and the bytes free in it."""
    folder = next(path for path in (out, *out.resolve().parents) if path.exists())
    return folder, shutil.disk_usage(folder).free
