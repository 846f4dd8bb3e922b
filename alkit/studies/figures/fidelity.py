"""Figures of the fidelity notebook: how far the choice of images moves, and which images change."""

import numpy as np

from alkit.pages.figures import drawing
from alkit.studies import fidelity

SHOWN = 6  # images that only one of the two chooses


def agreements(found: dict, dataset: str):
    """Agreement of the first N of each variant with the paper's, before and under the rules."""
    table = fidelity.table(found)
    n = len(next(iter(found.values())).z)
    bases = (fidelity.BASE, fidelity.MC_BASE, fidelity.SECOND)
    names = [name for name in found if name not in bases]
    figure = drawing.picture(
        1.7 + 0.28 * len(names),
        "Agreement with the paper's choice, one difference at a time",
        f"{dataset}, {n} frames, one detector. Share of the first N images that both choose: left "
        "of the N highest ẑ, right of the first N chosen under the temporal rules (–: the rules "
        "leave fewer). MC dropout is compared with the paper's MC dropout, 30 passes at ratio "
        "0.5; the control differs in its random numbers alone. A second cycle is compared with the "
        "paper's second cycle.",
    )
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(panels, ("ranked", "chosen"), strict=True):
        values = table.loc[names, kind].to_numpy(float)
        axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.2f}"
            colour = "0.3" if np.isnan(value) else "white" if value < 0.55 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        title = {"ranked": "ranked by ẑ", "chosen": "chosen under the rules"}[kind]
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xticks(range(len(fidelity.FIRST)), [str(k) for k in fidelity.FIRST], fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xlabel("N (images)", fontsize=9)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def changed(frames, found: dict, name: str, n: int):
    """Images that only the paper, and that only a variant, has among its first n chosen."""
    only_paper, only_own = fidelity.changes(found, name, n)
    items = []
    for kind, positions in ((fidelity.BASE, only_paper), (name, only_own)):
        rank = {p: k + 1 for k, p in enumerate(found[kind].chosen.tolist())}
        items += [
            (frames.images(p), f"{kind} only, no. {rank[p]}\n{frames.name[p]}", None)
            for p in positions[:SHOWN].tolist()
        ]
    counts = [min(n, len(found[kind].chosen)) for kind in (fidelity.BASE, name)]
    return drawing.contact_sheet(
        items,
        columns=SHOWN,
        title=f"The images that change: {name}",
        caption=f"Among the first {counts[0]} that the paper chooses {len(only_paper)} are its own "
        f"alone, among the variant's first {counts[1]} are {len(only_own)}. The first {SHOWN} of "
        "each, with the place at which they are chosen.",
        empty=f"The first {n} chosen are the same images.",
    )
