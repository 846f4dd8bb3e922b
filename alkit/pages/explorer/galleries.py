"""What the galleries below the frame hold: pictures with words, and a sentence about them all."""

from html import escape

import numpy as np

from alkit import aggregation
from alkit.pages import matching
from alkit.pages.explorer.cycle import Cycle, Unavailable, frames
from alkit.pages.matching import Boxes
from alkit.pages.thumbnails import WIDTH, crop, thumbnail

SHOWN = 24  # pictures on one page
BOTH, CHOSEN, PASSED = "chosen and passed over", "chosen", "passed over by the rules"
TILES = {
    "all": None,
    "true positive": matching.HIT,
    "false positive": matching.FALSE,
    "false negative": matching.MISSED,
}


def item(cycle: Cycle, position: int, limit: float, text: str) -> dict:
    """A frame under its score map, with the boxes of score ≥ `limit`."""
    try:
        s = cycle.scores(position)
        high = cycle.highest or float(s.max())
    except Unavailable:
        s, high = None, 1.0
    image, matched = cycle.pool.images(position), cycle.matched(position, limit)
    return {
        "position": position,
        "image": thumbnail(image, matched, s, high),
        "mark": cycle.mark(position),
        "text": f"{cycle.table['name'].iloc[position]}: {text}",
    }


def html(items) -> str:
    """Pictures beside each other, each with its mark and text."""
    size = f"width: {WIDTH}px; margin: 0; overflow-wrap: anywhere"
    figures = "".join(
        f'<figure tabindex="0" data-position="{item["position"]}" style="{size}">'
        f'<img src="{item["image"]}" alt="" style="width: 100%">'
        f"<figcaption><b>{escape(item['mark'])}</b> {escape(item['text'])}</figcaption></figure>"
        for item in items
    )
    style = "display: flex; flex-wrap: wrap; gap: 8px; font: 12px system-ui; cursor: pointer"
    return f'<div class="gallery" style="{style}">{figures or "Nothing to show."}</div>'


def ranked(cycle: Cycle, which: str, page: int, limit: float, most: int = SHOWN) -> tuple:
    """A page of at most `most` of the frames down to the last chosen one, highest first."""
    rank = cycle.table["rank"].to_numpy()
    chosen = cycle.table["order"].to_numpy() > 0
    passed = ~chosen & (rank > 0) & (rank <= rank[chosen].max(initial=0))
    wanted = np.flatnonzero({BOTH: chosen | passed, CHOSEN: chosen, PASSED: passed}[which])
    order = wanted[np.argsort(rank[wanted], kind="stable")]
    pages = max(1, -(-len(order) // most))
    page = min(page, pages)
    shown = order[(page - 1) * most : page * most].tolist()
    return [item(cycle, p, limit, cycle.reason(p)) for p in shown], (
        f"{len(order)} frames, highest first; page {page} of {pages}. {chosen.sum()} were chosen, "
        f"{passed.sum()} ranked higher than the last of them were passed over by the rules."
    )


def tiles(cycle: Cycle, kind: str, detections: Boxes | None, labels: Boxes | None) -> tuple:
    """The regions of highest score of the cycle: all of them, or those that hold the center of a
    hit, of a false detection, of a missed pedestrian, as `TILES` names them."""
    region, held = cycle.numbers.pixels(cycle.numbers.region), None
    grid, size = cycle.numbers.region_grid, cycle.numbers.image_size
    rows, columns = (aggregation.region_edges(side, region, grid) for side in size)
    if TILES[kind] is not None:
        boxes = labels if TILES[kind] == matching.MISSED else detections
        held = boxes.position[boxes.kind == TILES[kind]], boxes.of(TILES[kind])
    found = highest_regions(cycle.region_maxima, cycle.positions, rows, columns, held, SHOWN)
    items = []
    for score, k, row, column in found:
        position, edges = int(cycle.positions[k]), (rows[row : row + 2], columns[column:][:2])
        items.append(
            {
                "position": position,
                "image": crop(cycle.pool.images(position), *edges, region),
                "mark": f"{score:.4f} nats",
                "text": f"{cycle.table['name'].iloc[position]}, row {row}, column {column}",
            }
        )
    what = "all regions" if kind == "all" else f"regions with the center of a {kind}"
    return items, f"The highest scores of {what} in the cycle, with one region around each."


def highest_regions(maxima, positions, rows, columns, held, most: int) -> list:
    """The regions of highest score, [(score, frame, row, column)], highest first, at most so many;
    with `held` those alone that hold the center of a box.

    `maxima` is (frame, row, column), `positions` (frame,) ascending; `rows` and `columns` are the
    regions' edges in pixels; `held` is positions (n,) and boxes (n, 4) [left, top, width, height].
    """
    maxima, wanted = np.asarray(maxima, np.float32), np.ones(maxima.shape, bool)
    if held is not None:
        at, (left, top, width, height) = held[0], held[1].T
        row = np.searchsorted(rows, top + height / 2, side="right") - 1
        column = np.searchsorted(columns, left + width / 2, side="right") - 1
        inside = np.isin(at, positions) & (row >= 0) & (column >= 0)
        inside &= (row < maxima.shape[1]) & (column < maxima.shape[2])
        wanted[:] = False
        wanted[np.searchsorted(positions, at[inside]), row[inside], column[inside]] = True
    where = np.argwhere(wanted)
    values = maxima[wanted]
    order = np.argsort(-values, kind="stable")[:most]
    return [(float(values[k]), *where[k].tolist()) for k in order]


def missed_counts(labels: Boxes, n: int) -> np.ndarray:
    """How many pedestrians are missed in each of n frames."""
    return np.bincount(labels.position[labels.kind == matching.MISSED], minlength=n)


def blind_spots(cycle: Cycle, labels: Boxes, limit: float, most: int = SHOWN) -> tuple:
    """The frames whose missed pedestrians the score does not see: the most missed first, the lowest
    z first among equals."""
    z = cycle.table["z"].to_numpy()
    missed = missed_counts(labels, len(z))
    where = np.flatnonzero((missed > 0) & ~np.isnan(z))
    where = where[np.lexsort((z[where], -missed[where]))].tolist()
    items = [item(cycle, p, limit, f"{missed[p]} missed, z {z[p]:.5f} nats") for p in where[:most]]
    return items, (
        f"{len(where)} frames with missed pedestrians, at detections from score {limit:.2f}: the "
        "most missed first, the lowest z first among equals."
    )


def nearest(cycle: Cycle, position: int, limit: float) -> tuple:
    """The frames of the same video that were labeled before, nearest first."""
    items = [
        item(cycle, p, limit, f"{frames(distance)} away, cycle {cycle.labeled[p]}")
        for p, distance in cycle.nearest_labeled(position)
    ]
    name = cycle.table["name"].iloc[position]
    return items, f"Labeled in cycles before this one, in the same sequence as {name}."
