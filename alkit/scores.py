"""Pixel scores: how uncertain, or how locally inconsistent, the predicted probabilities are.

Maps are **(y, x), row first**; `level` is the axis of the detector's prediction maps, one for each
default box. Entropies are in nats, with 0·log 0 = 0 (Eq. 3 of the paper):

    H(z) = −z log z − (1 − z) log(1 − z)

Every function takes a NumPy array or a torch tensor and gives back the same kind on the same
device: float64 for float64 and integers, float32 for float32 and for half precision, which is
computed in float32. Any axes may come before the ones named. Scores carry no gradient.

All raise a ValueError for a probability that is NaN or outside [0, 1], with its value and its
position, for an array with too few axes, and for one without pixels.
"""

import math
import operator

import cv2
import numpy as np

from alkit.arrays import computing_dtype, is_torch, like, to_numpy

# Pixels in one step of the entropy: few enough for its temporaries to stay near the processor, many
# enough for threads that score a frame each not to wait for Python's lock between the steps.
BLOCK = 1 << 17


def divergence(p, radius: int = 9):
    """The paper's score: how much the predictions around a pixel diverge, summed over levels.

    p (..., level, y, x) in [0, 1] → s (..., y, x) ≥ 0, nats. With p̂ the mean of p over the
    (2·radius + 1)² window centred at the pixel (Eq. 1), it is the entropy of the mean less the
    mean of the entropy (Eq. 2), summed over the levels (Eq. 4):

        s = Σ_level  H(p̂) − mean over the window of H(p)

    At the border both means run over the pixels inside the image. Radius 0 gives exactly 0.
    Rounding that would make a score negative is clipped at 0. Windows are summed in float64 and
    then rounded to the dtype of the result: five float32 levels agree with the exact score to
    5e-6 at worst (where every level is within 1e-7 of 1; else to about 1e-6), float64 to 1e-12.

    `radius` is in pixels; a ValueError says that it is negative or not a whole number.
    """
    p = _checked(p, ("level", "y", "x"))
    radius = _checked_radius(radius)
    if is_torch(p) and p.is_cuda:
        return _divergence_in_torch(p, radius)
    maps = to_numpy(p)
    frames, scores = _frames_and_scores(maps, 3)
    if radius > 0:
        window = _Window(radius, *maps.shape[-2:], scores.dtype)
        for frame, s in zip(frames, scores, strict=True):
            _divergence_of_frame(frame.astype(s.dtype, copy=False), window, s)
    return like(scores.reshape(maps.shape[:-3] + maps.shape[-2:]), p)


def entropy(p):
    """The classical score, the entropy of each prediction: s = Σ_level H(p).

    p (..., level, y, x) in [0, 1] → s (..., y, x), nats, from 0 to levels · ln 2.
    """
    p = _checked(p, ("level", "y", "x"))
    if is_torch(p) and p.is_cuda:
        return _entropy_in_torch(p)
    maps = to_numpy(p)
    frames, scores = _frames_and_scores(maps, 3)
    for frame, s in zip(frames, scores, strict=True):
        for level in frame:
            _add_entropy(level.astype(s.dtype, copy=False), s)
    return like(scores.reshape(maps.shape[:-3] + maps.shape[-2:]), p)


def mutual_information(p):
    """The score of MC dropout: how much the predictions of several passes diverge.

    p (..., pass, level, y, x) in [0, 1] → s (..., y, x) ≥ 0, nats. With p̂ the mean of p over the
    passes, it is the entropy of the mean less the mean of the entropy, summed over the levels:

        s = Σ_level  H(p̂) − mean over the passes of H(p)

    Rounding that would make a score negative is clipped at 0. One pass gives exactly 0.
    """
    p = _checked(p, ("pass", "level", "y", "x"))
    if is_torch(p) and p.is_cuda:
        return _mutual_information_in_torch(p)
    maps = to_numpy(p)
    frames, scores = _frames_and_scores(maps, 4)
    passes = maps.shape[-4]
    for frame, s in zip(frames, scores, strict=True):
        for level in frame.swapaxes(0, 1) if passes > 1 else ():  # level (pass, y, x)
            entropies = np.zeros_like(s)
            for one in level:
                _add_entropy(one.astype(s.dtype, copy=False), entropies)
            _add_entropy(level.sum(axis=0, dtype=np.float64), s, passes)
            s -= entropies / passes
        np.maximum(s, 0, out=s)
    return like(scores.reshape(maps.shape[:-4] + maps.shape[-2:]), p)


# NumPy, and torch on the CPU


def _frames_and_scores(maps, axes):
    """The maps with all leading axes made one, and as many score maps (y, x) of zeros."""
    n = math.prod(maps.shape[:-axes])
    scores = np.zeros((n, *maps.shape[-2:]), computing_dtype(maps.dtype))
    return maps.reshape(n, *maps.shape[-axes:]), scores


class _Window:
    """The square window of one radius on maps of one size, cut at the border."""

    def __init__(self, radius, height, width, dtype):
        # A window wider than the map sees all of it, wherever it is centred.
        ry, rx = min(radius, height - 1), min(radius, width - 1)
        self.size = (2 * rx + 1, 2 * ry + 1)  # OpenCV's order: width, height
        rows, columns = _pixels_inside(ry, height), _pixels_inside(rx, width)
        self.count = np.outer(rows.astype(dtype), columns.astype(dtype))
        self._sum = np.empty_like(self.count)

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


