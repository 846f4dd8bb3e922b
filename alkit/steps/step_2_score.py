"""Step 2: a score for every pixel."""

import numpy as np
import torch

from alkit import prediction, store, training
from alkit.plugins import load_score
from alkit.stepping import Job, Step, key_of
from alkit.steps.shared import IMAGES


def _score(job: Job):
    logits = job.run.logits(job.cycle)
    positions = logits["position"].values
    name = job.run.strategy.score
    score = load_score(name, job.run.experiment.plugins, job.numbers.pixels(job.numbers.radius))
    if name == "mutual_information":
        of_block = _dropout_maps(job, positions, score)
    else:

        def of_block(block):
            part = logits.isel(frame=block).load()
            for coarse, fine in zip(
                part[prediction.COARSE].values, part[prediction.FINE].values, strict=True
            ):
                yield prediction.pixel_scores(score, coarse, fine, job.numbers)

    size = job.numbers.image_size
    arrays = {"score_root": (("y", "x"), size, np.uint8)}
    group = store.create(job.folder / "scores.zarr", positions, arrays, job.key)
    for block in store.shards(group):
        maps = np.empty((block.stop - block.start, *size), np.uint8)
        for i, s in enumerate(of_block(block)):
            maps[i] = store.quantise(s)
            job.progress(block.start + i + 1, len(positions))
        store.write_shard(group, block, {"score_root": maps})


def _dropout_maps(job: Job, positions, score):
    """Score maps of frames under MC dropout, whose passes share the features.

    Each frame has its own random numbers, so that where a run was interrupted does not matter.
    """
    pool = job.run.frames("pool").unlabeled()
    detector = training.load_weights(job.run.weights(job.cycle - 1), job.numbers)
    seeds = job.seed("dropout").generate_state(len(pool), np.uint64) >> np.uint64(1)

    def of_block(block):
        for position in positions[block].tolist():
            image = pool.images(position)
            generator = torch.Generator().manual_seed(int(seeds[position]))
            yield score(prediction.dropout_probabilities(detector, image, job.numbers, generator))

    return of_block


score = Step(
    "2_score",
    _score,
    artefacts=("scores.zarr",),
    inputs=lambda run, cycle: {
        "input_predictions": key_of(run, cycle, "1_predict"),
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
    code=(*IMAGES, "arrays", "detector", "plugins", "prediction", "scores", "store"),
)
