"""Figures of steps 0 to 3 and 6: training, predictions, scores."""

import numpy as np

from alkit.pages.figures import drawing
from alkit.pages.figures.drawing import BLACK, BLUE, FOUND, TRUTH, WIDTH
from alkit.text import evenly

SAMPLED = 48  # frames looked at where looking at all would take long
NO_HELD_OUT = "The experiment names no held-out data set (`held_out`)."
LEVELS = "Θ¹ Θ² Θ³ Θ⁴ Θ⁵".split()


def training(run, cycle: int):
    """Loss of every epoch and the learning rate; of cycle 0 W_l's, else Θ's."""
    losses = run.losses(cycle)
    numbers = run.numbers(cycle)
    of = "W_l on X_l" if cycle == 0 else f"Θ on X_al, cycle {cycle}"
    figure = drawing.picture(
        3.1,
        f"Training of {of}",
        f"{len(losses)} epochs, optimiser {numbers.optimiser}; the loss is the mean over the "
        "sampled pixels.",
    )
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(losses) + 1)
    marker = "o" if len(losses) < 20 else None
    drawing.tidy(left, "Loss (Eq. 7)", "epoch", "mean loss (nats)")
    left.plot(epochs, losses, color=BLUE, marker=marker, markersize=3)
    left.set_ylim(0, 1.08 * max(losses))
    first, last = numbers.learning_rate, numbers.final_learning_rate
    drawing.tidy(right, "Learning rate, annealed exponentially", "epoch", "learning rate")
    right.semilogy(epochs, first * (last / first) ** (epochs / epochs[-1]), color=BLUE)
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def held_out(run):
    """Miss rate of W_l on held-out frames of X_l's own domain."""
    result = run.held_out()
    figure = drawing.picture(3.4, "W_l on held-out frames of its own domain")
    axes = figure.subplots()
    if not result:
        drawing.say(axes, NO_HELD_OUT)
        return figure
    title = f"{result['dataset']}: {result['images']} images, {result['boxes']} pedestrians"
    drawing.miss_rate_axes(axes, title)
    label = f"W_l: {result['miss_rate_at_1']:.3f} at FPPI 1"
    drawing.miss_rate_curve(axes, result["fppi"], result["miss_rate"], color=BLACK, label=label)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
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
        logits = prediction.predict(detector, image, numbers)
        found = prediction.detect(logits, i + 1, numbers)
        shown = [d for d in found if limit is not None and d["score"] >= limit]

        def mark(axes, labels=frames.boxes[i], shown=shown):
            drawing.boxes(axes, labels.ltwh[labels.ignore], "white", dashed=True)
            drawing.boxes(axes, labels.ltwh[~labels.ignore], TRUTH)
            drawing.boxes(axes, [d["bbox"] for d in shown], FOUND, texts=scores_of(shown))

        items.append((image, frames.name[i], mark))
    caption = (
        "Green: labelled pedestrians. Orange: detections with the score that gives FPPI 1 or more. "
        "Frames evenly chosen among those with a pedestrian."
    )
    return drawing.contact_sheet(items, 3, title, caption, "No frame with a pedestrian.")


def scores_of(found):
    """A detection's score, written at its box."""
    return [f"{d['score']:.2f}" for d in found]


def by_image(found: list) -> dict:
    """Detections by the position of their image."""
    groups = {}
    for d in found:
        groups.setdefault(d["image_id"] - 1, []).append(d)
    return groups


