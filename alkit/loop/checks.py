"""The checked line of each notebook: a sentence about the artifacts that has to be true.

Each function looks at what a step wrote, by another way than the step itself where there is one.
It returns the same sentence for every sound result, and one that says what is wrong for any other,
so that a notebook's stored output then differs.
"""

import math

import numpy as np
from safetensors.numpy import load_file

from alkit.evaluation import evaluate
from alkit.loop.steps.shared import as_evaluated
from alkit.loop.steps.step_1_predict import positions_to_score
from alkit.strategies import timeline
from alkit.text import evenly, sentence
from alkit.training import pretraining_epochs

SAMPLED = 64  # maps of a large store that are read, evenly chosen


def training(run, cycle: int) -> str:
    """Steps 0 and 6: finite weights, and a finite loss for each epoch."""
    losses, numbers = run.losses(cycle), run.numbers(cycle)
    epochs = numbers.epochs
    if cycle == 0:
        epochs = math.ceil(pretraining_epochs(numbers, len(run.frames("labeled"))) - 1e-9)
    weights = load_file(run.weights(cycle))
    problems = [f"{name} is not finite" for name, w in weights.items() if not finite(w)]
    if len(losses) != epochs:
        problems.append(f"{len(losses)} losses for {epochs} epochs")
    if not finite(losses):
        problems.append("a loss is not finite")
    return sentence("training: weights finite, one finite loss for each epoch", problems)


def predictions(run, cycle: int) -> str:
    """Step 1: logits of all unlabeled frames, and detections of no others."""
    data = run.logits(cycle)
    positions = data["position"].values
    problems = unlabeled_problems(run, cycle, positions)
    for k in evenly(len(positions), SAMPLED):
        if not all(finite(maps.values) for maps in data.isel(frame=k).data_vars.values()):
            problems.append(f"a logit of frame {positions[k]} is not finite")
    foreign = {found["image_id"] for found in run.detections(cycle, "pool")} - {*positions + 1}
    problems += [f"a detection of image id {i}, which was not predicted" for i in sorted(foreign)]
    return sentence("predictions: all unlabeled frames complete, logits finite", problems[:5])


def scores(run, cycle: int) -> str:
    """Step 2: a score map of every unlabeled frame."""
    maps, size = run.scores(cycle), tuple(run.numbers(cycle).image_size)
    problems = unlabeled_problems(run, cycle, maps["position"].values)
    if maps.shape[1:] != size:
        problems.append(f"maps of {maps.shape[1:]} for images of {size}")
    problems += _score_problems(maps.isel(frame=evenly(len(maps), SAMPLED)).values)
    return sentence("scores: all frames complete, finite, not negative", problems)


def image_scores(run, cycle: int) -> str:
    """Step 3: one z for each frame."""
    table = run.image_scores(cycle)
    problems = unlabeled_problems(run, cycle, table["position"].to_numpy())
    problems += _score_problems(table["z"])
    return sentence("image scores: one for each unlabeled frame, finite, not negative", problems)


def selection(run, cycle: int) -> str:
    """Step 4: within the budget, no frame twice, the temporal rules kept."""
    result, budget = run.selection(cycle), run.experiment.budget
    chosen = [frame["position"] for frame in result["chosen"]]
    labeled = run.labeled_positions(cycle)
    problems = [f"frame {p} was labeled before" for p in {*chosen} & {*labeled}]
    if len(chosen) > budget:
        problems.append(f"{len(chosen)} chosen of a budget of {budget}")
    if len({*chosen}) < len(chosen):
        problems.append("a frame is chosen twice")
    if result["rules"]:
        numbers = run.numbers(cycle)
        sequence, frame = timeline(run.frames("pool"), numbers)

        def near(p, others, exclusion):
            before, after = exclusion if np.ndim(exclusion) else (exclusion, exclusion)
            return [
                f"{p} is too near to {q}"
                for q in others
                if sequence[p] == sequence[q] and -before <= frame[p] - frame[q] <= after
            ]

        under_rule_1 = len(chosen) - result["relaxed"]
        for i, p in enumerate(chosen):
            now = numbers.exclude_now if i < under_rule_1 else numbers.exclude_later
            problems += near(p, chosen[:i], now) + near(p, labeled, numbers.exclude_later)
    claim = "selection: within the budget, no frame twice, temporal rules kept"
    return sentence(claim, problems[:5])


def labels(run, cycle: int) -> str:
    """Step 5: labels of the chosen frames and no others."""
    given = run.labels(cycle)
    chosen = sorted(frame["position"] for frame in run.selection(cycle)["chosen"])
    labeled = sorted(image["position"] for image in given["images"])
    problems = [] if labeled == chosen else [f"labeled are {labeled}, chosen were {chosen}"]
    known = {image["id"] for image in given["images"]}
    for box in given["annotations"]:
        if box["image_id"] not in known:
            problems.append(f"box {box['id']} is of no labeled image")
        if not finite(box["bbox"]) or min(box["bbox"][2:]) <= 0:
            problems.append(f"box {box['id']} is {box['bbox']}")
    claim = "labels: the chosen frames and no others, every box of positive size"
    return sentence(claim, problems[:5])


def evaluation(run, cycle: int) -> str:
    """Step 7: the stored curve is that of the stored detections."""
    stored = run.evaluation(cycle)
    protocol, found = stored["protocol"], run.detections(cycle, "test")
    again = evaluate(*as_evaluated(run, "test", protocol, found), protocol=protocol)
    problems = [
        f"{name} differs from that of the stored detections"
        for name in ("fppi", "miss_rate")
        if not np.array_equal(stored[name], getattr(again, name), equal_nan=True)
    ]
    if (np.diff(stored["miss_rate"]) > 0).any():
        problems.append("the miss rate rises with FPPI")
    claim = "evaluation: the curve is that of the stored detections, and the miss rate never rises"
    return sentence(claim, problems)


def ledger(folders) -> str:
    """The report: one row of each experiment's ledger for each evaluated cycle."""
    from alkit.loop import experiment  # the steps' kernels do without the driver

    problems = []
    for out in folders:
        table = experiment.ledger(out)
        records = [*out.glob("*/seed_*/**/7_evaluate.json")]
        if len(table) != len(records):
            problems.append(f"{out.name}: {len(table)} rows, {len(records)} evaluated cycles")
        rates = table["miss rate at FPPI 1"] if len(table) else []
        problems += [f"{out.name}: a miss rate of {r}" for r in rates if not 0 <= r <= 1]
    claim = "ledger: one row for each evaluated cycle, miss rates between 0 and 1"
    return sentence(claim, problems)


def unlabeled_problems(run, cycle: int, positions) -> list:
    """What is wrong with positions that should be those of the frames to score, in order."""
    wanted = positions_to_score(run, cycle)
    if len(positions) != len(wanted):
        return [f"{len(positions)} frames, but {len(wanted)} to score"]
    other = np.flatnonzero(positions != wanted)
    return [f"frame {positions[k]} where {wanted[k]} is wanted" for k in other[:1]]


def _score_problems(values) -> list:
    if not finite(values):
        return ["a score is not finite"]
    return ["a score is negative"] if (np.asarray(values) < 0).any() else []


def finite(values) -> bool:
    return bool(np.isfinite(np.asarray(values, np.float64)).all())
