"""Step 0: W_l from X_l."""

from alkit import training
from alkit.loop.jsonfile import write_json
from alkit.loop.step import Job, Step, data_key, file_digest
from alkit.loop.steps.shared import DETECTING, TRAINING, measure, train


def _pretrain(job: Job):
    frames = job.run.frames("labeled")
    if len(frames.with_pedestrians()) == 0:
        raise ValueError(
            f"{frames.dataset}: none of the labeled frames holds a pedestrian that passes the "
            "filter; check it and the class names of the entry: `alkit data stats NAME` counts both"
        )
    if file := job.run.experiment.weights:
        detector = training.load_weights(file, job.numbers)
    else:
        detector = training.new_detector(job.numbers, job.seed("weights"))
    train(job, detector, frames)
    held_out = {}
    if job.run.experiment.held_out:
        held_out, _ = measure(job, detector, "held_out")
    write_json(job.folder / "held_out.json", held_out)


FRAMES = ("labeled_rows", "replay", "empty_labeled")

pretrain = Step(
    "0_pretrain",
    _pretrain,
    artifacts=("weights.safetensors", "losses.json", "held_out.json"),
    inputs=lambda run, cycle: {
        "input_X_l": data_key(run, "labeled"),
        "input_held_out": data_key(run, "held_out") if run.experiment.held_out else None,
        **({"input_weights": file_digest(file)} if (file := run.experiment.weights) else {}),
        "seed": run.seed,
    },
    parameters=("initialization", *TRAINING, *DETECTING, *FRAMES, "protocol"),
)
