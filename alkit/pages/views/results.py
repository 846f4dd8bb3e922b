"""Figures of results: curves of a run's cycles, its mistakes, and strategies against each other."""

from pathlib import Path

import matplotlib
import numpy as np

from alkit.evaluation import Found, Truth, match
from alkit.pages.views import drawing
from alkit.pages.views.drawing import BLACK, COLOURS, FOUND, MISSED, TRUTH
from alkit.pages.views.predicting import SAMPLED, by_image, scores_of
from alkit.text import evenly

GRID = 10.0 ** np.linspace(-2, 1, 61)  # FPPI at which curves are averaged


def evaluations(run, cycle: int) -> dict:
    """The evaluations of cycle 0 (W_l) to `cycle`, without those that are not complete."""
    found = {}
    for k in range(cycle + 1):
        try:
            found[k] = run.evaluation(k)
        except FileNotFoundError:
            if k == cycle:
                raise
    return found


def rate(value) -> str:
    """A miss rate in words."""
    return "undefined" if value is None or np.isnan(value) else f"{value:.3f}"


def curves(run, cycle: int):
    """Miss rate against FPPI of this cycle, of those before it and of W_l."""
    found = evaluations(run, cycle)
    last = found[cycle]
    labeled = last["labeled"]
    caption = (
        f"{last['dataset']}: {last['images']} images, {last['boxes']} pedestrians, protocol "
        f"{last['protocol']}. Labelled so far: {labeled['images']} images with "
        f"{labeled['pedestrians']} pedestrians, an estimated "
        f"{labeled['labeling_seconds'] / 3600:.2f} h. Log-average miss rate: {rate(last['lamr'])}. "
        f"AP at IoU 0.5: {rate(last['ap50'])}, at IoU 0.5:0.95: {rate(last['ap'])}."
    )
    name = "W_l" if cycle == 0 else f"{run.strategy_name}, cycle {cycle}"
    figure = drawing.picture(4.6, f"Step 7: miss rate of {name}", caption)
    axes = figure.subplots()
    drawing.miss_rate_axes(axes)
    colours = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, max(1, cycle)))
    for k, result in found.items():
        style = {"color": BLACK, "linestyle": "--"} if k == 0 else {"color": colours[k - 1]}
        label = f"{'W_l' if k == 0 else f'cycle {k}'}: {rate(result['miss_rate_at_1'])}"
        width = 2.4 if k == cycle else 1.2
        drawing.miss_rate_curve(
            axes, result["fppi"], result["miss_rate"], label=label, linewidth=width, **style
        )
    axes.legend(title="miss rate at FPPI 1", fontsize=8, title_fontsize=8, frameon=False,
                loc="center left", bbox_to_anchor=(1.0, 0.5))  # fmt: skip
    return figure


def mistakes(run, cycle: int, count: int = 6):
    """Test frames with missed pedestrians and false detections, at the score of FPPI 1."""
    limit = run.evaluation(cycle)["score_at_1"]
    frames = run.frames("test")
    found = by_image(run.detections(cycle, "test"))
    looked = evenly(len(frames), SAMPLED)
    seen = {}
    for i in looked:
        own = [d for d in found.get(i, []) if limit is not None and d["score"] >= limit]
        missed, false, hits = judge(frames.boxes[i], own)
        if len(missed) or false:
            seen[i] = (missed, false, hits)
    by_misses = sorted(seen, key=lambda i: -len(seen[i][0]))
    by_false = sorted(seen, key=lambda i: -len(seen[i][1]))
    mixed = dict.fromkeys(i for pair in zip(by_misses, by_false, strict=True) for i in pair)
    items = []
    for i in list(mixed)[:count]:
        missed, false, hits = seen[i]

        def mark(axes, missed=missed, false=false, hits=hits):
            drawing.boxes(axes, [d["bbox"] for d in hits], TRUTH)
            drawing.boxes(axes, [d["bbox"] for d in false], FOUND, texts=scores_of(false))
            drawing.boxes(axes, missed, MISSED)

        title = f"{frames.name[i]}: {len(missed)} missed, {len(false)} false"
        items.append((frames.images(i), title, mark))
    at = "there are none" if limit is None else f"of score ≥ {limit:.2f}, which gives FPPI 1"
    caption = (
        f"Detections: {at}. Red: missed pedestrians; orange: false detections; green: "
        f"hits. The frames with most mistakes among {len(looked)} of {len(frames)} test frames, "
        "evenly chosen."
    )
    title = f"Step 7, cycle {cycle}: what the detector gets wrong"
    return drawing.contact_sheet(items, 3, title, caption, "No mistake in the frames looked at.")


