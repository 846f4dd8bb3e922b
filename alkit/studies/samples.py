"""Figures of data sets: sizes and shapes of their boxes, and samples."""

import contextlib

import numpy as np

from alkit.frames import NO_BOXES, FrameSet
from alkit.pages import drawing
from alkit.pages.drawing import BLACK, BLUE, FOUND, TRUTH
from alkit.studies.survey import Survey
from alkit.text import evenly

COLUMNS = 3  # of a contact sheet
BARS = 53  # edges of the bars of a histogram
WIDEST = 1.3  # width / height at the end of the histogram; the few boxes beyond are in its last bar
WHOLE = 0.95  # of a box's area; labels of the two differ by a pixel or so


def sizes(surveys: list[Survey]):
    """Heights and shapes of the labeled boxes of each data set with its filter's limits."""
    caption = (
        "Of each data set the labeled boxes of its filter's classes (gray), and those that are "
        "pedestrians under the filter (blue). Dashed: the limits of the filter. Heights are in "
        f"pixels of the data set's own images. Boxes wider than {WIDEST:g} of their height are in "
        "the last bar."
    )
    surveys = [found for found in surveys if len(found.sizes)]
    title = "Sizes and shapes of the labeled boxes"
    if not surveys:
        return drawing.say(title, "There are no labeled boxes.")
    figure = drawing.picture(0.9 + 1.9 * len(surveys), title, caption)
    for row, found in zip(figure.subplots(len(surveys), 2, squeeze=False), surveys, strict=True):
        heights, widths = np.maximum(found.sizes, 1.0).T
        rule = found.entry.filter
        limit = rule.min_height / rule.scale
        edges = np.geomspace(heights.min(), heights.max() + 1, BARS)
        drawing.tidy(row[0], found.name, "height (pixels)", "boxes")
        _histograms(row[0], heights, found.kept, edges, [limit] if limit else ())
        row[0].set_xscale("log")
        edges, shapes = np.linspace(0, WIDEST, BARS), np.minimum(widths / heights, WIDEST)
        drawing.tidy(row[1], "", "width / height", "boxes")
        _histograms(row[1], shapes, found.kept, edges, rule.aspect or ())
    return figure


def _histograms(axes, values, kept, edges, limits):
    """All boxes and, before them, the positives; the limits in the legend."""
    axes.hist(values, edges, color="0.8", label=f"labeled: {len(values)}")
    axes.hist(values[kept], edges, color=BLUE, label=f"pedestrians: {np.count_nonzero(kept)}")
    for limit in limits:
        axes.axvline(limit, color=BLACK, linewidth=0.9, linestyle="--", label=f"{limit:.4g}")
    axes.legend(fontsize=7, frameon=False)


def samples(found: Survey, count: int = 6, empty: bool = False):
    """Frames of a data set with its boxes under its filter, evenly chosen among those with a
    pedestrian; among all with `empty`, and where none is labeled. Missing images are left out."""
    frames = found.filtered()
    labeled = np.flatnonzero(found.positives) if not empty else []
    among = labeled if len(labeled) else range(len(frames))
    items = []
    for k in evenly(len(among), count):
        with contextlib.suppress(FileNotFoundError):
            items.append(sample(frames, among[k], frames.name[among[k]]))
    where = f"the {len(labeled)} with a pedestrian" if len(labeled) else "all"
    caption = (
        f"{len(items)} of {len(frames)} frames, evenly chosen among {where}. Visible parts are "
        f"drawn where they are less than {WHOLE:.0%} of the box."
    )
    title, none = f"Samples of {found.name}", "The images are not here."
    return drawing.contact_sheet(items, COLUMNS, title, caption, none)


def sample(frames: FrameSet, i: int, title: str):
    """A photograph: frame i with the boxes to ignore, the pedestrians, and their visible parts."""
    boxes = NO_BOXES if frames.boxes is None else frames.boxes[i]
    whole, seen = boxes.ltwh[:, 2:].prod(axis=1), boxes.visible[:, 2:].prod(axis=1)
    partly = boxes.visible[(seen > 0) & (seen < WHOLE * whole)]
    layers = [(boxes.ltwh[boxes.ignore], "box to ignore", FOUND)]
    layers += [(boxes.ltwh[~boxes.ignore], "pedestrian", TRUTH)]
    title = title if len(title) <= 40 else title.rsplit("/", 1)[-1][-40:]
    return frames.images(i), title, [*layers, (partly, "visible part", "white", True)]
