"""Step 3: a score for every image."""

import numpy as np

from alkit.aggregation import image_score
from alkit.stepping import Job, Step, key_of
from alkit.steps.shared import frame_table


def _aggregate(job: Job):
    maps = job.run.scores(job.cycle)
    region = job.numbers.pixels(job.numbers.region)
    how = job.run.strategy.aggregation
    z = image_score(maps.data, region, how=how, grid=job.numbers.region_grid)
    z = np.concatenate(
        [_reported(block, i, z.npartitions, job) for i, block in enumerate(z.partitions)]
    )
    pool = job.run.frames("pool").unlabeled()
    positions = maps["position"].values
    table = frame_table(pool, positions).assign(z=z)
    partial = job.folder / "image_scores.partial"
    table.to_csv(partial, index=False)
    partial.replace(job.folder / "image_scores.csv")


def _reported(block, i: int, total: int, job: Job):
    values = np.asarray(block, np.float64)
    job.progress(i + 1, total)
    return values


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
)
