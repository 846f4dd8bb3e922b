"""Step 7: miss rate against false positives per image."""

from alkit import training
from alkit.loop import labels
from alkit.loop.jsonfile import write_json, write_json_list
from alkit.loop.step import Job, Step, data_key, labels_keys, weights_key
from alkit.loop.steps.shared import DETECTING, measure


def _evaluate(job: Job):
    run = job.run
    detector = training.load_weights(run.weights(job.cycle), job.numbers)
    result, found = measure(job, detector, "test")
    counts = {"images": 0, "pedestrians": 0, "labeling_seconds": 0.0}
    for k in range(1, job.cycle + 1):
        given = run.labels(k)
        own = labels.count(given) | {"labeling_seconds": given["info"]["labeling_seconds"]}
        counts = {name: counts[name] + own[name] for name in counts}
    write_json(job.folder / "evaluation.json", {"labeled": counts, **result})
    write_json_list(job.folder / "test_detections.json.gz", found)


evaluate = Step(
    "7_evaluate",
    _evaluate,
    artifacts=("evaluation.json", "test_detections.json.gz"),
    inputs=lambda run, cycle: {
        "input_test": data_key(run, "test"),
        "input_weights": weights_key(run, cycle),
        **labels_keys(run, range(1, cycle + 1)),
    },
    parameters=(*DETECTING, "protocol"),
)
