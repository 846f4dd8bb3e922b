"""Step 2: a score for every pixel.

On a GPU step 1 does this work too, in the same pass: the maps are computed from logits that are
still there, and go straight to this step's store. Here is left what it did not do: the scores of
predictions that another run has made, or of a step that is made again, scores by plugins, and MC
dropout.
"""

from functools import partial
from itertools import islice

import numpy as np
import torch

from alkit import prediction, training
from alkit.arrays import to_numpy
from alkit.detector import device
from alkit.loop import cluster, records, store
from alkit.loop.plugins import SCORES, load_score
from alkit.loop.step import Job, Step, key_of
from alkit.loop.steps.shared import IMAGES
from alkit.threads import in_threads


def _score(job: Job):
    cluster.fill(score, job, new_store(job, job.run.logits(job.cycle)["position"].values))


def new_store(job: Job, positions):
    """The store of score maps of frames at `positions`, made, or opened as it was left."""
    arrays = {"score_root": (("y", "x"), job.numbers.image_size, store.STORED)}
    return store.create(_place(job), positions, arrays, job.key)


def _place(job: Job):
    return job.place("scores.zarr")


def _open(job: Job):
    """The work on shards: the score maps of their frames, then writes them."""
    open_maps = _dropout_maps if job.run.strategy.score == "mutual_information" else _maps
    maps_of = open_maps(job, score_of(job))

    def work(blocks, tick):
        coming = maps_of(blocks)
        for block in blocks:
            maps = np.empty((block.stop - block.start, *job.numbers.image_size), store.STORED)
            for i, stored in enumerate(islice(coming, len(maps))):
                maps[i] = stored
                tick()
            yield partial(write, job, block, maps)

    return work


def score_of(job: Job):
    """The function of the strategy's score: probabilities to a score map."""
    radius = job.numbers.pixels(job.numbers.radius)
    return load_score(job.run.strategy.score, job.run.experiment.plugins, radius)


def write(job: Job, block: slice, maps):
    """Write one shard of maps, as they are stored, unless it is done."""
    group = store.reopen(_place(job), job.key)
    if not store.is_done(group, block):
        store.write_shard(group, block, {"score_root": maps})


def job_ahead(predicting: Job) -> Job | None:
    """The job of this step on what step 1 is about to predict; None where step 1 has to leave it
    alone: for a score that is not computed from logits, or by a plugin, which may know nothing of
    GPUs, and where the step has a record already."""
    run, cycle = predicting.run, predicting.cycle
    alone = run.strategy.score not in SCORES - {"mutual_information"}
    if alone or records.read(run, cycle, score.name):
        return None
    key = score.plan(run, cycle, predictions=predicting.key).key
    return score.job(run, cycle, key, predicting.progress)


def to_be_filled(job: Job) -> bool:
    """Whether the store of `job_ahead` is there and not whole, so that step 1 is to fill it."""
    return store.being_made_from(_place(job)) == job.key


def _maps(job: Job, score):
    """Score maps of blocks of frames from their logits, one by one, as they are stored."""
    logits = job.run.logits(job.cycle)
    own = job.run.strategy.score in SCORES
    # a plugin's function may know nothing of GPUs, and not stand several threads at a time
    on, threads = (device(), None) if own else ("cpu", 1)

    def read(blocks):
        for block in blocks:
            part = logits.isel(frame=block).load()
            yield from zip(
                part[prediction.COARSE].values, part[prediction.FINE].values, strict=True
            )

    def of_frame(maps):
        return store.quantise(prediction.pixel_scores(score, *maps, job.numbers, on))

    return lambda blocks: in_threads(of_frame, read(blocks), threads)


def _dropout_maps(job: Job, score):
    """The same under MC dropout, whose passes share the features.

    Each frame has its own random numbers, so that it does not matter where a run was interrupted,
    or which process does a frame.
    """
    positions = job.run.logits(job.cycle)["position"].values
    pool = job.run.frames("pool").unlabeled()
    detector = training.load_weights(job.run.weights(job.cycle - 1), job.numbers)
    seeds = job.seed("dropout").generate_state(len(pool), np.uint64) >> np.uint64(1)

    # the passes of several frames may be too much for a GPU's memory
    threads = None if detector.device.type == "cpu" else 1

    def read(blocks):
        for block in blocks:
            for position in positions[block].tolist():
                yield position, pool.images(position)

    def of_frame(frame):
        position, image = frame
        generator = torch.Generator().manual_seed(int(seeds[position]))
        passes = prediction.dropout_probabilities(detector, image, job.numbers, generator)
        return store.quantise(to_numpy(score(passes)))

    return lambda blocks: in_threads(of_frame, read(blocks), threads)


score = Step(
    "2_score",
    _score,
    artefacts=("scores.zarr",),
    inputs=lambda run, cycle, predictions=None: {
        "input_predictions": predictions or key_of(run, cycle, "1_predict"),
        "score": run.strategy.score,
        **({"seed": run.seed} if run.strategy.score == "mutual_information" else {}),
    },
    parameters=(
        "image_size",
        "width",
        "half_pixel",
        "double_average",
        "radius",
        "mc_passes",
        "mc_ratio",
    ),
    code=(
        *IMAGES,
        "arrays",
        "detector",
        "loop/plugins",
        "prediction",
        "scores",
        "loop/store",
        "threads",
    ),
    open_shards=_open,
)
