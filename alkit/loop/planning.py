"""What `alkit run --dry-run` tells in advance: steps, images, time, disk, and what is missing.

The steps are the driver's own; what strategies share counts once. Numbers of images come from the
data sets, or from what the catalog expects of data that is not there; times from unit costs that
are measured here (`alkit.loop.costs`).
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from alkit import prediction
from alkit.catalog import Catalog
from alkit.loop import experiment as driver
from alkit.loop import runs, store
from alkit.loop.costs import Costs, measure
from alkit.loop.experiment import Task
from alkit.loop.runs import Run
from alkit.loop.settings import Experiment
from alkit.training import pretraining_epochs

# The share of its bytes that a store keeps when compressed, in runs of experiments/demo.yaml at
# 240×320. Logits of a network in bfloat16 0.43 to 0.52, in float32 0.74; maps of divergence 0.10,
# of entropy 0.21, of mutual information 0.24. A plugin's maps are taken not to compress.
STORED = {"logits": 0.75, "divergence": 0.1, "entropy": 0.21, "mutual_information": 0.24}


def describe(experiment: Experiment, catalog: Catalog, out: Path) -> str:
    """The plan of an experiment as a table and sentences, and a line MISSING for all that it lacks.

    Nothing is written to `out` nor anywhere else that stays. Raises CatalogError.
    """
    with tempfile.TemporaryDirectory() as folder:  # the driver plans from a folder's settings
        tasks = driver.tasks(runs.create(Path(folder) / "plan", experiment, catalog.path))
        counts, missing = count_images(tasks[0].run)
        lines = [
            f"{experiment.name}: profile {experiment.profile}, {experiment.cycles} cycles of "
            f"{experiment.budget} images, strategies {', '.join(experiment.strategies)}, seeds "
            f"{', '.join(map(str, experiment.seeds))}"
        ]
        for role, n in counts.items():
            number = "unknown number of images" if n is None else f"{n} images"
            lines.append(f"  {role:9}{getattr(experiment, role)}: {number}")
        scores = {task.run.strategy.score for task in tasks if task.cycle} - {None}
        if None in counts.values():
            lines.append("\nNo time, no disk: that takes the number of images of each data set.")
        else:
            try:
                costs = measure(experiment, sorted(scores))
            except ValueError as error:
                missing.append(f"strategies: {error}")
            else:
                table = plan(tasks, counts, costs)
                lines += _in_words(table, costs, experiment.numbers)
                missing += _lack_of_disk(table["bytes"].sum(), out)
    missing = [f"MISSING {line}" for line in missing] or ["Nothing is missing."]
    return "\n".join([*lines, "", *missing])


def _lack_of_disk(needed: float, out: Path) -> list:
    parent = next(path for path in (out, *out.resolve().parents) if path.exists())
    free = shutil.disk_usage(parent).free
    return [f"disk: {size(needed)} at {parent}, {size(free)} are free"] if needed > free else []


def count_images(run: Run) -> tuple[dict, list]:
    """How many images the data set in each role has, None where neither it nor the catalog says;
    and sentences about what is missing."""
    counts, missing, opened = {}, [], {}
    for role in driver.data_roles(run):
        name = getattr(run.experiment, role)
        try:
            frames = run.frames(role)
            absent = _absent_files(run, role, frames.name)
        except (ValueError, OSError) as error:
            # what the catalog expects holds for the entry's own arguments
            n = None if run.data_arguments(name) else run.entry(role).expect.get("images")
            so = "it is counted as the catalog expects" if n else "nothing says how many images"
            missing.append(f"{role} {name}: {str(error).removeprefix(f'{name}: ')} ({so})")
            counts[role] = n
            continue
        opened[role], counts[role] = frames, len(frames)
        if absent:
            of = f"{len(absent)} of {len(frames)} image files"
            missing.append(f"{role} {name}: {of}, the first is {absent[0]}")
    return counts, missing + driver.data_problems(run, opened)


def _absent_files(run: Run, role: str, names) -> list:
    """The image files that are not there, of readers that open a data set without them: these have
    an argument `images`, the folder that the names of the frames start from."""
    entry = run.entry(role)
    folder = entry.reader_args(**run.data_arguments(entry.name)).get("images")
    files = (entry.existing_root() / folder / name for name in names) if folder else ()
    return [file for file in files if not file.is_file()]


def plan(tasks: list, counts: dict, costs: Costs) -> pd.DataFrame:
    """One row for each step: how often it is done and, over all times, images (iterations where it
    trains), seconds, and bytes on disk.

    Every cycle is taken to find its whole budget. Each fold of an experiment is planned alone.
    """
    work = {}
    for task in {_made_from(task): task for task in tasks}.values():
        row = work.setdefault(task.step.name, np.zeros(4))
        row += (1, *_work(task, counts, costs))
    columns = ["times", "images or iterations", "seconds", "bytes"]
    table = pd.DataFrame.from_dict(work, orient="index", columns=columns).sort_index()
    return table.astype({name: int for name in columns if name != "seconds"})


def _made_from(task: Task) -> tuple:
    """What a task's result depends on, as the key of its record says it: tasks for which this is
    equal are done once. Strategies first differ in the score, then in how it is aggregated."""
    run, cycle, step = task.run, task.cycle, task.step.name
    own = run.strategy if cycle else None
    if cycle == 1:
        how = run.aggregation(cycle)
        shared = {"1_predict": None, "2_score": own.score, "3_aggregate": (own.score, how)}
        own = shared.get(step, own)
    return run.seed, cycle, step, own


def _work(task: Task, counts: dict, costs: Costs) -> tuple:
    """(images or iterations, seconds, bytes) of one task. Time grows with an image's area."""
    run, cycle = task.run, task.cycle
    numbers, budget = run.experiment.numbers, run.experiment.budget
    left = max(0, counts["pool"] - (cycle - 1) * budget * (not numbers.score_labeled))
    area = np.prod(numbers.image_size)

    def predicted(role):
        n = counts.get(role, 0)
        return n, n and n * costs.predict * np.prod(run.image_size(role)) / area

    def trained(images, epochs, image_size):
        iterations = round(epochs * -(-images // numbers.batch_size))
        return iterations, iterations * costs.train * np.prod(image_size) / area, costs.weights

    match task.step.name:
        case "0_pretrain":
            images = counts["labeled"]
            epochs = pretraining_epochs(numbers, images)
            iterations, seconds, kept = trained(images, epochs, run.image_size("labeled"))
            return iterations, seconds + predicted("held_out")[1], kept
        case "1_predict":
            arrays = prediction.logit_arrays(numbers).values()
            each = sum(np.prod(shape) * np.dtype(kind).itemsize for _, shape, kind in arrays)
            return left, left * costs.predict, left * each * STORED["logits"]
        case "2_score":
            score, each = run.strategy.score, area * np.dtype(store.STORED).itemsize
            return left, left * costs.score[score], left * each * STORED.get(score, 1)
        case "3_aggregate":
            return left, left * costs.aggregate, 0
        case "4_select":
            return left, 0, 0
        case "5_label":
            return min(left, budget), 0, 0
        case "6_retrain":
            images = min(cycle * budget, counts["pool"])
            images += counts["labeled"] if numbers.replay else 0
            return trained(images, numbers.epochs, numbers.crop or run.image_size("pool"))
        case "7_evaluate":
            return *predicted("test"), 0
    raise ValueError(f"step {task.step.name} has no plan")


def _in_words(table: pd.DataFrame, costs: Costs, numbers) -> list:
    """The table, its totals, and the unit costs that they come from."""
    shown = table[["times", "images or iterations"]].assign(
        time=[duration(seconds) if seconds else "–" for seconds in table["seconds"]],
        disk=[size(count) if count else "–" for count in table["bytes"]],
    )
    scores = ", ".join(f"{1e3 * seconds:.0f} ms {name}" for name, seconds in costs.score.items())
    return [
        f"\n{shown.to_string()}\n",
        f"In all {duration(table['seconds'].sum())}, and on top reading the images, and a few "
        f"seconds to start a kernel for each of {table['times'].sum()} steps.",
        f"On disk about {size(table['bytes'].sum())}, by how stores were compressed in runs of "
        "experiments/demo.yaml. Notebooks, detections and curves come on top; `alkit clean` "
        "deletes maps and logits.",
        f"Measured here at {numbers.image_size[0]}×{numbers.image_size[1]}, width {numbers.width}, "
        f"{torch.get_num_threads()} threads: one image {1e3 * costs.predict:.0f} ms; its score map "
        f"{scores or '–'}; one training iteration, batch size {numbers.batch_size}, "
        f"{1e3 * costs.train:.0f} ms.",
    ]


def duration(seconds: float) -> str:
    """Seconds in the unit that reads well."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes in the unit that reads well."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
