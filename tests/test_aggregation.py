"""Eq. (5) against a slow loop, by hand, lazily with dask and in torch."""

import math

import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alkit import aggregation
from alkit.aggregation import image_score, region_maxima


def slow_maxima(s, region):
    height, width = s.shape
    return np.array(
        [
            [s[y : y + region, x : x + region].max() for x in range(0, width, region)]
            for y in range(0, height, region)
        ]
    )


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
    assert np.array_equal(aggregation._region_maxima_in_torch(torch.tensor(s), region), expected)
    assert image_score(s, region) == pytest.approx(expected.mean(), abs=1e-14)
    assert image_score(s, region, how="mean") == pytest.approx(s.mean(), abs=1e-14)


def test_the_paper_has_352_regions():
    maxima = region_maxima(np.zeros((2, 480, 640)))
    assert maxima.shape == (2, 16, 22)
    assert maxima[0].size == 352


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
    for how in ("max", "mean"):
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
    assert torch.isnan(aggregation._region_maxima_in_torch(torch.tensor(s), 3)).sum() == 1
    assert np.isnan(region_maxima(s, 3)).sum() == 1


@pytest.mark.parametrize("how", ["max", "mean"])
@pytest.mark.parametrize("chunks", [(1, -1, -1), (2, 3, 4)])
def test_dask_stays_lazy(how, chunks):
    s = np.random.default_rng(1).random((5, 7, 8)).astype(np.float32)
    seen = []

    def look(block):
        seen.append(block.shape)
        return block

    lazy = da.from_array(s, chunks).map_blocks(look, meta=np.empty((0, 0, 0), np.float32))
    z, maxima = image_score(lazy, 3, how), region_maxima(lazy, 3)
    assert not seen
    assert isinstance(z, da.Array)
    assert z.shape == (5,)
    assert z.dtype == np.float32
    assert maxima.shape == (5, 3, 3)
    assert z.chunks[0] == lazy.chunks[0]
    assert np.array_equal(z.compute(scheduler="sync"), image_score(s, 3, how))
    assert np.array_equal(maxima.compute(scheduler="sync"), region_maxima(s, 3))
    assert image_score(lazy[0], 3, how).compute(scheduler="sync") == image_score(s[0], 3, how)


@pytest.mark.parametrize("region", [0, -3, 2.5, 30.0, None])
def test_wrong_region(region):
    for function in (region_maxima, image_score):
        with pytest.raises(ValueError, match="region is"):
            function(np.zeros((4, 4)), region)


def test_wrong_how_and_shape():
    with pytest.raises(ValueError, match="how is 'median'; one of 'max', 'mean'"):
        image_score(np.zeros((4, 4)), how="median")
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        image_score(np.zeros(4))
    with pytest.raises(ValueError, match=r"shape \(2, 0, 4\)"):
        region_maxima(np.zeros((2, 0, 4)))
