"""Step 5: their labels, the oracle's or people's."""

from alkit.loop import answers, labels
from alkit.loop.jsonfile import write_json
from alkit.loop.runs import Run
from alkit.loop.step import Job, Step, data_key, key_of


def _label(job: Job):
    """Raises `answers.LabelsWanted` until people have finished all frames, where they are asked."""
    run, seconds = job.run, job.numbers.label_seconds
    if run.experiment.labels == "oracle":
        pool = run.frames("pool")  # the oracle alone sees the hidden boxes
        positions = [frame["position"] for frame in run.selection(job.cycle)["chosen"]]
        info = {"source": "oracle", "labeling_seconds": len(positions) * seconds}
        found = {"info": info, **labels.to_coco(pool, positions)}
    else:
        found = answers.labels(run, job.cycle, seconds)
    write_json(job.folder / "labels.json", found)


def _inputs(run: Run, cycle: int) -> dict:
    inputs = {
        "input_selection": key_of(run, cycle, "4_select"),
        "input_X_u": data_key(run, "pool"),
    }
    if run.experiment.labels != "oracle":
        inputs["input_answers"] = answers.answers_digest(run, cycle)
    return inputs


label = Step(
    "5_label",
    _label,
    artifacts=("labels.json",),
    inputs=_inputs,
    parameters=("image_size", "length_scale", "label_seconds"),
)
