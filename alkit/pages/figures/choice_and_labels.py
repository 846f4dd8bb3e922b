"""Figures of steps 4 and 5: what was chosen, why, and what its labels say."""

from functools import partial

import numpy as np

from alkit.loop.labels import labeled_frames
from alkit.pages import matching
from alkit.pages.figures import drawing
from alkit.pages.figures.drawing import BLACK, BLUE, GRAY, GREEN, RED, SKY

SHOWN = 12  # frames of a contact sheet

REASONS = {  # what a timeline marks: color, size, words
    "RANKED_BELOW": (GRAY, 3, "ranked below"),
    "UNSCORED": ("0.8", 3, "not scored"),
    "EXCLUDED_NOW": (SKY, 4, "too near to one chosen in this cycle"),
    "EXCLUDED_LATER": (BLUE, 4, "too near to one chosen earlier"),
    "LABELED": (BLACK, 5, "labeled earlier"),
    "CHOSEN": (RED, 8, "chosen"),
}


def selection(run, cycle: int):
    """The ranking over the pool, with the chosen frames and why others were not."""
    chosen = run.selection(cycle)
    values = np.array([np.nan if v is None else v for v in chosen["ranked_by"]], float)
    reason = np.array(chosen["reason"])
    sequence = run.frames("pool").sequence
    scored = run.strategy.score is not None
    rules = "two temporal rules" if chosen["rules"] else "no temporal rules"
    if chosen["relaxed"]:
        rules += f", the last {chosen['relaxed']} in later passes to fill the budget"
    figure = drawing.picture(
        3.8,
        f"Step 4, cycle {cycle}: {len(chosen['chosen'])} frames chosen of a budget of "
        f"{chosen['budget']}",
        f"Strategy {run.strategy_name}: highest first, {rules}. Frames labeled earlier stand at "
        "the bottom.",
    )
    axes = figure.subplots()
    what = "what is ranked by (nats)" if scored else "random number"
    drawing.tidy(axes, "", "position in the pool", what)
    drawing.timeline(axes, values if scored else np.full(len(values), np.nan), sequence, "0.8")
    for name, (color, size, words) in REASONS.items():
        at = np.flatnonzero(reason == chosen["reason_names"][name])
        height = np.nan_to_num(values[at]) * (name != "LABELED")
        marker = {"CHOSEN": "*", "LABELED": "|"}.get(name, "o")
        if len(at):
            style = {"color": color, "markersize": size, "markeredgewidth": 0.6}
            axes.plot(at, height, marker, label=f"{words}: {len(at)}", linestyle="none", **style)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1.03)}
    axes.legend(fontsize=8, frameon=False, ncols=3, **above)
    return figure


def chosen_frames(run, cycle: int):
    """The chosen frames, in the order chosen."""
    chosen = run.selection(cycle)["chosen"]
    pool = run.frames("pool").unlabeled()
    items = []
    for rank, frame in enumerate(chosen[:SHOWN], 1):
        score = "" if run.strategy.score is None else f"  {frame['ranked_by']:.4f}"
        items.append((pool.images(frame["position"]), f"{rank}. {frame['name']}{score}", None))
    caption = f"{len(items)} of {len(chosen)} chosen frames, in the order chosen, with their score."
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
        items.append((frames.images(k), name, partial(drawing.matched, parts=matched)))
    caption = (
        f"{len(items)} of {len(frames)} labeled frames. Blue: pedestrians; white, dashed: boxes "
        "to ignore, neither a pedestrian to learn nor background."
    )
    title = f"Step 5, cycle {cycle}: what the {given['info'].get('source', 'annotator')} says"
    return drawing.contact_sheet(items, 3, title, caption, "No frame was labeled.")


def label_counts(run, cycle: int):
    """Pedestrians of each labeled frame, and how tall they are beside the default boxes."""
    given = run.labels(cycle)
    real = [a for a in given["annotations"] if not a["ignore"]]
    counts = [sum(a["image_id"] == image["id"] for a in real) for image in given["images"]]
    empty = sum(n == 0 for n in counts)
    caption = (
        f"{len(counts)} frames, {empty} of them empty; {len(real)} pedestrians; estimated "
        f"{given['info'].get('labeling_seconds', 0) / 3600:.2f} h of labeling. Lines: heights of "
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
    for height, _ in run.numbers(cycle).default_boxes:
        right.axvline(height * run.numbers(cycle).scale, color=BLACK, linewidth=0.8, linestyle=":")
    return figure
