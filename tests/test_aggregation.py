"""Eq. (5) against a slow loop, by hand, and in torch."""

import math
import re
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter

from alkit.aggregation import HOW, image_score, region_maxima
from alkit.profiles import Profile


def slow_maxima(s, region, before=0):
    """Maxima of windows of `region` pixels that begin `before` the pixels 0, region, 2·region, …"""

    def windows(size):
        return [slice(max(i - before, 0), i - before + region) for i in range(0, size, region)]

    height, width = s.shape
    return np.array([[s[y, x].max() for x in windows(width)] for y in windows(height)])


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    region=st.integers(1, 25),
    seed=st.integers(0, 99),
)
def test_maxima_agree_with_a_loop(height, width, region, seed):
    s = np.random.default_rng(seed).normal(size=(height, width))
    expected = slow_maxima(s, region)
    assert np.array_equal(region_maxima(s, region), expected)
    assert image_score(s, region) == pytest.approx(expected.mean(), abs=1e-14)
    sampled = slow_maxima(s, region, region // 2)
    assert np.array_equal(region_maxima(s, region, "sampled"), sampled)
    assert image_score(s, region, grid="sampled") == pytest.approx(sampled.mean(), abs=1e-14)
    assert image_score(s, region, how="mean") == pytest.approx(s.mean(), abs=1e-14)


def test_the_paper_has_352_regions():
    maxima = region_maxima(np.zeros((2, 480, 640)))
    assert maxima.shape == (2, 16, 22)
    assert maxima[0].size == 352


def test_sampled_is_a_filter_with_stride_1_sampled_at_every_30th_pixel():
    s = np.random.default_rng(2).normal(size=(2, 480, 640))
    maxima = region_maxima(s, 30, grid="sampled")
    assert maxima.shape == (2, 16, 22)
    # What the authors' code calls.
    assert np.array_equal(maxima, maximum_filter(s, size=(1, 30, 30))[:, ::30, ::30])
    for region in (1, 2, 7, 29):
        expected = maximum_filter(s[0], size=region)[::region, ::region]
        assert np.array_equal(region_maxima(s[0], region, grid="sampled"), expected)
    assert np.array_equal(image_score(s, grid="sampled"), maxima.mean((-2, -1)))


def test_sampled_by_hand():
    # Windows of 4 around the pixels 0, 4, 8: [-2, 1], [2, 5], [6, 9]; of 3 around 0, 3, 6, 9.
    s = np.arange(10.0)[None]
    assert np.array_equal(region_maxima(s, 4, grid="sampled"), [[1, 5, 9]])
    assert np.array_equal(region_maxima(s, 3, grid="sampled"), [[1, 4, 7, 9]])
    assert np.array_equal(region_maxima(s.T, 4, grid="sampled"), [[1], [5], [9]])
    # The paper's image: the first window ends at 14, the last at 464 of 479 rows.
    for row, region in ((0, 0), (14, 0), (15, 1), (44, 1), (45, 2), (464, 15), (465, None)):
        s = np.zeros((480, 640))
        s[row, 100] = 1
        found = np.argwhere(region_maxima(s, 30, grid="sampled")).tolist()
        assert found == ([] if region is None else [[region, 3]])
        assert np.argwhere(region_maxima(s, 30)).tolist() == [[row // 30, 3]]


def test_other_aggregations_of_the_released_code():
    s = np.random.default_rng(3).gamma(1, 1, (2, 8, 10))
    flat = np.sort(s.reshape(2, -1))
    assert image_score(s, how="sum") == pytest.approx([math.fsum(row) for row in flat])
    # The 90th percentile of 80 pixels lies a tenth of the way from the 72nd to the 73rd.
    between = flat[:, 71] + 0.1 * (flat[:, 72] - flat[:, 71])
    assert image_score(s, how="percentile") == pytest.approx(between)
    assert image_score(s, how="top_mean") == pytest.approx(flat[:, 8:].mean(1))  # 72 of 80
    assert image_score(np.array([[5.0, 1.0]]), how="top_mean") == 5  # ⌊1.8⌋ = 1 of 2
    for how in HOW:
        assert image_score(np.zeros((0, 4, 4)), how=how).shape == (0,)
    assert set(HOW) == set(get_args(Profile.model_fields["aggregation"].annotation))


def test_by_hand_partial_tiles_count():
    s = np.arange(15.0).reshape(3, 5)  # tiles of 2: columns 0–1, 2–3, 4; rows 0–1, 2
    assert np.array_equal(region_maxima(s, 2), [[6, 8, 9], [11, 13, 14]])
    assert image_score(s, 2) == pytest.approx(61 / 6)
    assert image_score(s, 2, how="mean") == 7
    assert image_score(s, 100) == 14


def test_leading_axes_kinds_and_dtypes():
    s = np.random.default_rng(0).random((2, 3, 7, 8))
    z = image_score(s, 3)
    assert z.shape == (2, 3)
    assert z.dtype == np.float64
    assert z[1, 2] == image_score(s[1, 2], 3)
    for how in HOW:
        for dtype, result in (("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8")):
            assert image_score((100 * s).astype(dtype), 3, how).dtype == result
        of_tensor = image_score(torch.from_numpy(s), 3, how)
        assert isinstance(of_tensor, torch.Tensor)
        assert np.array_equal(of_tensor, image_score(s, 3, how))
        assert image_score(torch.from_numpy(s).half(), 3, how).dtype == torch.float32
        assert image_score(torch.from_numpy(s).bfloat16(), 3, how).dtype == torch.float32
    assert image_score(torch.ones(4, 4), 3).shape == ()
    assert isinstance(region_maxima(torch.ones(4, 4), 3), torch.Tensor)
    assert image_score(s[:0], 3).shape == (0, 3)


def test_means_of_float32_are_exact():
    s = np.full((1200, 1600), 0.1, np.float32)
    assert image_score(s, how="mean") == np.float32(0.1)
    assert image_score(s, 1) == np.float32(0.1)


@pytest.mark.parametrize("how", ["max", "mean"])
def test_nan_makes_that_image_nan(how):
    s = np.ones((3, 7, 8))
    s[1, 6, 7] = math.nan
    assert np.array_equal(image_score(s, 3, how), [1, math.nan, 1], equal_nan=True)
    assert np.isnan(region_maxima(s, 3)).sum() == 1
    # The windows of the other grid, [-1, 1], [2, 4], [5, 7] of 7 rows and of 8 columns, see all of
    # these maps; of 9 columns they leave the last one out.
    assert np.isnan(region_maxima(s, 3, grid="sampled")).sum() == 1
    wide = np.pad(np.ones((7, 8)), ((0, 0), (0, 1)), constant_values=math.nan)
    assert not np.isnan(region_maxima(wide, 3, grid="sampled")).any()


@pytest.mark.parametrize("region", [0, -3, 2.5, None])
def test_wrong_region(region):
    for function in (region_maxima, image_score):
        with pytest.raises(ValueError, match=f"region is {re.escape(repr(region))};"):
            function(np.zeros((4, 4)), region)


def test_wrong_how_grid_and_shape():
    with pytest.raises(ValueError, match="how is 'median'; expected one of 'max', 'mean'"):
        image_score(np.zeros((4, 4)), how="median")
    for function in (region_maxima, image_score):
        with pytest.raises(ValueError, match="grid is 'dense'; expected one of 'tiles', 'sampled'"):
            function(np.zeros((4, 4)), grid="dense")
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        image_score(np.zeros(4))
    with pytest.raises(ValueError, match=r"shape \(2, 0, 4\)"):
        region_maxima(np.zeros((2, 0, 4)))
