"""What lies over the image, and what is said of the frame."""

from html import escape

import numpy as np

from alkit import aggregation, scores
from alkit.pages.explorer import reasons
from alkit.pages.explorer.frame import LEVELS
from alkit.pages.explorer.reading import Opened

LAYERS = ("score", "regions", "divergence", "entropy", *LEVELS, "none")


def values(layer: str, p: np.ndarray, score: np.ndarray, radius: int) -> np.ndarray:
    """The map (y, x) of a layer, from a frame's probabilities (5, y, x) and its score (y, x)."""
    if layer in LEVELS:
        return p[LEVELS.index(layer)]
    if layer == "divergence":
        return scores.divergence(p, radius)
    if layer == "entropy":
        return scores.entropy(p)
    return score


def scale(layer: str, opened: Opened, shown: np.ndarray) -> tuple[float, str]:
    """What the brightest colour stands for, and the title of the scale. Scores have one scale for
    all frames of a cycle."""
    if layer in LEVELS:
        return 1.0, f"probability {layer}"
    if layer in ("divergence", "entropy"):
        return float(shown.max()), f"{layer} (nats)"
    return opened.highest or float(shown.max()), "score (nats)"


def regions(opened: Opened, score: np.ndarray, region: int) -> tuple:
    """The region maxima (row, column) of a score map, and the edges of rows and columns."""
    numbers = opened.run.numbers(opened.cycle)
    maxima = aggregation.region_maxima(score, region, numbers.region_grid)
    return maxima, *edges(opened, region)


def region_map(opened: Opened, score: np.ndarray, region: int) -> np.ndarray:
    """The region maxima drawn out over their regions (y, x); NaN where no region lies."""
    maxima, rows, columns = regions(opened, score, region)
    drawn = np.full(score.shape, np.nan, np.float32)
    spread = np.repeat(np.repeat(maxima, np.diff(rows), 0), np.diff(columns), 1)
    drawn[rows[0] : rows[-1], columns[0] : columns[-1]] = spread
    return drawn


def edges(opened: Opened, region: int) -> tuple:
    """The borders of the regions in pixels, of rows and of columns."""
    numbers = opened.run.numbers(opened.cycle)
    return tuple(
        aggregation.region_edges(side, region, numbers.region_grid) for side in numbers.image_size
    )


def describe(opened: Opened, position: int, said: str) -> str:
    """What is known of a frame, as HTML; `said` is what could not be shown."""
    row = opened.table.iloc[position]
    words = [f"<b>{escape(row['name'])}</b>"]
    if opened.pool.sequence is not None:
        words.append(f"sequence {escape(row['sequence'])}, frame {row['frame']:g}")
    if np.isfinite(row["z"]):
        words.append(f"z {row['z']:.5f} nats")
    if opened.run.strategy.score is not None and np.isfinite(row["ranked_by"]):
        words.append(f"ranked by {row['ranked_by']:.5f} nats")
    words.append(escape(reasons.sentence(opened, position)))
    if said:
        words.append(f"<i>{escape(said)}</i>")
    return " · ".join(words)
