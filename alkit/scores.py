"""Pixel scores: how uncertain, or how locally inconsistent, the predicted probabilities are.

Maps are **(y, x), row first**; `level` is the axis of the detector's prediction maps, one for each
default box. Entropies are in nats, with 0·log 0 = 0 (Eq. 3 of the paper):

    H(z) = −z log z − (1 − z) log(1 − z)

Every function takes a NumPy array or a torch tensor and gives back the same kind on the same
device: float64 for float64 and integers, float32 for float32 and for half precision, which is
computed in float32. Any axes may come before the ones named. Scores carry no gradient and are
computed on the processor.

All raise a ValueError for a probability that is NaN or outside [0, 1], with its value and its
position, for an array with too few axes, and for one without pixels.
"""

import cv2
import numpy as np

from alkit.arrays import computing_dtype, is_torch, like, to_numpy, whole

# Pixels in one step of the entropy: few enough for its temporaries to stay near the processor, many
# enough for threads that score a frame each not to wait for Python's lock between the steps.
BLOCK = 1 << 17


def divergence(p, radius: int = 9):
    """The paper's score: how much the predictions around a pixel diverge, summed over levels.

    p (..., level, y, x) in [0, 1] → s (..., y, x) ≥ 0, nats. With p̂ the mean of p over the
    (2·radius + 1)² window centered at the pixel (Eq. 1), it is the entropy of the mean less the
    mean of the entropy (Eq. 2), summed over the levels (Eq. 4):

        s = Σ_level  H(p̂) − mean over the window of H(p)

    At the border both means run over the pixels inside the image. Radius 0 gives exactly 0.
    Rounding that would make a score negative is clipped at 0. Windows are summed in float64 and
    then rounded to the dtype of the result: five float32 levels agree with the exact score to
    5e-6 at worst (where every level is within 1e-7 of 1; else to about 1e-6), float64 to 1e-12.

    `radius` is in pixels; a ValueError says that it is negative or not a whole number.

    >>> p = np.array([[[0.0, 1.0, 1.0]]])  # one level of one row
    >>> divergence(p, radius=1).round(4)  # the windows' means are 1/2, 2/3 and 1
    array([[0.6931, 0.6365, 0.    ]])
    """
    radius = whole(radius, "radius")

    def score(levels):  # (level, y, x)
        window = Window(radius, levels[0])
        entropy_of_mean = _entropy(map(window.sum, levels), count=window.count)
        # the mean is linear: one window serves the entropies of all levels
        mean_of_entropy = window.mean(_entropy(levels))
        return entropy_of_mean - mean_of_entropy

    return _scored(score if radius > 0 else lambda levels: 0, p, ("level", "y", "x"))


def entropy(p):
    """The classical score, the entropy of each prediction: s = Σ_level H(p).

    p (..., level, y, x) in [0, 1] → s (..., y, x), nats, from 0 to levels · ln 2.

    >>> entropy(np.array([[[0.5, 0.0, 1.0]]])).round(4)
    array([[0.6931, 0.    , 0.    ]])
    """
    return _scored(_entropy, p, ("level", "y", "x"))


def mutual_information(p):
    """The score of MC dropout: how much the predictions of several passes diverge.

    p (..., pass, level, y, x) in [0, 1] → s (..., y, x) ≥ 0, nats. With p̂ the mean of p over the
    passes, it is the entropy of the mean less the mean of the entropy, summed over the levels:

        s = Σ_level  H(p̂) − mean over the passes of H(p)

    Rounding that would make a score negative is clipped at 0. One pass gives exactly 0.
    """

    def score(passes):  # (pass, level, y, x)
        n, s = len(passes), np.zeros(passes.shape[2:], passes.dtype)
        for level in passes.swapaxes(0, 1) if n > 1 else ():
            _add_entropy(level.sum(axis=0, dtype=np.float64), s, count=n)  # of the mean
            s -= _entropy(level) / n  # their mean
        return s

    return _scored(score, p, ("pass", "level", "y", "x"))


