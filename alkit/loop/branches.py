"""Runs that start from others, what differs between two runs, and what may be deleted."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import yaml

from alkit.data.project import located, portable
from alkit.loop import answers, records, runs, steps, storage
from alkit.loop.jsonfile import read_json, write_json
from alkit.loop.runs import Run, open_run
from alkit.loop.settings import checked
from alkit.loop.steps.step_4_select import ending
from alkit.loop.task import Task
from alkit.profiles import overridden
from alkit.text import number

REBUILT = {"1_predict": "logits.zarr", "2_score": "scores.zarr"}  # large, and made again from rest


def branch(run_folder, from_cycle: int, changes: dict, out) -> Path:
    """Make a new experiment from a cycle of a run, some numbers changed; its folder comes back.

    The cycles before it are taken over by reference, with the numbers that they ran with; from it
    on, what the change does not touch is found by its key: another radius needs no prediction."""
    run, out = open_run(Path(run_folder).resolve()), Path(out).resolve()
    last = run.settings["cycles"]
    last = next((k + 1 for k in range(1, last) if run.ends_with(k)), last)
    if not 1 <= from_cycle <= last:
        raise ValueError(f"--from-cycle is {from_cycle}; {run.folder} has cycles 1 … {last}")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: the folder is not empty; choose a new --out")
    if run.out in out.parents:
        raise ValueError(f"{out}: lies in the experiment it branches from; choose another --out")
    own = run.experiment.model_dump(mode="json")
    changed = own | {"name": out.name, "set": overridden(own["set"], changes)}
    changed |= {"strategies": [run.strategy_name], "seeds": [run.seed]}
    experiment = checked(changed, f"--set of {out.name}")
    related = [run.out, *((run.out / other).resolve() for other in run.settings["related"])]
    runs.create(out, experiment, run.settings["catalog"], related)
    earlier = [*run.settings.get("earlier", []), {"before_cycle": from_cycle, "set": own["set"]}]
    earlier = [e | {"before_cycle": min(e["before_cycle"], from_cycle)} for e in earlier]
    settings = read_json(out / "experiment.json") | {"earlier": earlier}
    write_json(out / "experiment.json", settings)
    text = yaml.safe_dump({k: settings[k] for k in type(experiment).model_fields}, sort_keys=False)
    (out / "experiment.yaml").write_text(text, encoding="utf-8")
    new = Run(out / run.strategy_name / run.folder.name)
    try:
        for cycle in range(from_cycle):
            _take_over(run, new, cycle)
        pool, labeled = new.frames("pool").unlabeled(), new.labeled_positions(from_cycle)
        if why := ending(pool, experiment.numbers, labeled, new.strategy.rules):
            raise ValueError(f"--from-cycle is {from_cycle}; then {why}")
    except Exception:
        shutil.rmtree(out)
        raise
    for source in related:  # they keep what the branch refers to
        known = {portable(source, other) for other in [*_branches_of(source), out]}
        write_json(source / "branches.json", sorted(known))
    return out


def _take_over(old: Run, new: Run, cycle: int):
    """Write the records of a cycle into a branch, each referring to the old run's artifacts."""
    for step in steps.of_cycle(old, cycle):
        where = f"{old.cycle(cycle)}: step {step.name}"
        if records.read(old, cycle, step.name) is None:
            raise ValueError(f"{where} is not complete; `alkit run` completes it, then branch")
        if step is steps.label and (given := answers.read(Task(old, cycle))):
            answers.write(Task(new, cycle), given, f"taken over from {old.folder}")
        plan = step.plan(new, cycle)
        holder = records.find_equal(new, plan, ())
        if holder is None:
            differences = "; ".join(plan.differences(records.read(old, cycle, step.name)))
            raise ValueError(f"{where} is stale or its artifacts are gone: {differences}")
        records.write(new, cycle, plan, step.artifacts, 0.0, reused=holder)


def _branches_of(out: Path) -> list:
    """The folders of the branches that refer to an experiment's artifacts."""
    file = out / "branches.json"
    known = read_json(file) if file.exists() else []
    return [Path(located(out, folder)) for folder in known]


