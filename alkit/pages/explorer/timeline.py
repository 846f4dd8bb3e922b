"""The timeline of a pool: scores, what was chosen, and what the rules kept out."""

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, Range1d, Span
from bokeh.plotting import figure

from alkit.pages.explorer.cycle import Cycle
from alkit.pages.figures.drawing import BLACK, BLUE, GREEN, RED, SKY
from alkit.selection import Reason


class Timeline:
    """A Bokeh figure: a line for z and one for what is ranked by, marks for chosen and labeled
    frames, bands where the rules kept frames out, known pedestrians at the bottom."""

    def __init__(self, cycle: Cycle):
        table = cycle.table
        values = table["ranked_by"].to_numpy()
        n, self._high = len(table), np.nanmax(values, initial=1e-9) * 1.08
        self.figure = figure(
            height=210,
            sizing_mode="stretch_width",
            x_range=Range1d(-0.5, max(n - 0.5, 0.5)),
            y_range=Range1d(0, self._high),
            x_axis_label="position in the pool",
            y_axis_label="score (nats)" if cycle.scored else "random number",
            tools="tap,xpan,xwheel_zoom,reset",
            active_scroll="xwheel_zoom",
            toolbar_location="above",
        )
        draw = self.figure
        for reason, color, words in (
            (Reason.EXCLUDED_NOW, SKY, "rule 1"),
            (Reason.EXCLUDED_LATER, BLUE, "rule 2"),
        ):
            at = np.flatnonzero(table["reason"] == reason)
            band = {"width": 1, "top": self._high, "alpha": 0.22, "line_width": 0}
            draw.vbar(at, color=color, legend_label=words, **band)
        for reason, color, words, marker, size in (
            (Reason.CHOSEN, RED, "chosen", "star", 13),
            (Reason.LABELED, BLACK, "labeled before", "dash", 8),
        ):
            at = np.flatnonzero(table["reason"] == reason)
            style = {"color": color, "legend_label": words, "marker": marker, "size": size}
            draw.scatter(at, np.nan_to_num(values[at]), **style)
        breaks = np.flatnonzero(table["sequence"][1:].values != table["sequence"][:-1].values)
        for column, name, color in (("z", "z", "#aaaaaa"), ("ranked_by", "ẑ", BLACK)):
            line = table[column].to_numpy(float).copy()
            line[breaks] = np.nan  # the line breaks between sequences
            if cycle.scored and (name == "z" or not table["z"].equals(table["ranked_by"])):
                draw.line(np.arange(n), line, color=color, legend_label=name)
        # on the canvas of overlays: the figure itself is not drawn again when the frame changes
        style = {"line_color": RED, "line_width": 1.5, "level": "overlay"}
        self._here = Span(location=0, dimension="height", **style)
        draw.add_layout(self._here)
        self._counts = ColumnDataSource({"x": [], "top": [], "n": []})
        style = {"line_color": GREEN, "line_alpha": 0.5, "line_width": 2}
        style |= {"source": self._counts, "legend_label": "pedestrians"}
        bars = draw.segment("x", 0, "x", "top", **style)
        draw.add_tools(HoverTool(renderers=[bars], tooltips=[("pedestrians", "@n")]))
        draw.add_layout(draw.legend[0], "right")

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
        self.figure.x_range.update(start=first - 0.5, end=last + 0.5)
