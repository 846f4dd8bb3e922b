"""The Zarr layout: logits and dense score maps, one shard a block of frames, one writer a shard.

Unwritten chunks of a Zarr array read as zeros and would look plausible. Every store therefore
holds `done` (frame,), written after the data of its shard, and nothing reads a frame that is not
done. A store lies in a folder or under a URL: see `alkit.loop.storage`.
"""

import math

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from alkit.detector import LEVELS
from alkit.loop.storage import Place, remove

SHARD_FRAMES = 32
COMPRESSOR = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
HIGHEST_SCORE = LEVELS * math.log(2)  # nats: no sum of five binary entropies is higher
# Score maps are stored as round(511 · √(s / highest)): nine bits, which bitshuffle packs. With
# eight, up to six of a hundred selected frames are not those that float32 maps select. `highest` is
# HIGHEST_SCORE for alkit's scores, and for a plugin's, of any magnitude, that of each map.
QUANTA, STORED = 511, np.uint16


class IncompleteStore(RuntimeError):
    """A store that holds frames nobody has finished."""


def create(place: Place, positions, arrays: dict, key: str):
    """Open the store at `place` for writing, or make it.

    `positions` are the frames' positions in the pool; `arrays` maps a name to (dimensions after
    frame, shape after frame, dtype). A store left by an interrupted step goes on if its `key`
    (what it was made from) is the same; any other is replaced, since no record of a completed
    step refers to it.
    """
    group = _opened(place, "r+")
    if group is not None and group.attrs.get("key") == key:
        return group
    remove(place)  # also what is left of a store that was being made or deleted
    n = len(positions)
    shard = min(SHARD_FRAMES, max(1, n))
    group = zarr.create_group(place)
    for name, (dimensions, shape, dtype) in arrays.items():
        group.create_array(
            name,
            shape=(n, *shape),
            chunks=(1, *shape) if shape else (shard,),
            shards=(shard, *shape) if shape else None,
            dtype=dtype,
            compressors=COMPRESSOR,
            dimension_names=("frame", *dimensions),
        )
    line = {"shape": (n,), "chunks": (shard,), "dimension_names": ("frame",)}
    group.create_array("position", dtype=np.int64, **line)[:] = positions
    group.create_array("done", dtype=bool, fill_value=False, **line)
    group.attrs.update({"unfinished": True, "key": key})  # last: without a key it is made anew
    return group


def _opened(place: Place, mode: str = "r"):
    """The group at a place; None if there is none, or one that was cut off while it was made."""
    try:
        return zarr.open_group(place, mode=mode, zarr_format=3, use_consolidated=False)
    except (FileNotFoundError, KeyError, ValueError):
        return None


def reopen(place: Place, key: str):
    """Open a store that `create` made, to write a shard of it from any process.

    Raises RuntimeError if the store is no longer the one made from `key`.
    """
    group = _opened(place, "r+")
    if group is None or group.attrs.get("key") != key:
        raise RuntimeError(
            f"{place}: the store was replaced by one made from something else while this process "
            "worked on a shard of it; nothing was written to the new one"
        )
    return group


def finish(group):
    """Say of a store, all of whose frames are done, that it is whole."""
    group.attrs.pop("unfinished", None)


def made_from(place: Place) -> str | None:
    """The key that the store at `place` was made from; None if there is none, or not all of it."""
    group = _opened(place)
    return None if group is None or "unfinished" in group.attrs else group.attrs.get("key")


def blocks(n: int, size: int) -> list:
    """Slices of at most `size` frames that cover n frames."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def all_shards(group) -> list:
    """Slices of frames, one for each shard."""
    return blocks(group["done"].size, group["done"].chunks[0])


def shards(group) -> list:
    """Slices of frames, one for each shard that is not done yet."""
    done = group["done"][:]
    return [block for block in all_shards(group) if not done[block].all()]


def write_shard(group, block: slice, arrays: dict):
    """Write one whole shard, and mark its frames as done afterwards. The marks of a shard are one
    chunk, so that processes can write shards of one store side by side."""
    for name, values in arrays.items():
        group[name][block] = values
    group["done"][block] = True


def open_dataset(place: Place) -> xr.Dataset:
    """A complete store as a lazy Dataset, a shard of frames in each dask chunk. Raises
    IncompleteStore if frames are missing."""
    data = xr.open_zarr(place, consolidated=False, chunks=None).set_coords(("position", "done"))
    missing = int((~data["done"].load().values).sum())
    if missing:
        raise IncompleteStore(
            f"{place}: {missing} of {data.sizes['frame']} frames are not complete; run the step "
            "again, it goes on where it stopped"
        )
    return data.chunk(frame=data["done"].encoding["chunks"][0])


def quantize(scores: np.ndarray, highest: float = HIGHEST_SCORE) -> np.ndarray:
    """Score maps to `QUANTA` steps of a square-root scale, fine where small differences
    matter: STORED. The largest error is √(s · highest) / 511, at small s highest / 4 / 511²."""
    low, high = scores.min(initial=0), scores.max(initial=0)
    if not (low >= 0 and high <= float(highest) * (1 + 1e-6)):  # NaN fails both
        raise ValueError(
            f"scores range over [{low}, {high}]; a score map lies in [0, {highest:.3f}]: none of "
            f"alkit's is over {HIGHEST_SCORE:.3f} nats, the sum of {LEVELS} binary entropies"
        )
    return np.rint(np.sqrt(scores / highest) * QUANTA).clip(0, QUANTA).astype(STORED)


def dequantize(stored, highest=HIGHEST_SCORE):
    """What `quantize` gives to float32 scores; NumPy or dask. `highest` is a number, or an array
    that fits beside the maps."""
    scores = stored.astype(np.float32)
    scores /= np.float32(QUANTA)
    scores *= scores
    scores *= np.asarray(highest, np.float32)
    return scores


class _InNats:
    """A stored array as scores in nats: reads and dequantizes what is asked for, no more."""

    def __init__(self, group: zarr.Group):
        self.stored = group["score_root"]
        self.shape, self.ndim, self.dtype = self.stored.shape, 3, np.dtype(np.float32)
        self.highest = group["highest"][:]

    def __getitem__(self, key):
        found, highest = self.stored.oindex[key], self.highest[key[0]]
        return dequantize(found, np.expand_dims(highest, (*range(highest.ndim, found.ndim),)))


def open_scores(place: Place) -> xr.DataArray:
    """Score maps (frame, y, x) in nats, lazily, a shard of frames in each dask chunk.

    Dask hands a slice of frames down to the read, so that one map is one chunk of the store.
    """
    stored = open_dataset(place)["score_root"]
    maps = _InNats(_opened(place))
    lazy = da.from_array(maps, stored.chunks, name=False, meta=np.ndarray)
    attributes = {"long_name": "score", "units": "nat"}
    return xr.DataArray(lazy, stored.coords, stored.dims, name="score", attrs=attributes)
