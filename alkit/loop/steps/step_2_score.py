"""Step 2: a score for every pixel."""

from itertools import chain

import numpy as np
import torch

from alkit import prediction, training
from alkit.arrays import to_numpy
from alkit.detector import device
from alkit.loop import cluster, store
from alkit.loop.plugins import SCORES, load_score
from alkit.loop.step import Job, Step, key_of
from alkit.threads import in_threads


def _score(job: Job):
    positions = job.run.logits(job.cycle)["position"].values
    arrays = {"score_root": (("y", "x"), job.numbers.image_size, store.STORED)}
    arrays["highest"] = (), (), np.float32
    place = job.place("scores.zarr")
    store.create(place, positions, arrays, job.key)
    cluster.fill(score, job, place)


def _open(job: Job):
    """The score maps of frames, and what writes those of a shard."""
    name, numbers = job.run.strategy.score, job.numbers
    score = load_score(name, job.run.experiment.plugins, numbers.pixels(numbers.radius))
    passes = name == "mutual_information"
    read, of_frame, threads = (_of_passes if passes else _of_logits)(job, score)

    def of_frames(blocks):
        return in_threads(of_frame, chain.from_iterable(map(read, blocks)), threads)

    def write(block, made):
        maps, highest = map(np.stack, zip(*made, strict=True))
        arrays = {"score_root": maps, "highest": highest}
        store.write_shard(job.place("scores.zarr"), job.key, block, arrays)

    return of_frames, write


def stored(name: str, scores: np.ndarray) -> tuple:
    """A map of the score of this name as the store holds it, and what its highest quantum means."""
    highest = store.HIGHEST_SCORE if name in SCORES else float(scores.max()) or 1.0
    return store.quantize(scores, highest), highest


def _of_logits(job: Job, score):
    """What reads a block of frames, what makes a frame's map of that, and in how many threads."""
    logits = job.run.logits(job.cycle)
    name = job.run.strategy.score
    # a plugin's function may know nothing of GPUs, and not stand several threads at a time
    on, threads = (device(), None) if name in SCORES else ("cpu", 1)

    def read(block):
        part = logits.isel(frame=block).load()
        return zip(part[prediction.COARSE].values, part[prediction.FINE].values, strict=True)

    def of_frame(maps):
        return stored(name, prediction.pixel_scores(score, *maps, job.numbers, on))

    return read, of_frame, threads


def _of_passes(job: Job, score):
    """The same under MC dropout, whose passes share the features. Each frame has its own random
    numbers, whichever process does it, and after whatever interruption."""
    positions = job.run.logits(job.cycle)["position"].values
    pool = job.run.frames("pool").unlabeled()
    detector = training.load_weights(job.run.weights(job.cycle - 1), job.numbers)
    seeds = job.seed("dropout").generate_state(len(pool), np.uint64) >> np.uint64(1)

    def read(block):
        return ((position, pool.images(position)) for position in positions[block].tolist())

    def of_frame(frame):
        position, image = frame
        generator = torch.Generator().manual_seed(int(seeds[position]))
        passes = prediction.dropout_probabilities(detector, image, job.numbers, generator)
        return stored(job.run.strategy.score, to_numpy(score(passes)))

    # the passes of several frames may be too much for a GPU's memory
    return read, of_frame, None if detector.device.type == "cpu" else 1


MAPS = ("image_size", "width", "half_pixel", "double_average")
DROPOUT = ("mc_passes", "mc_ratio")

score = Step(
    "2_score",
    _score,
    artifacts=("scores.zarr",),
    inputs=lambda run, cycle: {
        "input_predictions": key_of(run, cycle, "1_predict"),
        "score": run.strategy.score,
        **({"seed": run.seed} if run.strategy.score == "mutual_information" else {}),
    },
    parameters=(*MAPS, "radius", *DROPOUT),
    open_shards=_open,
)
