"""What the notebooks show: a run and a cycle in, a static figure out.

The functions read no more than they show: frames are chosen from the tables that a step wrote, or
evenly over the data set, and the caption says which.
"""

import contextlib

import matplotlib
import numpy as np

from alkit import prediction
from alkit.loop.labels import labeled_frames
from alkit.pages import drawing, matching
from alkit.pages.drawing import BLACK, BLUE, GRAY, GREEN, RED, SKY
from alkit.text import evenly, number
from alkit.training import load_weights

SHOWN = 12  # frames of a contact sheet
SAMPLED = 48  # frames looked at where looking at all would take long
NO_HELD_OUT = "The experiment names no held-out data set (`held_out`)."
NONE_LEFT = "No unlabeled frame is left."
LEVELS = "Θ¹ Θ² Θ³ Θ⁴ Θ⁵".split()

REASONS = {  # what a timeline marks: marker, color, size, words
    "RANKED_BELOW": ("o", GRAY, 3, "ranked below"),
    "UNSCORED": ("o", "0.8", 3, "not scored"),
    "EXCLUDED_NOW": ("o", SKY, 4, "too near to one chosen in this cycle"),
    "EXCLUDED_LATER": ("o", BLUE, 4, "too near to one chosen earlier"),
    "LABELED": ("|", BLACK, 5, "labeled earlier"),
    "CHOSEN": ("*", RED, 8, "chosen"),
}


# --- steps 0 to 3 and 6: training, predictions, scores


def training(run, cycle: int):
    """Loss of every epoch; of cycle 0 W_l's, else Θ's."""
    losses, numbers = run.losses(cycle), run.numbers(cycle)
    caption = (
        f"{len(losses)} epochs, optimizer {numbers.optimizer}, learning rate annealed from "
        f"{numbers.learning_rate:g} to {numbers.final_learning_rate:g}; the loss is the mean over "
        "the sampled pixels."
    )
    if numbers.averaged:
        caption += f" The weights are the mean of the last {numbers.averaged:.0%} of iterations."
    of = f"Θ on X_al, cycle {cycle}" if cycle else "W_l on X_l"
    if not losses:
        return drawing.say("W_l", f"It is that of {run.experiment.weights}: nothing is trained.")
    figure = drawing.picture(3.1, f"Training of {of}", caption)
    axes = figure.subplots()
    drawing.tidy(axes, "Loss (Eq. 7)", "epoch", "mean loss (nats)", whole="x")
    axes.plot(np.arange(1, len(losses) + 1), losses, color=BLUE, marker=".")
    axes.set_ylim(0, 1.08 * max(losses))
    return figure


def detections(run, count: int = 3):
    """W_l's detections on a few held-out frames, evenly chosen among those with a pedestrian."""
    title = "W_l's detections on held-out frames"
    if run.experiment.held_out is None:
        return drawing.say(title, NO_HELD_OUT)
    frames, numbers = run.frames("held_out"), run.numbers(0)
    detector = load_weights(run.weights(0), numbers)
    sample = [i for i in evenly(len(frames), SAMPLED) if not np.all(frames.boxes[i].ignore)]
    limit = run.held_out()["score_at_1"]
    items = []
    for i in [sample[k] for k in evenly(len(sample), count)]:
        image = frames.images(i)
        found = prediction.detect(prediction.predict(detector, image, numbers), i + 1, numbers)
        own = matching.match({i: found}, {i: frames.boxes[i]}, np.inf if limit is None else limit)
        items.append((image, frames.name[i], drawing.layers(own)))
    caption = "Detections from the score of FPPI 1; evenly chosen frames with a pedestrian."
    return drawing.contact_sheet(items, 3, title, caption, "No frame with a pedestrian.")


