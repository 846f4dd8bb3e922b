"""Eq. (1)–(6) of the paper and the temporal rules, written out as slow loops in float64, against
the fast code.

The loops know nothing of alkit. They take what design and paper leave to the reader as the fast
code states it: 0·log 0 = 0, means over the pixels inside the image, partial regions count, a
temporal mean over the frames that exist. float32 input is looped over in float64.
"""

import math

import numpy as np
import pytest
import torch

from alkit.aggregation import image_score, region_maxima
from alkit.scores import divergence, entropy, mutual_information
from alkit.selection import select, smooth

TOLERANCE = {np.float64: 1e-12, np.float32: 5e-6}


# ------------------------------------------------------------------ the loops


def H(z):
    """Eq. (3)."""
    return -(z * math.log(z) if z > 0 else 0) - ((1 - z) * math.log(1 - z) if z < 1 else 0)


def mean(values):
    values = [float(v) for v in values]
    return math.fsum(values) / len(values)


def pixel_scores(p, r):
    """Eq. (1), (2), (4): p (level, y, x) → s (y, x)."""
    levels, height, width = p.shape
    s = np.zeros((height, width))
    for k in range(levels):
        entropies = np.array([[H(float(z)) for z in row] for row in p[k]])
        for m in range(height):
            for n in range(width):
                rows = slice(max(m - r, 0), min(m + r, height - 1) + 1)
                columns = slice(max(n - r, 0), min(n + r, width - 1) + 1)
                expected = mean(p[k, rows, columns].ravel())  # Eq. (1)
                s[m, n] += H(expected) - mean(entropies[rows, columns].ravel())  # Eq. (2), (4)
    return s


def pixel_entropies(p):
    """The paper's comparison: s = Σ_k H(p^k)."""
    levels, height, width = p.shape
    return np.array(
        [
            [sum(H(float(p[k, m, n])) for k in range(levels)) for n in range(width)]
            for m in range(height)
        ]
    )


def pixel_information(p):
    """The paper's other comparison: p (pass, level, y, x), Σ_k of H(mean) − mean of H."""
    passes, levels, height, width = p.shape
    s = np.zeros((height, width))
    for m in range(height):
        for n in range(width):
            for k in range(levels):
                of_passes = [float(p[t, k, m, n]) for t in range(passes)]
                s[m, n] += H(mean(of_passes)) - mean(H(z) for z in of_passes)
    return s


def largest(s, rows, columns):
    """The maximum of s over the pixels of these rows and columns that are inside the image."""
    height, width = s.shape
    return max(s[y, x] for y in rows if 0 <= y < height for x in columns if 0 <= x < width)


