"""Figures of step 7: curves of a run's cycles, and its mistakes."""

import contextlib
from functools import partial

import matplotlib
import numpy as np

from alkit.pages import matching
from alkit.pages.figures import drawing
from alkit.pages.figures.drawing import BLACK
from alkit.pages.figures.training_and_scores import NO_HELD_OUT, SAMPLED
from alkit.text import evenly


def curves(run, cycle: int):
    """Miss rate against FPPI of this cycle, of those before it and of W_l."""
    found, last = {}, run.evaluation(cycle)
    for k in range(cycle + 1):
        with contextlib.suppress(FileNotFoundError):  # not complete yet
            found[k] = run.evaluation(k)
    labeled = last["labeled"]
    caption = (
        f"{last['dataset']}: {last['images']} images, {last['boxes']} pedestrians, protocol "
        f"{last['protocol']}. Labeled so far: {labeled['images']} images with "
        f"{labeled['pedestrians']} pedestrians, an estimated "
        f"{labeled['labeling_seconds'] / 3600:.2f} h. Log-average miss rate: {rate(last['lamr'])}. "
        f"AP at IoU 0.5: {rate(last['ap50'])}, at IoU 0.5:0.95: {rate(last['ap'])}."
    )
    name = "W_l" if cycle == 0 else f"{run.strategy_name}, cycle {cycle}"
    return _curves(f"Step 7: miss rate of {name}", caption, found)


def held_out(run):
    """Miss rate of W_l on held-out frames of X_l's own domain."""
    result, title = run.held_out(), "W_l on held-out frames of its own domain"
    if not result:
        return drawing.contact_sheet([], 1, title, "", NO_HELD_OUT)
    caption = f"{result['dataset']}: {result['images']} images, {result['boxes']} pedestrians."
    return _curves(title, caption, {0: result})


def _curves(title: str, caption: str, found: dict):
    """The curves of evaluations by cycle, W_l's dashed, the last one's thick."""
    figure = drawing.picture(4.2, title, caption)
    axes = figure.subplots()
    drawing.miss_rate_axes(axes)
    colors = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, max(found) + 1))
    for k, result in found.items():
        style = {"color": colors[k], "linestyle": "-"} if k else {"color": BLACK, "linestyle": "--"}
        style["label"] = f"{f'cycle {k}' if k else 'W_l'}: {rate(result['miss_rate_at_1'])}"
        style["linewidth"] = 2.4 if k == max(found) else 1.2
        drawing.miss_rate_curve(axes, result["fppi"], result["miss_rate"], **style)
    right = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    title = "miss rate at FPPI 1"
    axes.legend(title=title, fontsize=8, title_fontsize=8, frameon=False, **right)
    return figure


def rate(value) -> str:
    """A rate in words."""
    return "undefined" if value is None or np.isnan(value) else f"{value:.3f}"


def mistakes(run, cycle: int, count: int = 6):
    """Test frames with missed pedestrians and false detections, at the score of FPPI 1."""
    limit = run.evaluation(cycle)["score_at_1"]
    frames = run.frames("test")
    found = matching.by_image(run.detections(cycle, "test"))
    looked, least = evenly(len(frames), SAMPLED), np.inf if limit is None else limit
    mistakes = []
    for i in looked:
        own = matching.match({i: found.get(i, [])}, {i: frames.boxes[i]}, least)
        missed, false = len(own[1].of(matching.MISSED)), len(own[0].of(matching.FALSE))
        if missed or false:
            title = f"{frames.name[i]}: {missed} missed, {false} false"
            mistakes.append((missed + false, i, title, partial(drawing.matched, parts=own)))
    mistakes.sort(key=lambda item: -item[0])
    items = [(frames.images(i), title, mark) for _, i, title, mark in mistakes[:count]]
    at = "there are none" if limit is None else f"of score ≥ {limit:.2f}, which gives FPPI 1"
    caption = (
        f"Detections: {at}. Red: missed pedestrians; orange: false detections; green: hits and "
        f"the boxes hit. The frames with most mistakes among {len(looked)} of {len(frames)} "
        "test frames, evenly chosen."
    )
    title = f"Step 7, cycle {cycle}: what the detector gets wrong"
    return drawing.contact_sheet(items, 3, title, caption, "No mistake in the frames looked at.")
