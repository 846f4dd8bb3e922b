"""Figures of the performance notebook: measurements against their goals, time to completion.

The files are those of `python -m benchmarks`, one for each kind of machine.
"""

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter

from alkit.loop.jsonfile import read_json
from alkit.loop.runs import ROOT
from alkit.pages import drawing
from alkit.pages.drawing import BLUE, COLORS, GRAY, ORANGE
from alkit.text import sentence

POOL, EPOCHS = 51363, 50  # frames of the paper's Caltech pool; its T
PAPER_COSTS = 0.150, 0.200  # seconds: a frame with double evaluation, an iteration (paper)
PAPER_HOURS = {(50, 7500): 1800, (500, 7500): 190, (2500, 7500): 46}  # of (b, B), "about" (paper)
BUDGETS = (2500, 5000, 7500, 10000)  # B of the figure
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")  # of powers of ten on an axis
FORWARD = ("costs.predict", "costs.score", "costs.aggregate")  # unit costs of steps 1 to 3


def load(folder: str, kind: str = "") -> dict:
    """The results file of a kind of machine, or the one with the newest row.

    `folder` starts at the project's root. Raises FileNotFoundError, which names the kinds there.
    """
    folder = ROOT / folder
    found = {file.stem: read_json(file) for file in sorted(folder.glob("*.json"))}
    found = {name: result for name, result in found.items() if result["rows"]}
    if not found or (kind and kind not in found):
        wanted = f"{kind}.json" if kind else "no results file"
        raise FileNotFoundError(
            f"{folder}: {wanted} is not there; there are: {', '.join(found) or 'none'}. "
            "`make bench` writes one"
        )
    newest = max(found, key=lambda name: max(row["measured"] for row in found[name]["rows"]))
    return found[kind or newest]


def table(result: dict) -> pd.DataFrame:
    """One line for each figure: what, against what, both, their ratio, the goal, met or not."""
    met = {True: "yes", False: "no", None: "–"}
    lines = [
        {
            "what": row["what"].strip(),
            "against": row["against"] or "–",
            **{name: _amount(row[name]) for name in ("ours", "reference")},
            "unit": row["unit"],
            "ratio": _amount(row["ratio"]),
            "goal": _goal(row),
            "met": met[row["met"]],
        }
        for row in result["rows"]
    ]
    return pd.DataFrame(lines)


def _amount(value) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _goal(row: dict) -> str:
    sign, limit = ("≥", row["at_least"]) if row["at_most"] is None else ("≤", row["at_most"])
    return "–" if limit is None else f"{sign} {limit:g}"


def margin(row: dict) -> float | None:
    """How many times better than its goal a figure is; below 1 it is missed. None without goal."""
    value = row[row["judged"]]
    if value is None or (row["at_least"] is None and row["at_most"] is None):
        return None
    return value / row["at_least"] if row["at_most"] is None else row["at_most"] / value


def goals(result: dict):
    """How far each figure is from its goal."""
    rows = [row for row in result["rows"] if margin(row) is not None][::-1]
    machine = result["machine"]
    title = "Measured figures against their goals"
    if not rows:
        return drawing.say(title, "No figure with a goal has been measured.")
    figure = drawing.picture(
        1.6 + 0.36 * len(rows),
        title,
        f"{machine['processor']}, {machine['cores']} cores. Times better than the goal, of the "
        "ratio to a reference in the same run where there is one; orange: missed.",
    )
    axes = figure.subplots()
    values = [margin(row) for row in rows]
    colors = [BLUE if value >= 1 else ORANGE for value in values]
    axes.barh(range(len(rows)), np.array(values) - 1, left=1, color=colors, height=0.6)
    axes.plot(values, range(len(rows)), "o", color="0.2", markersize=3)
    drawing.tidy(axes, x="times better than the goal")
    names = [
        row["what"] + (f"\nagainst {row['against']}" if row["against"] else "") for row in rows
    ]
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(PLAIN)
    axes.axvline(1, color="0.2", linewidth=1)
    return figure


def unit_costs(result: dict) -> tuple[float, float] | None:
    """Seconds of a frame in steps 1 to 3 and of a training iteration; None where not measured."""
    ms = {row["key"]: row["ours"] for row in result["rows"]}
    if not {*FORWARD, "costs.train"} <= {*ms}:
        return None
    return sum(ms[key] for key in FORWARD) / 1e3, ms["costs.train"] / 1e3


