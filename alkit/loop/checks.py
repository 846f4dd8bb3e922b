"""The checked line of each notebook: a sentence about the artefacts that has to be true.

Each function looks at what a step wrote, by another way than the step itself where there is one.
It returns the same sentence for every sound result, and one that says what is wrong for any other,
so that a notebook's stored output then differs.
"""

import math

import numpy as np

from alkit.text import evenly, sentence

SAMPLED = 64  # maps of a large store that are read, evenly chosen


def training(run, cycle: int) -> str:
    """Steps 0 and 6: finite weights, and a finite loss for each epoch."""
    from safetensors.numpy import load_file

    from alkit.training import pretraining_epochs

    losses = run.losses(cycle)
    numbers, epochs = run.numbers(cycle), run.numbers(cycle).epochs
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
    """Step 1: logits of all unlabelled frames, and detections of no others."""
    data = run.logits(cycle)
    positions = data["position"].values
    problems = unlabeled_problems(run, cycle, positions)
    for k in evenly(len(positions), SAMPLED):
        part = data.isel(frame=k)
        problems += [
            f"{name} of frame {positions[k]} is not finite"
            for name in part.data_vars
            if not finite(part[name].values)
        ]
    known = set((positions + 1).tolist())
    foreign = {d["image_id"] for d in run.detections(cycle, "pool")} - known
    problems += [f"a detection of image id {i}, which was not predicted" for i in sorted(foreign)]
    return sentence("predictions: all unlabelled frames complete, logits finite", problems[:5])


def scores(run, cycle: int) -> str:
    """Step 2: a score map of every unlabelled frame."""
    maps = run.scores(cycle)
    positions = maps["position"].values
    problems = unlabeled_problems(run, cycle, positions)
    size = run.numbers(cycle).image_size
    if maps.shape[1:] != tuple(size):
        problems.append(f"maps of {maps.shape[1:]} for images of {size}")
    values = maps.isel(frame=evenly(len(positions), SAMPLED)).values
    if not finite(values):
        problems.append("a score is not finite")
    elif (values < 0).any():
        problems.append("a score is negative")
    return sentence("scores: all frames complete, finite, not negative", problems)


def image_scores(run, cycle: int) -> str:
    """Step 3: one z for each frame, in the range of its map."""
    table = run.image_scores(cycle)
    z = table["z"].to_numpy()
    if run.aggregation(cycle) == "sum":
        z = z / math.prod(run.numbers(cycle).image_size)
    problems = unlabeled_problems(run, cycle, table["position"].to_numpy())
    if not finite(z):
        problems.append("a score is not finite")
    elif (z < 0).any():
        problems.append("a score is negative")
    try:
        maps = run.scores(cycle)
    except FileNotFoundError:
        maps = None  # deleted to save space
    if maps is not None and not problems:
        looked = evenly(len(z), 8)
        values = maps.isel(frame=looked).values
        low, high = values.min(axis=(1, 2)), values.max(axis=(1, 2))
        outside = (z[looked] < low - 1e-6) | (z[looked] > high + 1e-6)
        problems += [f"z of frame {looked[k]} is out of its map" for k in np.flatnonzero(outside)]
    return sentence("image scores: one for each unlabelled frame, finite, not negative", problems)


def selection(run, cycle: int) -> str:
    """Step 4: within the budget, no frame twice, the temporal rules kept."""
    from alkit.loop.steps.step_4_select import timeline

    result = run.selection(cycle)
    chosen = [frame["position"] for frame in result["chosen"]]
    labeled = run.labeled_positions(cycle)
    problems = []
    if len(chosen) > run.experiment.budget:
        problems.append(f"{len(chosen)} chosen of a budget of {run.experiment.budget}")
    if len(set(chosen)) < len(chosen):
        problems.append("a frame is chosen twice")
    problems += [f"frame {p} was labelled before" for p in set(chosen) & set(labeled)]
    if result["rules"]:
        numbers = run.numbers(cycle)
        places = timeline(run.frames("pool"), numbers)
        now, later = numbers.exclude_now, numbers.exclude_later
        under_rule_1 = len(chosen) - result["relaxed"]
        for i, p in enumerate(chosen):
            rule = now if i < under_rule_1 else later
            problems += [f"{p} is too near to {q}" for q in chosen[:i] if near(places, q, p, rule)]
            problems += [f"{p} is too near to {q}" for q in labeled if near(places, q, p, later)]
    claim = "selection: within the budget, no frame twice, temporal rules kept"
    return sentence(claim, problems[:5])


