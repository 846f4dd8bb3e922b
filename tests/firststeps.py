"""What steps leave, for tests that compare two ways to do them, or let one leave something else."""

import hashlib
import json
from pathlib import Path

from alkit.loop import records
from alkit.loop.runs import Run, open_run

NAMES = ("1_predict", "2_score", "3_aggregate")


def results(run: Run) -> dict:
    """All that steps 1 to 3 of cycle 1 left, bit for bit, and their keys."""
    found = {name: array.values.tobytes() for name, array in run.logits(1).items()}
    found["scores"] = run.scores(1).values.tobytes()
    found["image scores"] = run.artifact(1, "3_aggregate", "image_scores.csv").read_bytes()
    found["detections"] = run.detections(1, "pool")
    found["keys"] = [records.read(run, 1, name)["key"] for name in NAMES]
    return found


def leave(file: Path, data: bytes):
    """Let a complete step have left other bytes in one of its files."""
    file.write_bytes(data)
    for path in file.parent.glob("[0-9]_*.json"):
        record = json.loads(path.read_text())
        if file.name in record["artifacts"]:
            record["artifacts"][file.name] = hashlib.sha256(data).hexdigest()
            path.write_text(json.dumps(record))


def leave_json(file: Path, value):
    """The same of a JSON file."""
    leave(file, json.dumps(value).encode())


def grown(out: Path, **changes) -> Run:
    """The toy experiment at `out` with another strategy, as a run of it."""
    settings = json.loads((out / "experiment.json").read_text())
    (out / "experiment.json").write_text(json.dumps(settings | changes))
    return open_run(out / changes["strategies"][-1] / "seed_0")