def hours(b: int, total: int, costs: tuple, pool=POOL, epochs=EPOCHS) -> float:
    """Hours to label B = `total` of `pool` frames, b a cycle, without the labeling itself.

    `costs` are seconds of a frame and of an iteration. Every cycle predicts and scores the frames
    that are still unlabeled, divided among the workers, and then trains `epochs` epochs on all
    labeled ones on one of them, at batch size 1. Raises ValueError unless 1 ≤ b and B ≤ pool.
    """
    if b < 1 or not 1 <= total <= pool:
        raise ValueError(f"expected 1 ≤ b and 1 ≤ B ≤ {pool}, the pool; got b = {b}, B = {total}")
    of_frame, of_iteration = costs
    before = np.arange(0, total, b)  # labeled before each cycle
    after = np.minimum(before + b, total)
    seconds = np.sum(pool - before) * of_frame + epochs * np.sum(after) * of_iteration
    return float(seconds) / 3600


def completion(result: dict, pool: int = POOL):
    """The paper's Figure 4: time to completion against b for several B, by measured unit costs."""
    costs = unit_costs(result)
    caption = (
        f"{pool} frames, T = {EPOCHS}, double evaluation, batch size 1, labeling left out. Dashed "
        f"gray: the paper's {1e3 * PAPER_COSTS[0]:.0f} ms a frame and {1e3 * PAPER_COSTS[1]:.0f} "
        "ms an iteration, with the hours that it states as dots."
    )
    if costs:
        caption = (
            f"{result['machine']['processor']}: {1e3 * costs[0]:.0f} ms a frame in steps 1 to 3, "
            f"{1e3 * costs[1]:.0f} ms an iteration. {caption}"
        )
    figure = drawing.picture(4.4, "Time to completion against the budget of a cycle", caption)
    axes = _hours_axes(figure.subplots())
    for total, color in zip(_budgets(pool), COLORS, strict=False):
        b = _cycle_budgets(total)
        paper = [hours(k, total, PAPER_COSTS, pool) for k in b]
        axes.plot(b, paper, "--", color=GRAY, linewidth=1)
        if costs:
            own = [hours(k, total, costs, pool) for k in b]
            axes.plot(b, own, color=color, label=f"B = {total}")
    if pool == POOL:
        b = [b for b, _ in PAPER_HOURS]
        axes.plot(b, PAPER_HOURS.values(), "o", color=GRAY, markersize=5, label="stated, B = 7500")
    axes.legend(fontsize=8, frameon=False)
    return figure


def _budgets(pool: int) -> list:
    return [total for total in BUDGETS if total <= pool] or [pool]


def _cycle_budgets(total: int) -> list:
    """Budgets b of a cycle from B / 200 to B / 2 that divide B into whole cycles, as nearly as
    can be: other b would draw teeth."""
    cycles = np.unique(np.geomspace(2, 200, 40).round().astype(int))
    return sorted({-(-total // int(count)) for count in cycles if count <= total} or {total})


def _hours_axes(axes, title=""):
    drawing.tidy(axes, title, "b, images labeled in a cycle", "hours")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_major_formatter(PLAIN)
    return axes


def check(result: dict) -> str:
    """The checked line of the notebook."""
    problems = []
    for row in result["rows"]:
        given = [row[name] for name in ("ours", "reference", "ratio") if row[name] is not None]
        if not np.isfinite(given).all() or min(given, default=0) < 0:
            problems.append(f"{row['key']}: a figure is not a finite number ≥ 0")
        better = margin(row)
        if row["met"] is not None and row["met"] != (better >= 1):
            problems.append(f"{row['key']}: met is {row['met']}, but it is {better:.3g} × its goal")
    for (b, total), stated in PAPER_HOURS.items():
        found = hours(b, total, PAPER_COSTS)
        if abs(found / stated - 1) > 0.06:
            problems.append(f"{found:.0f} h by the paper's unit costs at b = {b}, not {stated}")
    claim = "performance: figures finite, verdicts right, the paper's unit costs give its hours"
    return sentence(claim, problems)
