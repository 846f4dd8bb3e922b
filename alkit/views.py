"""What each step's notebook shows: a run and a cycle in, a static figure out.

The functions read no more than they show: frames are chosen from the tables that a step wrote, or
evenly over the data set, and the caption says which.
"""

import numpy as np

from alkit import drawing
from alkit.drawing import BLACK, BLUE, GREEN, GREY, ORANGE, RED, SKY, WIDTH

SHOWN = 12  # frames of a contact sheet
SAMPLED = 48  # frames looked at where looking at all would take long
NO_HELD_OUT = "The experiment names no held-out data set (`held_out`)."
LEVELS = "Θ¹ Θ² Θ³ Θ⁴ Θ⁵".split()


def training(run, cycle: int):
    """Loss of every epoch and the learning rate; of cycle 0 W_l's, else Θ's."""
    losses = run.losses(cycle)
    of = "W_l on X_l" if cycle == 0 else f"Θ on X_al, cycle {cycle}"
    figure = drawing.picture(3.1, f"Training of {of}", f"{len(losses)} epochs of RMSProp.")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(losses) + 1)
    marker = "o" if len(losses) < 20 else None
    drawing.tidy(left, "Loss (Eq. 7)", "epoch", "mean loss of a sampled prediction (nats)")
    left.plot(epochs, losses, color=BLUE, marker=marker, markersize=3)
    left.set_ylim(bottom=0)
    first, last = run.profile.learning_rate, run.profile.final_learning_rate
    drawing.tidy(right, "Learning rate, annealed exponentially", "epoch", "learning rate")
    right.semilogy(epochs, first * (last / first) ** (epochs / epochs[-1]), color=BLUE)
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


def detections(run, count: int = 4):
    """W_l's detections on a few held-out frames, evenly chosen among those with a pedestrian."""
    title = "W_l's detections on held-out frames"
    if run.experiment.held_out is None:
        return drawing.contact_sheet([], 1, title, "", NO_HELD_OUT)
    from alkit import prediction, training  # the network is needed in two figures alone

    frames = run.frames("held_out")
    detector = training.load_weights(run.weights(0), run.profile)
    sample = [i for i in evenly(len(frames), SAMPLED) if not np.all(frames.boxes[i].ignore)]
    limit = run.held_out()["score_at_1"]
    items = []
    for i in [sample[k] for k in evenly(len(sample), count)]:
        image = frames.images(i)
        logits = prediction.predict(detector, image, run.profile)
        found = prediction.detect(logits, i + 1, run.profile)
        shown = [d for d in found if limit is not None and d["score"] >= limit]
        items.append((image, f"{frames.name[i]}", truth_and(frames.boxes[i], shown)))
    caption = (
        "Green: labelled pedestrians. Orange: detections with the score that gives FPPI 1 or more. "
        "Frames evenly chosen among those with a pedestrian."
    )
    return drawing.contact_sheet(items, 4, title, caption, "No frame with a pedestrian.")


def truth_and(boxes, found):
    """A mark: labelled boxes, those to ignore dashed, and detections with their scores."""

    def mark(axes):
        drawing.boxes(axes, boxes.ltwh[boxes.ignore], "white", dashed=True)
        drawing.boxes(axes, boxes.ltwh[~boxes.ignore], GREEN)
        drawing.boxes(axes, [d["bbox"] for d in found], ORANGE, texts=scores_of(found))

    return mark


def scores_of(found):
    return [f"{d['score']:.2f}" for d in found]


