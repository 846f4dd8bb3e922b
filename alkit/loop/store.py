"""The Zarr layout: logits and dense score maps, one shard a block of frames, one writer a shard.

Unwritten chunks of a Zarr array read as zeros and would look plausible. Every store therefore
holds `done` (frame,), written after the data of its shard, and nothing reads a frame that is not
done. A store lies in a folder or under a URL: see `alkit.loop.storage`.

Files of a store may be lost, cut or changed. Each chunk therefore has a checksum, and a whole store
a digest of its files' names and sizes.
"""

import hashlib
import json
import math

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from alkit.detector import LEVELS
from alkit.loop.storage import Place, inside, read, remove, sizes

SHARD_FRAMES = 32
BLOSC = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
CODECS = (BLOSC, zarr.codecs.Crc32cCodec())
HIGHEST_SCORE = LEVELS * math.log(2)  # nats: no sum of five binary entropies is higher
# Score maps are stored as round(511 · √(s / highest)): nine bits, which bitshuffle packs. With
# eight, up to six of a hundred selected frames are not those that float32 maps select. `highest` is
# HIGHEST_SCORE for alkit's scores, and for a plugin's, of any magnitude, that of each map.
QUANTA, STORED = 511, np.uint16


class IncompleteStore(RuntimeError):
    """A store that holds frames nobody has finished."""


class DamagedStore(RuntimeError):
    """A store with a file that is gone or cannot be read: (its place, what is wrong)."""

    def __str__(self):
        return "{}: damaged: {}. `alkit run --redo` makes it again".format(*self.args)


def create(place: Place, positions, arrays: dict, key: str):
    """Open the store at `place` for writing, or make it.

    `positions` are the frames' positions in the pool; `arrays` maps a name to (dimensions after
    frame, shape after frame, dtype). A store left by an interrupted step goes on if its `key`
    (what it was made from) is the same; any other is replaced, since no record of a completed
    step refers to it. A damaged shard is not done.
    """
    group = _opened(place, "r+")
    own = {} if group is None else group.attrs
    if own.get("key") == key and own.get("arrays") == _arrays(place, sizes(place)):
        _to_write(group, "position")[:] = positions
        for block, _ in _damaged(place, group):
            group["done"][block] = False
        group.attrs["unfinished"] = True
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
            compressors=CODECS,
            dimension_names=("frame", *dimensions),
        )
    line = {"shape": (n,), "chunks": (shard,), "compressors": CODECS, "dimension_names": ("frame",)}
    group.create_array("position", dtype=np.int64, **line)
    group.create_array("done", dtype=bool, fill_value=False, **line)
    _to_write(group, "position")[:] = positions
    # last: without a key it is made anew
    group.attrs.update({"unfinished": True, "arrays": _arrays(place, sizes(place)), "key": key})
    return group


def _opened(place: Place, mode: str = "r"):
    """The group at a place; None if there is none, or one that was cut off while it was made."""
    try:
        return zarr.open_group(place, mode=mode, zarr_format=3, use_consolidated=False)
    except (FileNotFoundError, KeyError, TypeError, ValueError):
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


def finish(place: Place, key: str):
    """Say of a store, all of whose frames are done, that it is whole."""
    attributes = reopen(place, key).attrs
    attributes["files"] = _files(sizes(place))
    attributes.pop("unfinished", None)


def condemn(place: Place):
    """Note of a whole store that it could not be read: `damage` then looks into each shard."""
    if group := _opened(place, "r+"):
        group.attrs["files"] = None


def damage(place: Place, key: str) -> str | None:
    """What is wrong with the files of the whole store made from `key`; "" if all are there, as long
    as they were; None if no such store is there. One without the group's own file was deleted."""
    group, found = _opened(place), sizes(place)
    if group is None and "zarr.json" in found:
        return f"{inside(place, 'zarr.json')} cannot be read"
    if made_from(place) != key:
        return None
    known = group.attrs.get("files"), group.attrs.get("arrays")
    if known == (_files(found), _arrays(place, found)):
        return ""
    try:
        wrong = (what for _, what in _damaged(place, group))
        return next(wrong, f"{place}: its files are not those that were written")
    except (KeyError, ValueError) as error:
        return f"{place}: {type(error).__name__}: {error}"