def judge(boxes, found: list) -> tuple:
    """Missed boxes (n, 4), false detections and hits of one frame, by the Caltech protocol."""
    found = sorted(found, key=lambda d: -d["score"])
    ltwh = np.array([d["bbox"] for d in found], float).reshape(-1, 4)
    scores = np.array([d["score"] for d in found])
    matches = match(
        Truth(np.zeros(len(boxes), int), boxes.ltwh, boxes.ignore),
        Found(np.zeros(len(found), int), ltwh, scores),
    )
    false = [found[k] for k in np.flatnonzero(matches.false)]
    hits = [found[k] for k in np.flatnonzero(matches.box >= 0)]
    return boxes.ltwh[~boxes.ignore & ~matches.hit], false, hits


def at_grid(result: dict) -> np.ndarray:
    """The miss rates of an evaluation at the FPPI of `GRID`."""
    start = np.nan if result["boxes"] == 0 else 1.0
    values = np.append(start, result["miss_rate"])
    return values[np.searchsorted(result["fppi"], GRID, side="right")]


def spread(rows) -> tuple:
    """Mean, lowest and highest of rows (seed, …) over the seeds."""
    rows = np.asarray(rows, float)
    return rows.mean(0), rows.min(0), rows.max(0)


def strategies(out: Path):
    """Strategies of an experiment against each other: curves of the last common cycle, miss rate
    and pedestrians by cycle (the paper's Figures 5 and 7)."""
    from alkit.loop import experiment

    results, ledger = collect(out), experiment.ledger(out)
    names = [name for name in dict.fromkeys(s for s, _ in results) if name != "W_l"]
    common = max((c for _, c in results if all((s, c) in results for s in names)), default=0)
    caption = "Mean over seeds, shaded from the lowest to the highest."
    figure = drawing.picture(4.2, f"Strategies of {out.name}", caption)
    if not results:
        drawing.say(figure.subplots(), "No cycle has been evaluated yet.")
        return figure
    axes = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    drawing.miss_rate_axes(axes[0], f"Cycle {common}" if common else "W_l")
    drawing.tidy(axes[1], "Miss rate at FPPI 1", "cycle", "miss rate")
    drawing.tidy(axes[2], "Pedestrians labelled so far", "cycle", "pedestrians")
    shown = {"W_l": BLACK} | dict(zip(names, COLOURS * 9, strict=False))
    for name, colour in shown.items():
        shade = {"color": colour, "alpha": 0.18, "linewidth": 0}
        key = (name, 0 if name == "W_l" else common)
        if key in results:
            mean, low, high = spread([at_grid(result) for result in results[key]])
            style = "--" if name == "W_l" else "-"
            axes[0].plot(GRID, mean, style, color=colour, label=name, drawstyle="steps-post")
            axes[0].fill_between(GRID, low, high, step="post", **shade)
        if name == "W_l":
            continue
        own = ledger[ledger["strategy"].isin([name, "W_l"])].groupby("cycle")
        columns = ("miss rate at FPPI 1", "labeled pedestrians")
        for panel, column in zip(axes[1:], columns, strict=True):
            by_cycle = own[column].agg(["mean", "min", "max"])
            panel.plot(by_cycle.index, by_cycle["mean"], "o-", color=colour, markersize=4)
            panel.fill_between(by_cycle.index, by_cycle["min"], by_cycle["max"], **shade)
            panel.xaxis.get_major_locator().set_params(integer=True)
    axes[1].set_ylim(0, 1.04)
    axes[2].set_ylim(bottom=0)
    axes[0].legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def collect(out: Path) -> dict:
    """(strategy, cycle) → the evaluations of all seeds that are complete; W_l is ("W_l", 0)."""
    from alkit.loop import experiment, records

    found = {}
    for task in experiment.tasks(Path(out)):
        complete = records.read(task.run, task.cycle, task.step.name) is not None
        if task.step.name == "7_evaluate" and complete:
            name = task.run.strategy_name if task.cycle else "W_l"
            found.setdefault((name, task.cycle), []).append(task.run.evaluation(task.cycle))
    return found