def format_diff(first, second) -> str:
    """Two runs side by side: what they are made from, and how alike they rank and choose."""
    a, b = (open_run(Path(folder).resolve()) for folder in (first, second))
    one, two = _made_from(a), _made_from(b)
    names = [name for name in one | two if one.get(name) != two.get(name)]
    lines = [f"{name}: a {one.get(name)}, b {two.get(name)}" for name in names]
    lines = lines or ["no difference in settings, code or environment"]
    return "\n".join([f"a: {a.folder}", f"b: {b.folder}", "", *lines, "", *_selections(a, b)])


def _made_from(run: Run) -> dict:
    """All that a run is made from, by names that say what each is."""
    skip = {"name", "set", "profile", "strategies", "seeds"}
    numbers = run.experiment.numbers
    parts = {
        "strategy": vars(run.strategy) | {"rank": run.strategy.rank.__name__},
        "profile": numbers.model_dump() | {n: numbers.in_words(n) for n in ("radius", "region")},
        "setting": run.experiment.model_dump(exclude=skip),
        "run": {"seed": run.seed},
    }
    found = {f"{part} {name}": value for part, own in parts.items() for name, value in own.items()}
    for cycle in range(run.settings["cycles"] + 1):
        for step in steps.STEPS:
            record = records.read(run, cycle, step) or {"code": {}, "environment": {}}
            # of a digest its beginning: it only says that something differs
            found |= {f"code {name}": f"{value:.12}…" for name, value in record["code"].items()}
            found |= {f"environment {k}": v for k, v in record["environment"].items()}
    return found


def _selections(a: Run, b: Run) -> list:
    lines, union_a, union_b = [], set(), set()
    for cycle in range(1, min(a.settings["cycles"], b.settings["cycles"]) + 1):
        if not all(records.read(r, cycle, "4_select") for r in (a, b)):
            break
        one, two = ({f["name"] for f in r.selection(cycle)["chosen"]} for r in (a, b))
        union_a, union_b = union_a | one, union_b | two
        lines.append(
            f"cycle {cycle}: {len(one & two)} of {len(one)} and {len(two)} chosen frames in both; "
            f"{len(union_a & union_b)} of {len(union_a)} and {len(union_b)} so far"
        )
        lines.append(f"  rank correlation (Spearman): {_correlation(a, b, cycle)}")
    return lines or ["no cycle that both have selected"]


def _correlation(a: Run, b: Run, cycle: int) -> str:
    """Of z, and of what frames were ranked by, over the frames that both scored."""
    if without := [run.strategy_name for run in (a, b) if run.chooser(cycle).score is None]:
        return f"none, {without[0]} scores no frames"
    tables = [run.image_scores(cycle).set_index("name") for run in (a, b)]
    for run, table in zip((a, b), tables, strict=True):
        table["ranks"] = np.array(run.selection(cycle)["ranked_by"], float)[table["position"]]
    one, two = (t[["z", "ranks"]] for t in tables[0].align(tables[1], "inner", axis=0))
    z, ranked = (number(one[k].rank().corr(two[k].rank())) for k in one)
    return f"z {z}, what frames were ranked by {ranked}, over {len(one)} frames that both scored"


def clean(out: Path, delete: bool = False) -> str:
    """List the maps and logits of an experiment with their sizes; with `delete`, delete them. Kept
    is what a branch still refers to, and what no complete record could rebuild."""
    lines, freed = [], 0
    with runs.lock(out) if delete else contextlib.nullcontext():
        needed = {place: other for other in _branches_of(out) for place in _stores(other, True)}
        for store in _stores(out, reused=False):
            size = sum(storage.sizes(store).values())
            if size == 0:
                continue
            line = f"{size / 1e6:10.1f} MB  {str(store).removeprefix(f'{out}/')}"
            if store in needed:
                lines.append(f"{line}  kept: {needed[store]} needs it")
                continue
            freed += size
            lines.append(line)
            if delete:
                storage.remove(store)
    word = "deleted" if delete else "can be deleted, with --delete, and made again"
    return "\n".join([*lines, f"{freed / 1e6:10.1f} MB  {word}"])


def _stores(out: Path, reused: bool):
    """The maps and logits that an experiment's records hold, or refer to."""
    for path, record in records.all_records(out):
        if record["step"] in REBUILT and bool(record.get("reused")) == reused:
            yield records.place_of(records.holder(path.parent, record), REBUILT[record["step"]])
