"""What `alkit run --dry-run` tells in advance: steps, images, time, disk, and what is missing.

The steps are the driver's own; what strategies share counts once, what is complete not at all.
Numbers of images come from the data sets, or from what the catalog expects of data that is not
there; times from unit costs that are measured here.
"""

import shutil
import subprocess
import sys
import tempfile
import timeit
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from dask.utils import format_bytes, format_time

from alkit import prediction, training
from alkit.aggregation import image_score
from alkit.arrays import to_numpy
from alkit.catalog import Catalog
from alkit.frames import NO_BOXES, FrameSet
from alkit.loop import experiment as driver
from alkit.loop import records, runs, store
from alkit.loop.experiment import Task
from alkit.loop.jsonfile import write_json
from alkit.loop.notebooks import IMPORTED
from alkit.loop.plugins import SCORES, load_score
from alkit.loop.runs import Run
from alkit.loop.settings import Experiment
from alkit.loop.steps.step_2_score import stored
from alkit.loop.steps.step_4_select import lack
from alkit.strategies import selected
from alkit.threads import in_threads

# The share of its bytes that a store keeps when compressed, in runs of experiments/demo.yaml at
# 240×320. Logits of a network in bfloat16 0.43 to 0.52, in float32 0.74; maps of divergence 0.10,
# of entropy 0.21, of mutual information 0.24. A plugin's maps are taken not to compress.
STORED = {"logits": 0.75, "divergence": 0.1, "entropy": 0.21, "mutual_information": 0.24}


def describe(experiment: Experiment, catalog: Catalog, out: Path, notebooks=True) -> tuple:
    """The plan of what is to do as a table and sentences, a warning of budgets that cannot be met,
    and a line MISSING for all that it lacks; and whether it lacks anything. Nothing is written that
    stays. Raises as `runs.create` does."""
    first = " (the first is of `start`)" if experiment.start else ""
    lines = [
        f"{experiment.name}: profile {experiment.profile}, {experiment.cycles} cycles of "
        f"{experiment.budget} images{first}, strategies {', '.join(experiment.strategies)}, seeds "
        f"{', '.join(map(str, experiment.seeds))}"
    ]
    out = out.resolve()
    with tempfile.TemporaryDirectory() as folder:  # where links show what is done in `out`
        (there := Path(folder, out.name)).mkdir()
        for own in out.glob("[!.]*"):
            if own.name == "experiment.json":  # its paths are relative to where it lies
                write_json(there / own.name, runs.settings_of(out))
            else:
                (there / own.name).symlink_to(own)
        there = runs.create(there, experiment, catalog.path)
        tasks = driver.tasks(there, experiment.strategies, experiment.seeds)
        counts, missing, opened = count_images(tasks[0].run)
        for role, n in counts.items():
            number = "unknown number of" if n is None else n
            lines.append(f"  {role:9}{getattr(experiment, role)}: {number} images")
        kinds = {} if missing else {task: task.state().kind for task in tasks}
        done = {_made_from(t) for t, kind in kinds.items() if kind in ("complete", "cleaned")}
        tasks = [task for task in tasks if _made_from(task) not in done]
        lines += [f"  steps    {n} {kind}" for kind, n in sorted(Counter(kinds.values()).items())]
        if None in counts.values():
            lines.append("\nNo time, no disk: that takes the number of images of each data set.")
        elif tasks:
            pool = opened.get("pool") or FrameSet("", range(counts["pool"]), None)
            chosen, short = foreseen(tasks, pool)
            some = {(rules, k) for rules, own in chosen.items() for k, n in enumerate(own, 1) if n}
            tasks = [t for t in tasks if not t.cycle or (t.run.strategy.rules, t.cycle) in some]
            scores = {task.run.strategy.score for task in tasks if task.cycle} - {None}
            costs = measure(experiment, sorted(scores), None if missing else pool, notebooks)
            table = plan(tasks, counts, costs, chosen)
            lines += [*_in_words(table, costs, experiment.numbers.image_size), *short]
            needed = table["bytes"].sum()
            place = next(place for place in (out, *out.parents) if place.exists())
            free = shutil.disk_usage(place).free
            if needed > free:
                said = f"{format_bytes(needed)} at {place}, {format_bytes(free)} are free"
                missing.append(f"disk: {said}")
    last = [f"MISSING {line}" for line in missing] or ["Nothing is missing."]
    return "\n".join([*lines, "", *last]), bool(missing)


