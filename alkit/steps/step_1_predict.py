"""Step 1: predictions of every unlabelled frame."""

import numpy as np

from alkit import prediction, store, training
from alkit.jsonfile import read_json, write_json
from alkit.runs import Run
from alkit.stepping import Job, Step, data_key, labels_keys, weights_key
from alkit.steps.shared import DETECTING, IMAGES


def unlabeled_positions(run: Run, cycle: int, n: int) -> np.ndarray:
    """Positions of the pool that nobody has labelled before `cycle`."""
    return np.setdiff1d(np.arange(n), run.labeled_positions(cycle))


def _predict(job: Job):
    pool = job.run.frames("pool").unlabeled()
    positions = unlabeled_positions(job.run, job.cycle, len(pool))
    detector = training.load_weights(job.run.weights(job.cycle - 1), job.numbers)
    arrays = prediction.logit_arrays(job.numbers)
    group = store.create(job.folder / "logits.zarr", positions, arrays, job.key)
    parts = job.folder / "pool_detections"
    for block in store.shards(group):
        found, logits = [], []
        for position in positions[block].tolist():
            logits.append(prediction.predict(detector, pool.images(position), job.numbers))
            found += prediction.detect(logits[-1], position + 1, job.numbers)
            job.progress(block.start + len(logits), len(positions))
        write_json(parts / f"{block.start:08d}.json", found)
        store.write_shard(group, block, {k: np.stack([x[k] for x in logits]) for k in arrays})
    found = [d for file in sorted(parts.glob("*.json")) for d in read_json(file)]
    write_json(job.folder / "pool_detections.json.gz", found, compress=True)
    store.remove(parts)


predict = Step(
    "1_predict",
    _predict,
    artefacts=("logits.zarr", "pool_detections.json.gz"),
    inputs=lambda run, cycle: {
        "input_X_u": data_key(run, "pool"),
        "input_weights": weights_key(run, cycle - 1),
        **labels_keys(run, range(1, cycle)),
    },
    parameters=DETECTING,
    code=(*IMAGES, "boxes", "detector", "prediction", "store"),
)