def _divergence_of_frame(frame, window, s):
    """Write the divergence of one frame (level, y, x) into `s` (y, x), which is zero."""
    entropies = np.zeros_like(s)
    for level in frame:
        _add_entropy(level, entropies)
        _add_entropy(window.sum(level), s, window.count)
    # The mean is linear: one window serves the entropies of all levels.
    mean_entropy = window.sum(entropies)
    mean_entropy /= window.count
    s -= mean_entropy
    np.maximum(s, 0, out=s)


def _add_entropy(sums, total, count=None):
    """Add H(p) to `total` (y, x), in its dtype; p = sums / count, or p = sums without a count.

    1 − p is taken as (count − sums) / count: rounding p first would cost digits near 1, where the
    entropy is steep.
    """
    tiny = np.finfo(total.dtype).tiny  # so that 0·log 0 = 0; lost in rounding anywhere else
    sums, total = sums.reshape(-1), total.reshape(-1)
    whole = np.asarray(1 if count is None else count, sums.dtype).reshape(-1)
    whole = np.broadcast_to(whole, sums.shape)
    z_buffer, log_buffer = np.empty((2, 2, min(BLOCK, sums.size)), total.dtype)
    for start in range(0, sums.size, BLOCK):
        block = slice(start, start + BLOCK)
        n = sums[block].size
        z, log = z_buffer[:, :n], log_buffer[:, :n]  # two rows: p and 1 − p
        z[0] = sums[block]
        np.subtract(whole[block], sums[block], out=z[1], casting="same_kind")
        if count is not None:
            z /= whole[block]
            np.abs(z, out=z)  # a running sum can end a rounding below zero
        np.add(z, tiny, out=log)
        log = cv2.log(log, log)  # twice as fast as NumPy's, as precise
        log *= z
        total[block] -= log[0]
        total[block] -= log[1]


# torch on a GPU; the functions run on any device


def _divergence_in_torch(p, radius):
    p = _floating(p)
    s = p.new_zeros(p.shape[:-3] + p.shape[-2:])
    if radius == 0:
        return s
    frames = p.flatten(0, -4) if p.ndim > 3 else p[None]
    maps = s.flatten(0, -3) if s.ndim > 2 else s[None]
    for frame, out in zip(frames, maps, strict=True):  # one by one, which bounds the memory
        mean = _box_mean(frame, radius).clamp(0, 1)
        of_mean = _binary_entropy(mean.to(p.dtype), (1 - mean).to(p.dtype)).sum(0)
        entropies = _binary_entropy(frame, 1 - frame).sum(0, keepdim=True)
        out.copy_((of_mean - _box_mean(entropies, radius)[0]).clamp(min=0))
    return s


def _entropy_in_torch(p):
    p = _floating(p)
    return _binary_entropy(p, 1 - p).sum(-3)


def _mutual_information_in_torch(p):
    p = _floating(p)
    if p.shape[-4] == 1:
        return p.new_zeros(p.shape[:-4] + p.shape[-2:])
    mean = p.double().mean(-4)
    of_mean = _binary_entropy(mean.to(p.dtype), (1 - mean).to(p.dtype))
    return (of_mean - _binary_entropy(p, 1 - p).mean(-4)).sum(-3).clamp(min=0)


def _floating(p):
    p = p.detach()
    return p.float() if p.is_floating_point() and p.dtype.itemsize <= 4 else p.double()


def _binary_entropy(p, complement):
    return -(p.xlogy(p) + complement.xlogy(complement))


def _box_mean(a, radius):
    """The window's mean of `a` (map, y, x) in float64: columns, then rows, inside the image."""
    from torch.nn.functional import avg_pool2d

    height, width = a.shape[-2:]
    ry, rx = min(radius, height - 1), min(radius, width - 1)
    a = avg_pool2d(a.double(), (2 * ry + 1, 1), 1, (ry, 0), count_include_pad=False)
    return avg_pool2d(a, (1, 2 * rx + 1), 1, (0, rx), count_include_pad=False)


# checks


def _checked(p, axes):
    """`p` as an array, after a look at its shape and at the range of its values."""
    p = p if is_torch(p) else np.asarray(p)
    shape = tuple(p.shape)
    if len(shape) < len(axes):
        raise ValueError(f"p has shape {shape}; (..., {', '.join(axes)}) is wanted")
    for axis, size in zip(axes, shape[-len(axes) :], strict=True):
        if size == 0:
            raise ValueError(f"p has shape {shape}: its axis {axis!r} is empty")
    if 0 not in shape and not (p.min() >= 0 and p.max() <= 1):  # not: NaN compares false
        bad = to_numpy(~((p >= 0) & (p <= 1)))
        where = tuple(map(int, np.unravel_index(np.argmax(bad), shape)))
        raise ValueError(
            f"p{list(where)} is {float(p[where])}; probabilities in [0, 1] are wanted "
            f"({np.count_nonzero(bad)} of {bad.size} values are NaN or outside)"
        )
    return p


def _checked_radius(radius):
    try:
        whole = operator.index(radius)
    except TypeError:
        raise ValueError(f"radius is {radius!r}; a whole number of pixels is wanted") from None
    if whole < 0:
        raise ValueError(f"radius is {whole}; 0 pixels or more are wanted")
    return whole