def count_images(run: Run) -> tuple[dict, list, dict]:
    """How many images the data set in each role has, None where neither it nor the catalog says;
    sentences about what is missing; and the data sets themselves."""
    counts, missing, opened = {}, [], {}
    for role in driver.data_roles(run):
        name, entry = getattr(run.experiment, role), run.entry(role)
        given = run.data_arguments(name)
        try:
            frames = opened[role] = run.frames(role)
        except (ValueError, OSError) as error:
            # what the catalog expects holds for the entry's own arguments
            counts[role] = n = None if given else entry.expect.get("images")
            so = "it is counted as the catalog expects" if n else "nothing says how many images"
            missing.append(f"{role} {name}: {str(error).removeprefix(f'{name}: ')} ({so})")
            continue
        counts[role] = len(frames)
        if absent := [file for file in frames.files or () if not file.is_file()]:
            of = f"{len(absent)} of {len(frames)} image files"
            missing.append(f"{role} {name}: {of}, the first is {absent[0]}")
    return counts, missing + driver.data_problems(run, opened), opened


def foreseen(tasks: list, pool: FrameSet) -> tuple[dict, list]:
    """How many frames each cycle chooses at most, by whether the strategy has rules: at equal
    scores, from left to right, which packs most. And warnings of budgets that are not met."""
    experiment, chosen, said = tasks[0].run.experiment, {}, []
    numbers, scores, run = experiment.numbers, np.zeros(len(pool)), tasks[0].run
    for rules in {task.run.strategy.rules for task in tasks if task.cycle}:
        own, labeled, short = chosen.setdefault(rules, []), [], []
        while len(own) < experiment.cycles and 0 not in own:
            budget, apart = run.budget(len(own) + 1), rules and len(own) + 1 >= run.first
            found = selected(scores, min(budget, len(pool)), pool, numbers, labeled, apart)
            own.append(len(found.indices))
            labeled += found.indices.tolist()
            if own[-1] < budget:
                short.append(f"{own[-1]} of {budget} in cycle {len(own)}, {lack(found, numbers)}")
        if short:
            kind = "with" if rules else "without"
            which = f"warning: strategies {kind} temporal rules choose at most {short[0]}"
            what = "lower exclude_now, exclude_later, budget or cycles"
            said.append("; ".join([which, *short[1:][-1:], what]))
    return chosen, said


def plan(tasks: list, counts: dict, costs: dict, chosen: dict) -> pd.DataFrame:
    """One row for each step: how often it is done and, over all times, images (iterations where it
    trains), seconds, and bytes on disk. Each cycle finds what is `foreseen`."""
    once = {_made_from(task): task for task in tasks}.values()
    rows = [(task.step.name, 1, *_work(task, counts, costs, chosen)) for task in once]
    columns = ["step", "times", "images or iterations", "seconds", "bytes"]
    table = pd.DataFrame(rows, columns=columns).groupby("step").sum().rename_axis(None)
    return table.astype({"images or iterations": int, "bytes": int})


def _made_from(task: Task) -> tuple:
    """What a task's result depends on, as the key of its record says it: tasks for which this is
    equal are done once. Strategies first differ in the score, then in how it is aggregated."""
    run, cycle, step = task.run, task.cycle, task.step.name
    own = run.chooser(cycle) if cycle else None
    if cycle == run.first:
        how = run.aggregation(cycle)
        everything = cycle > 1 and "features" in own.reads
        shared = {"1_predict": everything, "2_score": own.score, "3_aggregate": (own.score, how)}
        own = shared.get(step, own)
    return run.seed, cycle, step, own


