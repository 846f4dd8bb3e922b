"""Step 6: Θ from W_l on X_al."""

import warnings

from alkit import training
from alkit.data.joining import joined
from alkit.loop import labels
from alkit.loop.step import Job, Step, data_key, labels_keys, weights_key
from alkit.loop.steps.shared import TRAINING, train


def _retrain(job: Job):
    run = job.run
    cycles = [run.labels(k) for k in range(1, job.cycle + 1)]
    frames = labels.labeled_frames(run.frames("pool").unlabeled(), cycles)
    if len(frames.with_pedestrians()) == 0:  # chance may choose so: the strategy's own result
        warnings.warn(f"none of the {len(frames)} labeled frames holds a pedestrian", stacklevel=2)
    if job.numbers.replay:
        frames = joined([run.frames("labeled"), frames], "X_l and X_al")
    detector = training.load_weights(run.weights(0), job.numbers)
    train(job, detector, frames)


retrain = Step(
    "6_retrain",
    _retrain,
    artifacts=("weights.safetensors", "losses.json"),
    inputs=lambda run, cycle: {
        "input_W_l": weights_key(run, 0),
        "input_X_u": data_key(run, "pool"),
        **labels_keys(run, range(1, cycle + 1)),
        **({"input_X_l": data_key(run, "labeled")} if run.numbers(cycle).replay else {}),
        "seed": run.seed,
        "cycle": cycle,
    },
    parameters=(*TRAINING, "replay", "empty_labeled"),
)
