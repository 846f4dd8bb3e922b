"""What an executed notebook or a report begins with: the data, the numbers, what is compared."""

import textwrap

from alkit import profiles
from alkit.loop import experiment
from alkit.loop.runs import Run, open_run

WIDTH = 110  # characters of a line


def about(run, cycle: int | None = None) -> str:
    """What the experiment of a run is made of, the run given by its folder: data sets, profile and
    the numbers that differ from it, strategies, seeds, cycles; and which run and `cycle` a page is
    about, if it is about one."""
    opened = open_run(run)
    own = opened.experiment
    rows = [("experiment", f"{own.name}: cycles {own.cycles}, budget {own.budget} images")]
    if cycle is not None:
        rows.append(("this page", f"{opened.strategy_name}, seed {opened.seed}, cycle {cycle}"))
    rows += [("strategies", ", ".join(own.strategies)), ("seeds", ", ".join(map(str, own.seeds)))]
    for role in experiment.data_roles(opened):
        name = getattr(own, role)
        given = [f"{key} {value}" for key, value in own.data.get(name, {}).items()]
        rows.append((role, ", ".join([name, *given])))
    rows += [("labels by", own.labels), ("profile", own.profile)]
    # a branch took cycles over with other numbers
    eras = sorted({e["before_cycle"] - 1 for e in opened.settings.get("earlier", [])})
    for last in [*eras, own.cycles] if cycle is None else [cycle]:
        rows.append((f"to cycle {last}" if last in eras else "set", _changed(opened, last)))
    lines = (
        textwrap.fill(f"{name:12}{said}", WIDTH, subsequent_indent=" " * 12) for name, said in rows
    )
    return "\n".join(lines)


def _changed(run: Run, cycle: int) -> str:
    """The numbers of a cycle that are not the profile's, each beside the profile's own."""
    name = run.experiment.profile
    usual, numbers = (n.model_dump() for n in (profiles.profile(name), run.numbers(cycle)))
    changed = [k for k in numbers if numbers[k] != usual[k]]
    return ", ".join(f"{k} {numbers[k]} ({name}: {usual[k]})" for k in changed) or "nothing else"
