"""Drawing with Matplotlib: figures that notebooks show, photographs with boxes, timelines, curves.

Arrays in, marks on axes out; `alkit.pages.figures` chooses what is shown.
"""

import base64
import io
import textwrap

import matplotlib
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from alkit.pages import matching
from alkit.pages.matching import LTWH
from alkit.text import number

# The colors of Okabe and Ito, which people with color blindness can tell apart.
BLACK, ORANGE, SKY, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, RED, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
COLORS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK, YELLOW)
GRAY = "0.55"
TRUTH, FOUND = matching.COLORS[matching.FOUND], matching.COLORS[matching.FALSE]
WIDTH = 9.6  # inches of a figure
DPI = 96
CHARACTERS = 15.5  # of a caption in an inch
MOST_BOXES = 25  # drawn on one image
matplotlib.rcdefaults()  # figures look the same everywhere, whatever a user's matplotlibrc says


class Picture(Figure):
    """A figure that notebooks show without pyplot, whatever backend is set: as PNG, or as JPEG
    where it holds photographs, so that executed notebooks stay small."""

    photographs = False

    def _repr_mimebundle_(self, include=None, exclude=None):
        buffer = io.BytesIO()
        kind, style = ("jpeg", {"pil_kwargs": {"quality": 85}}) if self.photographs else ("png", {})
        self.savefig(buffer, format=kind, dpi=DPI, **style)
        return {f"image/{kind}": base64.b64encode(buffer.getvalue()).decode()}


