"""Step 5: their labels, the oracle's or people's."""

from alkit.loop import answers, labels
from alkit.loop.jsonfile import write_json
from alkit.loop.runs import Run
from alkit.loop.step import Job, Step, data_key, key_of


def _label(job: Job):
    write_json(job.folder / "labels.json", _asked(job) if _by_people(job.run) else _known(job))


def _by_people(run: Run) -> bool:
    return run.experiment.labels != "oracle"


def _known(job: Job) -> dict:
    """What the data set's hidden boxes say."""
    pool = job.run.frames("pool")  # the oracle alone sees the hidden boxes
    positions = [frame["position"] for frame in job.run.selection(job.cycle)["chosen"]]
    answer = labels.to_coco(pool, positions)
    seconds = len(positions) * job.numbers.label_seconds
    return {"info": {"source": "oracle", "labeling_seconds": seconds}, **answer}


def _asked(job: Job) -> dict:
    """What people say. Raises `answers.LabelsWanted` until all frames are finished."""
    return answers.labels(job.run, job.cycle, job.numbers.label_seconds)


def _inputs(run: Run, cycle: int) -> dict:
    inputs = {
        "input_selection": key_of(run, cycle, "4_select"),
        "input_X_u": data_key(run, "pool"),
    }
    if _by_people(run):
        inputs["input_answers"] = answers.answers_digest(run, cycle)
    return inputs


label = Step(
    "5_label",
    _label,
    artifacts=("labels.json",),
    inputs=_inputs,
    parameters=("image_size", "length_scale", "label_seconds"),
)
