"""Figures of the test bed's card, from the numbers of `alkit.studies.testbed`."""

import numpy as np

from alkit.boxes import default_boxes
from alkit.pages.figures import drawing
from alkit.pages.figures.drawing import BLACK, BLUE, GREEN, ORANGE, RED, TRUTH
from alkit.studies import testbed
from alkit.text import evenly

COLUMNS, SHOWN = 3, 12  # of a contact sheet
EACH = 3  # frames of each rare situation
TITLES = {
    "labeled": "X_l: the domain that is labelled",
    "held_out": "Held out: X_l's own domain",
    "pool": "X_u: the pool to choose from",
    "test": "Test: the target domain",
}


def lightly(boxes):
    """A mark: thin boxes, the pedestrians' green, those to ignore white."""

    def mark(axes):
        drawing.boxes(axes, boxes.ltwh[boxes.ignore], "white", dashed=True)
        drawing.boxes(axes, boxes.ltwh[~boxes.ignore], TRUTH, dashed=True)

    return mark


def item(frames, i: int, title: str):
    return frames.images(i), title, lightly(frames.boxes[i])


def contact_sheet(bed: testbed.Bed, role: str):
    """Frames of a data set, evenly chosen."""
    frames = bed.frames[role]
    items = [item(frames, i, frames.name[i]) for i in evenly(len(frames), SHOWN)]
    caption = (
        f"{len(items)} of {len(frames)} images of {frames.dataset}, evenly chosen, whatever they "
        "show. Green: pedestrians; white: boxes to ignore."
    )
    return drawing.contact_sheet(items, COLUMNS, TITLES[role], caption, "There are no images.")


def rare_sheet(bed: testbed.Bed, tags: np.ndarray):
    """Pool frames of each rare situation."""
    frames = bed.frames["pool"]
    items = []
    for name, is_in in testbed.RARE.items():
        where = np.flatnonzero(is_in(tags))
        chosen = [int(where[k]) for k in evenly(len(where), EACH)]
        items += [item(frames, i, f"{name}: {frames.name[i]}") for i in chosen]
    caption = f"Up to {EACH} frames of each situation, evenly chosen among all that show it."
    title, empty = "Rare situations of the pool", "The pool has none of the rare situations."
    return drawing.contact_sheet(items, COLUMNS, title, caption, empty)


def redundancy(alike: testbed.Redundancy):
    """How much frames differ from the one before and from random others, and where in the pool."""
    caption = (
        f"{alike.near:.0%} of the frames differ from the one before by less than {testbed.NEAR:g} "
        f"grey levels (dotted); the longest stretch of such frames is {alike.longest} long. "
        f"{(alike.random < testbed.NEAR).mean():.1%} of random pairs differ by less."
    )
    figure = drawing.picture(3.1, "Redundancy of the pool", caption)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    known = alike.consecutive[~np.isnan(alike.consecutive)]
    highest = max([*known, *alike.random, 2 * testbed.NEAR])
    bins = np.linspace(0, highest, 40)
    drawing.tidy(left, "", "mean absolute difference (grey levels)", "share of pairs")
    for values, colour, name in (
        (alike.random, BLACK, "random pairs"),
        (known, RED, "a frame and the one before"),
    ):
        weights = np.full(len(values), 1 / max(len(values), 1))
        style = {"histtype": "step", "color": colour, "label": name}
        left.hist(values, bins, weights=weights, **style)
    left.axvline(testbed.NEAR, color=BLACK, linewidth=0.8, linestyle=":")
    left.legend(fontsize=8, frameon=False)
    drawing.tidy(right, "", "position in the pool", "difference to the one before")
    drawing.timeline(right, alike.consecutive, alike.sequence, RED)
    right.axhline(testbed.NEAR, color=BLACK, linewidth=0.8, linestyle=":")
    right.set_ylim(bottom=0)
    return figure


def sizes(bed: testbed.Bed):
    """Heights and shapes of the pedestrians beside the default boxes."""
    caption = "Dotted lines and crosses: the five default boxes."
    figure = drawing.picture(3.2, "Sizes of the pedestrians", caption)
    left, right = figure.subplots(1, 2)
    defaults = default_boxes(bed.profile)
    drawing.tidy(left, "", "height (pixels)", "share of the pedestrians")
    drawing.tidy(right, "", "height (pixels)", "width / height")
    bins = np.geomspace(defaults.min(), bed.profile.image_size[0], 25)
    for role, colour in zip(bed.frames, (BLUE, GREEN, RED, ORANGE), strict=False):
        frames = bed.frames[role]
        real = [b.ltwh[~b.ignore, 2:] for b in (frames.boxes[i] for i in range(len(frames)))]
        width, height = np.concatenate(real).T
        name = f"{testbed.ROLES[role]}: {len(height)}"
        weights = np.full(len(height), 1 / max(len(height), 1))
        left.hist(height, bins, weights=weights, histtype="step", color=colour, label=name)
        right.plot(height, width / height, ".", color=colour, markersize=2.5, alpha=0.5)
    for height, width in defaults:
        left.axvline(height, color=BLACK, linewidth=0.8, linestyle=":")
        right.plot(height, width / height, "+", color=BLACK, markersize=11, markeredgewidth=1.6)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(defaults[:, 0], [f"{height:.3g}" for height in defaults[:, 0]], fontsize=7)
        axes.minorticks_off()
    left.legend(fontsize=8, frameon=False)
    return figure


def miss_rates(rates: testbed.Rates):
    """Bars of all miss rates at FPPI 1, with the gap and the headroom in the caption."""
    table = rates.table
    said = [
        f"{name}: {value:.3f} ({words})."
        for name, value, words in (
            ("Gap", rates.gap, "W_l on the test set less W_l on its own domain"),
            ("Headroom", rates.headroom, "the fewest labels less all of them"),
        )
        if not np.isnan(value)
    ]
    caption = " ".join([*said, rates.note])
    figure = drawing.picture(0.9 + 0.32 * len(table), "Miss rate at FPPI 1", caption)
    axes = figure.subplots()
    drawing.tidy(axes, "", "miss rate")
    colours = [{"decoder ceiling": BLACK, "W_l": BLUE}.get(what, GREEN) for what in table["what"]]
    rows = np.arange(len(table))
    axes.barh(rows, table["miss rate"].fillna(0), 0.6, color=colours)
    for row, rate in zip(rows, table["miss rate"], strict=True):
        text = "no pedestrians" if np.isnan(rate) else f"{rate:.3f}"
        axes.text(np.nan_to_num(rate) + 0.01, row, text, va="center", fontsize=8)
    axes.set_yticks(rows, table["what"] + ", " + table["data"])
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlim(0, 1.08)
    axes.grid(False, axis="y")
    return figure
