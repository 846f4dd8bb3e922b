"""The report of an experiment: its notebook executed, as one HTML file that works offline; and the
curves and galleries that the notebook shows."""

import re
import warnings
from html import escape, unescape
from pathlib import Path
from tempfile import TemporaryDirectory

from IPython.display import HTML

from alkit.data import project
from alkit.loop import experiment, records, runs
from alkit.loop.jsonfile import replacing
from alkit.loop.notebooks import Notebooks
from alkit.pages import drawing, figures, matching
from alkit.pages.explorer import galleries
from alkit.pages.explorer.cycle import Cycle

# JupyterLab's page as nbconvert makes it, without what it would load from elsewhere.
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>main { max-width: 1100px; margin: 0 auto; }
main pre { white-space: pre-wrap !important; word-break: normal; }</style>{% endblock %}"""
NO_IMAGES = "<b>no images: "
PICTURES = 300  # chosen frames of all cycles together: the file stays below 10 MB
MOST = 48  # chosen frames of one cycle


def write(out, target=None) -> Path:
    """Write the report of an experiment (or of its folds) and return its path.

    `target` is OUT/report.html by default. An experiment that is half done is reported as far as it
    goes, and the page says so. The file holds everything that it shows and stays below 10 MB: of
    many chosen frames it shows the first. Raises ValueError if `out` is no experiment, and
    RuntimeError with what stopped the notebook, or where images cannot be read and the report in
    OUT, which is then kept, shows them.
    """
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    out = Path(out).resolve()
    runs.experiments(out)
    target, kept = Path(target or out / "report.html"), target is None
    root, loaders = project.project_root(out), [DictLoader({"report": TEMPLATE})]
    with Notebooks() as kernels, TemporaryDirectory() as folder:
        notebook = kernels.execute("report", {"out": str(out)}, Path(folder), True, root)
    exporter = HTMLExporter(template_file="report", extra_loaders=loaders, exclude_input=True)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": out.name}})
    if lost := re.search(f"{NO_IMAGES}(.*?)<", page):
        said = f"the report has not all images: {unescape(lost[1])}"
        if kept and target.exists() and NO_IMAGES not in target.read_text(encoding="utf-8"):
            raise RuntimeError(f"{said}. {target}, which has them, is kept; --to writes elsewhere")
        warnings.warn(said, stacklevel=2)
    with replacing(target) as file:
        file.write(page.encode())
    return target


def curves(out: Path):
    """Of each evaluated cycle a figure of miss rate against FPPI, a curve for each run and for W_l;
    then miss rate at FPPI 1 and labeled pedestrians by cycle: means over the evaluated seeds,
    shaded from the lowest to the highest."""
    ledger = experiment.ledger(out)
    if ledger.empty:
        return
    names = ledger["strategy"].unique()
    colors = dict(zip(names, [drawing.BLACK, *drawing.COLORS * 9], strict=False))  # W_l is first
    for cycle in sorted(set(ledger["cycle"]) - {0}) or [0]:
        curves = []
        for row in ledger[ledger["cycle"].isin([0, cycle])].itertuples():
            result = runs.Run(out / row.strategy / f"seed_{row.seed}").evaluation(row.cycle)
            style = {"color": colors[row.strategy], "linewidth": 1.2}
            curves.append((f"{row.strategy}, seed {row.seed}", result, style))
        yield drawing.miss_rates(f"Miss rate after cycle {cycle}", "", curves)
    figure = drawing.picture(3.6, "Cycle by cycle")
    titles = "miss rate at FPPI 1", "labeled pedestrians"
    for axes, measure in zip(figure.subplots(1, 2), titles, strict=True):
        drawing.tidy(axes, "", "cycle", measure, whole="x")
        for name in names[1:]:
            own = ledger[ledger["strategy"].isin(["W_l", name])].groupby("cycle")[measure]
            mean, color = own.mean(), colors[name]
            axes.plot(mean, color=color, marker="o", label=name)
            axes.fill_between(mean.index, own.min(), own.max(), color=color, alpha=0.15)
        before = ledger.loc[ledger["cycle"] == 0, measure].mean()
        axes.axhline(before, color=drawing.BLACK, linewidth=0.8, linestyle=":", label="W_l")
        axes.set_ylim(bottom=0)
    if len(names) > 1:
        axes.legend(fontsize=8, frameon=False)
        yield figure


def gallery(out: Path):
    """Of each cycle of the first seed in which frames were chosen: what was chosen over the pool,
    and the explorer's galleries of chosen frames, of those passed over, and of blind spots."""
    tasks = experiment.tasks(out)
    tasks = [t for t in tasks if t.run.seed == tasks[0].run.seed and t.step.name == "4_select"]
    tasks = [t for t in tasks if records.read(t.run, t.cycle, "4_select")]
    most = max(1, min(MOST, PICTURES // max(1, len(tasks))))
    few = max(1, most // 4)
    key = drawing.legend({kind: matching.COLORS[kind] for kind in galleries.DRAWN})
    for task in tasks:
        yield HTML(f"<h3>{escape(task.run.strategy_name)}, cycle {task.cycle}</h3>{key}")
        try:
            yield figures.selection(task.run, task.cycle)
            cycle = Cycle(task.run, task.cycle)
            limit = cycle.limit
            yield _shown("Chosen", galleries.ranked(cycle, galleries.CHOSEN, 1, limit, most))
            yield _shown("Passed over", galleries.ranked(cycle, galleries.PASSED, 1, limit, few))
            if cycle.scored and task.run.experiment.labels == "oracle":
                boxes = dict(enumerate(cycle.pool.boxes))
                matched = matching.match(cycle.detections, boxes, limit)
                yield _shown("Blind spots", galleries.blind_spots(cycle, matched, limit, few))
        except (ValueError, OSError) as error:  # the data set is not on this machine, say
            yield HTML(f"{NO_IMAGES}{escape(str(error))}</b>")


def _shown(title: str, gallery: tuple) -> HTML:
    items, said = gallery
    return HTML(f"<p><b>{title}.</b> {escape(said)}</p>{galleries.html(items) if items else ''}")
