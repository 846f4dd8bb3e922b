"""Step 3: a score for every image."""

from functools import partial

import numpy as np

from alkit.aggregation import image_score, region_maxima
from alkit.loop import cluster, store
from alkit.loop.jsonfile import replacing
from alkit.loop.step import Job, Step, key_of
from alkit.loop.steps.shared import frame_table


def _aggregate(job: Job):
    positions = job.run.scores(job.cycle)["position"].values
    n = len(positions)
    found = cluster.over_shards(aggregate, job, store.blocks(n, store.SHARD_FRAMES), n)
    z, regions = zip(*found, strict=True)
    with replacing(job.folder / "region_maxima.npy") as file:
        np.save(file, np.concatenate(regions), allow_pickle=False)
    pool = job.run.frames("pool").unlabeled()
    table = frame_table(pool, positions).assign(z=np.concatenate(z))
    with replacing(job.folder / "image_scores.csv") as file:
        table.to_csv(file, index=False)


def _open(job: Job):
    """The work on blocks of frames: their image scores, float64, and the maxima of their regions,
    float16: enough to find the regions worth a look."""
    place = job.run.artifact(job.cycle, "2_score", "scores.zarr")
    stored = store.open_dataset(place)["score_root"]  # whole numbers, as `store.quantize` has them
    region = job.numbers.pixels(job.numbers.region)
    how, grid = job.run.aggregation(job.cycle), job.numbers.region_grid

    def work(blocks, tick):
        for block in blocks:
            maps = stored.isel(frame=block).values
            tick(len(maps))
            yield partial(aggregated, maps)

    def aggregated(maps):
        # a higher score is a higher number in the store, and of those there is less to go through
        highest = store.dequantize(region_maxima(maps, region, grid))
        # the mean of the regions' maxima is Eq. (5)
        whole = how != "max"
        z = image_score(store.dequantize(maps) if whole else highest, how=how if whole else "mean")
        return np.asarray(z, np.float64), highest.astype(np.float16)

    return work


aggregate = Step(
    "3_aggregate",
    _aggregate,
    artifacts=("image_scores.csv", "region_maxima.npy"),
    inputs=lambda run, cycle: {
        "input_scores": key_of(run, cycle, "2_score"),
        "aggregation": run.aggregation(cycle),
    },
    parameters=("image_size", "region", "region_grid"),
    open_shards=_open,
)
