"""From a map of pixel scores to one score for the image (Eq. 5 of the paper).

Maps are **(y, x), row first**. NumPy arrays and torch tensors are taken, and the same kind comes
back. The dtype is kept, except that half precision becomes float32 and integers float64.

NaN marks pixels that are not scored, as in a map that is not finished: a region with one has the
maximum NaN, and an image with such a region the score NaN, which selection takes as unscored.
"""

import math

import numpy as np

from alkit.arrays import computing_dtype, like, to_numpy, whole

HOW = ("max", "mean", "sum", "percentile", "top_mean")
GRIDS = ("tiles", "sampled")


def region_maxima(s, region: int = 30, grid: str = "tiles"):
    """The largest score in each region × region window: s (..., y, x) → (..., row, column).

    `grid="tiles"` is the paper's: windows that do not overlap and start at the top left; partial
    ones at the right and bottom count as regions. 480 × 640 pixels in tiles of 30 give 16 × 22 =
    352. A region larger than the map is one partial tile.

    `grid="sampled"` is the released code's, SciPy's `maximum_filter(s, region)[::region,
    ::region]`: around every region-th pixel i from the first the window
    [i − region // 2, i + (region − 1) // 2], cut at the border; for 30, [i − 15, i + 14]. So these
    are tiles as well, as many as the paper's but shifted: the first is 0 … 14, then 15 … 44, and
    the last ends 14 pixels after the last sampled one: of 480 rows, the last 15 lie in no window.

    Raises ValueError for a region that is no whole number ≥ 1, an unknown grid, and no pixels.

    >>> s = np.arange(16).reshape(4, 4)
    >>> region_maxima(s, region=2)
    array([[ 5.,  7.],
           [13., 15.]])
    >>> region_maxima(s, region=3)  # with partial regions at the right and bottom
    array([[10., 11.],
           [14., 15.]])
    """
    maps, region = _maps(s), whole(region, "region", least=1)
    (top, bottom), (left, right) = (_extent(size, region, grid) for size in maps.shape[-2:])
    rows, columns = np.arange(top, bottom, region), np.arange(left, right, region)
    maps = maps[..., :bottom, :right]  # what lies beyond is in no window
    bands = np.split(maps, rows[1:], axis=-2)  # many times as fast as reduceat along this axis
    maps = np.stack([band.max(axis=-2) for band in bands], axis=-2)
    maps = np.maximum.reduceat(maps, columns.clip(min=0), axis=-1)
    return like(maps.astype(computing_dtype(maps.dtype), copy=False), s)


def image_score(s, region: int = 30, how: str = "max", grid: str = "tiles"):
    """One score for each image: s (..., y, x) → z (...).

    `how="max"` is Eq. (5), the mean over all regions of the region's largest score; a partial
    region counts as much as a whole one, and `grid` is that of `region_maxima`. The others take all
    pixels, and no notice of `region` and `grid`: "mean", the paper's ablation; and what the
    released code offers beside it: "sum", "percentile", the 90th, between two pixels linearly, and
    "top_mean", the mean over the highest ⌊0.9 · n⌋ pixels. Means and sums are taken in float64.

    Raises ValueError for another `how`, no pixels, and, for "max", where `region_maxima` does.

    >>> image_score(np.arange(16).reshape(4, 4), region=2)  # the mean of 5, 7, 13 and 15
    array(10.)
    """
    if how not in HOW:
        raise ValueError(f"how is {how!r}; expected one of {', '.join(map(repr, HOW))}")
    values = _maps(s) if how != "max" else region_maxima(_maps(s), region, grid)
    pixels = values.reshape(*values.shape[:-2], math.prod(values.shape[-2:]))
    if how == "sum":
        z = pixels.sum(axis=-1, dtype=np.float64)
    elif how == "percentile":
        z = np.percentile(pixels, 90, axis=-1) if pixels.size else pixels[..., 0]
    else:
        if how == "top_mean":
            lowest = pixels.shape[-1] - max(1, int(0.9 * pixels.shape[-1]))
            pixels = np.partition(pixels, lowest, axis=-1)[..., lowest:]
        z = pixels.mean(axis=-1, dtype=np.float64)
    return like(np.asarray(z, computing_dtype(values.dtype)), s)


def region_edges(size: int, region: int = 30, grid: str = "tiles") -> np.ndarray:
    """Where the regions along a side of `size` pixels begin, and where the last one ends, int64
    (regions + 1,), cut at the border of the map."""
    first, end = _extent(size, region, grid)
    return np.append(np.arange(first, end, region), end).clip(0, size)


def _extent(size, region, grid):
    """Where the windows of a row of `size` pixels begin and end: every `region` pixels from the
    first of the two, which may lie before the row, up to the second, which may lie after it."""
    if grid not in GRIDS:
        raise ValueError(f"grid is {grid!r}; expected one of {', '.join(map(repr, GRIDS))}")
    regions = -(-size // region)
    first = -(region // 2) if grid == "sampled" else 0
    return first, first + regions * region


def _maps(s):
    """`s` as a NumPy array (..., y, x) with pixels."""
    maps = to_numpy(s)
    if maps.ndim < 2 or 0 in maps.shape[-2:]:
        raise ValueError(f"score maps have shape {maps.shape}; expected (..., y, x) with pixels")
    return maps
