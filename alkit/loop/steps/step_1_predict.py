"""Step 1: predictions of every frame to score: the unlabeled ones, or all (released)."""

from itertools import chain
from pathlib import Path

import numpy as np

from alkit import prediction, training
from alkit.loop import cluster, store
from alkit.loop.jsonfile import read_json, write_json, write_json_list
from alkit.loop.runs import Run
from alkit.loop.step import Job, Step, data_key, labels_keys, weights_key
from alkit.loop.steps.shared import DETECTING

PARTS = "pool_detections"


def positions_to_score(run: Run, cycle: int) -> np.ndarray:
    """Positions of the pool that nobody has labeled before the cycle; all where the profile
    scores labeled frames too, or the strategy looks at their features."""
    everything = np.arange(len(run.frames("pool")))
    if run.numbers(cycle).score_labeled or "features" in run.strategy.reads:
        return everything
    return np.setdiff1d(everything, run.labeled_positions(cycle))


def _predict(job: Job):
    positions = positions_to_score(job.run, job.cycle)
    arrays, place = prediction.logit_arrays(job.numbers), job.place("logits.zarr")
    collected = job.folder / "pool_detections.json.gz"
    group = store.create(place, positions, arrays, job.key)
    parts = {_part(job, block): block for block in store.all_shards(group)}
    if not (group.attrs.get("detections_collected") and collected.exists()):
        group.attrs["detections_collected"] = False
        for block in (block for part, block in parts.items() if not part.exists()):
            group["done"][block] = False
    cluster.fill(predict, job, place)
    group = store.reopen(place, job.key)
    if not group.attrs["detections_collected"]:
        found = chain.from_iterable(map(read_json, parts))  # of a long pool too many for memory
        write_json_list(collected, found)
        group.attrs["detections_collected"] = True  # before the parts go: a kill loses nothing
    store.remove(job.folder / PARTS)


def _part(job: Job, block: slice) -> Path:
    """The file of the detections of one shard, until all are collected."""
    return job.folder / PARTS / f"{block.start:08d}.json"


def _open(job: Job):
    """Logits and detections of frames, and what writes those of a shard."""
    path = job.place("logits.zarr")
    pool = job.run.frames("pool").unlabeled()
    positions = store.reopen(path, job.key)["position"][:]
    detector = training.load_weights(job.run.weights(job.cycle - 1), job.numbers)

    def use(position, maps):
        return maps, prediction.detect(maps, position + 1, job.numbers)

    def of_frames(blocks):
        own = np.concatenate([positions[block] for block in blocks]).tolist()
        return prediction.predict_all(detector, pool, own, job.numbers, use)

    def write(block, made):
        maps, found = zip(*made, strict=True)
        write_json(_part(job, block), [*chain.from_iterable(found)])
        stacked = {name: np.stack([of_frame[name] for of_frame in maps]) for name in maps[0]}
        store.write_shard(path, job.key, block, stacked)

    return of_frames, write


predict = Step(
    "1_predict",
    _predict,
    artifacts=("logits.zarr", "pool_detections.json.gz"),
    inputs=lambda run, cycle: {
        "input_X_u": data_key(run, "pool"),
        "input_weights": weights_key(run, cycle - 1),
        **labels_keys(run, range(1, cycle)),
        "all_frames": cycle > 1 and "features" in run.strategy.reads,
    },
    parameters=(*DETECTING, "score_labeled"),
    open_shards=_open,
)