def evenly(n: int, count: int) -> list:
    """At most `count` positions spread evenly over n."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int)).tolist() if n else []


def by_image(found: list) -> dict:
    """Detections by the position of their image."""
    groups = {}
    for d in found:
        groups.setdefault(d["image_id"] - 1, []).append(d)
    return groups


def predictions(run, cycle: int, count: int = 3):
    """The five probability maps and the detections of a few pool frames."""
    from alkit import prediction

    logits = run.logits(cycle)
    positions = logits["position"].values
    pool = run.frames("pool").unlabeled()
    found = by_image(run.detections(cycle, "pool"))
    rows = confident(found, positions, pool.sequence, count)
    ratio = run.profile.image_size[0] / run.profile.image_size[1]
    caption = (
        "Probabilities of the five default boxes (height × width, pixels) at every pixel, mean of "
        "the image and its mirror image; orange: detections. Frames: the most confident detection "
        "in each of a few sequences, then evenly over the pool."
    )
    height = max(1, len(rows)) * (WIDTH / 6.5 * ratio + 0.2) + 1.1
    figure = drawing.picture(height, f"Step 1, cycle {cycle}: dense predictions", caption)
    if not rows:
        drawing.say(figure.subplots(), "No unlabelled frame is left.")
        return figure
    grid = figure.subplots(len(rows), 6, squeeze=False)
    for axes, k in zip(grid, rows, strict=True):
        position = int(positions[k])
        part = logits.isel(frame=k).load()
        coarse, fine = part[prediction.COARSE].values, part[prediction.FINE].values
        own = found.get(position, [])
        drawing.photograph(axes[0], pool.images(position), pool.name[position])
        drawing.boxes(axes[0], [d["bbox"] for d in own], ORANGE, texts=scores_of(own))
        maps = prediction.probabilities(coarse, fine, run.profile)
        for level, plane in enumerate(maps):
            mappable = drawing.photograph(axes[level + 1], plane, f"highest {plane.max():.2f}")
    for axes, name, size in zip(grid[0, 1:], LEVELS, run.profile.default_boxes, strict=True):
        box = "×".join(f"{run.profile.scale * side:.0f}" for side in size)
        axes.set_title(f"{name} {box} px\n{axes.get_title(loc='left')}", fontsize=8, loc="left", pad=3)
    figure.colorbar(mappable, ax=grid[:, 1:], label="probability", fraction=0.02, pad=0.01)
    return figure


def confident(found: dict, positions, sequence, count: int) -> list:
    """Indices into `positions` of the frame with the highest detection of each sequence, highest
    first; where there are not enough, frames evenly over the pool follow."""
    highest = {p: max(d["score"] for d in own) for p, own in found.items()}
    best = {}
    for position in sorted(highest, key=highest.get, reverse=True):
        best.setdefault(None if sequence is None else sequence[position], position)
    wanted = list(best.values())[:count] + [int(positions[k]) for k in evenly(len(positions), count)]
    index = {int(p): k for k, p in enumerate(positions)}
    return [index[p] for p in dict.fromkeys(wanted)][:count]


def score_maps(run, cycle: int, count: int = 4):
    """The score maps of frames with a high score, over their images."""
    from alkit.aggregation import image_score

    maps = run.scores(cycle)
    positions = maps["position"].values
    looked = evenly(len(positions), SAMPLED)
    region = run.profile.pixels(run.profile.region)
    sample = maps.isel(frame=looked).values
    z = image_score(sample, region, how=run.strategy.aggregation) if looked else np.zeros(0)
    best = np.argsort(-z, kind="stable")[:count]
    caption = (
        f"Score of every pixel ({run.strategy.score}), clear at 0. Frames: those of the highest "
        f"image score z among {len(looked)} of the {len(positions)} unlabelled frames, evenly "
        "chosen."
    )
    ratio = run.profile.image_size[0] / run.profile.image_size[1]
    columns = max(1, len(best))
    height = 2 * min(2.6, (WIDTH - 0.7) / max(columns, 3) * ratio) + 1.35
    figure = drawing.picture(height, f"Step 2, cycle {cycle}: where the predictions diverge", caption)
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


REASONS = {  # what a timeline marks: colour, size, words
    "RANKED_BELOW": (GREY, 3, "ranked below"),
    "UNSCORED": ("0.8", 3, "not scored"),
    "EXCLUDED_NOW": (SKY, 4, "too near to one chosen in this cycle"),
    "EXCLUDED_LATER": (BLUE, 4, "too near to one chosen earlier"),
    "LABELED": (BLACK, 5, "labelled earlier"),
    "CHOSEN": (RED, 8, "chosen"),
}


def selection(run, cycle: int):
    """The ranking over the pool, with the chosen frames and why others were not."""
    chosen = run.selection(cycle)
    values = np.array([np.nan if v is None else v for v in chosen["ranked_by"]], float)
    reason = np.array(chosen["reason"])
    sequence = run.frames("pool").sequence
    scored = run.strategy.score is not None
    smoothed = scored and run.strategy.smoothing and sequence is not None
    label = "random number" if not scored else "ẑ, smoothed score (nats)" if smoothed else "z (nats)"
    rules = "two temporal rules" if chosen["rules"] else "no temporal rules"
    figure = drawing.picture(
        3.8,
        f"Step 4, cycle {cycle}: {len(chosen['chosen'])} frames chosen of a budget of "
        f"{chosen['budget']}",
        f"Strategy {run.strategy_name}: highest first, {rules}. Frames labelled earlier stand at "
        "the bottom.",
    )
    axes = figure.subplots()
    drawing.tidy(axes, "", "position in the pool", label)
    drawing.timeline(axes, values if scored else np.full(len(values), np.nan), sequence, "0.8")
    bottom = 0.0
    for name, (colour, size, words) in REASONS.items():
        at = np.flatnonzero(reason == chosen["reason_names"][name])
        height = np.where(np.isnan(values[at]), bottom, values[at])
        if name in ("LABELED", "UNSCORED"):
            height = np.full(len(at), bottom)
        marker = {"CHOSEN": "*", "LABELED": "|"}.get(name, "o")
        size = size if len(values) < 2000 or name == "CHOSEN" else size / 2
        axes.plot(at, height, marker, color=colour, markersize=size, markeredgewidth=0.6,
                  label=f"{words}: {len(at)}", linestyle="none")  # fmt: skip
    handles, names = axes.get_legend_handles_labels()
    kept = [k for k, name in enumerate(names) if not name.endswith(": 0")]
    figure.legend([handles[k] for k in kept], [names[k] for k in kept], fontsize=8, frameon=False,
                  ncols=3, loc="outside upper right")  # fmt: skip
    return figure


def chosen_frames(run, cycle: int):
    """The chosen frames, in the order chosen."""
    chosen = run.selection(cycle)["chosen"]
    pool = run.frames("pool").unlabeled()
    items = []
    for rank, frame in enumerate(chosen[:SHOWN], 1):
        score = "" if run.strategy.score is None else f"  {frame['ranked_by']:.4f}"
        items.append((pool.images(frame["position"]), f"{rank}. {frame['name']}{score}", None))
    caption = f"{len(items)} of {len(chosen)} chosen frames, in the order chosen" + (
        ", with the smoothed score (nats)." if run.strategy.score else "."
    )
    title = f"Step 4, cycle {cycle}: the frames to label"
    return drawing.contact_sheet(items, 4, title, caption, "No frame could be chosen.")


def labels(run, cycle: int):
    """The frames labelled in a cycle with their boxes."""
    given = run.labels(cycle)
    pool = run.frames("pool").unlabeled()
    items = []
    for image in given["images"][:SHOWN]:
        own = [a for a in given["annotations"] if a["image_id"] == image["id"]]
        real = [a["bbox"] for a in own if not a["ignore"]]
        ignored = [a["bbox"] for a in own if a["ignore"]]

        def mark(axes, real=real, ignored=ignored):
            drawing.boxes(axes, ignored, "white", dashed=True)
            drawing.boxes(axes, real, GREEN)

        name = f"{image['file_name']}: {len(real)}" + (f" + {len(ignored)} ignored" if ignored else "")
        items.append((pool.images(image["position"]), name, mark))
    caption = (
        f"{len(items)} of {len(given['images'])} labelled frames. Green: pedestrians; white, "
        "dashed: boxes to ignore, neither a pedestrian to learn nor background."
    )
    title = f"Step 5, cycle {cycle}: what the {given['info'].get('source', 'annotator')} says"
    return drawing.contact_sheet(items, 4, title, caption, "No frame was labelled.")


def label_counts(run, cycle: int):
    """Pedestrians of each labelled frame, and how tall they are beside the default boxes."""
    given = run.labels(cycle)
    real = [a for a in given["annotations"] if not a["ignore"]]
    counts = [sum(a["image_id"] == image["id"] for a in real) for image in given["images"]]
    empty = sum(n == 0 for n in counts)
    caption = (
        f"{len(counts)} frames, {empty} of them empty; {len(real)} pedestrians; estimated "
        f"{given['info'].get('labeling_seconds', 0) / 3600:.2f} h of labelling. Lines: heights of "
        "the default boxes."
    )
    figure = drawing.picture(2.9, f"Step 5, cycle {cycle}: what was gained", caption)
    left, right = figure.subplots(1, 2)
    drawing.tidy(left, "Pedestrians in a frame", "pedestrians", "frames")
    left.hist(counts, bins=np.arange(-0.5, max([*counts, 3]) + 1), color=GREEN, rwidth=0.85)
    left.yaxis.get_major_locator().set_params(integer=True)
    left.xaxis.get_major_locator().set_params(integer=True)
    drawing.tidy(right, "Their height", "height (pixels)", "pedestrians")
    right.hist([a["bbox"][3] for a in real], bins=20, color=GREEN)
    right.yaxis.get_major_locator().set_params(integer=True)
    for height, _ in run.profile.default_boxes:
        right.axvline(height * run.profile.scale, color=BLACK, linewidth=0.8, linestyle=":")
    return figure
