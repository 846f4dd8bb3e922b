"""The timeline of a pool: scores, what was chosen, and what the rules kept out."""

import holoviews as hv
import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, LegendItem, Range1d, Span

from alkit.pages.explorer.reading import Opened
from alkit.pages.views.drawing import BLACK, BLUE, GREEN, RED, SKY
from alkit.selection import Reason

HEIGHT = 210  # pixels
MOST = 400  # stretches of a line: one for each two or three pixels of the figure
HV = {"responsive": True, "height": HEIGHT, "toolbar": "above", "default_tools": []}


class Timeline:
    """A Bokeh figure: a line for z and one for what is ranked by, marks for chosen and labelled
    frames, bands where the rules kept frames out, known pedestrians at the bottom.

    The lines of a long pool are thinned to what the figure can show, again at every zoom: a browser
    draws the whole figure whenever the frame changes.
    """

    def __init__(self, opened: Opened):
        table, scored = opened.table, opened.run.strategy.score is not None
        values = table["ranked_by"].to_numpy()
        self._n, self._high = len(table), np.nanmax(values, initial=1e-9) * 1.08
        overlay = _marks(table, self._high, "score (nats)" if scored else "random number")
        self.figure = hv.render(overlay, backend="bokeh")
        self.figure.sizing_mode = "stretch_width"
        self.figure.output_backend = "canvas"  # WebGL, HoloViews' own, is slow without a GPU
        self.figure.x_range = Range1d(-0.5, max(self._n - 0.5, 0.5))
        self._lines = []
        if scored:
            self._add_line(_gaps(table, "z"), "z", "#aaaaaa")
            if not np.array_equal(table["z"], values, equal_nan=True):
                self._add_line(_gaps(table, "ranked_by"), "ẑ", BLACK)
        # on the canvas of overlays: the figure itself is not drawn again when the frame changes
        self._here = Span(
            location=0, dimension="height", line_color=RED, line_width=1.5, level="overlay"
        )
        self.figure.add_layout(self._here)
        self._counts = ColumnDataSource({"x": [], "top": [], "n": []})
        bars = self.figure.segment("x", 0, "x", "top", source=self._counts, line_color=GREEN,
                                   line_alpha=0.5, line_width=2)  # fmt: skip
        self._add_to_legend("pedestrians", bars)
        self.figure.add_tools(HoverTool(renderers=[bars], tooltips=[("pedestrians", "@n")]))
        self._thin(0, self._n)
        self.figure.on_event("rangesupdate", lambda event: self._thin(event.x0, event.x1))

    def _add_line(self, values: np.ndarray, name: str, colour: str):
        source = ColumnDataSource({"x": [], "y": []})
        line = self.figure.line("x", "y", source=source, line_color=colour, line_width=1)
        self._lines.append((values, source))
        self._add_to_legend(name, line)

    def _add_to_legend(self, name: str, renderer):
        self.figure.legend.items.append(LegendItem(label=name, renderers=[renderer]))

    def _thin(self, first: float, last: float):
        """Draw the lines from one position to another."""
        low, high = max(0, int(first)), min(self._n, int(last) + 2)
        for values, source in self._lines:
            x = low + thinned(values[low:high])
            source.data = {"x": x, "y": values[x]}

    def show_counts(self, counts: np.ndarray):
        """Known pedestrians of each frame (n,), the most as high as a quarter of the figure."""
        x = np.flatnonzero(counts)
        top = counts[x] * self._high / 4 / counts.max(initial=1)
        self._counts.data = {"x": x, "top": top, "n": counts[x]}

    def go_to(self, position: int):
        """Mark the frame that is shown."""
        self._here.location = position

    def zoom(self, first: int, last: int):
        """Show the frames from one position to another."""
        self.figure.x_range.start, self.figure.x_range.end = first - 0.5, last + 0.5


def thinned(values: np.ndarray, most: int = MOST) -> np.ndarray:
    """Which of the values (n,) a line has to go through to look the same: all of a few, else the
    lowest, the highest and a gap (NaN) of each of `most` stretches; ascending int64."""
    n = len(values)
    if n <= 3 * most:
        return np.arange(n)
    starts = np.linspace(0, n, most, endpoint=False).astype(int)
    kept = [starts]
    for start, end in zip(starts, np.append(starts[1:], n), strict=True):
        part = values[start:end]
        finite = start + np.flatnonzero(np.isfinite(part))
        if len(finite):
            own = values[finite]
            kept.append([finite[own.argmin()], finite[own.argmax()]])
        if len(finite) < end - start:
            kept.append([start + np.flatnonzero(~np.isfinite(part))[0]])
    return np.unique(np.concatenate(kept))


def _marks(table, high: float, y: str):
    """Bands where the rules kept frames out, and marks of chosen and labelled frames."""
    hv.renderer("bokeh")
    values, layers = table["ranked_by"].to_numpy(), []
    for reason, colour, words in (
        (Reason.EXCLUDED_NOW, SKY, "rule 1"),
        (Reason.EXCLUDED_LATER, BLUE, "rule 2"),
    ):
        bands = [(a, 0, b, high, words) for a, b in runs(table["reason"] == reason)]
        rectangles = hv.Rectangles(bands, ["x0", "y0", "x1", "y1"], "why", label=words)
        layers.append(rectangles.opts(color=colour, alpha=0.22, line_width=0))
    for mask, marker, colour, size, words in (
        (table["order"] > 0, "star", RED, 13, "chosen"),
        (table["reason"] == Reason.LABELED, "dash", BLACK, 8, "labelled before"),
    ):
        at = np.flatnonzero(mask)
        heights = np.nan_to_num(values[at])
        points = hv.Scatter((at, heights), "position in the pool", y, label=words)
        layers.append(points.opts(color=colour, marker=marker, size=size))
    return hv.Overlay(layers).opts(
        **HV, legend_position="right", ylim=(0, high), xlabel="position in the pool", ylabel=y,
        active_tools=["xwheel_zoom"], tools=["tap", "xpan", "xwheel_zoom", "reset"],
    )  # fmt: skip


def _gaps(table, column: str) -> np.ndarray:
    """A column as a line that breaks between sequences, by NaN at the last frame of each."""
    values = table[column].to_numpy(float).copy()
    sequence = table["sequence"].to_numpy()
    values[:-1][sequence[1:] != sequence[:-1]] = np.nan
    return values


def runs(mask) -> list:
    """Where a mask (n,) is true: [(first − ½, last + ½)] of each stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, np.int8), [0]])))
    return [(a - 0.5, b - 0.5) for a, b in edges.reshape(-1, 2).tolist()]
