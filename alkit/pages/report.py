"""The report of an experiment: one HTML file that works offline."""

import base64
import os
from collections import Counter
from html import escape
from pathlib import Path
from string import Template

import pandas as pd
import yaml
from tqdm import tqdm

from alkit.loop import experiment, records, runs
from alkit.loop.jsonfile import read_json
from alkit.loop.settings import PRETRAIN, Experiment
from alkit.pages.explorer import galleries, judging
from alkit.pages.explorer.reading import Opened
from alkit.pages.views import choosing, gallery, interactive
from alkit.pages.views.choosing import REASONS

EXPLORED = 6  # frames of each kind that the explorer's part of a cycle shows
GALLERY_ROOM = 7_000_000  # characters of all thumbnails; the whole file stays below 10 MB

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto;
  padding: 0 1em; }
h1, h2, h3 { line-height: 1.2; } h2 { border-bottom: 1px solid #ccc; margin-top: 2em; }
table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { padding: .2em .7em; border: 0; border-bottom: 1px solid #e5e5e5; text-align: left;
  vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f5f5f5; padding: .8em; overflow-x: auto; font-size: 13px; }
.note { background: #fff6dd; border-left: 4px solid #e69f00; padding: .5em 1em; }
.quiet { color: #666; font-size: 13px; }
td:first-child { white-space: nowrap; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 10px; }
.frames figure { margin: 0; font-size: 12px; color: #444; overflow-wrap: anywhere; }
.frames img { width: 100%; display: block; }
.timeline { max-width: 100%; }
.scale { display: inline-block; width: 120px; height: 10px; margin: 0 .5em;
  background: linear-gradient(to right, #000004, #57106e, #bc3754, #f98e09, #fcffa4); }
.maps:checked ~ div .plain, .maps:not(:checked) ~ div .scored { display: none; }
</style>
$scripts
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def write(out, target=None) -> Path:
    """Write the report of an experiment (or of its folds) and return its path.

    `target` is OUT/report.html by default. An experiment that is half done is reported as far as it
    goes, and the page says so. The file holds everything that it shows, scripts too, and stays
    below 10 MB: of many chosen frames it shows the first. Raises ValueError if `out` is no
    experiment.
    """
    from bokeh.resources import Resources

    out = Path(out).resolve()
    folders = runs.experiments(out)
    target = Path(target) if target else out / "report.html"
    sections = []
    for folder in folders:
        sections += [f"<h2>{escape(folder.name)}</h2>"] if len(folders) > 1 else []
        sections.append(_experiment(folder, GALLERY_ROOM // len(folders)))
    page = PAGE.substitute(
        title=escape(out.name),
        scripts=Resources(mode="inline", components=["bokeh"]).render(),
        body="\n".join(sections),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(page)
    os.replace(partial, target)
    return target


def _experiment(out: Path, room: int) -> str:
    """The sections of one experiment."""
    run = runs.Run(out / PRETRAIN / f"seed_{read_json(out / 'experiment.json')['seeds'][0]}")
    ledger = experiment.ledger(out)
    parts = [_summary(run), _progress(out)]
    if len(ledger):
        script, figures = interactive.plots(out, ledger)
        parts += [f"<h3>{escape(title)}</h3>{figure}" for title, figure in figures.items()]
        parts.append(
            '<p class="quiet">Means over the evaluated seeds; shaded from the lowest to the '
            "highest. A click on the legend hides a line.</p>"
        )
        parts += [script, "<h3>Ledger</h3>", table(ledger.round(4))]
    parts += [_gallery(run, room), _numbers(run), _data(run), _environment(out), _commands(run)]
    return "\n".join(parts)


def table(frame: pd.DataFrame) -> str:
    """A table in HTML, every text escaped, numbers to the right."""

    def cell(value):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        text = "" if value is None else f"{value:g}" if number else str(value)
        return f'<td class="number">{text}</td>' if number else f"<td>{escape(text)}</td>"

    head = "".join(f"<th>{escape(str(name))}</th>" for name in frame.columns)
    rows = frame.astype(object).itertuples(index=False)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _summary(run) -> str:
    s = run.experiment
    cycles = run.settings["cycles"]
    strategies, seeds = run.settings["strategies"], run.settings["seeds"]
    return (
        f"<p>X<sub>l</sub>: {escape(s.labeled)}; pool: {escape(s.pool)}; test: {escape(s.test)}. "
        f"{cycles} cycles of {s.budget} images with {escape(', '.join(strategies))}; "
        f"seeds {escape(', '.join(map(str, seeds)))}; profile {escape(s.profile)}.</p>"
    )


def _progress(out: Path) -> str:
    """How far the experiment has come, and what its steps took."""
    tasks = experiment.tasks(out)
    found = [records.read(task.run, task.cycle, task.step.name) for task in tasks]
    complete = sum(record is not None for record in found)
    hours = sum(record["seconds"] for record in found if record) / 3600
    if complete == len(tasks):
        return f'<p class="quiet">All {complete} steps are complete; they took {hours:.2f} h.</p>'
    following = next(t for t, record in zip(tasks, found, strict=True) if record is None)
    return (
        f'<p class="note">Half done: {complete} of {len(tasks)} steps are complete, '
        f"{hours:.2f} h. Next is {escape(str(following))}. What follows is about those.</p>"
    )


def _gallery(run, room: int) -> str:
    """The chosen frames of the first seed, by strategy and cycle."""
    seed = run.settings["seeds"][0]
    done = [
        task
        for task in experiment.tasks(run.out, seeds=[seed])
        if task.step.name == "4_select" and records.read(task.run, task.cycle, "4_select")
    ]
    if not done:
        return ""
    parts = [
        f"<section><h3>Chosen frames</h3><p>Seed {seed}, in the order chosen. Green: labelled "
        "pedestrians; white: boxes to ignore.</p>",
        f'<input type="checkbox" checked class="maps" id="maps-{escape(run.experiment.name)}">'
        f' <label for="maps-{escape(run.experiment.name)}">show score maps, where the strategy has '
        "them</label>",
    ]
    boxes = {}  # of the pool, which all cycles share
    for task in done:
        try:
            parts.append(_cycle(task.run, task.cycle, room * 2 // 3 // len(done)))
            parts.append(_explored(Opened(task.run, task.cycle), boxes, room // 3 // len(done)))
        except (ValueError, OSError) as error:  # the data set is not on this machine, say
            parts.append(f'<div><p class="note">{escape(f"{task}: no images: {error}")}</p></div>')
    return "\n".join([*parts, "</section>"])


def _cycle(run, cycle: int, room: int) -> str:
    """The chosen frames of one cycle, and why others were not chosen."""
    frames, highest = gallery.chosen(run, cycle, room)
    selection = run.selection(cycle)
    reasons = "; ".join(f"{REASONS[name][2]}: {n}" for name, n in selection["counts"].items() if n)
    total = len(selection["chosen"])
    shown = "" if len(frames) == total else f"; the first {len(frames)} are shown"
    parts = [
        f"<div><h4>{escape(run.strategy_name)}, cycle {cycle}: {total} of a budget of "
        f"{selection['budget']}{shown}</h4>",
        f'<p class="quiet">All pool frames: {escape(reasons)}.',
    ]
    if highest is not None:
        parts.append(
            f' <span class="scored">Score: 0<span class="scale"></span>{highest:.3g} nats.</span>'
        )
    parts.append('</p><div class="frames">')
    for frame, plain, scored in frames:
        words = [frame["name"]]
        if run.strategy.score is not None:
            words.append(f"z {frame['z']:.4g}, ranked by {frame['ranked_by']:.4g} nats")
        if frame["pedestrians"] is not None:
            words.append(f"pedestrians: {frame['pedestrians']}")
        kind = "plain" if scored else ""
        images = f'<img class="{kind}" src="{plain}" alt="">'
        images += f'<img class="scored" src="{scored}" alt="">' if scored else ""
        caption = "<br>".join(escape(word) for word in words)
        parts.append(f"<figure>{images}<figcaption>{caption}</figcaption></figure>")
    return "".join([*parts, "</div></div>"])


def _explored(opened: Opened, boxes: dict, room: int) -> str:
    """The explorer's timeline of a cycle, the highest frames that the rules passed over, and its
    blind spots, in at most `room` characters; `boxes` keeps the pool's labelled boxes."""
    kind, data = choosing.selection(opened.run, opened.cycle).encoded()
    image = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    parts = [f'<div><img class="timeline" src="{image}" alt="what was chosen, over the pool">']
    limit = opened.limit
    items, _ = galleries.ranked(opened, galleries.GRID[2], 1, limit, EXPLORED)
    sections = {"Highest of those that the rules passed over": items}
    if opened.run.experiment.labels == "oracle" and opened.detections:
        if not boxes:
            n = tqdm(range(len(opened.pool)), desc="labelled boxes", unit="frame")
            boxes.update({position: opened.truth(position) for position in n})
        judged = judging.judge(opened.all_detections(), boxes, limit)
        items, words = galleries.blind_spots(opened, judged, limit, EXPLORED)
        sections[f"Blind spots: {words}"] = items
    room -= len(image)
    for title, items in sections.items():
        figures = []
        for item in items:
            room -= len(item["image"])
            if room < 0:
                break
            words = f"<b>{escape(item['mark'])}</b> {escape(item['text'])}"
            figures.append(
                f'<figure><img src="{item["image"]}" alt=""><figcaption>{words}</figcaption>'
                "</figure>"
            )
        if figures:
            parts.append(f'<p class="quiet">{escape(title)}</p><div class="frames">')
            parts += [*figures, "</div>"]
    return "".join([*parts, "</div>"])


def _numbers(run) -> str:
    s = run.experiment
    numbers = s.numbers.model_dump()
    frame = pd.DataFrame(
        [(name, str(v), "this experiment" if name in s.set else "") for name, v in numbers.items()],
        columns=["number", "value", f"differs from profile {s.profile}"],
    )
    return f"<h3>Numbers of the method</h3>{table(frame)}"


def _data(run) -> str:
    """The data sets with licence and citation."""
    s, rows = run.experiment, []
    roles = {"labeled": "X_l", "pool": "pool", "test": "test", "held_out": "held out"}
    try:
        for role, word in roles.items():
            name = getattr(s, role)
            if name is None:
                continue
            entry = run.catalog[name]
            arguments = entry.args | s.data.get(name, {})
            rows.append(
                (word, name, entry.title, str(arguments), entry.license, entry.citation,
                 entry.homepage)
            )  # fmt: skip
    except (ValueError, OSError) as error:
        return f'<h3>Data</h3><p class="note">{escape(f"The catalog: {error}")}</p>'
    columns = ["role", "name", "title", "arguments", "licence", "citation", "homepage"]
    return f"<h3>Data</h3>{table(pd.DataFrame(rows, columns=columns))}"


def _environment(out: Path) -> str:
    """Versions and machines, from the records of the steps."""
    found = Counter(tuple(r["environment"].items()) for _, r in records.all_records(out))
    if not found:
        return ""
    rows = [dict(pairs) | {"steps": n} for pairs, n in found.most_common()]
    return f"<h3>Versions and machine</h3>{table(pd.DataFrame(rows))}"


def _commands(run) -> str:
    """The settings as a file, and the commands that do all of this again."""
    file = f"{run.experiment.name}.yaml"
    settings = {k: v for k, v in run.settings.items() if k in Experiment.model_fields and v}
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    catalog = Path(run.settings["catalog"])
    option = "" if catalog == runs.ROOT / "data_catalog.yaml" else f" --catalog {catalog}"
    commands = (
        f"alkit run {file} --out runs/{run.experiment.name}{option}\n"
        f"alkit report runs/{run.experiment.name}\n"
    )
    return (
        f"<h3>To do it again</h3><p>Save this as <code>{escape(file)}</code>:</p>"
        f"<pre>{escape(text)}</pre><p>Then:</p><pre>{escape(commands)}</pre>"
    )
