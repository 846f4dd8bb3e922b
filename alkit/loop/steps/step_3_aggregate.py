"""Step 3: a score for every image."""

import warnings

import numpy as np

from alkit.aggregation import image_score, region_maxima
from alkit.loop import store
from alkit.loop.jsonfile import replacing
from alkit.loop.plugins import SCORES
from alkit.loop.step import Job, Step, key_of
from alkit.loop.steps.shared import frame_table
from alkit.threads import in_threads

HANDFUL = 5  # of frames may well have equal scores


def _aggregate(job: Job):
    data = store.open_dataset(job.run.artifact(job.cycle, "2_score", "scores.zarr"))
    stored, positions = data["score_root"], data["position"].values
    scales = data["highest"].values[:, None, None]
    region, grid = job.numbers.pixels(job.numbers.region), job.numbers.region_grid
    how = job.run.aggregation(job.cycle)
    kind = np.float16 if job.run.strategy.score in SCORES else np.float32  # of any magnitude

    def aggregated(block):
        """z float64 of a block of frames, and the maxima of their regions: float16 is enough to
        find those of alkit's scores that are worth a look."""
        maps = stored.isel(frame=block).values  # whole numbers, as `store.quantize` makes them
        # a higher score is a higher number in the store, and of those there is less to go through
        highest = store.dequantize(region_maxima(maps, region, grid), scales[block])
        if how == "max":  # the mean of the regions' maxima is Eq. (5)
            z = image_score(highest, how="mean")
        else:
            z = image_score(store.dequantize(maps, scales[block]), how=how)
        return np.asarray(z, np.float64), highest.astype(kind)

    z, regions, n = [], [], len(positions)
    for own, highest in in_threads(aggregated, store.blocks(n, store.SHARD_FRAMES)):
        z.extend(own)
        regions.append(highest)
        job.progress(len(z), n)
    values, times = np.unique(z, return_counts=True)
    if n > HANDFUL and times.max() > n / 2:
        same = f"{times.max()} of {n} frames have the same z, {values[times.argmax()]:.6g}"
        warnings.warn(f"{same}: the score does not choose among them", stacklevel=2)
    with replacing(job.folder / "region_maxima.npy") as file:
        found = np.concatenate(regions) if regions else np.zeros((0, 0, 0), kind)
        np.save(file, found, allow_pickle=False)
    table = frame_table(job.run.frames("pool").unlabeled(), positions).assign(z=z)
    with replacing(job.folder / "image_scores.csv") as file:
        table.to_csv(file, index=False)


aggregate = Step(
    "3_aggregate",
    _aggregate,
    artifacts=("image_scores.csv", "region_maxima.npy"),
    inputs=lambda run, cycle: {
        "input_scores": key_of(run, cycle, "2_score"),
        "aggregation": run.aggregation(cycle),
    },
    parameters=("image_size", "region", "region_grid"),
)
