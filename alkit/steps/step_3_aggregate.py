"""Step 3: a score for every image."""

import numpy as np

from alkit import cluster, store
from alkit.aggregation import image_score
from alkit.stepping import Job, Step, key_of
from alkit.steps.shared import frame_table


def _aggregate(job: Job):
    positions = job.run.scores(job.cycle)["position"].values
    n = len(positions)
    z = cluster.over_shards(aggregate, job, store.blocks(n, store.SHARD_FRAMES), n)
    pool = job.run.frames("pool").unlabeled()
    table = frame_table(pool, positions).assign(z=np.concatenate([np.zeros(0), *z]))
    partial = job.folder / "image_scores.partial"
    table.to_csv(partial, index=False)
    partial.replace(job.folder / "image_scores.csv")


def _open(job: Job):
    """The work on a block of frames: their image scores, float64."""
    maps = job.run.scores(job.cycle)
    region = job.numbers.pixels(job.numbers.region)
    how, grid = job.run.strategy.aggregation, job.numbers.region_grid

    def work(block, tick):
        z = image_score(maps.isel(frame=block).values, region, how=how, grid=grid)
        tick(len(z))
        return np.asarray(z, np.float64)

    return work


aggregate = Step(
    "3_aggregate",
    _aggregate,
    artefacts=("image_scores.csv",),
    inputs=lambda run, cycle: {
        "input_scores": key_of(run, cycle, "2_score"),
        "aggregation": run.strategy.aggregation,
    },
    parameters=("image_size", "region", "region_grid"),
    code=("aggregation", "arrays", "store"),
    open_shards=_open,
)