def predictions(run, cycle: int, count: int = 2):
    """The five probability maps and the detections of a few pool frames."""
    logits = run.logits(cycle)
    positions = logits["position"].values
    pool, numbers = run.frames("pool").unlabeled(), run.numbers(cycle)
    found = matching.by_image(run.detections(cycle, "pool"))
    caption = (
        "Probabilities of the five default boxes (height × width) at every pixel, from 0 (black) "
        f"to 1 (yellow). Frames: the most confident detections, of at most {count} sequences."
    )
    items = []
    for k in confident(found, positions, pool.sequence, count):
        position = int(positions[k])
        part = logits.isel(frame=k).load()
        own = matching.match({position: found.get(position, [])}, {}, 0)
        items.append((pool.images(position), pool.name[position], drawing.layers(own)))
        coarse, fine = part[prediction.COARSE].values, part[prediction.FINE].values
        for level, plane in enumerate(prediction.probabilities(coarse, fine, numbers)):
            box = [f"{numbers.scale * side:.0f}" for side in numbers.default_boxes[level]]
            name = f"{LEVELS[level]}, {'×'.join(box)} pixels: highest {number(plane.max())}"
            items.append((plane, name))
    title = f"Step 1, cycle {cycle}: dense predictions"
    return drawing.contact_sheet(items, 3, title, caption, NONE_LEFT)


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
    highest = float(sample[best].max(initial=0)) or 1.0
    caption = (
        f"Score of every pixel ({run.strategy.score}), clear at 0, brightest at {number(highest)} "
        f"nats. Frames: those of the highest mean score among {len(looked)} of the "
        f"{len(positions)} unlabeled frames, evenly chosen."
    )
    pool = run.frames("pool").unlabeled()
    images, overlays = [], []
    for k in best:
        position = positions[looked[k]]
        image = pool.images(position)
        images.append((image, f"{pool.name[position]}   mean {number(mean[k])} nats"))
        overlays.append((drawing.under_scores(image, sample[k], highest),))
    title = f"Step 2, cycle {cycle}: where the predictions diverge"
    return drawing.contact_sheet(images + overlays, max(1, len(best)), title, caption, NONE_LEFT)


