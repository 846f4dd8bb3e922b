"""One score map out of 10,000 of the demo's, the store being open: time, and bytes read."""

import tempfile
from pathlib import Path

import numpy as np
from zarr.storage import LocalStore, WrapperStore

from alkit.loop import store
from benchmarks import toy
from benchmarks.measuring import Missing, Options, Row, rounded, seconds
from benchmarks.stored_maps import unquantized, write


class Counting(WrapperStore):
    """A store that counts the bytes read from it."""

    count = 0

    async def get(self, key, prototype, byte_range=None):
        value = await super().get(key, prototype, byte_range)
        Counting.count += 0 if value is None else len(value)
        return value

    async def get_partial_values(self, prototype, key_ranges):
        values = await super().get_partial_values(prototype, key_ranges)
        Counting.count += sum(len(value) for value in values if value is not None)
        return values


def rows(options: Options) -> list[Row]:
    run = toy.demo(options)
    try:
        maps = unquantized(run, options.pick(store.SHARD_FRAMES, 4))
    except FileNotFoundError as error:
        raise Missing(error) from None
    n, reads = options.pick(10_000, 70), options.pick(60, 3)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.zarr"
        write(path, maps, n)
        opened = store.open_scores(Counting(LocalStore(path, read_only=True)))
        taken, read = [], []
        for i in rng.integers(n, size=reads).tolist():
            before = Counting.count
            taken.append(seconds(lambda i=i: opened[i].values))
            read.append(Counting.count - before)
        wanted = store.dequantize(store.quantize(maps[i % len(maps)]))
        if not np.array_equal(opened[i].values, wanted):
            raise RuntimeError(f"map {i} is not what was written")
    height, width = maps.shape[1:]
    what = f"one score map of {height}×{width} out of {n}"
    return [
        Row(
            "one_map.time",
            f"{what}, time",
            1e3 * float(np.median(taken)),
            "ms",
            at_most=10,
            note=f"median of {reads} at random, the first {1e3 * taken[0]:.1f} ms",
            details={"ours_ms": rounded(taken, 1e3)},
        ),
        Row("one_map.bytes", f"{what}, read", max(read) / 1e6, "MB", at_most=2, note="the most"),
    ]
