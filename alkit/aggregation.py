"""From a map of pixel scores to one score for the image (Eq. 5 of the paper).

Maps are **(y, x), row first**. NumPy, torch and dask arrays are taken, and the same kind comes
back; a dask array stays lazy. The dtype is kept, except that half precision becomes float32 and
integers float64.

NaN marks pixels that are not scored, as in a map that is not finished: a region with a NaN has
the maximum NaN, and an image with such a region has the score NaN, which selection takes as
unscored.
"""

import operator

import numpy as np

from alkit.arrays import computing_dtype, is_torch, like, to_numpy

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

    Raises ValueError for a region that is not a whole number of 1 or more, an unknown grid, and an
    array without pixels.
    """
    s, region = _checked(s, region, grid)
    if _is_dask(s):
        s = s.rechunk({s.ndim - 2: -1, s.ndim - 1: -1})
        regions = tuple((-(-size // region),) for size in s.shape[-2:])
        return s.map_blocks(
            region_maxima,
            region,
            grid,
            dtype=computing_dtype(s.dtype),
            chunks=s.chunks[:-2] + regions,
            meta=np.empty((0,) * s.ndim, computing_dtype(s.dtype)),
        )
    if is_torch(s) and s.is_cuda:
        return _region_maxima_in_torch(s, region, grid)
    maps = to_numpy(s)
    (top, bottom), (left, right) = (_extent(size, region, grid) for size in maps.shape[-2:])
    rows, columns = np.arange(top, bottom, region), np.arange(left, right, region)
    maps = maps[..., :bottom, :right]  # what lies beyond is in no window
    maps = np.maximum.reduceat(maps, rows.clip(min=0), axis=-2)
    maps = np.maximum.reduceat(maps, columns.clip(min=0), axis=-1)
    return like(maps.astype(computing_dtype(maps.dtype), copy=False), s)


def image_score(s, region: int = 30, how: str = "max", grid: str = "tiles"):
    """One score for each image: s (..., y, x) → z (...).

    `how="max"` is Eq. (5), the mean over all regions of the region's largest score; a partial
    region counts as much as a whole one, and `grid` is that of `region_maxima`. The others take all
    pixels, and no notice of `region` and `grid`: "mean", the paper's ablation; and what the
    released code offers beside it: "sum", "percentile", the 90th, between two pixels linearly, and
    "top_mean", the mean over the highest 90 % of the pixels, ⌊0.9 · n⌋ of them. Means and sums are
    taken in float64. Raises ValueError for another `how` and where `region_maxima` does.
    """
    if how not in HOW:
        raise ValueError(f"how is {how!r}; one of {', '.join(map(repr, HOW))} is wanted")
    s, region = _checked(s, region, grid)
    if _is_dask(s):
        s = s.rechunk({s.ndim - 2: -1, s.ndim - 1: -1})
        dtype = computing_dtype(s.dtype)
        return s.map_blocks(
            image_score,
            region,
            how,
            grid,
            dtype=dtype,
            drop_axis=[s.ndim - 2, s.ndim - 1],
            meta=np.empty((0,) * (s.ndim - 2), dtype),
        )
    if is_torch(s) and s.is_cuda and how in ("max", "mean"):
        values = _region_maxima_in_torch(s, region, grid) if how == "max" else _floating(s)
        return values.double().mean((-2, -1)).to(values.dtype)
    values = to_numpy(s) if how != "max" else region_maxima(to_numpy(s), region, grid)
    none = 0 in values.shape[:-2]
    z = np.zeros(values.shape[:-2]) if none else _AGGREGATIONS[how](values)
    return like(np.asarray(z, computing_dtype(values.dtype)), s)


def _mean(values):
    return values.mean(axis=(-2, -1), dtype=np.float64)


def _top_mean(values, share=0.9):
    pixels = values.reshape(*values.shape[:-2], -1)
    lowest = pixels.shape[-1] - max(1, int(share * pixels.shape[-1]))
    return np.partition(pixels, lowest, axis=-1)[..., lowest:].mean(axis=-1, dtype=np.float64)


_AGGREGATIONS = {
    "max": _mean,  # of the regions' maxima
    "mean": _mean,
    "sum": lambda values: values.sum(axis=(-2, -1), dtype=np.float64),
    "percentile": lambda values: np.percentile(values, 90, axis=(-2, -1)),
    "top_mean": _top_mean,
}


def region_edges(size: int, region: int = 30, grid: str = "tiles") -> np.ndarray:
    """Where the regions along a side of `size` pixels begin, and where the last one ends, int64
    (regions + 1,), cut at the border of the map."""
    first, end = _extent(size, region, grid)
    return np.append(np.arange(first, end, region), end).clip(0, size)


def _extent(size, region, grid):
    """Where the windows of a row of `size` pixels begin and end: every `region` pixels from the
    first of the two, which may lie before the row, up to the second, which may lie after it."""
    regions = -(-size // region)
    first = -(region // 2) if grid == "sampled" else 0
    return first, first + regions * region


def _region_maxima_in_torch(s, region, grid):
    from torch.nn.functional import pad

    s = _floating(s)
    height, width = s.shape[-2:]
    (top, bottom), (left, right) = (_extent(size, region, grid) for size in (height, width))
    # A negative padding crops what lies in no window.
    padding = (-left, right - width, -top, bottom - height)
    windows = pad(s, padding, value=-float("inf"))
    rows, columns = (bottom - top) // region, (right - left) // region
    return windows.unflatten(-1, (columns, region)).unflatten(-3, (rows, region)).amax((-3, -1))


def _floating(s):
    s = s.detach()
    return s.float() if s.is_floating_point() and s.dtype.itemsize <= 4 else s.double()


def _is_dask(s):
    return type(s).__module__.partition(".")[0] == "dask"


def _checked(s, region, grid):
    if grid not in GRIDS:
        raise ValueError(f"grid is {grid!r}; one of {', '.join(map(repr, GRIDS))} is wanted")
    s = s if is_torch(s) or _is_dask(s) else np.asarray(s)
    if s.ndim < 2 or 0 in s.shape[-2:]:
        raise ValueError(f"score maps have shape {tuple(s.shape)}; (..., y, x) with pixels wanted")
    try:
        whole = operator.index(region)
    except TypeError:
        raise ValueError(f"region is {region!r}; a whole number of pixels is wanted") from None
    if whole < 1:
        raise ValueError(f"region is {whole}; 1 pixel or more is wanted")
    return s, whole