def image_scores(run, cycle: int):
    """The distribution of z and its course over the pool."""
    table, pool = run.image_scores(cycle), run.frames("pool")
    if table.empty:
        return drawing.say("Image scores", NONE_LEFT)
    z = table.set_index("position")["z"].reindex(range(len(pool)))
    caption = (
        f"Image score z (Eq. 5) of {len(table)} unlabeled frames. Right: in the order of the pool, "
        "a band for each sequence; gaps are labeled frames."
    )
    figure = drawing.picture(3.3, f"Step 3, cycle {cycle}: image scores", caption)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.4))
    drawing.tidy(left, "Distribution", "z (nats)", "frames")
    left.hist(table["z"], bins=min(40, max(5, len(table) // 5)), color=BLUE)
    drawing.tidy(right, "", "position in the pool", "z (nats)", whole="x")
    drawing.timeline(right, z, pool.sequence, BLUE)
    return figure


def image_score_ladder(run, cycle: int, count: int = 6):
    """Frames from the highest to the lowest image score."""
    highest_first = {"ascending": False, "kind": "stable", "ignore_index": True}
    table = run.image_scores(cycle).sort_values("z", **highest_first)
    pool = run.frames("pool").unlabeled()
    items = [
        (pool.images(row.position), f"rank {row.Index + 1}: z = {number(row.z)} nats")
        for row in table.iloc[evenly(len(table), count)].itertuples()
    ]
    caption = "Frames at even ranks of z, from the highest to the lowest."
    title = f"Step 3, cycle {cycle}: what high and low scores look like"
    return drawing.contact_sheet(items, 6, title, caption, NONE_LEFT)


# --- steps 4 and 5: what was chosen, why, and what its labels say


def selection(run, cycle: int):
    """The ranking over the pool, with the chosen frames and why others were not."""
    chosen = run.selection(cycle)
    values = np.array(chosen["ranked_by"], float)
    reason = np.array(chosen["reason"])
    sequence = run.frames("pool").sequence
    scored = run.chooser(cycle).score is not None
    rules = "two temporal rules" if chosen["rules"] else "no temporal rules"
    if chosen["relaxed"]:
        rules += f", the last {chosen['relaxed']} in later passes to fill the budget"
    number_of = f"{len(chosen['chosen'])} frames chosen of a budget of {chosen['budget']}"
    order = f"Strategy {run.chooser_name(cycle)}: highest first, {rules}."
    caption = f"{order} Frames labeled earlier stand at the bottom."
    figure = drawing.picture(3.8, f"Step 4, cycle {cycle}: {number_of}", caption)
    axes = figure.subplots()
    what = "what is ranked by" + " (nats)" * scored
    drawing.tidy(axes, "", "position in the pool", what, whole="x")
    drawing.timeline(axes, values if scored else np.full(len(values), np.nan), sequence, "0.8")
    for name, (marker, color, size, words) in REASONS.items():
        at = np.flatnonzero(reason == chosen["reason_names"][name])
        height = np.nan_to_num(values[at]) * (name != "LABELED")
        style = {"color": color, "markersize": size, "markeredgewidth": 0.6, "linestyle": "none"}
        if len(at):
            axes.plot(at, height, marker, label=f"{words}: {len(at)}", **style)
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.03))
    return figure


def chosen_frames(run, cycle: int):
    """The chosen frames, in the order chosen."""
    chosen, scored = run.selection(cycle)["chosen"], run.chooser(cycle).score is not None
    pool = run.frames("pool").unlabeled()
    items = []
    for rank, frame in enumerate(chosen[:SHOWN], 1):
        score = f": {number(frame['ranked_by'])} nats" if scored else ""
        items.append((pool.images(frame["position"]), f"{rank}. {frame['name']}{score}"))
    caption = f"{len(items)} of {len(chosen)} chosen frames, in the order chosen."
    title = f"Step 4, cycle {cycle}: the frames to label"
    return drawing.contact_sheet(items, 4, title, caption, "No frame could be chosen.")


def labels(run, cycle: int):
    """The frames labeled in a cycle with their boxes."""
    given = run.labels(cycle)
    frames = labeled_frames(run.frames("pool").unlabeled(), [given])
    items = []
    for k in range(min(len(frames), SHOWN)):
        own = frames.boxes[k]
        ignored = int(np.count_nonzero(own.ignore))
        name = f"{frames.name[k]}: {len(own) - ignored}" + f" + {ignored} ignored" * (ignored > 0)
        matched = matching.match({k: None}, {k: own}, 0)
        items.append((frames.images(k), name, drawing.layers(matched)))
    caption = f"{len(items)} of {len(frames)} labeled frames; boxes to ignore teach nothing."
    title = f"Step 5, cycle {cycle}: what the {given['info'].get('source', 'annotator')} says"
    return drawing.contact_sheet(items, 3, title, caption, "No frame was labeled.")


def label_counts(run, cycle: int):
    """Pedestrians of each labeled frame, and how tall they are beside the default boxes."""
    given = run.labels(cycle)
    real = [a for a in given["annotations"] if not a["ignore"]]
    counts = [sum(a["image_id"] == image["id"] for a in real) for image in given["images"]]
    caption = (
        f"{len(counts)} frames, {counts.count(0)} of them empty; {len(real)} pedestrians; "
        f"estimated {number(given['info'].get('labeling_seconds', 0) / 3600)} h of labeling. "
        "Lines: heights of the default boxes."
    )
    title = f"Step 5, cycle {cycle}: what was gained"
    if not real:
        return drawing.say(title, f"No pedestrian in {len(counts)} labeled frames.")
    figure = drawing.picture(2.9, title, caption)
    left, right = figure.subplots(1, 2)
    drawing.tidy(left, "Pedestrians in a frame", "pedestrians", "frames", whole="xy")
    left.hist(counts, bins=np.arange(-0.5, max([*counts, 3]) + 1), color=GREEN, rwidth=0.85)
    drawing.tidy(right, "Their height", "height (pixels)", "pedestrians", whole="y")
    right.hist([a["bbox"][3] for a in real], bins=20, color=GREEN)
    for height, _ in run.numbers(cycle).default_boxes:
        right.axvline(height * run.numbers(cycle).scale, color=BLACK, linewidth=0.8, linestyle=":")
    return figure


# --- step 7: curves, and mistakes


def curves(run, cycle: int):
    """Miss rate against FPPI of this cycle, of those before it and of W_l."""
    found, last = {}, run.evaluation(cycle)
    for k in range(cycle + 1):
        with contextlib.suppress(FileNotFoundError):  # not complete yet
            found[k] = run.evaluation(k)
    labeled, parts = last["labeled"], last.get("parts", {})
    alone = f", mean of {len(parts)} sequences" * bool(parts)
    caption = (
        f"{last['dataset']}: {last['images']} images, {last['boxes']} pedestrians, protocol "
        f"{last['protocol']}{alone}. Labeled so far: {labeled['images']} images with "
        f"{labeled['pedestrians']} pedestrians, an estimated "
        f"{number(labeled['labeling_seconds'] / 3600)} h. Log-average miss rate: "
        f"{number(last['lamr'])}. AP at IoU 0.5: {number(last['ap50'])}, at IoU 0.5:0.95: "
        f"{number(last['ap'])}."
    )
    name = "W_l" if cycle == 0 else f"{run.strategy_name}, cycle {cycle}"
    return _curves(f"Step 7: miss rate of {name}", caption, found)


def held_out(run):
    """Miss rate of W_l on held-out frames of X_l's own domain."""
    result, title = run.held_out(), "W_l on held-out frames of its own domain"
    if not result:
        return drawing.say(title, NO_HELD_OUT)
    caption = f"{result['dataset']}: {result['images']} images, {result['boxes']} pedestrians."
    return _curves(title, caption, {0: result})


def _curves(title: str, caption: str, found: dict):
    """The curves of evaluations by cycle, W_l's dashed, the last one's thick."""
    colors = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, max(found) + 1))
    curves = []
    for k, result in found.items():
        style = {"color": colors[k], "linestyle": "-"} if k else {"color": BLACK, "linestyle": "--"}
        style["linewidth"] = 2.4 if k == max(found) else 1.2
        curves.append((f"cycle {k}" if k else "W_l", result, style))
    return drawing.miss_rates(title, caption, curves)


