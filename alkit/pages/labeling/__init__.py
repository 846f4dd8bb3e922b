"""The labeling page, and where the labels of a cycle come from."""

from alkit.labeling import exchange
from alkit.loop import answers, records
from alkit.loop.runs import open_run
from alkit.loop.task import task
from alkit.profiles import unknown

SOURCES = ("oracle", "import", "interactive")


def ask(run: str, cycle: int, source: str = "", file: str = "", save: bool = True):
    """See to it that the chosen frames of a cycle are labeled; a sentence or a page comes back.

    `source` is one of `SOURCES`, empty for what the experiment says: the oracle needs nothing,
    "import" takes the finished `file`, "interactive" gives the page to draw on. Nothing is done
    for a cycle whose labels are complete, or with `save` false. Raises ValueError for a source
    that does not go with the experiment's, and what `exchange.take` raises.
    """
    opened = open_run(run)
    own = opened.experiment.labels
    source = source or own
    if source not in SOURCES:
        raise ValueError(f"source: {unknown(source, SOURCES)}")
    if "oracle" in (source, own) and source != own:
        raise ValueError(
            f"source is {source!r}, but {opened.out} says `labels: {own}`; set `labels:` in the "
            "experiment file, which people's labels and the oracle's cannot share"
        )
    if source == "oracle":
        return "The oracle knows: the labels are the data set's own boxes."
    if records.read(opened, cycle, "5_label") is not None:
        return "The labels of this cycle are complete."
    if not save:
        return "save is False: nothing is drawn or imported."
    if source == "import" and file:
        counts, notes = exchange.take(task(opened, cycle), opened.catalog.project / file)
        return "\n".join([f"Imported: {counts['finished']} frames.", *notes])
    missing = answers.wanted(opened, cycle)
    if source == "import" or not missing:
        return missing or "All chosen frames are finished."
    from alkit.pages.labeling.page import page  # Panel takes seconds, and the oracle needs no page

    return page(opened, cycle)