def predictions(run, cycle: int, count: int = 2):
    """The five probability maps and the detections of a few pool frames."""
    from alkit import prediction

    logits = run.logits(cycle)
    positions = logits["position"].values
    pool, numbers = run.frames("pool").unlabeled(), run.numbers(cycle)
    found = by_image(run.detections(cycle, "pool"))
    rows = confident(found, positions, pool.sequence, count)
    ratio = numbers.image_size[0] / numbers.image_size[1]
    both = numbers.double_evaluation and numbers.double_average == "probabilities"
    views = "mean of the image and its mirror image; " if both else ""
    caption = (
        "Probabilities of the five default boxes (height × width) at every pixel; "
        f"{views}orange: detections. Frames: the most confident detection in each of {count} "
        "sequences, else evenly over the pool."
    )
    height = 2 * max(1, len(rows)) * (WIDTH / 3.3 * ratio + 0.17) + 0.9
    figure = drawing.picture(height, f"Step 1, cycle {cycle}: dense predictions", caption)
    if not rows:
        drawing.say(figure.subplots(), "No unlabelled frame is left.")
        return figure
    grid = figure.subplots(2 * len(rows), 3)
    for axes, k in zip(grid.reshape(-1, 6), rows, strict=True):
        position = int(positions[k])
        part = logits.isel(frame=k).load()
        coarse, fine = part[prediction.COARSE].values, part[prediction.FINE].values
        own = sorted(found.get(position, []), key=lambda d: -d["score"])
        drawing.photograph(axes[0], pool.images(position), pool.name[position])
        drawing.boxes(axes[0], [d["bbox"] for d in own], FOUND, texts=scores_of(own))
        maps = prediction.probabilities(coarse, fine, numbers)
        for k, plane in enumerate(maps):
            box = "×".join(f"{numbers.scale * side:.0f}" for side in numbers.default_boxes[k])
            title = f"{LEVELS[k]}, {box} pixels: highest {plane.max():.2f}"
            mappable = drawing.photograph(axes[1 + k], plane, title)
    figure.colorbar(mappable, ax=grid, label="probability", fraction=0.02, pad=0.01, aspect=40)
    return figure


def confident(found: dict, positions, sequence, count: int) -> list:
    """Indices into `positions` of the frame with the highest detection of each sequence, highest
    first; where there are not enough, frames evenly over the pool follow."""
    highest = {p: max(d["score"] for d in own) for p, own in found.items()}
    best = {}
    for position in sorted(highest, key=highest.get, reverse=True):
        best.setdefault(None if sequence is None else sequence[position], position)
    wanted = list(best.values())[:count] + [
        int(positions[k]) for k in evenly(len(positions), count)
    ]
    index = {int(p): k for k, p in enumerate(positions)}
    return [index[p] for p in dict.fromkeys(wanted)][:count]


def score_maps(run, cycle: int, count: int = 3):
    """The score maps of frames with a high score, over their images."""
    from alkit.aggregation import image_score

    maps = run.scores(cycle)
    positions = maps["position"].values
    looked = evenly(len(positions), SAMPLED)
    numbers, how = run.numbers(cycle), run.aggregation(cycle)
    region, grid = numbers.pixels(numbers.region), numbers.region_grid
    sample = maps.isel(frame=looked).values
    z = image_score(sample, region, how, grid) if looked else np.zeros(0)
    best = np.argsort(-z, kind="stable")[:count]
    caption = (
        f"Score of every pixel ({run.strategy.score}), clear at 0. Frames: those of the highest "
        f"image score z among {len(looked)} of the {len(positions)} unlabelled frames, evenly "
        "chosen."
    )
    ratio = run.numbers(cycle).image_size[0] / run.numbers(cycle).image_size[1]
    columns = max(1, len(best))
    height = 2 * min(2.6, (WIDTH - 0.7) / max(columns, 3) * ratio) + 1.35
    figure = drawing.picture(
        height, f"Step 2, cycle {cycle}: where the predictions diverge", caption
    )
    if not len(best):
        drawing.say(figure.subplots(), "No unlabelled frame is left.")
        return figure
    pool = run.frames("pool").unlabeled()
    grid = figure.subplots(2, columns, squeeze=False)
    highest = max(float(sample[best].max()), 1e-6)
    for k, (above, below) in zip(best, grid.T, strict=True):
        position = int(positions[looked[k]])
        image = pool.images(position)
        drawing.photograph(above, image, f"{pool.name[position]}   z = {z[k]:.4f} nat")
        mappable = drawing.overlay(below, image, sample[k], highest)
    figure.colorbar(mappable, ax=grid[1].tolist(), label="score (nats)", fraction=0.025, pad=0.01)
    return figure


def image_scores(run, cycle: int):
    """The distribution of z and its course over the pool."""
    table = run.image_scores(cycle)
    z = np.full(len(run.frames("pool")), np.nan)
    z[table["position"]] = table["z"]
    sequence = run.frames("pool").sequence
    caption = (
        f"Image score z (Eq. 5) of {len(table)} unlabelled frames. Right: in the order of the pool"
        + (", a band for each sequence; gaps are labelled frames." if sequence is not None else ".")
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
    return drawing.contact_sheet(items, 6, title, caption, "No unlabelled frame is left.")
