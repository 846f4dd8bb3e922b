"""Pixel scores: how uncertain, or how locally inconsistent, the predicted probabilities are.

Maps are **(y, x), row first**; `level` is the axis of the detector's prediction maps, one for each
default box. Entropies are in nats, with 0·log 0 = 0 (Eq. 3 of the paper):

    H(z) = −z log z − (1 − z) log(1 − z)

Every function takes a NumPy array or a torch tensor and gives back the same kind on the same
device: float64 for float64 and integers, float32 for float32 and for half precision, which is
computed in float32. Any axes may come before the ones named. Scores carry no gradient. They are
computed on the processor in as many threads as torch has, to the same bits whatever their number.

All raise a ValueError for a probability that is NaN or outside [0, 1], with its value and its
position, for an array with too few axes, and for one without pixels.
"""

from functools import cache, partial

import numpy as np

from alkit.arrays import computing_dtype, like, to_numpy, whole


def divergence(p, radius: int = 9):
    """The paper's score: how much the predictions around a pixel diverge, summed over levels.

    p (..., level, y, x) in [0, 1] → s (..., y, x) ≥ 0, nats. With p̂ the mean of p over the
    (2·radius + 1)² window centered at the pixel (Eq. 1), it is the entropy of the mean less the
    mean of the entropy (Eq. 2), summed over the levels (Eq. 4):

        s = Σ_level  H(p̂) − mean over the window of H(p)

    At the border both means run over the pixels inside the image. Radius 0 gives exactly 0.
    Rounding that would make a score negative is clipped at 0. Windows are summed in float64: five
    float32 levels agree with the exact score to 5e-6 at worst (where every level is within 1e-7 of
    1; else to about 1e-6), float64 to 1e-12.

    `radius` is in pixels of the map; a ValueError says that it is negative or not a whole number.

    >>> p = np.array([[[0.0, 1.0, 1.0]]])  # one level of one row
    >>> divergence(p, radius=1).round(4)  # the windows' means are 1/2, 2/3 and 1
    array([[0.6931, 0.6365, 0.    ]])
    """
    return _scored(partial(_by_bands, _divergence, whole(radius, "radius")), p, ("level", "y", "x"))


def entropy(p):
    """The classical score, the entropy of each prediction: s = Σ_level H(p).

    p (..., level, y, x) in [0, 1] → s (..., y, x), nats, from 0 to levels · ln 2.

    >>> entropy(np.array([[[0.5, 0.0, 1.0]]])).round(4)
    array([[0.6931, 0.    , 0.    ]])
    """
    return _scored(partial(_by_bands, _entropy, 0), p, ("level", "y", "x"))


def mutual_information(p):
    """The score of MC dropout: how much the predictions of several passes diverge.

    p (..., pass, level, y, x) in [0, 1] → s (..., y, x) ≥ 0, nats. With p̂ the mean of p over the
    passes, it is the entropy of the mean less the mean of the entropy, summed over the levels:

        s = Σ_level  H(p̂) − mean over the passes of H(p)

    Rounding that would make a score negative is clipped at 0. One pass gives exactly 0.
    """

    def score(passes, s):
        of_mean, good = np.empty_like(s), _by_bands(_entropy, 0, passes.reshape(-1, *s.shape), s)
        _by_bands(_entropy, 0, passes.mean(axis=0, dtype=np.float64), of_mean)
        np.maximum(of_mean - s / len(passes), 0, out=s)
        return good

    return _scored(score, p, ("pass", "level", "y", "x"))


def _scored(score, p, axes):
    """A map (y, x) of each frame's maps, which have the named axes: score(maps, s) writes it into s
    and says whether all of the maps is in [0, 1]."""
    maps = to_numpy(p)
    shape = maps.shape
    if len(shape) < len(axes) or 0 in shape[-len(axes) :]:
        raise ValueError(f"p has shape {shape}; expected (..., {', '.join(axes)}) with pixels")
    s = np.empty(shape[: -len(axes)] + shape[-2:], computing_dtype(maps.dtype))
    for frame in np.ndindex(s.shape[:-2]):
        if not score(np.require(maps[frame], s.dtype, "CW"), s[frame]):
            bad = ~((maps >= 0) & (maps <= 1))
            where = np.argwhere(bad)[0].tolist()
            raise ValueError(
                f"p{where} is {float(maps[*where])}; expected probabilities in [0, 1] "
                f"({np.count_nonzero(bad)} of {bad.size} values are NaN or outside)"
            )
    return like(s, p)


