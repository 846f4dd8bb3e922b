"""The checked line of each notebook: a sentence about the artifacts that has to be true.

Each function looks at what a step wrote, by another way than the step itself where there is one.
It returns the same sentence for every sound result, and one that says what is wrong for any other,
so that a notebook's stored output then differs.
"""

import math

import numpy as np
from safetensors.numpy import load_file

from alkit.loop.steps.shared import evaluated
from alkit.loop.steps.step_1_predict import positions_to_score
from alkit.strategies import timeline
from alkit.text import evenly, sentence
from alkit.training import epochs_of

SAMPLED = 64  # maps of a large store that are read, evenly chosen


def training(run, cycle: int) -> str:
    """Steps 0 and 6: finite weights, and a finite loss for each epoch."""
    losses, numbers = run.losses(cycle), run.numbers(cycle)
    images = len(run.labeled_positions(cycle + 1)) if cycle else 0
    if cycle == 0 or numbers.replay:
        images += len(run.frames("labeled"))
    epochs = math.ceil(epochs_of(numbers, images) - 1e-9)
    weights = load_file(run.weights(cycle))
    doubts = {
        "a weight is not finite": not all(map(_finite, weights.values())),
        f"{len(losses)} losses for {epochs} epochs": len(losses) != epochs,
        "a loss is not finite": not _finite(losses),
    }
    return _claim("training: weights finite, one finite loss for each epoch", doubts)


def predictions(run, cycle: int) -> str:
    """Step 1: logits of all unlabeled frames, and detections of no others."""
    data = run.logits(cycle)
    positions = data["position"].values
    sampled = data.isel(frame=evenly(len(positions), SAMPLED))
    foreign = {found["image_id"] for found in run.detections(cycle, "pool")} - {*positions + 1}
    doubts = _other_frames(run, cycle, positions) | {
        "a logit is not finite": not all(map(_finite, sampled.data_vars.values())),
        f"detections of image ids {foreign}, which were not predicted": foreign,
    }
    return _claim("predictions: all unlabeled frames complete, logits finite", doubts)


def scores(run, cycle: int) -> str:
    """Step 2: a score map of every unlabeled frame."""
    maps, size = run.scores(cycle), run.numbers(cycle).image_size
    sampled = maps.isel(frame=evenly(len(maps), SAMPLED)).values
    doubts = _other_frames(run, cycle, maps["position"].values) | {
        f"maps of {maps.shape[1:]} for images of {size}": maps.shape[1:] != size,
        "a score is not finite": not _finite(sampled),
        "a score is negative": (sampled < 0).any(),
    }
    return _claim("scores: all frames complete, finite, not negative", doubts)


def image_scores(run, cycle: int) -> str:
    """Step 3: one z for each frame."""
    table = run.image_scores(cycle)
    doubts = _other_frames(run, cycle, table["position"].to_numpy()) | {
        "a score is not finite": not _finite(table["z"]),
        "a score is negative": (table["z"] < 0).any(),
    }
    return _claim("image scores: one for each unlabeled frame, finite, not negative", doubts)


def selection(run, cycle: int) -> str:
    """Step 4: within the budget, no frame twice, the temporal rules kept."""
    result, budget, numbers = run.selection(cycle), run.budget(cycle), run.numbers(cycle)
    chosen, labeled = [f["position"] for f in result["chosen"]], run.labeled_positions(cycle)
    near = []
    if result["rules"]:
        sequence, frame = timeline(run.frames("pool"), numbers)
        under_rule_1 = len(chosen) - result["relaxed"]
        for i, p in enumerate(chosen):
            now = numbers.exclude_now if i < under_rule_1 else numbers.exclude_later
            for others, exclusion in ((chosen[:i], now), (labeled, numbers.exclude_later)):
                before, after = np.broadcast_to(exclusion, 2)
                near += [
                    (p, q)
                    for q in others
                    if sequence[p] == sequence[q] and -before <= frame[p] - frame[q] <= after
                ]
    doubts = {
        f"{len(chosen)} chosen of a budget of {budget}": len(chosen) > budget,
        "a frame is chosen twice": len({*chosen}) < len(chosen),
        "a frame was labeled before": {*chosen} & {*labeled},
        f"frames too near to each other: {near[:5]}": near,
    }
    return _claim("selection: within the budget, no frame twice, temporal rules kept", doubts)


def labels(run, cycle: int) -> str:
    """Step 5: labels of the chosen frames and no others."""
    given = run.labels(cycle)
    chosen = sorted(frame["position"] for frame in run.selection(cycle)["chosen"])
    labeled = sorted(image["position"] for image in given["images"])
    boxes = np.reshape([box["bbox"] for box in given["annotations"]], (-1, 4))
    doubts = {
        f"labeled are {labeled}, chosen were {chosen}": labeled != chosen,
        "a box is not finite, or has no area": not _finite(boxes) or (boxes[:, 2:] <= 0).any(),
    }
    return _claim("labels: the chosen frames and no others, every box of positive size", doubts)


def evaluation(run, cycle: int) -> str:
    """Step 7: the stored curve is that of the stored detections."""
    stored = run.evaluation(cycle)
    protocol, found = stored["protocol"], run.detections(cycle, "test")
    again = evaluated(run, "test", protocol, found)
    doubts = {
        f"{name} differs from that of the stored detections": not np.array_equal(
            stored[name], again[name], equal_nan=True
        )
        for name in ("fppi", "miss_rate")
    }
    doubts["the miss rate rises with FPPI"] = (np.diff(stored["miss_rate"]) > 0).any()
    claim = "evaluation: the curve is that of the stored detections, and the miss rate never rises"
    return _claim(claim, doubts)


def ledger(folders) -> str:
    """The report: one row of each experiment's ledger for each evaluated cycle."""
    from alkit.loop import experiment  # the steps' kernels do without the driver

    tables = [experiment.ledger(out) for out in folders]
    rates = [rate for table in tables for rate in table.get("miss rate at FPPI 1", ())]
    evaluated = [file for out in folders for file in out.glob("*/seed_*/**/7_evaluate.json")]
    doubts = {
        f"{len(rates)} rows, {len(evaluated)} evaluated cycles": len(rates) != len(evaluated),
        "a miss rate is not between 0 and 1": not all(0 <= rate <= 1 for rate in rates),
    }
    return _claim("ledger: one row for each evaluated cycle, miss rates between 0 and 1", doubts)


def _claim(claim: str, doubts: dict) -> str:
    """The claim, or those doubts about it that are justified."""
    return sentence(claim, [doubt for doubt, justified in doubts.items() if justified])


def _other_frames(run, cycle: int, positions) -> dict:
    """The doubt that positions are not those of the frames to score, in order."""
    wanted = positions_to_score(run, cycle)
    doubt = f"{len(positions)} frames, but {len(wanted)} to score, or other ones"
    return {doubt: not np.array_equal(positions, wanted)}


def _finite(values) -> bool:
    return bool(np.isfinite(np.asarray(values)).all())
