"""Figures of steps 0 to 3 and 6: training, predictions, scores."""

from functools import partial

import numpy as np

from alkit.pages import matching
from alkit.pages.figures import drawing
from alkit.pages.figures.drawing import BLUE
from alkit.text import evenly

SAMPLED = 48  # frames looked at where looking at all would take long
NO_HELD_OUT = "The experiment names no held-out data set (`held_out`)."
NONE_LEFT = "No unlabeled frame is left."
LEVELS = "Θ¹ Θ² Θ³ Θ⁴ Θ⁵".split()


def training(run, cycle: int):
    """Loss of every epoch; of cycle 0 W_l's, else Θ's."""
    losses, numbers = run.losses(cycle), run.numbers(cycle)
    caption = (
        f"{len(losses)} epochs, optimizer {numbers.optimizer}, learning rate annealed from "
        f"{numbers.learning_rate:g} to {numbers.final_learning_rate:g}; the loss is the mean over "
        "the sampled pixels."
    )
    of = f"Θ on X_al, cycle {cycle}" if cycle else "W_l on X_l"
    figure = drawing.picture(3.1, f"Training of {of}", caption)
    axes = figure.subplots()
    drawing.tidy(axes, "Loss (Eq. 7)", "epoch", "mean loss (nats)")
    axes.plot(np.arange(1, len(losses) + 1), losses, color=BLUE, marker=".")
    axes.set_ylim(0, 1.08 * max(losses))
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def detections(run, count: int = 3):
    """W_l's detections on a few held-out frames, evenly chosen among those with a pedestrian."""
    title = "W_l's detections on held-out frames"
    if run.experiment.held_out is None:
        return drawing.contact_sheet([], 1, title, "", NO_HELD_OUT)
    from alkit import prediction, training  # the network is needed in two figures alone

    frames, numbers = run.frames("held_out"), run.numbers(0)
    detector = training.load_weights(run.weights(0), numbers)
    sample = [i for i in evenly(len(frames), SAMPLED) if not np.all(frames.boxes[i].ignore)]
    limit = run.held_out()["score_at_1"]
    items = []
    for i in [sample[k] for k in evenly(len(sample), count)]:
        image = frames.images(i)
        found = prediction.detect(prediction.predict(detector, image, numbers), i + 1, numbers)
        own = matching.match({i: found}, {i: frames.boxes[i]}, np.inf if limit is None else limit)
        mark = partial(drawing.matched, parts=own)
        items.append((image, frames.name[i], mark))
    caption = (
        "Detections with the score that gives FPPI 1 or more: green hits, orange false ones. "
        "Labeled pedestrians: green where found, red where missed. Frames evenly chosen among "
        "those with a pedestrian."
    )
    return drawing.contact_sheet(items, 3, title, caption, "No frame with a pedestrian.")


def predictions(run, cycle: int, count: int = 2):
    """The five probability maps and the detections of a few pool frames."""
    from alkit import prediction

    logits = run.logits(cycle)
    positions = logits["position"].values
    pool, numbers = run.frames("pool").unlabeled(), run.numbers(cycle)
    found = matching.by_image(run.detections(cycle, "pool"))
    caption = (
        "Probabilities of the five default boxes (height × width) at every pixel, from 0 (black) "
        f"to 1 (yellow); orange: detections. Frames: the most confident detections, of "
        f"{count} sequences where there are any."
    )
    items = []
    for k in confident(found, positions, pool.sequence, count):
        position = int(positions[k])
        part = logits.isel(frame=k).load()
        own = matching.match({position: found.get(position, [])}, {}, 0)
        mark = partial(drawing.matched, parts=own)
        items.append((pool.images(position), pool.name[position], mark))
        coarse, fine = part[prediction.COARSE].values, part[prediction.FINE].values
        for level, plane in enumerate(prediction.probabilities(coarse, fine, numbers)):
            box = [f"{numbers.scale * side:.0f}" for side in numbers.default_boxes[level]]
            title = f"{LEVELS[level]}, {'×'.join(box)} pixels: highest {plane.max():.2f}"
            items.append((plane, title, None))
    return drawing.contact_sheet(
        items, 3, f"Step 1, cycle {cycle}: dense predictions", caption, NONE_LEFT
    )


def confident(found: dict, positions, sequence, count: int) -> list:
    """Indices into `positions` of the frame with the highest detection of each sequence, highest
    first, at most `count`."""
    highest = [max((d["score"] for d in found.get(int(p), [])), default=0) for p in positions]
    best = {}
    for k in np.argsort(-np.array(highest), kind="stable").tolist():
        best.setdefault(k if sequence is None else sequence[positions[k]], k)
    return list(best.values())[:count]


def score_maps(run, cycle: int, count: int = 3):
    """The score maps of frames with a high score, over their images."""
    maps = run.scores(cycle)
    positions = maps["position"].values
    looked = evenly(len(positions), SAMPLED)
    sample = maps.isel(frame=looked).values
    mean = sample.mean((1, 2))
    best = np.argsort(-mean, kind="stable")[:count].tolist()
    highest = max(float(sample[best].max(initial=0)), 1e-6)
    caption = (
        f"Score of every pixel ({run.strategy.score}), clear at 0, brightest at {highest:.3g} "
        f"nats. Frames: those of the highest mean score among {len(looked)} of the "
        f"{len(positions)} unlabeled frames, evenly chosen."
    )
    pool = run.frames("pool").unlabeled()
    images, overlays = [], []
    for k in best:
        position = int(positions[looked[k]])
        image = pool.images(position)
        images.append((image, f"{pool.name[position]}   mean {mean[k]:.4f} nats", None))
        overlays.append((drawing.under_scores(image, sample[k], highest), "", None))
    title = f"Step 2, cycle {cycle}: where the predictions diverge"
    return drawing.contact_sheet(images + overlays, max(1, len(best)), title, caption, NONE_LEFT)


def image_scores(run, cycle: int):
    """The distribution of z and its course over the pool."""
    table = run.image_scores(cycle)
    z = np.full(len(run.frames("pool")), np.nan)
    z[table["position"]] = table["z"]
    sequence = run.frames("pool").sequence
    caption = (
        f"Image score z (Eq. 5) of {len(table)} unlabeled frames. Right: in the order of the pool, "
        "a band for each sequence; gaps are labeled frames."
    )
    figure = drawing.picture(3.3, f"Step 3, cycle {cycle}: image scores", caption)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.4))
    drawing.tidy(left, "Distribution", "z (nats)", "frames")
    left.hist(table["z"], bins=min(40, max(5, len(table) // 5)), color=BLUE)
    drawing.tidy(right, "", "position in the pool", "z (nats)")
    drawing.timeline(right, z, sequence, BLUE)
    return figure


def image_score_ladder(run, cycle: int, count: int = 6):
    """Frames from the highest to the lowest image score."""
    table = run.image_scores(cycle).sort_values("z", ascending=False, kind="stable")
    pool = run.frames("pool").unlabeled()
    items = []
    for rank in evenly(len(table), count):
        row = table.iloc[rank]
        image = pool.images(int(row["position"]))
        items.append((image, f"rank {rank + 1}: z = {row['z']:.4f} nat", None))
    caption = "Frames at even ranks of z, from the highest to the lowest."
    title = f"Step 3, cycle {cycle}: what high and low scores look like"
    return drawing.contact_sheet(items, 6, title, caption, NONE_LEFT)
