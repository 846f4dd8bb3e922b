"""The Zarr stores: nothing half-written is read, interrupted stores go on, quantization bounds."""

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from zarr.storage import LocalStore

from alkit.loop import store
from alkit.loop.store import HIGHEST_SCORE
from benchmarks.one_map import Counting

FRAMES = 70  # three shards
LAYOUT = {"score_root": (("y", "x"), (6, 5), np.uint16), "highest": ((), (), np.float32)}


def maps_of(block):
    base = np.arange(block.start, block.stop, dtype=np.uint8)[:, None, None]
    return np.broadcast_to(base, (len(base), 6, 5)).copy()


def fill(group, blocks):
    for block in blocks:
        store.write_shard(group, block, {"score_root": maps_of(block), "highest": HIGHEST_SCORE})


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
    expected = (np.arange(FRAMES) / 511) ** 2 * store.HIGHEST_SCORE
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


def test_a_shard_that_is_cut_off_while_it_is_written_is_not_done(tmp_path):
    group = store.create(tmp_path / "scores.zarr", np.arange(FRAMES), LAYOUT, "key")
    with pytest.raises(ValueError, match="shape"):
        store.write_shard(group, slice(0, 32), {"score_root": maps_of(slice(0, 31))})
    assert [block.start for block in store.shards(group)] == [0, 32, 64]


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


@pytest.fixture
def noise(tmp_path):
    """Stored maps that cannot be compressed, and the path of their store."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1 << 16, (FRAMES, 50, 40), np.uint16)
    layout = LAYOUT | {"score_root": (("y", "x"), (50, 40), np.uint16)}
    group = store.create(tmp_path / "noise.zarr", np.arange(FRAMES), layout, "key")
    for block in store.shards(group):
        store.write_shard(group, block, {"score_root": values[block], "highest": HIGHEST_SCORE})
    return values, tmp_path / "noise.zarr"


def test_one_map_is_one_chunk_of_the_store(noise):
    """Also through Dask, whose chunks are whole shards."""
    values, path = noise
    opened = store.open_scores(Counting(LocalStore(path, read_only=True)))
    assert opened.chunks[0] == (32, 32, 6)
    index = 16 * 32 + 4  # bytes: where each chunk of a shard lies, and a checksum
    for wanted, chunks in ((41, 1), (-1, 1), (slice(30, 34), 4)):
        before = Counting.count
        found = opened.isel(frame=wanted).values
        read = Counting.count - before
        assert (found == store.dequantize(values[wanted])).all()
        assert 0 <= read - chunks * 2 * 50 * 40 <= 2 * (index + 50), f"{wanted}: {read} bytes"


@pytest.mark.parametrize(
    "key",
    [
        (),
        (3,),
        (np.int64(-2), slice(None, None, -3)),
        (slice(60, 5, -7), slice(3, 40, 5), 7),
        ([5, 5, 66, 2], slice(10), [0, 39]),
        (np.arange(FRAMES) % 9 == 0, 4, [1, 0, 1]),
        (slice(0, 0),),
    ],
)
def test_scores_index_as_arrays_do(noise, key):
    values, path = noise
    expected = store.dequantize(values)
    for k in reversed(range(len(key))):  # each dimension by itself, as xarray does
        expected = expected[(slice(None),) * k + (key[k],)]
    found = store.open_scores(path)[key]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.values, expected)


def test_a_mean_over_all_frames_never_holds_them_all(noise, monkeypatch):
    values, path = noise
    sizes, whole = [], store.dequantize
    monkeypatch.setattr(store, "dequantize", lambda x, *h: sizes.append(len(x)) or whole(x, *h))
    mean = store.open_scores(path).mean("frame").values
    assert sorted(sizes) == [6, 32, 32]
    np.testing.assert_allclose(mean, whole(values).mean(0), rtol=1e-5)


def test_a_store_of_no_frames(tmp_path):
    store.create(tmp_path / "none.zarr", [], LAYOUT, "key")
    assert store.open_scores(tmp_path / "none.zarr").values.shape == (0, 6, 5)


@given(arrays(np.float32, 20, elements=st.floats(0, 3.46484375, width=32)))
def test_quantization_error_is_bounded_as_stated(scores):
    stored = store.quantize(scores)
    assert stored.dtype == np.uint16
    error = np.abs(store.dequantize(stored) - scores)
    half_step = 0.5 / store.QUANTA
    bound = store.HIGHEST_SCORE * (
        2 * half_step * np.sqrt(scores / store.HIGHEST_SCORE) + half_step**2
    )
    assert (error <= bound + 1e-6).all()


@pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf, 4.0])
def test_impossible_scores_are_refused(wrong):
    with pytest.raises(ValueError, match=r"a score map lies in \[0, 3.466\]"):
        store.quantize(np.array([0.5, wrong], np.float32))
