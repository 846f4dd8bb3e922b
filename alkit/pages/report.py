"""The report of an experiment: its notebook executed, as one HTML file that works offline; and the
tables, curves and galleries that the notebook shows."""

import base64
import contextlib
import os
from collections import Counter
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from bokeh.embed import components
from bokeh.layouts import column, row
from bokeh.models import TabPanel, Tabs
from bokeh.plotting import figure
from bokeh.resources import Resources
from IPython.display import HTML

from alkit.evaluation import Evaluation
from alkit.loop import experiment, records, runs
from alkit.loop.jsonfile import read_json
from alkit.loop.runs import Run
from alkit.loop.settings import PRETRAIN, Experiment
from alkit.pages import figures, matching
from alkit.pages.explorer import galleries
from alkit.pages.explorer.cycle import Cycle, Unavailable
from alkit.pages.figures.choice_and_labels import REASONS
from alkit.pages.figures.drawing import BLACK, COLORS, LOWEST, MISS_RATES
from alkit.pages.thumbnails import GREEN, WHITE, thumbnail

NOTEBOOK = runs.ROOT / "notebooks/report.ipynb"
# JupyterLab's page as nbconvert makes it, without what it would load from elsewhere.
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
  main { max-width: 1100px; margin: 0 auto; }
  .jp-RenderedHTMLCommon :is(td, th) { text-align: left !important; vertical-align: top; }
