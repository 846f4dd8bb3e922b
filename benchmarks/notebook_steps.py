"""What a notebook step costs beside the work in it, against an empty step started cold.

The steps are those of a toy experiment under `alkit run`, whose work is so short that the next
kernel is hardly ever ready in time; and those of the demo, as it was run. A step's own cost is the
time from the start of its notebook to the start of the next, less the seconds in its record.
"""

import tempfile
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import papermill

from alkit.loop import experiment, records, runs
from alkit.loop.notebooks import PRELOAD
from alkit.loop.settings import Experiment
from benchmarks import toy
from benchmarks.measuring import Missing, Options, Row, rounded, seconds


def rows(options: Options) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        cold = [empty_step(Path(folder)) for _ in range(options.pick(3, 1))]
        out = toy_experiment(Path(folder), cycles=options.pick(2, 1))
        experiment.run(out)
        found = [row("notebook.toy", "in a toy experiment", own_costs(out), cold)]
    try:
        of_demo = own_costs(toy.demo(options).out)
    except Missing:
        of_demo = {}
    if of_demo:
        found.append(row("notebook.demo", "in the demo, when it was run", of_demo, cold))
    return found


def row(key, where, costs: dict, cold: list) -> Row:
    values = list(costs.values())
    slowest = max(costs, key=costs.get)
    return Row(
        key,
        f"a notebook step's own cost, {where}",
        float(np.median(values)),
        "s",
        "an empty step cold",
        float(np.median(cold)),
        float(np.median(values) / np.median(cold)),
        at_most=3,
        note=f"median of {len(values)} steps; mean {np.mean(values):.1f} s, the most "
        f"{costs[slowest]:.1f} s, {slowest}",
        details={"steps_s": dict(zip(costs, rounded(values), strict=True)), "cold_s": cold},
    )


def empty_step(folder: Path) -> float:
    """Seconds of a notebook that only imports what a step's notebook does, its kernel cold."""
    cell = nbformat.v4.new_code_cell(
        f"import sys\nsys.path.insert(0, {str(runs.ROOT)!r})\n{PRELOAD}"
    )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    path = folder / "empty.ipynb"
    nbformat.write(notebook, path)
    return seconds(
        lambda: papermill.execute_notebook(
            path, folder / "executed.ipynb", progress_bar=False, cwd=folder
        )
    )


def toy_experiment(folder: Path, cycles: int) -> Path:
    """The folder of an experiment, not yet run, whose steps take a second or less."""
    settings = Experiment(
        name="toy",
        labeled="street-source",
        pool="street-pool",
        test="street-test",
        data={
            "street-source": {"frames": 8},
            "street-pool": {"frames": 40, "domain": "test", "world": 2},
            "street-test": {"frames": 10},
        },
        profile="demo",
        set={"image_size": (96, 128), "pretrain_epochs": 1, "epochs": 1},
        cycles=cycles,
        budget=3,
    )
    return runs.create(folder / "toy", settings, runs.ROOT / "data_catalog.yaml")


def own_costs(out: Path) -> dict:
    """Seconds by step, "divergence/seed_0 cycle 1 2_score", of an experiment that was run with
    notebooks in one go; the last step, which nothing follows, is left out."""
    starts = {}
    for task in experiment.tasks(out):
        path = task.run.cycle(task.cycle) / f"{task.step.name}.ipynb"
        record = records.read(task.run, task.cycle, task.step.name)
        if not path.exists() or record is None:
            continue
        said = nbformat.read(path, 4).metadata.get("papermill", {}).get("start_time")
        if said:
            starts[str(task)] = datetime.fromisoformat(said).timestamp(), record["seconds"]
    ordered = sorted(starts.items(), key=lambda item: item[1][0])
    pairs = pairwise(ordered)
    return {name: after - start - work for (name, (start, work)), (_, (after, _)) in pairs}