def near(places, chosen: int, other: int, exclusion) -> bool:
    """Whether a rule forbids `other` beside `chosen`; an exclusion is a distance or (before, after)
    the chosen frame."""
    before, after = exclusion if np.ndim(exclusion) else (exclusion, exclusion)
    sequence, frame = places
    distance = frame[other] - frame[chosen]
    return sequence[other] == sequence[chosen] and -before <= distance <= after


def labels(run, cycle: int) -> str:
    """Step 5: labels of the chosen frames and no others."""
    given = run.labels(cycle)
    chosen = [frame["position"] for frame in run.selection(cycle)["chosen"]]
    labelled = [image["position"] for image in given["images"]]
    problems = []
    if sorted(labelled) != sorted(chosen):
        problems.append(f"labelled are {sorted(labelled)}, chosen were {sorted(chosen)}")
    known = {image["id"] for image in given["images"]}
    for a in given["annotations"]:
        if a["image_id"] not in known:
            problems.append(f"box {a['id']} is of no labelled image")
        if not finite(a["bbox"]) or min(a["bbox"][2:]) <= 0:
            problems.append(f"box {a['id']} is {a['bbox']}")
    claim = "labels: the chosen frames and no others, every box of positive size"
    return sentence(claim, problems[:5])


def evaluation(run, cycle: int) -> str:
    """Step 7: the stored curve is that of the stored detections."""
    from alkit.evaluation import evaluate
    from alkit.loop.steps.shared import as_evaluated

    stored = run.evaluation(cycle)
    protocol, found = stored["protocol"], run.detections(cycle, "test")
    again = evaluate(*as_evaluated(run, "test", protocol, found), protocol=protocol)
    problems = []
    for name in ("fppi", "miss_rate"):
        if not np.array_equal(stored[name], getattr(again, name), equal_nan=True):
            problems.append(f"{name} differs from that of the stored detections")
    if (np.diff(stored["miss_rate"]) > 0).any():
        problems.append("the miss rate rises with FPPI")
    claim = "evaluation: the curve is that of the stored detections, and the miss rate never rises"
    return sentence(claim, problems)


def ledger(folders) -> str:
    """The report: one row of each experiment's ledger for each evaluated cycle."""
    from alkit.loop import experiment

    problems = []
    for out in folders:
        table = experiment.ledger(out)
        records = [*out.glob("*/seed_*/7_evaluate.json")]
        records += out.glob("*/seed_*/cycle_*/7_evaluate.json")
        if len(table) != len(records):
            problems.append(f"{out.name}: {len(table)} rows, {len(records)} evaluated cycles")
        rates = table["miss rate at FPPI 1"] if len(table) else []
        problems += [f"{out.name}: a miss rate of {r}" for r in rates if not 0 <= r <= 1]
    claim = "ledger: one row for each evaluated cycle, miss rates between 0 and 1"
    return sentence(claim, problems)


def unlabeled_problems(run, cycle: int, positions) -> list:
    """What is wrong with positions that should be those of the frames to score, in order."""
    from alkit.loop.steps.step_1_predict import positions_to_score

    wanted = positions_to_score(run, cycle)
    if len(positions) != len(wanted):
        return [f"{len(positions)} frames, but {len(wanted)} to score"]
    other = np.flatnonzero(positions != wanted)
    return [f"frame {positions[k]} where {wanted[k]} is wanted" for k in other[:1]]


def finite(values) -> bool:
    return bool(np.isfinite(np.asarray(values, np.float64)).all())