def _files(found: dict) -> str:
    """A digest of the names and sizes of a store's chunks and shards."""
    own = {name: size for name, size in found.items() if "/c/" in name and "/." not in name}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def _arrays(place: Place, found: dict) -> str:
    """A digest of what a store says of its arrays."""
    said = [read(inside(place, name)) for name in sorted(found) if "/zarr.json" in name]
    return hashlib.sha256(b"".join(said)).hexdigest()


def _damaged(place: Place, group):
    """(block, a file and what is wrong with it) of each shard that is done, but lost or cut."""
    there = sizes(place)
    for block in all_shards(group):
        for name in sorted(group, key=lambda name: name != "done"):
            try:
                file = _shard_file(group[name], block)
                found = group[name][block]
            except Exception as error:  # a checksum's, a codec's or the disk's
                yield block, f"{inside(place, name)}: {type(error).__name__}: {error}"
                break
            if name == "done" and not found.all() and "unfinished" in group.attrs:
                break
            if not there.get(file):  # Zarr reads zeros
                yield block, f"{inside(place, file)} is {'empty' if file in there else 'gone'}"
                break


def _shard_file(array: zarr.Array, block: slice) -> str:
    """Where an array's shard lies in the store."""
    length = (array.shards or array.chunks)[0]
    place = [block.start // length] + [0] * (array.ndim - 1)
    return "/".join([array.basename, "c", *map(str, place)])


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


def write_shard(place: Place, key: str, block: slice, arrays: dict):
    """Write one whole shard, and mark its frames as done afterwards. The marks of a shard are one
    chunk, so that processes can write shards of one store side by side. Raises as `reopen` does.
    """
    group = reopen(place, key)
    for name, values in (arrays | {"done": True}).items():
        array = _to_write(group, name)
        if array.shards:  # Zarr would read the last, shorter one before it writes it
            remove(inside(place, _shard_file(array, block)))
        array[block] = values


def _to_write(group, name: str) -> zarr.Array:
    """An array that writes chunks of zeros, too: one that is not there is lost."""
    return group[name].with_config({"write_empty_chunks": True})


def open_dataset(place: Place) -> xr.Dataset:
    """A complete store as a lazy Dataset, a shard of frames in each dask chunk. Raises
    IncompleteStore if frames are missing; reading it may raise DamagedStore."""
    group = zarr.open_group(place, mode="r", zarr_format=3, use_consolidated=False)
    done = _Stored(place, group["done"])[:]
    if not done.all():
        raise IncompleteStore(
            f"{place}: {(~done).sum()} of {len(done)} frames are not complete; run the step again, "
            "it goes on where it stopped"
        )
    arrays = {name: _lazy(_Stored(place, array)) for name, array in group.arrays()}
    return xr.Dataset(arrays).set_coords(("position", "done"))


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


class _Stored:
    """A stored array: reads what is asked for, no more. Raises DamagedStore."""

    def __init__(self, place: Place, array: zarr.Array):
        self.place, self.array = place, array
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __getitem__(self, key):
        try:
            return self.array.oindex[key]
        except (ValueError, RuntimeError, OSError) as error:
            what = f"{self.array.basename} of frames {key}: {type(error).__name__}: {error}"
            raise DamagedStore(self.place, what) from error


class _InNats(_Stored):
    """Score maps in nats, dequantized as they are read."""

    def __init__(self, place: Place, group: zarr.Group):
        super().__init__(place, group["score_root"])
        self.dtype = np.dtype(np.float32)
        self.highest = _Stored(place, group["highest"])[:]

    def __getitem__(self, key):
        found, highest = super().__getitem__(key), self.highest[key[0]]
        return dequantize(found, np.expand_dims(highest, (*range(highest.ndim, found.ndim),)))


def _lazy(stored: _Stored) -> tuple:
    """Dimensions and a dask array of it, a shard of frames in each chunk. Dask hands a slice of
    frames down to the read, so that one map is one chunk of the store."""
    chunks = stored.array.shards or stored.array.chunks
    lazy = da.from_array(stored, chunks, name=False, meta=np.ndarray)
    return stored.array.metadata.dimension_names, lazy


def open_scores(place: Place) -> xr.DataArray:
    """Score maps (frame, y, x) in nats, lazily, a shard of frames in each dask chunk."""
    stored = open_dataset(place)["score_root"]
    dimensions, lazy = _lazy(_InNats(place, _opened(place)))
    attributes = {"long_name": "score", "units": "nat"}
    return xr.DataArray(lazy, stored.coords, dimensions, name="score", attrs=attributes)
