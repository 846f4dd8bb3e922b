"""Figures of step 7: curves of a run's cycles, and its mistakes."""

from functools import partial

import matplotlib
import numpy as np

from alkit.pages import matching
from alkit.pages.figures import drawing
from alkit.pages.figures.drawing import BLACK
from alkit.pages.figures.training_and_scores import NO_HELD_OUT, SAMPLED, by_image
from alkit.text import evenly


def curves(run, cycle: int):
    """Miss rate against FPPI of this cycle, of those before it and of W_l."""
    found = {cycle: run.evaluation(cycle)}
    for k in range(cycle):
        try:
            found[k] = run.evaluation(k)
        except FileNotFoundError:  # not complete yet
            continue
    last = found[cycle]
    labeled = last["labeled"]
    caption = (
        f"{last['dataset']}: {last['images']} images, {last['boxes']} pedestrians, protocol "
        f"{last['protocol']}. Labeled so far: {labeled['images']} images with "
        f"{labeled['pedestrians']} pedestrians, an estimated "
        f"{labeled['labeling_seconds'] / 3600:.2f} h. Log-average miss rate: {rate(last['lamr'])}. "
        f"AP at IoU 0.5: {rate(last['ap50'])}, at IoU 0.5:0.95: {rate(last['ap'])}."
    )
    name = "W_l" if cycle == 0 else f"{run.strategy_name}, cycle {cycle}"
    figure = drawing.picture(4.6, f"Step 7: miss rate of {name}", caption)
    axes = figure.subplots()
    drawing.miss_rate_axes(axes)
    colors = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, max(1, cycle)))
    for k, result in sorted(found.items()):
        style = {"color": BLACK, "linestyle": "--"} if k == 0 else {"color": colors[k - 1]}
        style["label"] = f"{'W_l' if k == 0 else f'cycle {k}'}: {rate(result['miss_rate_at_1'])}"
        style["linewidth"] = 2.4 if k == cycle else 1.2
        drawing.miss_rate_curve(axes, result["fppi"], result["miss_rate"], **style)
    right = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    title = "miss rate at FPPI 1"
    axes.legend(title=title, fontsize=8, title_fontsize=8, frameon=False, **right)
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
    label = f"W_l: {rate(result['miss_rate_at_1'])} at FPPI 1"
    drawing.miss_rate_curve(axes, result["fppi"], result["miss_rate"], color=BLACK, label=label)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def rate(value) -> str:
    """A rate in words."""
    return "undefined" if value is None or np.isnan(value) else f"{value:.3f}"


def mistakes(run, cycle: int, count: int = 6):
    """Test frames with missed pedestrians and false detections, at the score of FPPI 1."""
    limit = run.evaluation(cycle)["score_at_1"]
    frames = run.frames("test")
    found = by_image(run.detections(cycle, "test"))
    looked, least = evenly(len(frames), SAMPLED), np.inf if limit is None else limit
    mistakes = []
    for i in looked:
        own = matching.match({i: found.get(i, [])}, {i: frames.boxes[i]}, least)
        missed, false = len(own[1].of(matching.MISSED)), len(own[0].of(matching.FALSE))
        if missed or false:
            mistakes.append((-missed - false, i, f"{missed} missed, {false} false", own))
    items = [
        (
            frames.images(i),
            f"{frames.name[i]}: {words}",
            partial(drawing.matched, parts=own),
        )
        for _, i, words, own in sorted(mistakes, key=lambda m: m[:2])[:count]
    ]
    at = "there are none" if limit is None else f"of score ≥ {limit:.2f}, which gives FPPI 1"
    caption = (
        f"Detections: {at}. Red: missed pedestrians; orange: false detections; green: hits, dashed "
        f"the labeled boxes. The frames with most mistakes among {len(looked)} of {len(frames)} "
        "test frames, evenly chosen."
    )
    title = f"Step 7, cycle {cycle}: what the detector gets wrong"
    return drawing.contact_sheet(items, 3, title, caption, "No mistake in the frames looked at.")