def mistakes(run, cycle: int, count: int = 6):
    """Test frames with missed pedestrians and false detections, at the score of FPPI 1."""
    limit = run.evaluation(cycle)["score_at_1"]
    frames = run.frames("test")
    found = matching.by_image(run.detections(cycle, "test"))
    looked, least = evenly(len(frames), SAMPLED), np.inf if limit is None else limit
    mistakes = []
    for i in looked:
        own = matching.match({i: found.get(i, [])}, {i: frames.boxes[i]}, least)
        missed, false = ((own["kind"] == kind).sum() for kind in (matching.MISSED, matching.FALSE))
        if missed or false:
            words = f"{frames.name[i]}: {missed} missed, {false} false"
            mistakes.append((missed + false, i, words, drawing.layers(own)))
    mistakes.sort(key=lambda item: -item[0])
    items = [(frames.images(i), words, layers) for _, i, words, layers in mistakes[:count]]
    at = "there are none" if limit is None else f"of score ≥ {number(limit)}, which gives FPPI 1"
    among = f"{len(looked)} of {len(frames)} test frames, evenly chosen"
    caption = f"Detections: {at}. The frames with most mistakes among {among}."
    title = f"Step 7, cycle {cycle}: what the detector gets wrong"
    return drawing.contact_sheet(items, 3, title, caption, "No mistake in the frames looked at.")
