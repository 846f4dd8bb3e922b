"""What `alkit status` prints of an experiment: steps by cycle, durations, results."""

import time
from pathlib import Path

import pandas as pd

from alkit.loop import answers, records, runs, steps
from alkit.loop.experiment import Task, ledger, tasks
from alkit.loop.jsonfile import read_json
from alkit.loop.notebooks import broke_off


def table(out: Path) -> pd.DataFrame:
    """The state of every step: one row each, with its duration."""
    rows, works = [], runs.locked(out)
    for task in tasks(out):
        kind, why = task.state()
        record = None if kind == "damaged" else records.read(task.run, task.cycle, task.step.name)
        warnings = record["warnings"] if record else []
        if kind == "complete" and not works and broke_off(task.notebook()):
            warnings.append(f"the next `alkit run` executes {task.notebook()} again: it broke off")
        rows.append(
            {
                "run": str(task.run.folder.relative_to(out)),
                "cycle": task.cycle,
                "step": task.step.name,
                "state": kind,
                "seconds": record["seconds"] if record else None,
                "note": why or _labels_wanted(task),
                "warnings": warnings,
            }
        )
    return pd.DataFrame(rows)


def _labels_wanted(task: Task) -> str:
    """How far people have come, where their labels are all that a step waits for."""
    run, cycle = task.run, task.cycle
    waits = task.step is steps.label and records.read(run, cycle, task.step.name) is None
    if not waits or run.experiment.labels == "oracle":
        return ""
    if steps.choose.state(run, cycle).kind != "complete":
        return ""
    finished, total = answers.progress(run, cycle)
    goes_on = ": `alkit run` goes on" if finished == total else ""
    return f"labels by people: {finished} of {total} frames are finished{goes_on}"


def format_status(out: Path) -> str:
    """The tables that `alkit status` prints: steps by cycle, and the ledger."""
    states = table(out)
    lines = [f"{out.name}: {(states.state == 'complete').sum()} of {len(states)} steps complete"]
    marks = {"waiting": "·", "running": "…", "interrupted": "!", "stale": "?"}

    def cell(row):
        if row.state != "complete":
            return marks.get(row.state, row.state)
        return "=" if row.note else f"{row.seconds:.0f} s"

    states["cell"] = [*map(cell, states.itertuples())]
    wide = states.pivot(index=["run", "cycle"], columns="step", values="cell").fillna("")
    legend = "seconds; = shared with another cycle, · waiting, … running, ! interrupted, ? stale"
    lines += ["", wide.to_string(), "", legend]
    notes = states[(states.note != "") & (states.state != "complete")]
    lines += [f"{r.run} cycle {r.cycle} {r.step}: {r.state}: {r.note}" for r in notes.itertuples()]
    leaks = out / "leaks.json"
    lines += [f"warning: {line}" for line in (read_json(leaks) if leaks.exists() else ())]
    warned = states.explode("warnings").dropna(subset="warnings")
    for text, own in warned.groupby("warnings", sort=False):
        first, more = own.iloc[0], f" and {len(own) - 1} more" if len(own) > 1 else ""
        lines.append(f"warning: {text} ({first.run} cycle {first.cycle} {first.step}{more})")
    try:
        results = ledger(out)
    except runs.DamagedStep as error:
        return "\n".join([*lines, "", f"no results: {error}"])
    if len(results):
        narrow = results.drop(columns=[name for name in results if name.startswith("AP ")])
        lines += ["", narrow.round(3).to_string(index=False)]
    return "\n".join(lines)


def print_status(out: Path):
    """Print the status of an experiment, or of each of its folds, and of the folds together."""
    folders = runs.experiments(out)
    for folder in folders:
        print(format_status(folder), end="\n\n")
    if len(folders) < 2:
        return
    columns = {}
    for folder in folders:
        results = ledger(folder)
        if len(results):
            by = results.groupby(["strategy", "cycle"], sort=False)["miss rate at FPPI 1"]
            columns[folder.name] = by.mean()
    table = pd.DataFrame(columns).round(3).to_string()
    said = f"miss rate at FPPI 1, mean over seeds\n{table}"
    print(said if columns else "no cycle is evaluated yet")


def watch(out: Path, seconds: float = 2.0):
    """Print the status again and again while a run works in the folder."""
    while True:
        print("\033[2J\033[H", end="")
        print_status(out)
        if not any(runs.locked(folder) for folder in runs.experiments(out)):
            return
        time.sleep(seconds)
