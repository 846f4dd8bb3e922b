"""The README's first picture, from a run: two chosen frames, their score maps, the timeline.

python docs/picture.py [runs/demo/divergence/seed_0 [CYCLE]]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from alkit.loop.runs import open_run
from alkit.selection import Reason
from alkit.text import number

FILE = Path(__file__).with_name("first_screen.png")


def main(folder: str = "runs/demo/divergence/seed_0", cycle: str = "1"):
    run, cycle = open_run(folder), int(cycle)
    selection, pool = run.selection(cycle), run.frames("pool").unlabeled()
    figure = Figure(figsize=(10, 4.1), dpi=100, layout="constrained")
    grid = figure.add_gridspec(2, 4, height_ratios=(1.9, 1))
    first = selection["chosen"][0]
    other = next(f for f in selection["chosen"] if f["sequence"] != first["sequence"])
    maps = run.scores(cycle)
    for k, frame in enumerate((first, other)):
        image, s = pool.images(frame["position"]), score_map(maps, frame["position"])
        left, right = (figure.add_subplot(grid[0, 2 * k + i]) for i in (0, 1))
        left.imshow(image)
        left.set_title(f"frame {frame['position']} of the pool", loc="left", fontsize=9)
        right.imshow(image.mean(axis=-1), cmap="gray", vmax=340)
        right.imshow(s, cmap="inferno", alpha=np.clip(1.6 * np.sqrt(s / s.max()), 0, 0.9))
        right.set_title(f"divergence, z = {number(frame['z'])} nats", loc="left", fontsize=9)
        for axes in (left, right):
            axes.set_axis_off()
    timeline(figure.add_subplot(grid[1, :]), selection, pool)
    figure.savefig(FILE, pil_kwargs={"optimize": True})
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")


def score_map(maps, position: int) -> np.ndarray:
    """The map (y, x) of the frame at a position of the pool."""
    where = np.flatnonzero(maps["position"].values == position)[0]
    return maps.isel(frame=where).values


def timeline(axes, selection: dict, pool):
    """ẑ over the pool; the chosen frames, and those that rule 1 keeps out."""
    ranked = np.array(selection["ranked_by"], float)  # None, an unscored frame, becomes NaN
    reason = np.array(selection["reason"])
    at = np.arange(len(ranked))
    new = np.flatnonzero(pool.sequence[1:] != pool.sequence[:-1]) + 1
    axes.plot(
        np.insert(at.astype(float), new, np.nan), np.insert(ranked, new, np.nan), "0.35", lw=1
    )
    near, chosen = reason == Reason.EXCLUDED_NOW, reason == Reason.CHOSEN
    axes.plot(at[near], ranked[near], ".", color="#56b4e9", label="too near to a chosen frame")
    axes.plot(at[chosen], ranked[chosen], "*", ms=9, color="#d55e00", label="chosen for labeling")
    axes.set_xlabel("position in the pool", fontsize=9)
    axes.set_ylabel("ẑ (nats)", fontsize=9)
    axes.margins(x=0.01)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper center")


if __name__ == "__main__":
    main(*sys.argv[1:])
