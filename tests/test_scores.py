"""Pixel scores by hand, by their properties, and at the corners of the number formats. The loops
over every kind of map are in test_golden.py."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchthreads import torch_threads

from alkit import threads
from alkit.scores import divergence, entropy, mutual_information
from alkit.threads import side_by_side

LN2 = math.log(2)


def slow_entropy_of(z):
    """H(z) of one number, terms in z and in 1 − z, each exact to float64."""
    return sum(-q * math.log(q) if q > 0 else 0.0 for q in (z, 1 - z))


def slow_divergence(p, radius):
    """Eq. (1), (2), (4) for p (level, y, x), pixel by pixel, in float64 with exact sums."""
    levels, height, width = p.shape
    p = p.astype(np.float64)
    h = np.vectorize(slow_entropy_of)(p)
    s = np.zeros((height, width))
    for m in range(height):
        for n in range(width):
            window = np.s_[max(m - radius, 0) : m + radius + 1, max(n - radius, 0) : n + radius + 1]
            for k in range(levels):
                values, complements = p[k][window].ravel(), (1 - p[k][window]).ravel()
                mean, rest = math.fsum(values) / values.size, math.fsum(complements) / values.size
                of_mean = sum(-q * math.log(q) if q > 0 else 0.0 for q in (mean, rest))
                s[m, n] += of_mean - math.fsum(h[k][window].ravel()) / values.size
    return s


def probabilities(rng, shape):
    """Maps as a detector makes them, with corners: exact 0 and 1, and values beside them."""
    p = 1 / (1 + np.exp(-rng.normal(0, 4, shape)))
    corners = [0.0, 1.0, 1e-300, 1 - 1e-16, 1e-7, 1 - 1e-7, 0.5]
    where = rng.random(shape) < 0.2
    p[where] = rng.choice(corners, where.sum())
    return p


def maps(max_levels=3):
    shapes = st.tuples(*(st.integers(1, n) for n in (max_levels, 7, 7)))
    values = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-300, 1 - 1e-16])
    return shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=values))


# ------------------------------------------------------------------ divergence


def test_float32_keeps_its_digits_where_the_entropy_is_steep():
    rng = np.random.default_rng(1)
    p = (1 - 10.0 ** rng.uniform(-9, -5, (5, 30, 30))).astype(np.float32)
    np.testing.assert_allclose(divergence(p, 4), slow_divergence(p, 4), 0, 5e-6)


def test_a_large_map_does_not_accumulate_error():
    # The running sums pass a block of ones before they come to a region that is exactly zero.
    p = np.zeros((1, 480, 640), np.float32)
    p[:, :300, :400] = np.float32(0.9999999)
    s = divergence(p)
    assert np.all(s[330:] == 0)
    assert np.all(s[:, 430:] == 0)
    assert s.max() > 0.69  # in the middle of the edge half the window is one


@pytest.mark.parametrize(("height", "radius"), [(121, 9), (300, 9), (260, 40), (241, 0)])
def test_one_frame_takes_all_threads_to_the_same_bits(height, radius, monkeypatch):
    p = probabilities(np.random.default_rng(height), (2, height, 5)).astype(np.float32)
    shared = []

    def counted(*arguments):
        shared.append(torch.get_num_threads())
        return side_by_side(*arguments)

    monkeypatch.setattr(threads, "side_by_side", counted)
    found = {}
    for count in (1, 2, 3):
        with torch_threads(count):
            found[count] = divergence(p, radius), entropy(p), mutual_information(p[:, None])
    assert {1, 2, 3} <= {*shared}
    for count in (2, 3):
        assert all(map(np.array_equal, found[1], found[count]))
    # bands of rows meet without a seam, also where a window reaches over several
    np.testing.assert_allclose(found[1][0], slow_divergence(p, radius), 0, 5e-6)


def test_divergence_by_hand():
    # One row, radius 1. Pixel 0 sees (0, 1): H(1/2) − 0; pixel 1 sees (0, 1, 1): H(2/3) − 0;
    # pixel 2 sees (1, 1): 0.
    p = np.array([[[0.0, 1.0, 1.0]]])
    h = -2 / 3 * math.log(2 / 3) - 1 / 3 * math.log(1 / 3)
    np.testing.assert_allclose(divergence(p, 1), [[LN2, h, 0.0]], 0, 1e-15)
    # Two such levels add up.
    np.testing.assert_allclose(divergence(np.repeat(p, 2, 0), 1), [[2 * LN2, 2 * h, 0]], 0, 1e-15)


def test_the_default_radius_is_nine():
    p = np.zeros((1, 31, 31))
    p[0, 15, 15] = 1
    s = divergence(p)
    assert np.array_equal(s > 0, slow_divergence(p, 9) > 1e-9)
    assert (s > 0).sum() == 19 * 19


def test_radius_zero_is_exactly_zero():
    p = probabilities(np.random.default_rng(2), (3, 8, 9))
    assert np.array_equal(divergence(p, 0), np.zeros((8, 9)))


def test_a_map_smaller_than_the_window_has_one_score():
    p = probabilities(np.random.default_rng(3), (2, 5, 6))
    s = divergence(p, 100)
    np.testing.assert_allclose(s, s[0, 0], 0, 1e-13)
    np.testing.assert_allclose(s, slow_divergence(p, 6), 0, 1e-12)


@settings(deadline=None, max_examples=60)
@given(p=maps(), radius=st.integers(0, 4))
def test_divergence_properties(p, radius):
    s = divergence(p, radius)
    assert s.shape == p.shape[1:]
    assert np.all(s >= 0)
    np.testing.assert_allclose(s, slow_divergence(p, radius), 0, 1e-12)
    np.testing.assert_allclose(divergence(p[:, ::-1], radius), s[::-1], 0, 1e-12)
    np.testing.assert_allclose(divergence(p[:, :, ::-1], radius), s[:, ::-1], 0, 1e-12)
    np.testing.assert_allclose(divergence(p.swapaxes(1, 2), radius), s.T, 0, 1e-12)
    np.testing.assert_allclose(divergence(1 - p, radius), s, 0, 1e-12)
    assert np.all(s <= len(p) * LN2 + 1e-12)


@settings(deadline=None, max_examples=30)
@given(value=st.floats(0, 1), radius=st.integers(0, 12))
def test_a_constant_map_scores_zero(value, radius):
    np.testing.assert_allclose(divergence(np.full((2, 20, 30), value), radius), 0, 0, 1e-12)
    single = np.full((2, 20, 30), value, np.float32)
    np.testing.assert_allclose(divergence(single, radius), 0, 0, 2e-6)


# ------------------------------------------------------------------ entropy, mutual information


def test_entropy_by_hand():
    p = np.array([[[0.5, 0.0, 1.0, 1e-300]], [[0.5, 0.25, 1 - 1e-16, 0.0]]])
    quarter = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    np.testing.assert_allclose(entropy(p), [[2 * LN2, quarter, 0, 0]], 0, 1e-14)


@settings(deadline=None, max_examples=60)
@given(p=maps())
def test_entropy_properties(p):
    s = entropy(p)
    assert np.all(s >= 0)
    assert np.all(s <= len(p) * LN2 + 1e-14)
    expected = np.vectorize(slow_entropy_of)(p).sum(0)
    np.testing.assert_allclose(s, expected, 0, 1e-14)
    np.testing.assert_allclose(entropy(p.astype(np.float32)), expected, 0, 5e-6)
    assert np.array_equal(entropy(p[:, ::-1, ::-1]), s[::-1, ::-1])


def test_mutual_information_by_hand():
    p = np.array([0.0, 1.0, 1.0]).reshape(3, 1, 1, 1)
    h = -2 / 3 * math.log(2 / 3) - 1 / 3 * math.log(1 / 3)
    np.testing.assert_allclose(mutual_information(p), [[h]], 0, 1e-15)


@settings(deadline=None, max_examples=40)
@given(p=maps(), passes=st.integers(1, 4))
def test_mutual_information_properties(p, passes):
    same = np.repeat(p[None], passes, 0)
    np.testing.assert_allclose(mutual_information(same), 0, 0, 1e-12)
    if passes == 1:
        assert np.all(mutual_information(same) == 0)
    different = np.stack([p, 1 - p, p**2])
    s = mutual_information(different)
    assert np.all(s >= 0)
    np.testing.assert_allclose(mutual_information(different[[2, 0, 1]]), s, 0, 1e-12)


# ------------------------------------------------------------------ shapes, kinds, dtypes

ALL = {
    "divergence": (lambda p: divergence(p, 2), (3, 10, 11)),
    "entropy": (entropy, (3, 10, 11)),
    "mutual_information": (mutual_information, (4, 3, 10, 11)),
}


@pytest.mark.parametrize("name", ALL)
def test_leading_axes(name):
    score, shape = ALL[name]
    p = probabilities(np.random.default_rng(5), (2, 3, *shape))
    s = score(p)
    assert s.shape == (2, 3, 10, 11)
    for i, j in np.ndindex(2, 3):
        assert np.array_equal(s[i, j], score(p[i, j]))
    assert score(p[:0]).shape == (0, 3, 10, 11)


@pytest.mark.parametrize("name", ALL)
def test_kinds_and_dtypes(name):
    score, shape = ALL[name]
    p = np.random.default_rng(6).random(shape)
    before = p.copy()
    expected = score(p)
    assert np.array_equal(p, before)
    assert expected.dtype == np.float64
    half = p.astype(np.float16)
    assert score(half).dtype == np.float32
    assert np.array_equal(score(half), score(half.astype(np.float32)))
    assert score(p > 0.5).dtype == np.float64

    tensor = torch.from_numpy(p).requires_grad_()
    s = score(tensor)
    assert isinstance(s, torch.Tensor)
    assert not s.requires_grad
    assert np.array_equal(s.numpy(), expected)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        s = score(tensor.to(dtype))
        assert s.dtype == torch.float32
        assert torch.equal(s, score(tensor.to(dtype).float()))

    turned = np.asfortranarray(p)
    turned.flags.writeable = False
    assert np.array_equal(score(turned), expected)


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("bad", [-1e-3, 1.0001, math.nan])
def test_values_outside_are_named_with_their_position(name, kind, bad):
    score, shape = ALL[name]
    p = np.full(shape, 0.5)
    p[..., 7, 8] = bad
    where = [*([0] * (len(shape) - 2)), 7, 8]
    with pytest.raises(ValueError, match=r"\[0, 1\]") as error:
        score(kind(p))
    assert f"p{where} is {bad}" in str(error.value)


@pytest.mark.parametrize("name", ALL)
def test_wrong_shapes(name):
    score, shape = ALL[name]
    axes = "pass, level, y, x" if len(shape) == 4 else "level, y, x"
    for wrong in (shape[1:], (), (*shape[:-1], 0)):
        message = f"p has shape {wrong}; expected (..., {axes}) with pixels"
        with pytest.raises(ValueError, match=re.escape(message)):
            score(np.zeros(wrong))


@pytest.mark.parametrize("radius", [-1, 2.5, "9", None])
def test_wrong_radius(radius):
    with pytest.raises(ValueError, match=f"radius is {re.escape(repr(radius))};"):
        divergence(np.zeros((1, 4, 4)), radius)


def test_numpy_integers_are_a_radius():
    p = np.random.default_rng(8).random((1, 6, 6))
    assert np.array_equal(divergence(p, np.int16(2)), divergence(p, 2))
