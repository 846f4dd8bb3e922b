"""The galleries below the frame: small pictures with words, and a sentence about them all."""

import contextlib
from html import escape

import cv2
import matplotlib
import numpy as np
import pandas as pd

from alkit import aggregation
from alkit.data.imagefile import jpeg
from alkit.frames import fit_factor
from alkit.pages import drawing, matching
from alkit.pages.explorer.cycle import Cycle, Unavailable, frames
from alkit.pages.matching import LTWH
from alkit.text import number

SHOWN = 24  # pictures on one page
NEAREST = 6  # labeled frames
WIDTH = 240  # pixels of a picture; at most twice as high
DRAWN = matching.FALSE, matching.FOUND, matching.MISSED, matching.UNSEEN
RANKED = HIGHEST, CHOSEN, PASSED = "highest ranked", "chosen", "passed over by the rules"
TILES = {
    "tiles": None,
    "tiles: true positive": matching.HIT,
    "tiles: false positive": matching.FALSE,
    "tiles: false negative": matching.MISSED,
}
BLIND, LABELED = "blind spots", "nearest labeled"
GALLERIES = (*RANKED, *TILES, BLIND, LABELED)


def item(cycle: Cycle, position: int, limit: float, text: str) -> dict:
    """A frame under its score map, with the boxes of score ≥ `limit`."""
    image = cycle.pool.images(position)
    factor = min(1.0, fit_factor(image.shape[:2], (2 * WIDTH, WIDTH)))
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    with contextlib.suppress(Unavailable):
        scores = cycle.scores(position)
        high = cycle.highest or float(scores.max()) or 1.0
        scores = cv2.resize(scores, size, interpolation=cv2.INTER_AREA)
        small = drawing.under_scores(small, scores, high)
    boxes = cycle.matched(position, limit)
    for kind in DRAWN:
        own = boxes.loc[boxes["kind"] == kind, LTWH].to_numpy()
        _draw(small, own * factor, matching.COLORS[kind])
    mark = cycle.table["name"][position]
    return {"position": position, "image": jpeg(small), "mark": mark, "text": text}


def _draw(image: np.ndarray, boxes, color: str):
    rgb = [round(255 * share) for share in matplotlib.colors.to_rgb(color)]
    for left, top, width, height in boxes:
        corners = (round(left), round(top)), (round(left + width) - 1, round(top + height) - 1)
        cv2.rectangle(image, *corners, rgb, 1)


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
    rank, chosen = cycle.table["rank"], cycle.table["order"] > 0
    passed = ~chosen & rank.between(1, rank[chosen].max())
    wanted = {HIGHEST: chosen | passed, CHOSEN: chosen, PASSED: passed}[which]
    order = rank[wanted].sort_values(kind="stable").index
    pages = max(1, -(-len(order) // most))
    page = min(page, pages)
    shown = order[(page - 1) * most : page * most].tolist()
    return [item(cycle, p, limit, cycle.reason(p)) for p in shown], (
        f"{len(order)} frames, highest first; page {page} of {pages}. {chosen.sum()} were chosen, "
        f"{passed.sum()} ranked higher than the last of them were passed over by the rules."
    )


def tiles(cycle: Cycle, name: str, matched: pd.DataFrame | None = None) -> tuple:
    """The regions of highest score of the cycle: all of them, or those that hold the center of a
    hit, of a false detection, of a missed pedestrian, as `TILES` names them; `matched` are the
    detections and labeled boxes of all frames."""
    region, kind = cycle.tried[1], TILES[name]
    grid, size = cycle.numbers.region_grid, cycle.numbers.image_size
    rows, columns = (aggregation.region_edges(side, region, grid) for side in size)
    held = None if kind is None else matched[matched["kind"] == kind]
    found = highest_regions(cycle.region_maxima, cycle.positions, rows, columns, held, SHOWN)
    items = []
    for score, k, row, column in found:
        position, (top, bottom) = int(cycle.positions[k]), rows[row : row + 2]
        left, right = columns[column : column + 2]
        y, x = max(0, top - region), max(0, left - region)
        image = cycle.pool.images(position)[y : bottom + region, x : right + region].copy()
        _draw(image, [[left - x, top - y, right - left, bottom - top]], "white")
        text = f"{cycle.table['name'][position]}, row {row}, column {column}"
        mark = f"{number(score)} nats"
        items.append({"position": position, "image": jpeg(image), "mark": mark, "text": text})
    what = "all regions" if kind is None else f"regions with the center of a {name[7:]}"
    return items, f"The highest scores of {what} in the cycle (white), with one region around."


def highest_regions(maxima, positions, rows, columns, held, most: int) -> list:
    """The regions of highest score, [(score, frame, row, column)], highest first, at most so many;
    with boxes `held`, as `matching.match` gives them, those alone that hold the center of one.

    `maxima` is (frame, row, column), `positions` (frame,) ascending; `rows` and `columns` are the
    regions' edges in pixels.
    """
    maxima, wanted = np.asarray(maxima, np.float32), np.ones(maxima.shape, bool)
    if held is not None:
        at = held["position"]
        row = np.searchsorted(rows, held["top"] + held["height"] / 2, side="right") - 1
        column = np.searchsorted(columns, held["left"] + held["width"] / 2, side="right") - 1
        inside = at.isin(positions) & (row >= 0) & (column >= 0)
        inside &= (row < maxima.shape[1]) & (column < maxima.shape[2])
        wanted[:] = False
        wanted[np.searchsorted(positions, at[inside]), row[inside], column[inside]] = True
    where = np.argwhere(wanted)
    values = maxima[wanted]
    order = np.argsort(-values, kind="stable")[:most]
    return [(float(values[k]), *where[k].tolist()) for k in order]


def blind_spots(cycle: Cycle, matched: pd.DataFrame, limit: float, most: int = SHOWN) -> tuple:
    """The frames with missed pedestrians: the most missed first, among equals the lowest z."""
    missed = matched.loc[matched["kind"] == matching.MISSED, "position"].value_counts()
    found = cycle.table[["z"]].assign(missed=missed).dropna()
    found = found.sort_values(["missed", "z"], ascending=[False, True])
    return [
        item(cycle, p, limit, f"{n:.0f} missed, z {number(z)} nats")
        for p, z, n in found.head(most).itertuples()
    ], (
        f"{len(found)} frames with missed pedestrians, at detections from score {number(limit)}: "
        "the most missed first, the lowest z first among equals."
    )


def nearest(cycle: Cycle, position: int, limit: float) -> tuple:
    """The frames of the same video that were labeled before, nearest first."""
    items = [
        item(cycle, p, limit, f"{frames(distance)} away, cycle {cycle.labeled[p]}")
        for p, distance in cycle.near(position, list(cycle.labeled))[:NEAREST]
    ]
    name = cycle.table["name"][position]
    return items, f"Labeled in cycles before this one, in the same sequence as {name}."