</style>{% endblock %}"""
GALLERY = """<style>
  .frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr));
    gap: 10px; }
  .frames figure { margin: 0; font-size: 12px; overflow-wrap: anywhere; }
  .frames img { width: 100%; display: block; }
  .scale { display: inline-block; width: 120px; height: 10px; margin: 0 .5em;
    background: linear-gradient(to right, #000004, #57106e, #bc3754, #f98e09, #fcffa4); }
  .maps:checked ~ div .plain, .maps:not(:checked) ~ div .scored { display: none; }
</style>"""
GRID = 10.0 ** np.linspace(-2, 1, 61)  # FPPI at which curves are averaged
MOST = 48  # chosen frames of a cycle that are shown
EXPLORED = 6  # frames of each kind that the explorer's part of a cycle shows
ROOM = 7_000_000  # characters of all pictures; the whole file stays below 10 MB


def write(out, target=None) -> Path:
    """Write the report of an experiment (or of its folds) and return its path.

    `target` is OUT/report.html by default. An experiment that is half done is reported as far as it
    goes, and the page says so. The file holds everything that it shows, scripts too, and stays
    below 10 MB: of many chosen frames it shows the first. Raises ValueError if `out` is no
    experiment, and RuntimeError with what stopped the notebook.
    """
    import papermill  # here: it warns of missing widgets in notebooks that show parts of the report
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter
    from papermill.exceptions import PapermillExecutionError

    out = Path(out).resolve()
    runs.experiments(out)
    target = Path(target) if target else out / "report.html"
    try:
        notebook = papermill.execute_notebook(NOTEBOOK, None, {"out": str(out)}, progress_bar=False)
    except PapermillExecutionError as error:
        raise RuntimeError(f"{NOTEBOOK.name} stopped: {error.ename}: {error.evalue}") from None
    exporter = HTMLExporter(
        template_file="report",
        extra_loaders=[DictLoader({"report": TEMPLATE})],
        exclude_input=True,
    )
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": out.name}})
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(page)
    os.replace(partial, target)
    return target


def table(frame: pd.DataFrame) -> HTML:
    """A table whole, every text escaped."""
    with pd.option_context("display.max_colwidth", None):
        return HTML(frame.to_html(index=False, border=0, na_rep="", float_format="{:g}".format))


def _first(out: Path) -> Run:
    """A run of the experiment, for its settings and its first seed."""
    return Run(out / PRETRAIN / f"seed_{read_json(out / 'experiment.json')['seeds'][0]}")


def summary(out: Path) -> HTML:
    """What the experiment is, how far it has come, and what its steps took."""
    run = _first(out)
    s, strategies, seeds = run.experiment, run.settings["strategies"], run.settings["seeds"]
    tasks = experiment.tasks(out)
    found = [records.read(task.run, task.cycle, task.step.name) for task in tasks]
    complete = sum(record is not None for record in found)
    hours = sum(record["seconds"] for record in found if record) / 3600
    progress = f"All {complete} steps are complete; they took {hours:.2f} h."
    if complete < len(tasks):
        progress = (
            f"<b>Half done: {complete} of {len(tasks)} steps are complete, {hours:.2f} h. Next is "
            f"{escape(str(tasks[found.index(None)]))}. What follows is about those.</b>"
        )
    return HTML(
        f"<h3>{escape(out.name)}</h3><p>X<sub>l</sub>: {escape(s.labeled)}; pool: "
        f"{escape(s.pool)}; test: {escape(s.test)}. "
        f"{run.settings['cycles']} cycles of {s.budget} images with "
        f"{escape(', '.join(strategies))}; seeds {escape(', '.join(map(str, seeds)))}; profile "
        f"{escape(s.profile)}.</p><p>{progress}</p>"
    )


# --- curves


def library() -> HTML:
    """Bokeh itself, for the curves: nothing comes from another host."""
    return HTML(Resources("inline", components=["bokeh"]).render())


def curves(out: Path) -> HTML:
    """Miss rate against FPPI, a tab for each cycle; miss rate at FPPI 1 and pedestrians by cycle.
    Means over the evaluated seeds, shaded from the lowest to the highest."""
    ledger = experiment.ledger(out)
    if ledger.empty:
        return HTML("<p>No cycle has been evaluated yet.</p>")
    names = [name for name in dict.fromkeys(ledger["strategy"]) if name != "W_l"]
    colors = {"W_l": BLACK} | dict(zip(names, COLORS * 9, strict=False))
    cycles, tabs = sorted(ledger["cycle"].unique().tolist()), []
    for cycle in cycles:
        log = {"x_axis_type": "log", "y_axis_type": "log"}
        plot = _axes("false positives per image (FPPI)", "miss rate", **log)
        plot.x_range.update(start=LOWEST["fppi"], end=10)
        plot.y_range.update(start=LOWEST["miss rate"], end=1.05)
        plot.yaxis.ticker = MISS_RATES
        plot.vspan(1, color="#999999", line_dash="dotted")
        own = ledger[ledger["cycle"].eq(cycle) | ledger["strategy"].eq("W_l")]
        for name, rows in own.groupby("strategy", sort=False):
            rates = np.array([_miss_rates(out, each) for each in rows.itertuples()])
            label = name if len(rows) == 1 else f"{name}, mean of {len(rows)} seeds"
            style = {"line_dash": "dashed" if name == "W_l" else "solid", "line_width": 2}
            style |= {"color": colors[name], "legend_label": label}
            plot.step(GRID, rates.mean(0), mode="after", **style)
            _shade(plot.varea_step, GRID, rates, colors[name], step_mode="after")
        _legend(plot, "bottom_left")
        tabs.append(TabPanel(child=plot, title=f"cycle {cycle}" if cycle else "W_l"))
    by_cycle = []
    for name_of, y, corner in (
        ("miss rate at FPPI 1", "miss rate at FPPI 1", "bottom_left"),
        ("labeled pedestrians", "pedestrians labeled so far", "top_left"),
    ):
        plot = _axes("cycle", y)
        plot.y_range.start = 0
        plot.xaxis.ticker = cycles
        for name in names:
            own = ledger[ledger["strategy"].isin([name, "W_l"])].groupby("cycle")[name_of]
            mean, style = own.mean(), {"color": colors[name], "legend_label": name}
            plot.line(mean.index, mean, line_width=2, **style)
            plot.scatter(mean.index, mean, size=7, **style)
            _shade(plot.varea, mean.index, np.array([own.min(), own.max()]), colors[name])
        if names:
            _legend(plot, corner)
            by_cycle.append(plot)
    wide = {"sizing_mode": "stretch_width"}
    plots = column(Tabs(tabs=tabs, active=len(tabs) - 1, **wide), row(*by_cycle, **wide), **wide)
    return HTML("".join(components(plots)))


def _legend(plot, corner: str):
    plot.legend.update(click_policy="hide", location=corner)


def _axes(x: str, y: str, **types):
    tools = "pan,wheel_zoom,box_zoom,hover,reset,save"
    size = {"height": 400, "sizing_mode": "stretch_width"}
    return figure(x_axis_label=x, y_axis_label=y, tools=tools, tooltips="$x, $y", **size, **types)


def _shade(area, x, rows: np.ndarray, color: str, **style):
    """From the lowest to the highest of the rows."""
    if (rows.min(0) < rows.max(0)).any():
        area(x, rows.min(0), rows.max(0), color=color, alpha=0.15, **style)


def _miss_rates(out: Path, row) -> np.ndarray:
    """The miss rates at the FPPI of `GRID` of a row of the ledger."""
    run = Run(out / (row.strategy if row.cycle else PRETRAIN) / f"seed_{row.seed}")
    r = run.evaluation(row.cycle)
    curve = np.array(r["fppi"]), np.array(r["miss_rate"], float)
    return Evaluation(*curve, np.zeros(0), r["images"], r["boxes"]).miss_rate_at(GRID)


# --- chosen frames


def gallery(out: Path, room: int = ROOM) -> HTML:
    """The chosen frames of the first seed, by strategy and cycle, with the explorer's timeline, the
    highest frames that the rules passed over, and its blind spots; as many as take `room`
    characters."""
    seed, boxes = _first(out).seed, {}  # boxes of the pool, which all cycles share
    done = [
        task
        for task in experiment.tasks(out, seeds=[seed])
        if task.step.name == "4_select" and records.read(task.run, task.cycle, "4_select")
    ]
    maps = f"maps-{escape(out.name)}"
    parts = [
        f"{GALLERY}<p>Seed {seed}, in the order chosen. Green: labeled pedestrians; white: boxes "
        f'to ignore.</p><input type="checkbox" checked class="maps" id="{maps}"> <label '
        f'for="{maps}">show score maps, where the strategy has them</label>'
    ]
    for task in done:
        cycle, own = Cycle(task.run, task.cycle), room // len(done)
        try:
            parts.append(
                f"<div>{_chosen(cycle, own // 2)}{_explored(cycle, boxes, own // 2)}</div>"
            )
        except (ValueError, OSError) as error:  # the data set is not on this machine, say
            parts.append(f"<div><b>{escape(f'{task}: no images: {error}')}</b></div>")
    return HTML("\n".join(parts) if done else "<p>No frames are chosen yet.</p>")


def _chosen(cycle: Cycle, room: int) -> str:
    """The chosen frames of one cycle, and why others were not chosen."""
    selection, shown = cycle.selection, []
    for frame in selection["chosen"][:MOST]:
        position, words = frame["position"], [escape(frame["name"])]
        image, own = cycle.pool.images(position), cycle.boxes(position)
        boxes = own and [(own.ltwh[own.ignore], WHITE), (own.ltwh[~own.ignore], GREEN)]
        if cycle.scored:
            words.append(f"z {frame['z']:.4g}, ranked by {frame['ranked_by']:.4g} nats")
        if own is not None:
            words.append(f"pedestrians: {np.count_nonzero(~own.ignore)}")
        pictures = [("", thumbnail(image, boxes or ()))]
        with contextlib.suppress(Unavailable):
            scored = thumbnail(image, boxes or (), cycle.scores(position), cycle.highest or 1.0)
            pictures = [("plain", pictures[0][1]), ("scored", scored)]
        shown.append(_figure(pictures, "<br>".join(words)))
    shown, total = _fitting(shown, room), len(selection["chosen"])
    first = "" if len(shown) == total else f"; the first {len(shown)} are shown"
    reasons = "; ".join(f"{REASONS[name][2]}: {n}" for name, n in selection["counts"].items() if n)
    scale = f'Score: 0<span class="scale"></span>{cycle.highest:.3g} nats.' if cycle.highest else ""
    return (
        f"<h4>{escape(cycle.run.strategy_name)}, cycle {cycle.number}: {total} of a budget of "
        f"{selection['budget']}{first}</h4><p>All pool frames: {escape(reasons)}. "
        f'<span class="scored">{scale}</span></p><div class="frames">{"".join(shown)}</div>'
    )


def _explored(cycle: Cycle, boxes: dict, room: int) -> str:
    """The timeline of a cycle and the explorer's galleries; `boxes` keeps the pool's labels."""
    kind, data = figures.selection(cycle.run, cycle.number).encoded()
    image = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    parts, limit = [f'<img src="{image}" alt="what was chosen, over the pool">'], cycle.limit
    passed, _ = galleries.ranked(cycle, galleries.PASSED, 1, limit, EXPLORED)
    sections = {"Highest of those that the rules passed over": passed}
    if cycle.run.experiment.labels == "oracle" and cycle.scored:
        boxes |= boxes or {position: cycle.boxes(position) for position in range(len(cycle.pool))}
        _, labels = matching.match(cycle.detections, boxes, limit)
        spots, words = galleries.blind_spots(cycle, labels, limit, EXPLORED)
        sections[f"Blind spots: {words}"] = spots
    for title, items in sections.items():
        shown = [
            _figure([("", item["image"])], f"<b>{escape(item['mark'])}</b> {escape(item['text'])}")
            for item in items
        ]
        shown = "".join(_fitting(shown, (room - len(image)) // 2))
        parts.append(f'<p>{escape(title)}</p><div class="frames">{shown}</div>' if shown else "")
    return "".join(parts)


def _figure(pictures: list, caption: str) -> str:
    """Pictures, each with its CSS class, above a caption."""
    images = "".join(f'<img class="{kind}" src="{source}" alt="">' for kind, source in pictures)
    return f"<figure>{images}<figcaption>{caption}</figcaption></figure>"


def _fitting(shown: list, room: int) -> list:
    """The first of the pictures, one at least, that take at most `room` characters together."""
    return shown[: max(1, np.searchsorted(np.cumsum(list(map(len, shown))), room, "right"))]


# --- what it was made of


def numbers(out: Path) -> HTML:
    """The numbers of the method, and which of them differ from the profile's."""
    s, differs = _first(out).experiment, "differs from the profile"
    rows = [
        {"number": name, "value": str(value), differs: "this experiment" if name in s.set else ""}
        for name, value in s.numbers.model_dump().items()
    ]
    return table(pd.DataFrame(rows))


def data(out: Path) -> HTML:
    """The data sets with license and citation."""
    run, rows = _first(out), []
    s = run.experiment
    try:
        for role in ("labeled", "pool", "test", "held_out"):
            if name := getattr(s, role):
                entry = run.catalog[name]
                row = {"role": role, "name": name, "title": entry.title}
                row["arguments"] = str(entry.args | s.data.get(name, {}))
                terms = ("license", "citation", "homepage")
                rows.append(row | {term: getattr(entry, term) for term in terms})
    except (ValueError, OSError) as error:
        return HTML(f"<b>{escape(f'The catalog: {error}')}</b>")
    return table(pd.DataFrame(rows))


def environment(out: Path) -> HTML:
    """Versions and machines, from the records of the steps."""
    found = Counter(tuple(r["environment"].items()) for _, r in records.all_records(out))
    return table(pd.DataFrame([dict(pairs) | {"steps": n} for pairs, n in found.most_common()]))


def commands(out: Path) -> HTML:
    """The settings as a file, and the commands that do all of this again."""
    run = _first(out)
    name, catalog = run.experiment.name, Path(run.settings["catalog"])
    settings = {k: v for k, v in run.settings.items() if k in Experiment.model_fields and v}
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    option = "" if catalog == runs.ROOT / "data_catalog.yaml" else f" --catalog {catalog}"
    lines = f"alkit run {name}.yaml --out runs/{name}{option}\nalkit report runs/{name}\n"
    return HTML(
        f"<p>Save this as <code>{escape(name)}.yaml</code>:</p><pre>{escape(text)}</pre>"
        f"<p>Then:</p><pre>{escape(lines)}</pre>"
    )