def _scored(score, p, axes):
    """score(maps) of each frame's maps, which have the named axes, clipped at 0."""
    maps = to_numpy(_checked(p, axes))
    dtype = computing_dtype(maps.dtype)
    s = np.empty(maps.shape[: -len(axes)] + maps.shape[-2:], dtype)
    for frame in np.ndindex(s.shape[:-2]):
        np.maximum(score(maps[frame].astype(dtype, copy=False)), 0, out=s[frame])
    return like(s, p)


def _entropy(maps, count=None):
    """Σ H(map / count) of several maps (y, x): (y, x)."""
    total = None
    for sums in maps:
        total = np.zeros(sums.shape, sums.dtype) if total is None else total
        _add_entropy(sums, total, count)
    return total


def _add_entropy(sums, total, count=None):
    """Add H(p) to `total` (y, x), in its dtype; p = sums / count, or p = sums without a count.

    1 − p is taken as (count − sums) / count: rounding p first would cost digits near 1, where the
    entropy is steep.
    """
    tiny = np.finfo(total.dtype).tiny  # so that 0·log 0 = 0; lost in rounding anywhere else
    sums, total = sums.reshape(-1), total.reshape(-1)
    counts = np.asarray(1 if count is None else count, sums.dtype).reshape(-1)
    counts = np.broadcast_to(counts, sums.shape)
    z_buffer, log_buffer = np.empty((2, 2, min(BLOCK, sums.size)), total.dtype)
    for start in range(0, sums.size, BLOCK):
        block = slice(start, start + BLOCK)
        n = sums[block].size
        z, log = z_buffer[:, :n], log_buffer[:, :n]  # two rows: p and 1 − p
        z[0] = sums[block]
        np.subtract(counts[block], sums[block], out=z[1], casting="same_kind")
        if count is not None:
            z /= counts[block]
            np.abs(z, out=z)  # a running sum can end a rounding below zero
        np.add(z, tiny, out=log)
        log = cv2.log(log, log)  # twice as fast as NumPy's, as precise
        log *= z
        total[block] -= log[0]
        total[block] -= log[1]


class Window:
    """The square window of one radius on maps like `a` (y, x), cut at the border; `count` (y, x)
    are its pixels inside."""

    def __init__(self, radius, a):
        # A window wider than the map sees all of it, wherever it is centered.
        ry, rx = (min(radius, size - 1) for size in a.shape)
        self.size = (2 * rx + 1, 2 * ry + 1)  # OpenCV's order: width, height
        self.count, self._sum = np.empty((2, *a.shape), a.dtype)
        self.count[:] = np.outer(_pixels_inside(ry, a.shape[0]), _pixels_inside(rx, a.shape[1]))

    def mean(self, a):
        """The mean of `a` (y, x) over the window around each pixel."""
        return self.sum(a) / self.count

    def sum(self, a):
        """The sum of `a` (y, x) over the window around each pixel, accumulated in float64. The
        next call writes into the same array."""
        return cv2.boxFilter(
            np.ascontiguousarray(a),
            -1,  # the result has the dtype of the input
            self.size,
            dst=self._sum,
            normalize=False,
            borderType=cv2.BORDER_CONSTANT,  # zeros: only pixels inside the image add to the sum
        )


def _pixels_inside(radius, size):
    """How many of the 2·radius + 1 pixels around each of `size` pixels in a row are inside it."""
    i = np.arange(size)
    return np.minimum(i + radius, size - 1) - np.maximum(i - radius, 0) + 1


def _checked(p, axes):
    """`p` as an array, after a look at its shape and at the range of its values."""
    p = p if is_torch(p) else np.asarray(p)
    shape = tuple(p.shape)
    if len(shape) < len(axes) or 0 in shape[-len(axes) :]:
        raise ValueError(f"p has shape {shape}; expected (..., {', '.join(axes)}) with pixels")
    if 0 not in shape and not (p.min() >= 0 and p.max() <= 1):  # not: NaN compares false
        bad = to_numpy(~((p >= 0) & (p <= 1)))
        where = tuple(map(int, np.unravel_index(np.argmax(bad), shape)))
        raise ValueError(
            f"p{list(where)} is {float(p[where])}; expected probabilities in [0, 1] "
            f"({np.count_nonzero(bad)} of {bad.size} values are NaN or outside)"
        )
    return p