def regions(s, k, grid):
    """The maxima of Eq. (5): of k × k tiles, or of a k × k max filter at every k-th pixel."""
    height, width = s.shape
    before, after = (0, k - 1) if grid == "tiles" else (k // 2, (k - 1) // 2)
    return np.array(
        [
            [
                largest(s, range(y - before, y + after + 1), range(x - before, x + after + 1))
                for x in range(0, width, k)
            ]
            for y in range(0, height, k)
        ]
    )


def smoothed(z, videos, delta_t=5, sigma=3.0, padded=False):
    """Eq. (6): z of consecutive frames; `videos` are the lengths of the videos they come from."""
    result, first = [], 0
    for length in videos:
        for t in range(length):
            total = weights = 0.0
            for i in range(t - delta_t, t + delta_t + 1):
                w = math.exp(-((i - t) ** 2) / (2 * sigma**2))
                if 0 <= i < length:
                    total, weights = total + w * float(z[first + i]), weights + w
                elif padded:
                    weights += w
            result.append(total / weights)
        first += length
    return np.array(result)


def one_by_one(z, b, video, t, labeled):
    """The temporal rules: Δt₁ = 15 in this cycle, Δt₂ = 2 in the next ones."""
    chosen = []
    for i in sorted(range(len(z)), key=lambda i: -z[i]):
        far = all(video[i] != video[j] or abs(t[i] - t[j]) > 15 for j in chosen)
        free = all(video[i] != video[j] or abs(t[i] - t[j]) > 2 for j in labeled)
        if len(chosen) < b and far and free:
            chosen.append(i)
    return chosen


def three_passes(z, b, labeled):
    """What the authors' code chooses of one list: flags for good around all that were ever chosen,
    flags of a pass around what it chooses, which the third pass does not look at."""
    forever = {j + k for j in labeled for k in range(-2, 3)}
    chosen = []
    for number in (1, 2, 3):
        of_pass = set()
        for i in sorted(range(len(z)), key=lambda i: -z[i]):
            if len(chosen) == b or i in forever or (i in of_pass and number < 3):
                continue
            chosen.append(i)
            forever |= {i + k for k in range(-2, 3)}
            of_pass |= {i + k for k in range(-15, 15)}
    return chosen


# ------------------------------------------------------------------ Eq. (1)–(4)


def make(kind, shape):
    rng = np.random.default_rng([len(kind), *shape])
    if kind == "random":
        return rng.random(shape)
    if kind == "detector":  # most of it near 0, some near 1
        return 1 / (1 + np.exp(-rng.normal(-3, 4, shape)))
    if kind == "extreme":
        return rng.choice([0.0, 1.0, 1e-300, 1 - 1e-16], shape)
    values = {"constant": [0.3, 0.999, 1e-5, 0.5, 0.1], "corners": [0, 1, 1e-300, 1 - 1e-16, 0]}
    return np.broadcast_to(np.reshape(values[kind], (5, 1, 1))[: shape[-3]], shape).copy()


KINDS = ["random", "detector", "extreme", "constant", "corners"]
# Smaller than the window of radius 9, and larger; divisible by 30, and not.
SHAPES = [(5, 1, 1), (5, 1, 23), (5, 6, 4), (2, 30, 30), (2, 23, 37)]


def assert_agrees(fast, loop, p):
    """The fast function against the loop, for both precisions, in NumPy and torch."""
    for dtype, tolerance in TOLERANCE.items():
        q = p.astype(dtype)
        expected = loop(q.astype(np.float64))
        for s in (fast(q), fast(torch.from_numpy(q))):
            s = np.asarray(s)
            assert s.dtype == dtype
            np.testing.assert_allclose(s, expected, 0, tolerance)


@pytest.mark.parametrize("radius", [0, 1, 2, 9])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_divergence(kind, shape, radius):
    p = make(kind, shape)
    assert_agrees(lambda p: divergence(p, radius), lambda p: pixel_scores(p, radius), p)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_entropy(kind, shape):
    assert_agrees(entropy, pixel_entropies, make(kind, shape))


@pytest.mark.parametrize("passes", [1, 2, 15])
@pytest.mark.parametrize("shape", [(5, 1, 1), (2, 6, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_mutual_information(kind, shape, passes):
    p = make(kind, (passes, *shape))
    assert_agrees(mutual_information, pixel_information, p)


# ------------------------------------------------------------------ Eq. (5)


@pytest.mark.parametrize("grid", ["tiles", "sampled"])
@pytest.mark.parametrize("region", [1, 2, 7, 30])
@pytest.mark.parametrize("size", [(60, 90), (59, 76), (46, 44), (16, 15), (14, 3), (1, 1), (1, 61)])
def test_regions(size, region, grid):
    rng = np.random.default_rng(size)
    for s in (rng.normal(size=size), np.full(size, 0.1), rng.choice([0.0, 1e-300, 3.4], size)):
        for dtype, tolerance in TOLERANCE.items():
            q = s.astype(dtype)
            expected = regions(q, region, grid)
            tensor = torch.from_numpy(q)
            for maxima in (region_maxima(q, region, grid), region_maxima(tensor, region, grid)):
                assert np.array_equal(maxima, expected)
            z = mean(expected.ravel())
            assert abs(float(image_score(q, region, grid=grid)) - z) <= tolerance
            assert abs(float(image_score(tensor, region, grid=grid)) - z) <= tolerance
            by_mean = image_score(q, region, how="mean", grid=grid)
            assert abs(float(by_mean) - mean(q.ravel())) <= tolerance


# ------------------------------------------------------------------ Eq. (6)


@pytest.mark.parametrize("delta_t", [0, 1, 5])
@pytest.mark.parametrize("videos", [[1], [3], [40], [1, 2, 30, 6, 1]])
def test_smoothing(videos, delta_t):
    n = sum(videos)
    z = np.random.default_rng(n).gamma(1, 1, n)
    sequence = np.repeat(np.arange(len(videos)), videos)
    frame = np.concatenate([np.arange(length) for length in videos])
    for dtype, tolerance in TOLERANCE.items():
        q = z.astype(dtype)
        expected = smoothed(q, videos, delta_t)
        for kind in (np.asarray, torch.from_numpy):
            fast = smooth(kind(q), sequence, frame, delta_t)
            np.testing.assert_allclose(fast, expected, 0, tolerance)
            # The released code's way: one filter over all videos, without their borders.
            one_list = kind(q), np.zeros(n), np.arange(n), delta_t
            joined = smooth(*one_list)
            np.testing.assert_allclose(joined, smoothed(q, [n], delta_t), 0, tolerance)
            padded = smooth(*one_list, zero_padding=True)
            expected_padded = smoothed(q, [n], delta_t, padded=True)
            np.testing.assert_allclose(padded, expected_padded, 0, tolerance)
            if delta_t == 5 and n >= 11:  # what the code calls
                filt = np.exp(-(np.arange(-5, 6) ** 2) / 18)
                same = np.convolve(q, filt / filt.sum(), "same")
                np.testing.assert_allclose(padded, same, 0, tolerance)


def test_only_the_borders_of_videos_tell_the_two_ways_of_smoothing_apart():
    z = np.random.default_rng(0).random(40)
    sequence, frame = np.repeat([0, 1], 20), np.tile(np.arange(20), 2)
    apart, joined = smooth(z, sequence, frame), smooth(z, np.zeros(40), np.arange(40))
    differ = np.flatnonzero(~np.isclose(apart, joined, 0, 1e-12))
    assert differ.tolist() == list(range(15, 25))  # within 5 frames of the border


# ------------------------------------------------------------------ all of it

VIDEOS = [37, 25]
VIDEO = np.repeat([0, 1], VIDEOS)
T = np.concatenate([np.arange(length) for length in VIDEOS])
LABELED = [30, 40]


def from_maps_to_images(p, radius, grid, released):
    """The fast chain: maps (frame, level, y, x) to the images chosen, with the scores ẑ."""
    n = len(p)
    z = image_score(divergence(p, radius), 6, grid=grid)
    places = (np.zeros(n), np.arange(n)) if released else (VIDEO, T)
    z = smooth(z, *places, zero_padding=released)
    rules = {"exclude_now": (15, 14) if released else 15, "exclude_later": 2, "fill": released}
    sequence, frame = places
    return z, select(z, 12, sequence=sequence, frame=frame, labeled=LABELED, **rules)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_from_maps_to_images(variant, kind):
    rng = np.random.default_rng(5)
    spread = rng.uniform(0.2, 4, (len(T), 1, 1, 1))  # frames differ in their scores
    p = 1 / (1 + np.exp(-rng.normal(0, spread, (len(T), 2, 13, 11))))

    released = variant == "released"
    radius, grid = (4, "sampled") if released else (9, "tiles")
    z = [mean(regions(pixel_scores(q, radius), 6, grid).ravel()) for q in p]
    z = smoothed(z, [len(T)] if released else VIDEOS, padded=released)
    passes = three_passes(z, 12, LABELED)
    expected = passes if released else one_by_one(z, 12, VIDEO, T, LABELED)

    fast_z, selection = from_maps_to_images(kind(p), radius, grid, released)
    np.testing.assert_allclose(fast_z, z, 0, 1e-12)
    assert selection.indices.tolist() == expected
    assert len(selection.indices) == (12 if released else 4)
    assert (selection.relaxed > 0) == released
