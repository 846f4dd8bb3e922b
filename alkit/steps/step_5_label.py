"""Step 5: their labels."""

from alkit import labels
from alkit.jsonfile import write_json
from alkit.stepping import Job, Step, data_key, key_of
from alkit.steps.shared import IMAGES


def _label(job: Job):
    pool = job.run.frames("pool")  # the oracle alone sees the hidden boxes
    positions = [frame["position"] for frame in job.run.selection(job.cycle)["chosen"]]
    answer = labels.to_coco(pool, positions, job.progress)
    seconds = len(positions) * job.numbers.label_seconds
    info = {"source": "oracle", "labeling_seconds": seconds}
    write_json(job.folder / "labels.json", {"info": info, **answer})


label = Step(
    "5_label",
    _label,
    artefacts=("labels.json",),
    inputs=lambda run, cycle: {
        "input_selection": key_of(run, cycle, "4_select"),
        "input_X_u": data_key(run, "pool"),
    },
    parameters=("image_size", "label_seconds"),
    code=(*IMAGES, "labels"),
)