def _work(task: Task, counts: dict, costs: dict, chosen: dict) -> tuple:
    """Images or iterations, seconds and bytes of a task. Time grows with an image's area."""
    run, cycle, numbers = task.run, task.cycle, task.run.experiment.numbers
    score = run.strategy.score if cycle else None
    own = chosen[run.strategy.rules][:cycle] if cycle else []
    everything = numbers.score_labeled or (cycle and "features" in run.strategy.reads)
    left = counts["pool"] - sum(own[:-1]) * (not everything)
    area = np.prod(numbers.image_size)
    arrays = prediction.logit_arrays(numbers).values()
    logits = sum(np.prod(shape) * np.dtype(kind).itemsize for _, shape, kind in arrays)
    a_map = area * np.dtype(store.STORED).itemsize

    def predicting(role):
        n = counts.get(role)
        return n * costs["predict"] * np.prod(run.image_size(role)) / area if n else 0

    def trained(images, numbers, image_size, more=0):
        iterations = numbers.iterations  # of no images, too, as for a task that trains nothing
        if iterations is None:
            iterations = round(numbers.epochs * -(-images // numbers.batch_size))
        seconds = iterations * costs["train"] * np.prod(image_size) / area
        return iterations, seconds + more, costs["weights"]

    scoring, stored = costs["score"].get(score, 0), STORED.get(score, 1)
    labeled, size = counts["labeled"], numbers.crop or run.image_size("pool")
    first, held_out = run.numbers(0), predicting("held_out")
    return {
        "0_pretrain": trained(labeled, first, run.image_size("labeled"), held_out),
        "1_predict": (left, left * costs["predict"], left * logits * STORED["logits"]),
        "2_score": (left, left * scoring, left * a_map * stored),
        "3_aggregate": (left, left * costs["aggregate"], 0),
        "4_select": (left, 0, 0),
        "5_label": (sum(own[-1:]), 0, 0),
        "6_retrain": trained(sum(own) + numbers.replay * labeled, numbers, size),
        "7_evaluate": (counts.get("test"), predicting("test"), 0),
    }[task.step.name]


def _in_words(table: pd.DataFrame, costs: dict, image_size: tuple) -> list:
    """The table, its totals, and the unit costs that they come from."""
    time, disk = table["seconds"].map(format_time), table["bytes"].map(format_bytes)
    shown = table[["times", "images or iterations"]].assign(
        time=time.where(table["seconds"] > 0, "–"), disk=disk.where(table["bytes"] > 0, "–")
    )
    maps = [f"its map of {name} {format_time(s)}" for name, s in costs["score"].items()]
    image = ", ".join([f"one image, read, {format_time(costs['predict'])}", *maps])
    times, kernels = table["times"].sum(), table["times"].sum() * costs["kernel"]
    return [
        f"\n{shown.to_string()}\n",
        f"In all {format_time(table['seconds'].sum() + kernels)}, of which {format_time(kernels)} "
        f"to start a kernel for each of {times} steps.",
        f"On disk about {format_bytes(table['bytes'].sum())}, compressed as the demo's stores are; "
        "notebooks, detections and curves come on top. `alkit clean` deletes maps and logits.",
        f"Measured here at {image_size[0]}×{image_size[1]}, {torch.get_num_threads()} threads: "
        f"{image}; one training iteration {format_time(costs['train'])}.",
    ]


def measure(experiment: Experiment, scores, frames=None, notebooks=False) -> dict:
    """Unit costs of an experiment's profile here, in seconds at its image size: `predict` of an
    image, its reading where there are `frames`, all its views and the decoding of its boxes;
    `train` of an iteration; `score`, a dict, of a map by the score's name; `aggregate` of a map;
    `kernel` of a notebook's start. `weights` are a detector's bytes. An untrained detector that
    finds nothing takes as long as a trained one, but for its boxes."""
    numbers, seed = experiment.numbers, np.random.SeedSequence(0)
    detector = training.new_detector(numbers, seed).eval()
    torch.nn.init.constant_(detector.logits.bias, -20)  # no boxes
    image = np.random.default_rng(0).integers(0, 256, (*numbers.image_size, 3), np.uint8)
    logits = prediction.predict(detector, image, numbers)
    threads, on_cpu = torch.get_num_threads(), detector.device.type == "cpu"
    n = threads if on_cpu else 4 * prediction.GPU_BATCH

    def noise(n):
        return FrameSet("noise", ["noise"] * n, lambda _: image, numbers.image_size, [NO_BOXES] * n)

    def scored(name):
        score = load_score(name, experiment.plugins, numbers.pixels(numbers.radius))
        device, side_by_side = (detector.device, None) if name in SCORES else ("cpu", 1)

        def a_map(k):
            if name == "mutual_information":
                generator = torch.Generator().manual_seed(k)
                passes = prediction.dropout_probabilities(detector, image, numbers, generator)
                return stored(name, to_numpy(score(passes)))
            maps = logits[prediction.COARSE], logits[prediction.FINE]
            return stored(name, prediction.pixel_scores(score, *maps, numbers, device))

        return seconds(lambda: list(in_threads(a_map, range(threads), side_by_side))) / threads

    def aggregated():
        maps = store.dequantize(np.zeros(numbers.image_size, store.STORED))
        return image_score(maps, numbers.pixels(numbers.region), grid=numbers.region_grid)

    def seconds(call):  # the first call prepares much that later ones find
        return min(timeit.repeat(call, number=1, repeat=3))

    def predicted():
        return prediction.detect_all(detector, some, numbers, lambda *_: None)

    some = noise(n) if frames is None else frames.take(range(min(n, len(frames))))
    start = [sys.executable, "-c", f"import ipykernel.kernelapp, {', '.join(IMPORTED)}"]
    kernel = partial(subprocess.run, start, cwd=records.PACKAGE.parent, check=True)
    batch = noise(numbers.batch_size)
    return {
        "predict": seconds(predicted) / len(some),
        "score": {name: scored(name) for name in scores},
        "aggregate": seconds(aggregated),
        "train": seconds(lambda: training.train(detector, batch, numbers, 1, seed)),
        "kernel": timeit.timeit(kernel, number=1) if notebooks else 0,
        "weights": 4 * sum(each.numel() for each in detector.parameters()),
    }
