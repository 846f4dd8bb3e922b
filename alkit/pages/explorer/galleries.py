"""What the galleries below the frame hold: pictures with words, and a sentence about them all."""

import numpy as np

from alkit.pages.explorer import judging, layers, reasons
from alkit.pages.explorer.reading import NotThere, Opened
from alkit.pages.views.gallery import crop, thumbnail

SHOWN = 24  # pictures on one page
GRID = ("chosen and passed over", "chosen", "passed over by the rules")


def item(opened: Opened, position: int, limit: float, text: str) -> dict:
    """A frame under its score map, with the boxes of score ≥ `limit`."""
    try:
        s = opened.scores(position)
        high = opened.highest or float(s.max())
    except NotThere:
        s, high = None, 1.0
    return {
        "position": position,
        "image": thumbnail(opened.image(position), judged(opened, position, limit), s, high),
        "mark": reasons.short(opened, position),
        "text": f"{opened.table['name'].iloc[position]}: {text}",
    }


def judged(opened: Opened, position: int, limit: float) -> judging.Judged:
    """Detections and labelled boxes of one frame."""
    own = {position: opened.detections_of(position)}
    return judging.judge(own, {position: opened.truth(position)}, limit)


def ranked(
    opened: Opened, which: str, page: int, limit: float, most: int = SHOWN
) -> tuple[list, str]:
    """A page of at most `most` of the frames down to the last chosen one, highest first."""
    chosen = opened.table["order"].to_numpy() > 0
    last = int(opened.rank[chosen].max(initial=0))
    passed = ~chosen & (opened.rank > 0) & (opened.rank <= last)
    wanted = np.flatnonzero({GRID[0]: chosen | passed, GRID[1]: chosen, GRID[2]: passed}[which])
    order = wanted[np.argsort(opened.rank[wanted], kind="stable")]
    pages = max(1, -(-len(order) // most))
    page = min(page, pages)
    shown = order[(page - 1) * most : page * most].tolist()
    items = [item(opened, p, limit, reasons.sentence(opened, p)) for p in shown]
    return items, (
        f"{len(order)} frames, highest first; page {page} of {pages}. {chosen.sum()} were chosen, "
        f"{passed.sum()} ranked higher than the last of them were passed over by the rules."
    )


def tiles(opened: Opened, kind: str, all_judged: judging.Judged | None) -> tuple[list, str]:
    """The regions of highest score of the cycle, all or those that hold what `kind` says."""
    numbers = opened.run.numbers(opened.cycle)
    region = numbers.pixels(numbers.region)
    borders = layers.edges(opened, region)
    positions = np.flatnonzero(opened.row >= 0)
    found = judging.tiles(opened.region_maxima, positions, all_judged, kind, borders, SHOWN)
    names = opened.table["name"]
    items = [
        {
            "position": position,
            "image": crop(
                opened.image(position),
                borders[0][row : row + 2].tolist(),
                borders[1][column : column + 2].tolist(),
                region,
            ),
            "mark": f"{score:.4f} nats",
            "text": f"{names.iloc[position]}, row {row}, column {column}",
        }
        for score, position, row, column in found
    ]
    what = "all regions" if kind == "all" else f"regions with the centre of a {kind}"
    return items, f"The highest scores of {what} in the cycle, with one region around each."


def blind_spots(
    opened: Opened, all_judged: judging.Judged, limit: float, most: int = SHOWN
) -> tuple[list, str]:
    """The frames whose missed pedestrians the score does not see."""
    z = opened.table["z"].to_numpy()
    missed = all_judged.missed(len(z))
    where = judging.blind_spots(all_judged, z)
    items = [
        item(opened, p, limit, f"{missed[p]} missed, z {z[p]:.5f} nats")
        for p in where[:most].tolist()
    ]
    return items, (
        f"{len(where)} frames with missed pedestrians, at detections from score {limit:.2f}: the "
        "most missed first, the lowest z first among equals."
    )


def nearest(opened: Opened, position: int, limit: float) -> tuple[list, str]:
    """The frames of the same video that were labelled before, nearest first."""
    found = reasons.nearest_labelled(opened, position)
    items = [
        item(opened, p, limit, f"{reasons.frames(distance)} away, cycle {opened.labelled[p]}")
        for p, distance in found
    ]
    name = opened.table["name"].iloc[position]
    return items, f"Labelled in cycles before this one, in the same sequence as {name}."
