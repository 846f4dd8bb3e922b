"""The Zarr stores: nothing half-written is read, interrupted stores go on, quantisation bounds."""

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alkit import store

FRAMES = 70  # three shards
LAYOUT = {"score_root": (("y", "x"), (6, 5), np.uint8)}


def maps_of(block):
    base = np.arange(block.start, block.stop, dtype=np.uint8)[:, None, None]
    return np.broadcast_to(base, (len(base), 6, 5)).copy()


def fill(group, blocks):
    for block in blocks:
        store.write_shard(group, block, {"score_root": maps_of(block)})


def test_a_store_is_read_only_when_complete(tmp_path):
    path = tmp_path / "scores.zarr"
    group = store.create(path, np.arange(FRAMES), LAYOUT, "key")
    blocks = store.shards(group)
    assert [(b.start, b.stop) for b in blocks] == [(0, 32), (32, 64), (64, 70)]
    fill(group, blocks[:2])
    with pytest.raises(store.IncompleteStore, match=r"6 of 70 frames are not complete"):
        store.open_scores(path)
    fill(group, blocks[2:])
    found = store.open_scores(path)
    assert found.dims == ("frame", "y", "x")
    assert found.sizes["frame"] == FRAMES
    expected = (np.arange(FRAMES) / 255) ** 2 * store.HIGHEST_SCORE
    np.testing.assert_allclose(found[:, 0, 0].values, expected, rtol=1e-6)
    assert found.chunks[0] == (32, 32, 6)


def test_an_interrupted_store_goes_on_and_another_is_replaced(tmp_path):
    path = tmp_path / "scores.zarr"
    group = store.create(path, np.arange(FRAMES), LAYOUT, "key")
    fill(group, store.shards(group)[:1])
    again = store.create(path, np.arange(FRAMES), LAYOUT, "key")
    assert [b.start for b in store.shards(again)] == [32, 64]
    assert (again["score_root"][:32] == maps_of(slice(0, 32))).all()
    other = store.create(path, np.arange(FRAMES), LAYOUT, "another key")
    assert len(store.shards(other)) == 3


def test_a_store_cut_off_while_it_was_made_is_made_anew(tmp_path):
    path = tmp_path / "scores.zarr"
    zarr.create_group(path).create_array("score_root", shape=(3,), dtype=np.uint8)
    group = store.create(path, np.arange(4), LAYOUT, "key")
    assert group["done"].shape == (4,)


def test_positions_are_kept(tmp_path):
    positions = np.array([0, 3, 4, 9])
    group = store.create(tmp_path / "s.zarr", positions, LAYOUT, "key")
    fill(group, store.shards(group))
    assert store.open_dataset(tmp_path / "s.zarr")["position"].values.tolist() == [0, 3, 4, 9]


@given(arrays(np.float32, 20, elements=st.floats(0, 3.46484375, width=32)))
def test_quantisation_error_is_bounded_as_stated(scores):
    stored = store.quantise(scores)
    assert stored.dtype == np.uint8
    error = np.abs(store.dequantise(stored) - scores)
    half_step = 0.5 / store.QUANTA
    bound = store.HIGHEST_SCORE * (
        2 * half_step * np.sqrt(scores / store.HIGHEST_SCORE) + half_step**2
    )
    assert (error <= bound + 1e-6).all()


@pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf, 4.0])
def test_impossible_scores_are_refused(wrong):
    with pytest.raises(ValueError, match=r"a score map lies in \[0, 3.466\]"):
        store.quantise(np.array([0.5, wrong], np.float32))
