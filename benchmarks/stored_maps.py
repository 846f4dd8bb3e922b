"""Dense score maps on disk: size, largest error, and the time to write one.

On the demo's own maps: computed again from its logits, unquantized, and written as step 2 does.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from alkit import prediction, training
from alkit.loop import store
from alkit.loop.runs import Run
from alkit.scores import divergence
from benchmarks import toy
from benchmarks.measuring import Missing, Options, Row, seconds, slower
from benchmarks.steps import batches, forward


def rows(options: Options) -> list[Row]:
    run = toy.demo(options)
    try:
        logits = run.logits(1)
    except FileNotFoundError as error:
        raise Missing(error) from None
    numbers = run.experiment.numbers
    n = min(logits.sizes["frame"], options.pick(512, 8))
    maps = unquantized(run, n)
    stored = store.quantize(maps)
    error = np.abs(store.dequantize(stored).astype(np.float64) - maps)
    worst = float((error / bound(maps)).max())
    with tempfile.TemporaryDirectory() as folder:
        writing = [seconds_of_writing(Path(folder) / str(k), maps) for k in range(4)][1:]
        size = bytes_of(Path(folder) / "0")
    height, width = maps.shape[1:]
    where = f"{n} maps of {height}×{width} of the demo's cycle 1"
    return [
        Row(
            "maps.disk",
            f"score maps on disk, {height}×{width}, a map",
            size / n / 1e3,
            "kB",
            "raw float32",
            maps.nbytes / n / 1e3,
            size / maps.nbytes,
            "ratio",
            at_most=0.06,
            note=f"{where}, the store's own files included",
        ),
        Row(
            "maps.error",
            "largest error of a stored map, of what is stated",
            worst,
            "",
            at_most=1.0,
            note=f"stated: √(s · {store.HIGHEST_SCORE:.2f}) / {store.QUANTA}, half a step of the "
            f"square-root scale; {float(error.max()):.2g} nats at worst in {where}, where the "
            f"highest score is {float(maps.max()):.2f}",
            details={"largest_error_nats": float(error.max())},
        ),
        slower(
            "maps.writing",
            "quantizing, compressing and writing a map",
            writing,
            "bare forward passes of a frame",
            forward_seconds(run, numbers, options),
            1.0,
            note="never the bottleneck: less than the forward passes take",
        ),
    ]


def unquantized(run: Run, n: int) -> np.ndarray:
    """The first n score maps float32 (n, y, x) of the first cycle, from its logits."""
    numbers = run.experiment.numbers
    radius = numbers.pixels(numbers.radius)
    part = run.logits(1).isel(frame=slice(0, n)).load()
    pairs = zip(part[prediction.COARSE].values, part[prediction.FINE].values, strict=True)
    return np.stack(
        [prediction.pixel_scores(lambda p: divergence(p, radius), *pair, numbers) for pair in pairs]
    )


def bound(maps) -> np.ndarray:
    """The largest error that half a step of the scale makes: with q = Q · √(s / highest), an error
    of 1/2 in q is at most √(s · highest) / Q + highest / 4 / Q² in s."""
    h = store.HIGHEST_SCORE
    rounding = 1e-6 * h  # float32
    return np.sqrt(maps.astype(np.float64) * h) / store.QUANTA + h / 4 / store.QUANTA**2 + rounding


def seconds_of_writing(path: Path, maps) -> float:
    """Seconds for one map, of a whole store."""
    start = time.perf_counter()
    write(path, maps, len(maps))
    return (time.perf_counter() - start) / len(maps)


def write(path: Path, maps, n: int):
    """A store of n frames, as step 2 writes it; the maps again and again."""
    size = maps.shape[1:]
    arrays = {"score_root": (("y", "x"), size, store.STORED), "highest": ((), (), np.float32)}
    group = store.create(path, np.arange(n), arrays, "a benchmark")
    for block in store.shards(group):
        chosen = np.arange(block.start, block.stop) % len(maps)
        shown = {"score_root": store.quantize(maps[chosen]), "highest": store.HIGHEST_SCORE}
        store.write_shard(path, "a benchmark", block, shown)


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def forward_seconds(run: Run, numbers, options: Options) -> list:
    """Seconds of the bare forward passes of one frame, a few times."""
    images = toy.pictures(numbers.image_size, options.pick(16, 2))
    frames = toy.in_memory(images)
    detector = training.load_weights(run.weights(0), numbers).eval()
    tensors = batches(frames, numbers.double_evaluation)
    forward(detector, tensors)
    return [seconds(lambda: forward(detector, tensors)) / len(images) for _ in range(3)]
