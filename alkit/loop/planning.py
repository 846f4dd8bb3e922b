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
COLUMNS = ["images or iterations", "seconds", "bytes"]


def describe(experiment: Experiment, catalog: Catalog, out: Path) -> str:
    """The plan of an experiment as a table and sentences, and a line MISSING for all that it lacks.

    Nothing is written to `out` nor anywhere else that stays. Raises CatalogError.
    """
    lines = [
        f"{experiment.name}: profile {experiment.profile}, {experiment.cycles} cycles of "
        f"{experiment.budget} images, strategies {', '.join(experiment.strategies)}, seeds "
        f"{', '.join(map(str, experiment.seeds))}"
    ]
    with tempfile.TemporaryDirectory() as folder:  # the driver plans from a folder's settings
        tasks = driver.tasks(runs.create(Path(folder) / "plan", experiment, catalog.path))
        counts, missing = count_images(tasks[0].run)
        for role, n in counts.items():
            number = "unknown number of images" if n is None else f"{n} images"
            lines.append(f"  {role:9}{getattr(experiment, role)}: {number}")
        if None in counts.values():
            lines.append("\nNo time, no disk: that takes the number of images of each data set.")
        else:
            scores = {task.run.strategy.score for task in tasks if task.cycle} - {None}
            costs = measure(experiment, sorted(scores))
            table = plan(tasks, counts, costs)
            lines += _in_words(table, costs, experiment.numbers)
            needed, place = table["bytes"].sum(), out.resolve()
            while not place.exists():
                place = place.parent
            free = shutil.disk_usage(place).free
            if needed > free:
                missing.append(f"disk: {size(needed)} at {place}, {size(free)} are free")
    missing = [f"MISSING {line}" for line in missing] or ["Nothing is missing."]
    return "\n".join([*lines, "", *missing])


def count_images(run: Run) -> tuple[dict, list]:
    """How many images the data set in each role has, None where neither it nor the catalog says;
    and sentences about what is missing."""
    counts, missing, opened = {}, [], {}
    for role in driver.data_roles(run):
        name, entry = getattr(run.experiment, role), run.entry(role)
        given = run.data_arguments(name)
        try:
            frames = run.frames(role)
        except (ValueError, OSError) as error:
            # what the catalog expects holds for the entry's own arguments
            counts[role] = n = None if given else entry.expect.get("images")
            so = "it is counted as the catalog expects" if n else "nothing says how many images"
            missing.append(f"{role} {name}: {str(error).removeprefix(f'{name}: ')} ({so})")
            continue
        opened[role], counts[role] = frames, len(frames)
        # readers with an argument `images`, where names of frames start, open without the images
        if folder := entry.reader_args(**given).get("images"):
            files = [entry.existing_root() / folder / file for file in frames.name]
            if absent := [file for file in files if not file.is_file()]:
                of = f"{len(absent)} of {len(files)} image files"
                missing.append(f"{role} {name}: {of}, the first is {absent[0]}")
    return counts, missing + driver.data_problems(run, opened)


def plan(tasks: list, counts: dict, costs: Costs) -> pd.DataFrame:
    """One row for each step: how often it is done and, over all times, images (iterations where it
    trains), seconds, and bytes on disk.

    Every cycle is taken to find its whole budget. Each fold of an experiment is planned alone.
    """
    once = {_made_from(task): task for task in tasks}.values()
    rows = [(task.step.name, 1, *_work(task, counts, costs)) for task in once]
    table = pd.DataFrame(rows, columns=["step", "times", *COLUMNS]).groupby("step").sum()
    return table.rename_axis(None).astype({"images or iterations": int, "bytes": int})


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
    """`COLUMNS` of one task. Time grows with an image's area."""
    run, cycle, numbers = task.run, task.cycle, task.run.experiment.numbers
    score, budget = run.strategy.score if cycle else None, run.experiment.budget
    left = max(0, counts["pool"] - (cycle - 1) * budget * (not numbers.score_labeled))
    area = np.prod(numbers.image_size)
    arrays = prediction.logit_arrays(numbers).values()
    logits = sum(np.prod(shape) * np.dtype(kind).itemsize for _, shape, kind in arrays)
    a_map = area * np.dtype(store.STORED).itemsize

    def predicting(n, role):
        return n * costs.predict * np.prod(run.image_size(role)) / area if n else 0

    def trained(images, epochs, image_size, more=0):
        iterations = round(epochs * -(-images // numbers.batch_size))
        seconds = iterations * costs.train * np.prod(image_size) / area
        return iterations, seconds + more, costs.weights

    return {
        "0_pretrain": trained(
            counts["labeled"],
            pretraining_epochs(numbers, counts["labeled"]),
            run.image_size("labeled"),
            predicting(counts.get("held_out"), "held_out"),
        ),
        "1_predict": (left, left * costs.predict, left * logits * STORED["logits"]),
        "2_score": (left, left * costs.score.get(score, 0), left * a_map * STORED.get(score, 1)),
        "3_aggregate": (left, left * costs.aggregate, 0),
        "4_select": (left, 0, 0),
        "5_label": (min(left, budget), 0, 0),
        "6_retrain": trained(
            min(cycle * budget, counts["pool"]) + numbers.replay * counts["labeled"],
            numbers.epochs,
            numbers.crop or run.image_size("pool"),
        ),
        "7_evaluate": (counts["test"], predicting(counts["test"], "test"), 0),
    }[task.step.name]


def _in_words(table: pd.DataFrame, costs: Costs, numbers) -> list:
    """The table, its totals, and the unit costs that they come from."""
    shown = table[["times", "images or iterations"]].assign(
        time=table["seconds"].map(duration), disk=table["bytes"].map(size)
    )
    scores = ", ".join(f"{1e3 * seconds:.0f} ms {name}" for name, seconds in costs.score.items())
    return [
        f"\n{shown.to_string()}\n",
        f"In all {duration(table['seconds'].sum())}, and on top reading the images, and a few "
        f"seconds to start a kernel for each of {table['times'].sum()} steps.",
        f"On disk about {size(table['bytes'].sum())}, as stores of the demo are compressed; "
        "notebooks, detections and curves come on top. `alkit clean` deletes maps and logits.",
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
