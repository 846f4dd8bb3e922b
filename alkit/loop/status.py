"""What `alkit status` prints of an experiment: steps by cycle, durations, results."""

import contextlib
import time
from pathlib import Path

import pandas as pd
import yaml

from alkit.loop import answers, records, runs, steps
from alkit.loop.experiment import Task, ledger, tasks
from alkit.loop.jsonfile import read_json
from alkit.loop.notebooks import broke_off
from alkit.loop.references import REFERENCES
from alkit.loop.settings import Experiment
from alkit.text import number


def table(out: Path) -> pd.DataFrame:
    """The state of every step: one row each, with its duration."""
    rows, works = [], runs.locked(out)
    for task in tasks(out):
        lack = ""
        try:
            kind, why = task.state()
            why = _labels_wanted(task) if kind == "waiting" else why
        except (ValueError, OSError) as error:  # the data or the plugin is not on this machine
            kind, why, lack = "waiting", "", str(error)
        record = None if kind == "damaged" else records.read(task.run, task.cycle, task.step.name)
        if lack and record:
            kind, why = "complete", record.get("reused", "")
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
                "note": why,
                "lack": lack,
                "warnings": warnings,
            }
        )
    return pd.DataFrame(rows)


def _labels_wanted(task: Task) -> str:
    """How far people have come, where their labels are all that a waiting step lacks."""
    run, cycle = task.run, task.cycle
    asked = task.step is steps.label and run.experiment.labels != "oracle"
    if not asked or steps.choose.state(run, cycle).kind != "complete":
        return ""
    finished, total = answers.progress(run, cycle)
    goes_on = ": `alkit run` goes on" if finished == total else ""
    return f"labels by people: {finished} of {total} frames are finished{goes_on}"


def format_status(out: Path, results: bool = True) -> str:
    """The tables that `alkit status` prints: steps by cycle, and with `results` the ledger."""
    states = table(out)
    lines = [f"{out.name}: {(states.state == 'complete').sum()} of {len(states)} steps complete"]
    marks = {"waiting": ".", "running": "...", "interrupted": "!", "stale": "?"}

    def cell(row):
        if row.state != "complete":
            return marks.get(row.state, row.state)
        return "=" if row.note else f"{row.seconds:.0f} s"

    states["cell"] = [*map(cell, states.itertuples())]
    wide = states.pivot(index=["run", "cycle"], columns="step", values="cell").fillna("")
    legend = "seconds; = shared with another cycle, . waiting, ... running, ! interrupted, ? stale"
    lines += ["", wide.to_string(), "", legend]
    notes = states[(states.note != "") & (states.state != "complete")]
    lines += [f"{r.run} cycle {r.cycle} {r.step}: {r.state}: {r.note}" for r in notes.itertuples()]
    if (states.state == "stale").any():
        again = records.made_again(zip(tasks(out), states.state, strict=True))
        lines.append(f"`alkit run --redo` makes again: {again}")
    if lacks := [lack for lack in states.lack if lack]:
        why = "; ".join(dict.fromkeys(lacks))
        lines.append(f"{len(lacks)} steps are as recorded, not compared with what is there: {why}")
    for run, cycle in {task.run: task.cycle for task in tasks(out) if task.cycle}.items():
        if cycle < run.settings["cycles"]:
            name, why = run.folder.relative_to(out), run.selection(cycle)["ending"]
            lines.append(f"ended: {name} with cycle {cycle} of {run.settings['cycles']}: {why}")
    own = {*states.run.map(lambda run: run.split("/")[0])} & {*REFERENCES}
    lines += [f"{name} sees the hidden boxes: a reference, no method" for name in sorted(own)]
    leaks = out / "leaks.json"
    try:
        lines += [f"warning: {line}" for line in (read_json(leaks) if leaks.exists() else ())]
    except ValueError as error:
        lines.append(f"warning: {error}; `alkit run` writes it again")
    warned = states.explode("warnings").dropna(subset="warnings")
    for text, own in warned.groupby("warnings", sort=False):
        first, more = own.iloc[0], f" and {len(own) - 1} more" if len(own) > 1 else ""
        lines.append(f"warning: {text} ({first.run} cycle {first.cycle} {first.step}{more})")
    settings = runs.settings_of(out)
    if len(settings["strategies"]) > 1 and len(settings["seeds"]) == 1:
        lines.append("note: one pool and one seed; nothing here says which strategy is better")
    try:
        found = ledger(out) if results else ()
    except (records.DamagedStep, FileNotFoundError) as error:
        return "\n".join([*lines, "", f"no results: {error}"])
    if len(found):
        narrow = found.drop(columns=[name for name in found if name.startswith("AP ")])
        lines += ["", narrow.to_string(index=False, float_format=number)]
    return "\n".join(lines)


def about(run) -> str:
    """What a page begins with: the settings of the experiment of a run, given by its folder; of a
    branch also those of the cycles that it took over."""
    settings = runs.open_run(run).settings
    shown = [key for key in (*Experiment.model_fields, "earlier") if settings.get(key)]
    style = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 100}
    return yaml.safe_dump({key: settings[key] for key in shown}, **style)


def print_status(out: Path):
    """Print the status of an experiment, or of each of its folds, and of the folds together."""
    folders = runs.experiments(out)
    for folder in folders:
        print(format_status(folder), end="\n\n")
    if len(folders) < 2:
        return
    columns = {}
    for folder in folders:
        with contextlib.suppress(records.DamagedStep, FileNotFoundError):  # said above
            if len(results := ledger(folder)):
                by = results.groupby(["strategy", "cycle"], sort=False)["miss rate at FPPI 1"]
                columns[folder.name] = by.mean()
    table = pd.DataFrame(columns).to_string(float_format=number)
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
