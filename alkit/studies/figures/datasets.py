"""Tables and figures of data sets: Table 1, what they share, sizes and shapes, samples."""

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from alkit.catalog import Entry
from alkit.pages.figures import drawing
from alkit.pages.figures.drawing import BLACK, BLUE, FOUND, TRUTH
from alkit.studies.comparison import number, size, tracks
from alkit.studies.overlap import Shared
from alkit.studies.survey import Survey
from alkit.text import evenly

TABLE_1 = {
    "images": "images",
    "instances": "instances",
    "images_with_pedestrians": "images with pedestrians",
    "sequences": "sequences",
    "identities": "tracks",
}
COLUMNS = 3  # of a contact sheet
TICKS = [k * 10.0**e for e in range(5) for k in (1, 2, 5)]  # of heights
BARS = 40  # of a histogram of heights
WIDEST = 1.3  # width / height at the end of the histogram; the few boxes beyond are in its last bar
WHOLE = 0.95  # of a box's area; labels of the two differ by a pixel or so
GREY = 127  # of an image that is not here


def table_1(entries: list[Entry], surveys: list[Survey]) -> pd.DataFrame:
    """The numbers of the paper's Table 1, and two more, sequences and tracks: for each data set
    what the catalog expects and what is found; "–" where it expects nothing, or where the data is
    not among `surveys`."""
    found = {each.name: each for each in surveys}
    rows = {}
    for entry in entries:
        expected = entry.expect.model_dump() | {"image_size": entry.image_size}
        here = entry.name in found
        counts = found[entry.name].counts if here else {}
        for what, values in (("expected", expected), ("found", counts)):
            row = {label: number(values.get(key)) for key, label in TABLE_1.items()}
            if what == "found" and here:
                row["tracks"] = tracks(found[entry.name])
            pixels = values.get("image_size")
            known = pixels or (what == "found" and here)
            row["image size, height × width"] = size(pixels) if known else "–"
            row["type"] = entry.kind
            rows[entry.name, what] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def in_common(shared: list[Shared]) -> pd.DataFrame:
    """One row for every two data sets of one place, or with a name in common: what they share, and
    the smallest distance in time. The other pairs can share nothing."""
    rows = {}
    for found in shared:
        if not (found.certain or found.anything):
            continue
        fair = "no" if found.certain else "not if both folders hold the same video"
        identities = None if found.identities is None else len(found.identities)
        rows[f"{found.first} and {found.second}"] = {
            "sequences in common": len(found.sequences),
            "identities in common": number(identities),
            "frames in common": len(found.frames),
            "nearest (raw frames)": number(found.nearest),
            "nearest (s)": number(found.seconds),
            "a fair test": fair if found.anything else "yes",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def sizes(surveys: list[Survey]):
    """Heights and shapes of the labelled boxes of each data set with its filter's limits."""
    caption = (
        "Of each data set the labelled boxes of its filter's classes (grey), and those that are "
        "pedestrians under the filter (blue). Dashed: the limits of the filter. Heights are in "
        "pixels of the data set's own images."
    )
    title = "Sizes and shapes of the labelled boxes"
    figure = drawing.picture(0.9 + 1.9 * max(len(surveys), 1), title, caption)
    if not surveys:
        drawing.say(figure.subplots(), "None of the data sets is here.")
        return figure
    grid = figure.subplots(len(surveys), 2, squeeze=False)
    for row, found in zip(grid, surveys, strict=True):
        _height_axes(row[0], found)
        _shape_axes(row[1], found)
    return figure


def _height_axes(axes, found: Survey):
    if len(found.sizes) == 0:
        drawing.say(axes, f"{found.name} has no labelled boxes.")
        return
    rule, heights = found.entry.filter, np.maximum(found.sizes[:, 0], 1.0)
    drawing.tidy(axes, found.name, "height (pixels)", "boxes")
    limit = rule.min_height / rule.scale
    low, high = min(heights.min(), limit or np.inf), max(heights.max(), limit)
    # the limit is an edge of two bars
    width = max(np.log(high / low) / BARS, 0.02)
    first, last = (np.log(np.array([low, high]) / (limit or low)) / width).round(9)
    edges = (limit or low) * np.exp(width * np.arange(np.floor(first), np.floor(last) + 2))
    _both(axes, heights, found.kept, edges)
    axes.set_xscale("log")
    axes.set_xticks([tick for tick in TICKS if edges[0] <= tick <= edges[-1]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    if limit:
        name = f"{limit:.4g} px"
        if rule.scale != 1:
            name += f": {rule.min_height:g} at the paper's scale"
        axes.axvline(limit, color=BLACK, linewidth=0.9, linestyle="--", label=name)
    axes.legend(fontsize=7, frameon=False)


def _shape_axes(axes, found: Survey):
    tall = found.sizes[:, 0] > 0
    if not tall.any():
        axes.set_axis_off()
        return
    ratio = found.sizes[tall, 1] / found.sizes[tall, 0]
    drawing.tidy(axes, "", "width / height", "boxes")
    _both(axes, np.minimum(ratio, WIDEST), found.kept[tall], np.linspace(0, WIDEST, 53))
    for k, limit in enumerate(found.entry.filter.aspect or ()):
        name = None if k else "{:g} and {:g}".format(*found.entry.filter.aspect)
        axes.axvline(limit, color=BLACK, linewidth=0.9, linestyle="--", label=name)
    axes.set_xlim(0, WIDEST)
    beyond = np.count_nonzero(ratio > WIDEST)
    if beyond:
        axes.set_title(f"{beyond} wider than {WIDEST:g} in the last bar", fontsize=7, loc="right")
    axes.legend(fontsize=7, frameon=False)


def _both(axes, values, kept, edges):
    """All boxes and, before them, the positives, with room for the legend above."""
    counts, _, _ = axes.hist(values, edges, color="0.8", label=f"labelled: {len(values)}")
    name = f"pedestrians: {np.count_nonzero(kept)}"
    axes.hist(values[kept], edges, color=BLUE, label=name)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylim(0, 1.4 * max(counts.max(), 1))


def samples(found: Survey, count: int = 6):
    """Frames of a data set with its boxes under its filter, evenly chosen among those with a
    pedestrian, or among all where none is labelled. Where images are missing, the first frames
    whose images are there take their place; without any image the boxes are on grey."""
    frames = found.filtered()
    labelled = np.flatnonzero(found.positives)
    among = (labelled if len(labelled) else np.arange(len(frames))).tolist()
    chosen = [among[k] for k in evenly(len(among), count)]
    items, missing = [], 0
    for i in dict.fromkeys([*chosen, *among]):
        if len(items) == len(chosen):
            break
        try:
            image = frames.images(i)
        except FileNotFoundError:
            missing += 1
            continue
        items.append(_item(frames, i, image))
    if not items and frames.image_size:
        grey = np.full((*frames.image_size, 3), GREY, np.uint8)
        items = [_item(frames, i, grey) for i in chosen]
    where = f"the {len(labelled)} with a pedestrian" if len(labelled) else "all"
    how = f"evenly chosen among {where}" if not missing else f"of {where} the first with an image"
    caption = (
        f"{len(items)} of {len(frames)} frames, {how}. Green: pedestrians; orange: boxes to "
        f"ignore; dashed: the visible part, where it is less than {WHOLE:.0%} of the box."
    )
    title = f"Samples of {found.name}" + (f" ({missing} images are not here)" if missing else "")
    return drawing.contact_sheet(items, COLUMNS, title, caption, "There are no images.")


def _item(frames, i: int, image):
    name = str(frames.name[i])
    title = name if len(name) <= 40 else name.rsplit("/", 1)[-1][-40:]
    return image, title, None if frames.boxes is None else _boxes_of(frames.boxes[i])


def _boxes_of(boxes):
    """A mark: boxes to ignore, pedestrians, and their visible parts where these differ."""

    def mark(axes):
        drawing.boxes(axes, boxes.ltwh[boxes.ignore], FOUND)
        drawing.boxes(axes, boxes.ltwh[~boxes.ignore], TRUTH)
        whole, seen = boxes.ltwh[:, 2:].prod(axis=1), boxes.visible[:, 2:].prod(axis=1)
        partly = (seen > 0) & (seen < WHOLE * whole)
        drawing.boxes(axes, boxes.visible[partly], "white", dashed=True)

    return mark