def picture(height: float, title: str, caption: str = "") -> Picture:
    """An empty figure `height` inches high, with a title above and a caption below."""
    figure = Picture(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    if caption:
        text = textwrap.fill(caption, int(WIDTH * CHARACTERS))
        figure.supxlabel(text, x=0.01, ha="left", fontsize=9, color="0.3")
    return figure


def say(title: str, text: str) -> Markdown:
    """A sentence in the place of a figure that would be empty."""
    return Markdown(f"**{title}.** {text}")


def tidy(axes, title="", x="", y="", whole=""):
    """Title and labels, with units in brackets; a light grid, no frame above and at the right. Axes
    that `whole` names, "x" or "y", have ticks at whole numbers alone."""
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    for name in whole:
        getattr(axes, f"{name}axis").get_major_locator().set_params(integer=True)


def photograph(axes, image: np.ndarray, title: str = "", layers=()):
    """An image uint8 (y, x, 3), or a map float (y, x) in [0, 1], pixel centers at whole numbers;
    on it `layers`, the arguments of `boxes`."""
    axes.imshow(image, cmap="inferno", vmin=0, vmax=1)  # colors are for maps alone
    axes.set_title(title, fontsize=8, loc="left", pad=3)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.figure.photographs = True
    for layer in layers:
        boxes(axes, *layer)


def boxes(axes, ltwh, kind, color, dashed=False, texts=()):
    """Boxes (n, 4) [left, top, width, height] in pixels with a short text at each where given; the
    first `MOST_BOXES`, since an untrained detector finds hundreds. `kind` is for a legend."""
    corner = np.reshape(ltwh, (-1, 4))[:MOST_BOXES] - (0.5, 0.5, 0, 0)
    edges = [(1.0, color, (0, (3, 2)))] if dashed else [(2.4, "0.1", "-"), (1.3, color, "-")]
    for box in corner:
        for line, edge, style in edges:
            lines = {"linewidth": line, "edgecolor": edge, "linestyle": style}
            axes.add_patch(Rectangle(box[:2], *box[2:], fill=False, **lines))
    plate = {"facecolor": "0.1", "alpha": 0.6, "pad": 0.5, "linewidth": 0}
    for (left, top, *_), text in zip(corner, texts, strict=False):
        style = {"fontsize": 6, "color": "white", "va": "bottom", "clip_on": True}
        axes.text(left, top - 1, text, bbox=plate, **style)


def layers(own: pd.DataFrame) -> list:
    """What `matching.match` gives, as `boxes` draws it: in colors, with the detections' scores."""
    drawn = []
    for kind, rows in own.groupby("kind", sort=False):
        texts = [*map(number, rows["score"].dropna())]
        drawn.append((rows[LTWH], kind, matching.COLORS[kind], kind == matching.IGNORED, texts))
    return drawn


def legend(colors: dict) -> str:
    """What `colors`, by words, stand for, as HTML."""
    key = '<span style="background: #555; color: {}">&nbsp;■&nbsp;</span>&nbsp;{}'
    return "&emsp;".join(key.format(color, words) for words, color in colors.items())


def under_scores(image: np.ndarray, scores: np.ndarray, highest: float) -> np.ndarray:
    """An image uint8 (y, x, 3) in gray under its map (y, x), clear at 0, opaque at `highest`."""
    share = np.clip(scores / highest, 0, 1)
    color = matplotlib.colormaps["inferno"](share)[..., :3] * 255
    gray = (image @ np.array([0.299, 0.587, 0.114]) * 0.75)[..., None]
    opacity = np.clip(np.sqrt(share) * 1.1, 0, 0.85)[..., None]
    return (gray * (1 - opacity) + color * opacity).astype(np.uint8)


def contact_sheet(items, columns, title, caption, empty):
    """A figure of photographs, `items` as `photograph` takes them, with a legend of their boxes; or
    the sentence `empty` if there are none."""
    if not items:
        return say(title, empty)
    rows, ratio = -(-len(items) // columns), items[0][0].shape[0] / items[0][0].shape[1]
    figure = picture(rows * (WIDTH / columns * ratio + 0.16) + 0.7, title, caption)
    colors = {k[1]: k[2] for item in items for own in item[2:] for k in own if len(k[0])}
    keys = [Patch(facecolor=colors[kind], edgecolor="0.2", label=kind) for kind in colors]
    figure.legend(handles=keys, loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, item in zip(grid, items, strict=False):
        photograph(axes, *item)
    for axes in grid[len(items) :]:
        axes.set_axis_off()
    return figure


def timeline(axes, values, sequence, color=GRAY):
    """A value for each frame in the order of the pool; NaN leaves a gap. Each sequence has its own
    line, every second one a band behind it; up to ten of them are named."""
    n = len(values)
    at, line = np.arange(n, dtype=float), np.asarray(values, float)
    style = {"linewidth": 0, "marker": "."}
    if sequence is not None and n:
        sequence = np.asarray(sequence)
        cuts = 1 + np.flatnonzero(sequence[1:] != sequence[:-1])
        for k, part in enumerate(np.split(np.arange(n), cuts)):
            if k % 2:
                axes.axvspan(part[0] - 0.5, part[-1] + 0.5, color="0.955", linewidth=0, zorder=0)
            if len(cuts) < 10:
                middle = {"ha": "center", "va": "bottom", "transform": axes.get_xaxis_transform()}
                axes.text(part.mean(), 1, sequence[part[0]], fontsize=7, color="0.45", **middle)
        at, line = np.insert(at, cuts, np.nan), np.insert(line, cuts, np.nan)
        style = {"linewidth": 0.8}
    axes.plot(at, line, color=color, markersize=max(1.5, min(5, 600 / max(n, 1))), **style)
    axes.set_xlim(-0.5, max(n - 0.5, 0.5))


MISS_RATES = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.64, 0.8, 1]  # marked on a logarithmic axis


def miss_rates(title: str, caption: str, curves: list) -> Picture:
    """Miss rate against FPPI on log-log axes, with a line at FPPI 1: curves of evaluations, each
    (name, what step 7 wrote, style). They are steps, start at miss rate 1, and at FPPI 0 lie on the
    left border."""
    figure = picture(4.2, title, caption)
    axes = figure.subplots()
    tidy(axes, "", "false positives per image (FPPI)", "miss rate")
    axes.set(xscale="log", yscale="log", xlim=(0.01, 10), ylim=(0.05, 1.04))
    axes.set_yticks(MISS_RATES)
    axes.set_yticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color="0.75", linewidth=1, linestyle=(0, (2, 2)), zorder=0)
    for name, result, style in curves:
        x, y = np.maximum([0, *result["fppi"]], 1e-3), np.maximum([1, *result["miss_rate"]], 5e-3)
        label = f"{name}: {number(result['miss_rate_at_1'])}"
        axes.plot(x, y, drawstyle="steps-post", label=label, **style)
    right = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False}
    axes.legend(title="miss rate at FPPI 1", fontsize=8, title_fontsize=8, **right)
    return figure
