"""From a map of pixel scores to one score for the image (Eq. 5 of the paper).

Maps are **(y, x), row first**. NumPy, torch and dask arrays are taken, and the same kind comes
back; a dask array stays lazy. The dtype is kept, except that half precision becomes float32 and
integers float64.

NaN marks pixels that are not scored, as in a map that is not finished: a region with a NaN has
the maximum NaN, and an image with a NaN has the score NaN, which selection takes as unscored.
"""

import operator

import numpy as np

from alkit.arrays import computing_dtype, is_torch, like, to_numpy

HOW = ("max", "mean")


def region_maxima(s, region: int = 30):
    """The largest score in each region × region tile: s (..., y, x) → (..., row, column).

    Tiles do not overlap and start at the top left; partial tiles at the right and bottom count as
    regions. 480 × 640 pixels in tiles of 30 give 16 × 22 = 352. A region larger than the map is
    one partial tile. Raises ValueError for a region that is not a whole number of 1 or more, and
    for an array without pixels.
    """
    s, region = _checked(s, region)
    if _is_dask(s):
        s = s.rechunk({s.ndim - 2: -1, s.ndim - 1: -1})
        tiles = tuple((-(-size // region),) for size in s.shape[-2:])
        return s.map_blocks(
            region_maxima,
            region,
            dtype=computing_dtype(s.dtype),
            chunks=s.chunks[:-2] + tiles,
            meta=np.empty((0,) * s.ndim, computing_dtype(s.dtype)),
        )
    if is_torch(s) and s.is_cuda:
        return _region_maxima_in_torch(s, region)
    maps = to_numpy(s)
    maps = maps.astype(computing_dtype(maps.dtype), copy=False)
    for axis in (-2, -1):
        starts = np.arange(0, maps.shape[axis], region)
        maps = np.maximum.reduceat(maps, starts, axis=axis)
    return like(maps, s)


def image_score(s, region: int = 30, how: str = "max"):
    """One score for each image: s (..., y, x) → z (...).

    `how="max"` is Eq. (5), the mean over all regions of the region's largest score; a partial
    region counts as much as a whole one. `how="mean"` is the paper's ablation, the plain mean over
    all pixels, and takes no notice of `region`. Means are taken in float64. Raises ValueError for
    another `how` and where `region_maxima` does.
    """
    if how not in HOW:
        raise ValueError(f"how is {how!r}; one of {', '.join(map(repr, HOW))} is wanted")
    s, region = _checked(s, region)
    if _is_dask(s):
        s = s.rechunk({s.ndim - 2: -1, s.ndim - 1: -1})
        dtype = computing_dtype(s.dtype)
        return s.map_blocks(
            image_score,
            region,
            how,
            dtype=dtype,
            drop_axis=[s.ndim - 2, s.ndim - 1],
            meta=np.empty((0,) * (s.ndim - 2), dtype),
        )
    if is_torch(s) and s.is_cuda:
        values = _region_maxima_in_torch(s, region) if how == "max" else _floating(s)
        return values.double().mean((-2, -1)).to(values.dtype)
    values = region_maxima(to_numpy(s), region) if how == "max" else to_numpy(s)
    z = values.mean(axis=(-2, -1), dtype=np.float64)
    return like(np.asarray(z, computing_dtype(values.dtype)), s)


def _region_maxima_in_torch(s, region):
    from torch.nn.functional import pad

    s = _floating(s)
    rows, columns = (-(-size // region) for size in s.shape[-2:])
    padding = (0, columns * region - s.shape[-1], 0, rows * region - s.shape[-2])
    tiles = pad(s, padding, value=-float("inf"))
    return tiles.unflatten(-1, (columns, region)).unflatten(-3, (rows, region)).amax((-3, -1))


def _floating(s):
    s = s.detach()
    return s.float() if s.is_floating_point() and s.dtype.itemsize <= 4 else s.double()


def _is_dask(s):
    return type(s).__module__.partition(".")[0] == "dask"


def _checked(s, region):
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