def _by_bands(kernel, radius, maps, s):
    """What the kernel makes of maps (level, y, x), into s, by bands of rows that do not depend on
    the number of threads; whether all of the maps is in [0, 1]."""
    from alkit.threads import side_by_side  # which imports torch

    kernel, radius = _compiled(kernel), min(radius, max(s.shape))
    rows = max(120, 4 * radius)  # so that those around them, whose entropies it needs, are few
    bands = range(0, len(s), rows)
    return all(side_by_side(lambda y: kernel(radius, maps, y, s[y : y + rows]), bands))


@cache
def _compiled(kernel):
    """No operations are fused or ordered anew: all processors give the same bits."""
    from numba import njit  # takes longer than all of this module: not before the first score
    from numba.extending import register_jitable

    options = {"nogil": True, "error_model": "numpy"}  # numpy: a division needs no branch
    for function in (_entropy, _add_entropy, _log):
        register_jitable(**options)(function)
    try:
        return njit(cache=True, **options)(kernel)  # in __pycache__, else in the user's cache
    except RuntimeError:  # there is no folder that can be written
        return njit(**options)(kernel)


def _divergence(radius, p, first, s):
    """s (row, x) of the image's rows from `first` on, in one pass over p (level, y, x)."""
    levels, height, width = p.shape
    n, top, end = 2 * radius + 1, max(first - radius, 0), first + len(s)
    h = np.empty((min(end + radius, height) - top, width), s.dtype)  # Σ H(p), from row `top` on
    good, s[:] = _entropy(0, p, top, h), 0
    columns = np.zeros((levels + 1, n + width + radius))  # sums over the window's rows, amid zeros
    means, x = np.empty(radius + width), np.arange(-radius, width)
    across = np.minimum(x + radius, width - 1) - np.maximum(x - radius, 0) + 1  # pixels inside
    for y in range(top - radius, end):
        for row, sign in ((y + radius, 1), (y - radius - 1, -1)):  # one comes in, one leaves
            for k in range(levels + 1 if top <= row < height else 0):
                values, column = p[k, row] if k < levels else h[row - top], columns[k, n:]
                for i in range(width):
                    column[i] += sign * values[i]
        share = 1 / (across * (min(y + radius, height - 1) - max(y - radius, 0) + 1))
        for k in range(levels + 1 if y >= first else 0):
            total, column, ahead = 0.0, columns[k], columns[k, n:]
            for i in range(radius + width):  # the window slides in from the left
                total += ahead[i] - column[i]
                means[i] = total * share[i]
            if k < levels:
                _add_entropy(means[radius:], s[y - first])  # H(p̂), Eq. (1)
        for i in range(width if y >= first else 0):  # one window for Σ H(p): the mean is linear
            s[y - first, i] = max(s[y - first, i] - means[radius + i], 0) if radius > 0 else 0
    return good


def _entropy(_, p, first, h):
    """h (row, x) = Σ_level H(p) of the rows of p (level, y, x) from `first` on."""
    good = True
    for y in range(len(h)):
        h[y] = 0
        for k in range(len(p)):
            good &= _add_entropy(p[k, first + y], h[y])
    return good


def _add_entropy(z, total):
    """Add H(z) to `total` (x,). z and 1 − z have one entropy: the smaller one, w, keeps the digits
    of both. A mean may end a rounding outside [0, 1]; the result is whether all z are inside."""
    good, w, real, whole = True, np.empty(len(z), total.dtype), total.dtype.type, z.dtype.type(1)
    for x in range(len(z)):
        good &= (z[x] >= whole - whole) & (z[x] <= whole)
        w[x] = max(min(z[x], whole - z[x]), whole - whole)
    one, tiny = real(1), np.finfo(total.dtype).tiny  # tiny: 0·log 0 = 0
    for x in range(len(z)):
        total[x] -= w[x] * _log(w[x] + tiny, real) + (one - w[x]) * _log(one - w[x], real)
    return good


def _log(x, real):
    """log x, x > 0, to its last digits, by steps that a processor can do for many x at a time:
    x = 2^e · m, m from √½, 0x3F3504F3, to √2; log m = 2r + 2r³/3 + …, r = (m − 1) / (m + 1)."""
    e = np.int32(np.int32(np.float32(x).view(np.int32) - np.int32(0x3F3504F3)) >> 23)
    m = x * np.int32(np.int32(127 - e) << 23).view(np.float32)
    r = (m - real(1)) / (m + real(1))
    series = real(0)
    for k in range(4 if np.finfo(real).bits == 32 else 10, -1, -1):
        series = series * (r * r) + real(2 / (2 * k + 1))
    return real(e) * real(np.log(2)) + r * series
