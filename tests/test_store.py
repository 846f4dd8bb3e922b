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


def fill(path, blocks):
    for block in blocks:
        own = {"score_root": maps_of(block), "highest": HIGHEST_SCORE}
        store.write_shard(path, "key", block, own)


def test_a_store_is_read_only_when_complete(tmp_path):
    path = tmp_path / "scores.zarr"
    group = store.create(path, np.arange(FRAMES), LAYOUT, "key")
    blocks = store.shards(group)
    assert [(b.start, b.stop) for b in blocks] == [(0, 32), (32, 64), (64, 70)]
    fill(path, blocks[:2])
    with pytest.raises(store.IncompleteStore, match=r"6 of 70 frames are not complete"):
        store.open_scores(path)
    fill(path, blocks[2:])
    found = store.open_scores(path)
    assert found.dims == ("frame", "y", "x")
    assert found.sizes["frame"] == FRAMES
    expected = (np.arange(FRAMES) / 511) ** 2 * store.HIGHEST_SCORE
    np.testing.assert_allclose(found[:, 0, 0].values, expected, rtol=1e-6)
    assert found.chunks[0] == (32, 32, 6)


def test_an_interrupted_store_goes_on_and_another_is_replaced(tmp_path):
    path = tmp_path / "scores.zarr"
    group = store.create(path, np.arange(FRAMES), LAYOUT, "key")
    fill(path, store.shards(group)[:1])
    again = store.create(path, np.arange(FRAMES), LAYOUT, "key")
    assert [b.start for b in store.shards(again)] == [32, 64]
    assert (again["score_root"][:32] == maps_of(slice(0, 32))).all()
    other = store.create(path, np.arange(FRAMES), LAYOUT, "another key")
    assert len(store.shards(other)) == 3


def test_a_shard_that_is_cut_off_while_it_is_written_is_not_done(tmp_path):
    path = tmp_path / "scores.zarr"
    group = store.create(path, np.arange(FRAMES), LAYOUT, "key")
    short = {"score_root": maps_of(slice(0, 31))}
    with pytest.raises(ValueError, match="shape"):
        store.write_shard(path, "key", slice(0, 32), short)
    assert [block.start for block in store.shards(group)] == [0, 32, 64]


def lose(file):
    file.unlink()


def empty(file):
    file.write_bytes(b"")


def tear(file):
    file.write_bytes(file.read_bytes()[:-20])


def zero(file):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("harm", [lose, empty, tear, zero, flip])
@pytest.mark.parametrize(
    "file", ["score_root/c/1/0/0", "score_root/c/2/0/0", "highest/c/1", "position/c/2", "done/c/0"]
)
def test_a_damaged_shard_is_never_read_and_alone_made_again(tmp_path, file, harm, finished):
    """Also one of zeros, and the last, shorter one, which Zarr reads before it writes it."""
    path, maps = tmp_path / "scores.zarr", np.zeros((FRAMES, 6, 5), np.uint16)
    maps[:40] = np.random.default_rng(0).integers(0, 512, (40, 6, 5))

    def write(blocks):
        for block in blocks:
            own = {"score_root": maps[block], "highest": HIGHEST_SCORE}
            store.write_shard(path, "key", block, own)

    def make():
        return store.shards(store.create(path, np.arange(FRAMES), LAYOUT, "key"))

    write(make())
    store.finish(path, "key")
    assert store.damage(path, "key") == ""
    if not finished:
        del (group := zarr.open_group(path)).attrs["files"]
        group.attrs["unfinished"] = True
    harm(path / file)
    if finished:
        # one that is lost is seen in the listing alone
        if harm not in (lose, empty) or file == "done/c/0":
            with pytest.raises((store.DamagedStore, store.IncompleteStore), match=str(path)):
                store.open_dataset(path).load()
            store.condemn(path)
        assert file.partition("/")[0] in store.damage(path, "key")
    again = make()
    assert [block.start for block in again] == (
        [] if "position" in file else [int(file.split("/")[2]) * 32]
    )
    write(again)
    store.finish(path, "key")
    found = store.open_dataset(path)
    assert (found["score_root"].values == maps).all()
    assert found["position"].values.tolist() == [*range(FRAMES)]
    assert store.damage(path, "key") == ""


@pytest.mark.parametrize("change", [('"crc32c"', '"crc32d"'), ('"frame"', '"frbme"')])
def test_a_store_whose_arrays_are_said_to_be_others_is_made_anew(tmp_path, change):
    path = tmp_path / "scores.zarr"
    fill(path, store.shards(store.create(path, np.arange(FRAMES), LAYOUT, "key")))
    store.finish(path, "key")
    said = path / "score_root/zarr.json"
    said.write_text(said.read_text().replace(*change))
    assert str(path) in store.damage(path, "key")
    assert len(store.shards(store.create(path, np.arange(FRAMES), LAYOUT, "key"))) == 3


@pytest.mark.parametrize("harm", [empty, tear, zero])
def test_a_store_whose_own_file_cannot_be_read_is_named_and_made_anew(tmp_path, harm):
    path = tmp_path / "scores.zarr"
    fill(path, store.shards(store.create(path, np.arange(FRAMES), LAYOUT, "key")))
    store.finish(path, "key")
    assert store.damage(path, "another key") is None
    harm(path / "zarr.json")
    assert str(path / "zarr.json") in store.damage(path, "key")
    again = store.shards(store.create(path, np.arange(FRAMES), LAYOUT, "key"))
    assert len(again) == 3
    assert store.damage(path, "key") is None
    fill(path, again)
    store.finish(path, "key")
    assert store.damage(path, "key") == ""
    lose(path / "zarr.json")  # what goes first where a store is deleted
    assert store.damage(path, "key") is None


def test_a_store_cut_off_while_it_was_made_is_made_anew(tmp_path):
    path = tmp_path / "scores.zarr"
    zarr.create_group(path).create_array("score_root", shape=(3,), dtype=np.uint8)
    group = store.create(path, np.arange(4), LAYOUT, "key")
    assert group["done"].shape == (4,)


def test_positions_are_kept(tmp_path):
    path, positions = tmp_path / "s.zarr", np.array([0, 3, 4, 9])
    fill(path, store.shards(store.create(path, positions, LAYOUT, "key")))
    assert store.open_dataset(path)["position"].values.tolist() == [0, 3, 4, 9]


@pytest.fixture
def noise(tmp_path):
    """Stored maps that cannot be compressed, and the path of their store."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1 << 16, (FRAMES, 50, 40), np.uint16)
    layout = LAYOUT | {"score_root": (("y", "x"), (50, 40), np.uint16)}
    group = store.create(tmp_path / "noise.zarr", np.arange(FRAMES), layout, "key")
    for block in store.shards(group):
        own = {"score_root": values[block], "highest": HIGHEST_SCORE}
        store.write_shard(tmp_path / "noise.zarr", "key", block, own)
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
