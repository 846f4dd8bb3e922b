"""The command `alkit`."""

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

import alkit
from alkit.data import project
from alkit.loop import progress

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.info.help = "Active learning for object detectors. `alkit --version` says which one this is."
data_app = typer.Typer(help="Look at, check and fetch the data sets of the catalog.")
app.add_typer(data_app, name="data", no_args_is_help=True)
labels_app = typer.Typer(help="Have the chosen frames of a cycle labeled by people.")
app.add_typer(labels_app, name="labels", no_args_is_help=True)

Set = Annotated[list[str], typer.Option("--set", help="NAME=VALUE; lengths at 480 rows")]
CatalogFile = Annotated[str | None, typer.Option("--catalog", help="by default the project's")]
Experiment = Annotated[Path, typer.Argument(help="folder of an experiment, OUT of `alkit run`")]
RunFolder = Annotated[Path, typer.Argument(help="a run folder, OUT/<strategy>/seed_<n>")]
Cycle = Annotated[int, typer.Option(help="the cycle whose chosen frames are meant")]
Port = Annotated[int, typer.Option(help="where the page is served; 0: any that is free")]
Address = Annotated[str, typer.Option(help="other addresses than loopback let others in")]
WAITING = 3  # exit status of a run that waits for labels


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="a new folder, or an empty one")]):
    """Write a project to work in: a catalog, experiments, notebooks."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: not an empty folder; name a new one for the project")
    shutil.copytree(project.OWN, folder, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
    print(f"{folder}: in it, `alkit run experiments/demo.yaml`; `jupyter lab` for the notebooks")


@data_app.command("list")
def data_list(catalog: CatalogFile = project.CATALOG):
    """List the data sets."""
    entries = alkit.catalog.load(catalog)
    width = max(map(len, entries), default=0)
    for name, entry in entries.items():
        print(f"{name:{width}}  {entry.reader or 'join':12} {entry.kind or '–':6}  {entry.title}")


@data_app.command("check")
def data_check(name: str, catalog: CatalogFile = project.CATALOG):
    """Read a data set whole and compare it with what the catalog expects."""
    from alkit.studies import survey

    findings = survey.check(alkit.catalog.load(catalog)[name])
    print(*findings, sep="\n")
    raise typer.Exit(not all(finding.ok for finding in findings))


@data_app.command("stats")
def data_stats(
    names: Annotated[list[str], typer.Argument(help="data sets; several are compared")],
    catalog: CatalogFile = project.CATALOG,
    profile: Annotated[str, typer.Option(help="the decoder ceiling's profile")] = "paper",
    set_: Set = [],  # noqa: B006
):
    """Count images, sequences, boxes and tracks, decode the ground truth, and say what every two
    data sets share and how near in time they are; a pair that shares anything warns."""
    from alkit.studies import ceiling, overlap, survey

    numbers = alkit.profiles.profile(profile, dict(map(_assignment, set_)))
    entries = alkit.catalog.load(catalog)
    surveys = [survey.survey(entry) for entry in [entries[name] for name in names]]
    table = survey.table_of_counts([found.entry for found in surveys], surveys)
    for found in surveys:
        limit = ceiling.of_data_set(found, numbers)
        said = "{:.3f} of {} frames".format(*limit) if limit else "–"
        table.loc[f"decoder ceiling, {', '.join([profile, *set_])}", found.name] = said
        table.loc["images under several names", found.name] = str(len(survey.copies(found.frames)))
    print(table.to_string())
    for found in surveys:
        if found.entry.each and len(found.positives):
            print(f"\n{found.name}\n{survey.by_sequence(found, numbers)}\n")
    for found in overlap.pairs(surveys):
        warning, to = ("warning: ", sys.stderr) if found.anything else ("", None)
        print(warning + overlap.sentence(found), file=to)


@data_app.command("fetch")
def data_fetch(name: str, catalog: CatalogFile = project.CATALOG):
    """Download a data set with checksums, or say how to get it."""
    from alkit.data.download import fetch

    entry = alkit.catalog.load(catalog)[name]
    for part in entry.parts or (entry,):
        if part.root is not None:
            print(*fetch(part.files, part.folder(), part.homepage), sep="\n")


@app.command()
def run(
    experiment: Annotated[Path, typer.Argument(help="an experiment file, experiments/*.yaml")],
    out: Annotated[Path | None, typer.Option(help="its folder; runs/NAME by default")] = None,
    catalog: CatalogFile = None,
    strategies: Annotated[str | None, typer.Option(help="only these, a,b")] = None,
    seeds: Annotated[str | None, typer.Option(help="only these, 0-4 or 0,2")] = None,
    notebooks: Annotated[bool, typer.Option(help="or plain calls in this process")] = True,
    scheduler: Annotated[
        str | None,
        typer.Option(
            envvar="ALKIT_SCHEDULER",
            help="runs side by side on Dask workers: a scheduler's address, or local:N for N here",
        ),
    ] = None,
    redo: Annotated[bool, typer.Option("--redo", help="make stale steps again")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan, do nothing")] = False,
):
    """Run the cycles of an experiment; complete steps are skipped. With a scheduler its runs,
    strategies × seeds, go side by side, as many as there are workers. Where only people's labels
    are missing it says what to do, with exit status 3."""
    from alkit.loop import cluster, planning, runs
    from alkit.loop import experiment as driver
    from alkit.loop.answers import LabelsWanted
    from alkit.loop.jsonfile import write_json
    from alkit.loop.settings import checked, read_folds
    from alkit.studies import overlap

    chosen = None if strategies is None else strategies.split(",")
    numbers = None if seeds is None else driver.parse_seeds(seeds)
    narrowed = {k: v for k, v in {"strategies": chosen, "seeds": numbers}.items() if v}
    folds = {
        fold: checked(settings.model_dump(mode="json") | narrowed, "--strategies, --seeds")
        for fold, settings in read_folds(experiment).items()
    }
    root, (fold, first) = project.project_root(experiment), next(iter(folds.items()))
    out = out or root / "runs" / first.name.removesuffix(fold and f"-{fold}")
    if not catalog and (out / fold / "experiment.json").exists():
        catalog = runs.settings_of(out / fold)["catalog"]
    known = alkit.catalog.load(catalog or root / project.CATALOG, experiment)
    if dry_run:
        failed = False
        for fold, settings in folds.items():
            text, missing = planning.describe(settings, known, out / fold, notebooks)
            failed |= missing
            leaks = [] if missing else overlap.leaks(settings, known)
            print(text, *(f"warning: {line}" for line in leaks), sep="\n")
        raise typer.Exit(failed)
    for fold, settings in folds.items():
        others = [out / other for other in folds if other != fold]
        runs.create(out / fold, settings, known.path, others)
        leaks = overlap.leaks(settings, known)
        write_json(out / fold / "leaks.json", leaks)  # for status and report
        for line in leaks:
            progress.tell(line)
    if "" not in folds:
        write_json(out / "folds.json", list(folds))
    waiting = []
    with cluster.scheduler(scheduler):
        for fold in folds:
            try:
                driver.run((out / fold).resolve(), chosen, numbers, notebooks, redo)
            except LabelsWanted as wanted:
                waiting.append(str(wanted))
    status(out)
    if waiting:
        print("\n".join(waiting))
        raise typer.Exit(WAITING)


@app.command()
def status(
    out: Experiment,
    watch: Annotated[bool, typer.Option("--watch", help="follow a running one")] = False,
):
    """Steps, durations and results of an experiment."""
    from alkit.loop import status as tables

    (tables.watch if watch else tables.print_status)(out)


@app.command()
def report(
    out: Experiment,
    to: Annotated[Path | None, typer.Option(help="the file; OUT/report.html by default")] = None,
):
    """Write one HTML file that works offline."""
    from alkit.pages import report as writer

    print(writer.write(out, to))


@app.command()
def branch(
    run: Annotated[Path, typer.Argument(help="a run folder, OUT/<strategy>/seed_<n>")],
    from_cycle: Annotated[int, typer.Option(help="the first cycle that the change may touch")],
    out: Annotated[Path, typer.Option(help="the new experiment's folder")],
    set_: Set = [],  # noqa: B006
):
    """Start a new run from a cycle of another, with some numbers changed."""
    from alkit.loop import branches

    changes = dict(map(_assignment, set_))
    if len(changes) < len(set_):
        raise ValueError(f"--set gives a number more than once: {', '.join(set_)}")
    folder = branches.branch(run, from_cycle, changes, out)
    print(f"{folder}: go on with `alkit run {folder}/experiment.yaml --out {folder}`")


@app.command()
def diff(first: Path, second: Path):
    """Parameters, code, environment and selections of two runs that differ."""
    from alkit.loop import branches

    print(branches.format_diff(first, second))


@app.command()
def clean(
    out: Experiment,
    delete: Annotated[bool, typer.Option("--delete", help="delete what is listed")] = False,
):
    """List the sizes of maps and logits; delete them only when told, and only what can be rebuilt
    and no branch needs."""
    from alkit.loop import branches, runs

    for folder in runs.experiments(out):
        print(branches.clean(folder, delete))


@app.command()
def explore(
    run: RunFolder,
    cycle: Annotated[int, typer.Option(help="0: the last with chosen frames")] = 0,
    at: Annotated[str, typer.Option(help="what a link says after the ?")] = "",
    port: Port = 5006,
    address: Address = "127.0.0.1",
):
    """Serve the explorer: score maps, detections and the choice of frames, to look at."""
    from alkit.loop.runs import open_run
    from alkit.pages import serving
    from alkit.pages.explorer import page

    opened = open_run(run.resolve())
    page.check(opened, cycle, at)  # what is wrong is said here, not in the browser
    query = f"?{at.rpartition('?')[2]}" if at else ""
    serving.serve(lambda: page.page(opened, cycle), "Explorer", port, address, query)


@labels_app.command("export")
def labels_export(
    run: RunFolder,
    cycle: Cycle,
    format_: Annotated[str, typer.Option("--format", help="coco, label-studio, cvat or yolo")],
    to: Annotated[Path | None, typer.Option(help="a new folder; in the cycle's by default")] = None,
):
    """Write the chosen frames with what people answered, else the detector's boxes to start from,
    and their scores."""
    from alkit.labeling import exchange

    wanted = _to_label(run, cycle)
    print(exchange.export(wanted, format_, to or wanted.run.cycle(cycle) / f"to_label_{format_}"))


@labels_app.command("import")
def labels_import(
    run: RunFolder,
    file: Annotated[Path, typer.Argument(help="finished labels: a file, folder or zip file")],
    cycle: Cycle,
    format_: Annotated[str | None, typer.Option("--format", help="where it is not plain")] = None,
    looked_at_all: Annotated[
        bool, typer.Option("--looked-at-all", help="frames without boxes show nothing")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="set earlier answers aside")] = False,
):
    """Check finished labels and take them; nothing changes if anything is wrong. Images that a tool
    renamed are known by the words of their names, and said."""
    from alkit.labeling import exchange

    counts, notes = exchange.take(_to_label(run, cycle), file, format_, looked_at_all, replace)
    print(*[f"{note}\n" for note in notes], sep="", end="")
    frames = counts.pop("finished")
    boxes = ", ".join(f"{n} {name}" for name, n in counts.items()) or "none"
    print(f"{frames} frames; boxes: {boxes}. `alkit run` goes on with them")


@labels_app.command("draw")
def labels_draw(run: RunFolder, cycle: Cycle, port: Port = 5006, address: Address = "127.0.0.1"):
    """Serve the page on which the chosen frames are labeled."""
    from alkit.labeling import session
    from alkit.pages import serving
    from alkit.pages.labeling import page

    wanted = _to_label(run, cycle)
    session.Session(wanted).close()  # what is wrong is said here, not in the browser
    serving.serve(lambda: page.page(wanted.run, cycle), "Labels", port, address)


def _to_label(run: Path, cycle: int):
    """The frames of a cycle that people label."""
    from alkit.loop.runs import open_run
    from alkit.loop.task import task

    return task(open_run(run.resolve()), cycle)


def _assignment(text: str):
    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"--set {text!r}: NAME=VALUE is wanted")
    return name, yaml.safe_load(value)


def main():
    """Run the command; an error is one message, without a traceback, and exit status 1."""
    if sys.argv[1:] == ["--version"]:
        sys.exit(print(f"alkit {alkit.__version__}"))
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        # a locale in which names of files are read as other names: start again without it
        own = {"PYTHONUTF8": "1", "PYTHONIOENCODING": f"{sys.stdout.encoding}:replace"}
        os.execve(sys.executable, sys.orig_argv, os.environ | own)
    sys.stdout.reconfigure(errors="replace")  # what a terminal cannot show
    progress.told.clear()
    warnings.showwarning = lambda message, *_, **__: progress.tell(str(message))
    try:
        app(standalone_mode=True)
    except (ValueError, KeyError, RuntimeError, OSError, FloatingPointError) as error:
        lost = os.path.expanduser("~") == "~"
        hint = "\nHOME is not set; set it to a folder that alkit and Jupyter may write to" * lost
        print(f"alkit: {str(error) or type(error).__name__}{hint}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
