"""Why a frame was chosen or passed over, in words."""

import numpy as np

from alkit import text
from alkit.loop.runs import open_run
from alkit.loop.steps.step_4_select import timeline
from alkit.pages.explorer.reading import Opened, cycles_of
from alkit.selection import Reason


def short(opened: Opened, position: int) -> str:
    """One or two words for the mark of a picture."""
    row = opened.table.iloc[position]
    if row["order"]:
        return f"chosen {row['order']}."
    return {
        Reason.LABELED: "labelled before",
        Reason.UNSCORED: "not scored",
        Reason.EXCLUDED_NOW: "rule 1",
        Reason.EXCLUDED_LATER: "rule 2",
    }.get(row["reason"], "ranked below")


def sentence(opened: Opened, position: int) -> str:
    """The whole reason, naming the frame that kept this one out."""
    table = opened.table
    row, reason = table.iloc[position], Reason(int(table["reason"].iloc[position]))
    rank = int(opened.rank[position])
    chosen = len(opened.selection["chosen"])
    what = "score" if opened.run.strategy.score else "random number"
    if reason == Reason.CHOSEN:
        if row["order"] > chosen - opened.selection["relaxed"]:
            return f"chosen {row['order']}. of {chosen}, in a later pass, to fill the budget"
        return f"chosen {row['order']}. of {chosen}: the highest {what} that was left (rank {rank})"
    if reason == Reason.LABELED:
        return f"labelled in cycle {opened.labelled[position]}"
    if reason == Reason.UNSCORED:
        return "not scored"
    if reason == Reason.EXCLUDED_NOW:
        other, distance = _nearest(opened, position, table.index[table["order"] > 0])
        order = table["order"].iloc[other]
        return (
            f"rank {rank}, passed over by rule 1: {frames(distance)} from "
            f"{table['name'].iloc[other]}, chosen {order}."
        )
    if reason == Reason.EXCLUDED_LATER:
        fill = opened.run.numbers(opened.cycle).fill  # then the frames of this cycle count, too
        chosen = table.index[table["order"] > 0] if fill else []
        other, distance = _nearest(opened, position, [*opened.labelled, *chosen])
        cycle = opened.labelled.get(other, opened.cycle)
        return (
            f"rank {rank}, passed over by rule 2: {frames(distance)} from "
            f"{table['name'].iloc[other]}, labelled in cycle {cycle}"
        )
    return f"rank {rank}: the budget of {opened.selection['budget']} went to higher ones"


def frames(distance: float) -> str:
    """A distance in words."""
    return f"{distance:g} frame{'' if distance == 1 else 's'}"


def nearest_labelled(opened: Opened, position: int, most: int = 6) -> list:
    """The frames of the same video that were labelled before, nearest first: [(position,
    distance in frames)]; none for stills."""
    found = _same_video(opened, position, list(opened.labelled))
    return found[:most]


def _nearest(opened: Opened, position: int, others) -> tuple:
    return _same_video(opened, position, others)[0]


def _same_video(opened: Opened, position: int, others) -> list:
    others = np.asarray(others, int)
    sequence, frame = timeline(opened.pool, opened.run.numbers(opened.cycle))
    if sequence is None:
        return []
    others = others[sequence[others] == sequence[position]] if len(others) else others
    distance = np.abs(frame[others] - frame[position])
    order = np.argsort(distance, kind="stable")
    return [(int(others[k]), float(distance[k])) for k in order]


def check(run: str, cycle: int) -> str:
    """The notebook's checked line: ranks 1 … n of the unlabelled frames, and a reason in words for
    frames of every kind; cycle 0 is the last."""
    opened = open_run(run)
    opened = Opened(opened, cycle or cycles_of(opened)[-1])
    ranks = np.sort(opened.rank[opened.rank > 0])
    labelled = opened.run.labeled_positions(opened.cycle)
    problems = []
    if not np.array_equal(ranks, np.arange(1, len(opened.pool) - len(labelled) + 1)):
        problems.append(f"{len(ranks)} ranks, {len(opened.pool)} frames, {len(labelled)} labelled")
    first_of_each = opened.table.groupby("reason").head(1).index
    problems += [f"no reason for {p}" for p in first_of_each if not sentence(opened, p)]
    claim = (
        "explorer: the frames that it ranks are the unlabelled ones, and it names a reason for each"
    )
    return text.sentence(claim, problems)
