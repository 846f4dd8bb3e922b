"""The explorer's plots. One frame: the image under a map, its regions, detections, labeled boxes
and default boxes. The timeline of a pool: scores, what was chosen, and what the rules kept out.

Drawn by Bokeh itself: a change of frame replaces the data of the sources and nothing else, and
opacity and threshold change in the browser alone.
"""

import numpy as np
import pandas as pd
import panel as pn
from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LinearColorMapper, Range1d, Span
from bokeh.palettes import all_palettes
from bokeh.plotting import figure
from matplotlib.colors import ListedColormap

from alkit import aggregation, scores
from alkit.pages import drawing, matching
from alkit.pages.drawing import BLACK, BLUE, GREEN, RED, SKY
from alkit.pages.explorer.cycle import Cycle, Unavailable
from alkit.pages.figures import LEVELS
from alkit.selection import Reason
from alkit.text import number

OPACITY = np.clip(np.sqrt(np.linspace(0, 1, 256)) * 1.1, 0, 1)  # clear at the lower end
PALETTES = {
    name.lower(): [
        f"{color}{round(255 * a):02x}" for color, a in zip(colors[256], OPACITY, strict=True)
    ]
    for name, colors in all_palettes.items()
    if name in ("Inferno", "Viridis", "Cividis", "Turbo")
}
LAYERS = ("score", "regions", "divergence", "entropy", *LEVELS, "none")
OF_LEVELS = {f"default box of {k}": drawing.COLORS[i] for i, k in enumerate(LEVELS)}
LEGEND = drawing.legend(matching.COLORS | OF_LEVELS)
DETECTIONS, LABELS, DEFAULTS = BOXES = "detections", "labeled boxes", "default boxes at a click"
CLEAR = (0, 0, 0, 0)
WIDE = {"sizing_mode": "stretch_width"}
SIDES = ["left", "right", "top", "bottom"]
LINES = {"fill_color": None, "line_color": "color", "line_width": 1.5}


def words(name: str, html: str = ""):
    """Words whose `value`, HTML, may change. (A pane of HTML would ask another host for its style
    sheets then, in a notebook.)"""
    return pn.widgets.StaticText(value=html, css_classes=[f"alkit-{name}"], **WIDE)


def maps(controls, cycle: Cycle, position: int, radius: int) -> tuple:
    """Probabilities (5, y, x), score and shown map (y, x), what the brightest color stands for, and
    its title. The score is that of step 2, or computed again where the radius is another.

    Scores have one scale for all frames of a cycle. Raises Unavailable.
    """
    p, layer = cycle.probabilities(position), controls.layer.value
    own = radius == cycle.tried[0] or not cycle.logits_give_score
    score = cycle.scores(position, None if own else radius)
    if layer in LEVELS:
        return p, score, p[LEVELS.index(layer)], 1.0, f"probability {layer}"
    if layer in ("divergence", "entropy"):
        shown = scores.entropy(p) if layer == "entropy" else scores.divergence(p, radius)
        return p, score, shown, float(shown.max()), f"{layer} (nats)"
    high = cycle.highest or float(score.max())
    shown = region_map(cycle, score, controls.region.value) if layer == "regions" else score
    return p, score, shown, high, "score (nats)"


def region_map(cycle: Cycle, score: np.ndarray, region: int) -> np.ndarray:
    """The region maxima of a score map drawn out over their regions (y, x); NaN where none lies."""
    grid = cycle.numbers.region_grid
    rows, columns = (aggregation.region_edges(side, region, grid) for side in score.shape)
    maxima = aggregation.region_maxima(score, region, grid)
    drawn = np.full(score.shape, np.nan, np.float32)
    spread = np.repeat(np.repeat(maxima, np.diff(rows), 0), np.diff(columns), 1)
    drawn[rows[0] : rows[-1], columns[0] : columns[-1]] = spread
    return drawn


def seen(controls, cycle: Cycle, position: int) -> pd.DataFrame:
    """The detections and labeled boxes of a frame that the controls want shown."""
    own, wanted = cycle.matched(position, controls.limit.value), controls.boxes.value
    names = own["score"].isna().map({True: LABELS, False: DETECTIONS})
    return own[names.isin(wanted)]


def picture(controls, cycle: Cycle, position: int) -> drawing.Picture:
    """What is shown of a frame as a Matplotlib figure, for a file. Raises Unavailable."""
    image, name = cycle.pool.images(position), cycle.table["name"][position]
    caption = f"{controls.run.value}, cycle {cycle.number}; {cycle.reason(position)}."
    items = [(image, "", drawing.layers(seen(controls, cycle, position)))]
    drawn = drawing.contact_sheet(items, 1, name, caption, "")
    (axes,) = drawn.axes
    if controls.layer.value != "none":
        _, _, shown, high, title = maps(controls, cycle, position, controls.radius.value)
        shown = np.ma.masked_less_equal(np.nan_to_num(shown), controls.threshold.value * high)
        style = {"cmap": ListedColormap(PALETTES[controls.palette.value]), "vmin": 0, "vmax": high}
        colors = axes.imshow(shown, alpha=controls.opacity.value, **style)
        drawn.colorbar(colors, ax=axes, label=title, fraction=0.035, pad=0.01)
    return drawn


class FrameView:
    """A Bokeh figure of frames of one size (height, width), and words about the frame above it, of
    the CSS class alkit-`name`. `ranges` of another view link them."""

    def __init__(self, name: str, size: tuple[int, int], ranges=None):
        height, width = self.size = size
        self.ranges = ranges or (Range1d(0, width), Range1d(height, 0))
        self.words = words(name)
        self.figure = figure(
            x_range=self.ranges[0],
            y_range=self.ranges[1],
            aspect_ratio=width / height,
            sizing_mode="scale_width",
            min_width=320,
            tools="pan,wheel_zoom,box_zoom,reset,save,tap",
            toolbar_location="above",
            active_scroll="wheel_zoom",
            x_axis_label="x (pixels)",
            y_axis_label="y (pixels)",
        )
        self.figure.grid.visible = False
        clear = {"low_color": CLEAR, "nan_color": CLEAR}
        self.mapper = LinearColorMapper(PALETTES["inferno"], low=0, high=1, **clear)
        self.bar = ColorBar(color_mapper=self.mapper, title="score (nats)", width=12, padding=4)
        self.figure.add_layout(self.bar, "right")
        names = ["map", "score", *(f"p{k}" for k in range(1, 6))]
        place = {"x": 0, "y": 0, "dw": width, "dh": height}
        self.image = self.figure.image_rgba("image", source=_empty("image"), **place)
        style = place | {"color_mapper": self.mapper, "global_alpha": 0.6}
        self.map = self.figure.image("map", source=_empty(*names), **style)
        boxes = self.labels, self.detections, self.defaults = [
            self.figure.quad(*SIDES, source=_empty(*SIDES, "color", "what"), **LINES | style)
            for style in ({"line_width": 2.5, "line_dash": [6, 4]}, {}, {})
        ]
        lines = [("pixel", "x $x{0}, y $y{0}"), ("shown", "@map{%.3g}")]
        lines += [("score", "@score{%.3g} nats")]
        lines += [(level, f"@p{k}{{%.3g}}") for k, level in enumerate(LEVELS, 1)]
        digits = {f"@{name}": "printf" for name in names}
        self.figure.add_tools(
            HoverTool(renderers=[self.map], tooltips=lines, formatters=digits),
            HoverTool(renderers=boxes, tooltips=[("box", "@what")]),
        )

    def show(self, controls, cycle: Cycle, position: int, radius: int):
        """Show a frame as the controls say; the words also say what is not there."""
        said = ""
        try:
            self._show_image(controls, cycle, position)
            self._show_map(controls, cycle, position, radius)
        except (Unavailable, ValueError, OSError) as error:
            said = str(error)
            self.map.data_source.data = {name: [] for name in self.map.data_source.data}
        self.words.value = cycle.description(position, said)

    def _show_image(self, controls, cycle: Cycle, position: int):
        image = cycle.pool.images(position)
        rgba = np.full((*image.shape[:2], 4), 255, np.uint8)
        rgba[..., :3] = image
        self.image.data_source.data = {"image": [rgba.view(np.uint32)[..., 0]]}
        own = seen(controls, cycle, position)
        kind, found = own["kind"], own["score"].notna()
        what = kind.where(~found, kind + ", score " + own["score"].map(number))
        own = own.assign(what=what, color=kind.map(matching.COLORS))
        _put(self.detections, own[found])
        _put(self.labels, own[~found])
        _put(self.defaults, own[:0])

    def _show_map(self, controls, cycle: Cycle, position: int, radius: int):
        self.mapper.palette = PALETTES[controls.palette.value]
        self.map.visible = controls.layer.value != "none"
        p, score, shown, high, self.bar.title = maps(controls, cycle, position, radius)
        # what the pointer reads: the pixel's score and its probabilities
        planes = {"map": shown, "score": score} | {f"p{k}": own for k, own in enumerate(p, 1)}
        planes = {name: [np.ascontiguousarray(own, np.float32)] for name, own in planes.items()}
        self.map.data_source.data = planes
        self.mapper.high = max(float(high), 1e-9)
        self.mapper.low = max(controls.threshold.value * self.mapper.high, 1e-12)

    def show_default_boxes(self, x: float, y: float, numbers):
        """The default boxes of a profile around a pixel."""
        own = pd.DataFrame(numbers.default_boxes, columns=["height", "width"]) * numbers.scale
        own["left"], own["top"] = x - own["width"] / 2, y - own["height"] / 2
        own["color"] = drawing.COLORS[: len(own)]
        own["what"] = [
            f"default box of {level}, {height:.0f}×{width:.0f} pixels"
            for level, height, width in zip(LEVELS, own["height"], own["width"], strict=True)
        ]
        _put(self.defaults, own)


def _empty(*columns) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in columns})


def _put(renderer, boxes: pd.DataFrame):
    right, bottom = boxes["left"] + boxes["width"], boxes["top"] + boxes["height"]
    renderer.data_source.data = boxes.assign(right=right, bottom=bottom).to_dict("list")


class Timeline:
    """A Bokeh figure: a line for z and one for what is ranked by, marks for chosen and labeled
    frames and, `here`, the one shown, bands where the rules kept frames out, known pedestrians."""

    def __init__(self, cycle: Cycle):
        table = cycle.table
        values = table["ranked_by"].to_numpy()
        n, self._high = len(table), np.nanmax(values, initial=1e-9) * 1.08
        draw = self.figure = figure(
            height=210,
            sizing_mode="stretch_width",
            x_range=Range1d(-0.5, max(n - 0.5, 0.5)),
            y_range=Range1d(0, self._high),
            x_axis_label="position in the pool",
            y_axis_label="score (nats)" if cycle.scored else "ranked by",
            tools="tap,xpan,xwheel_zoom,reset",
            active_scroll="xwheel_zoom",
            toolbar_location="above",
        )
        at = {reason: np.flatnonzero(table["reason"] == reason) for reason in Reason}
        band = {"width": 1, "top": self._high, "alpha": 0.22, "line_width": 0}
        draw.vbar(at[Reason.EXCLUDED_NOW], color=SKY, legend_label="rule 1", **band)
        draw.vbar(at[Reason.EXCLUDED_LATER], color=BLUE, legend_label="rule 2", **band)
        for reason, color, name, marker, size in (
            (Reason.CHOSEN, RED, "chosen", "star", 13),
            (Reason.LABELED, BLACK, "labeled before", "dash", 8),
        ):
            style = {"color": color, "legend_label": name, "marker": marker, "size": size}
            draw.scatter(at[reason], np.nan_to_num(values[at[reason]]), **style)
        breaks = np.flatnonzero(table["sequence"][1:].values != table["sequence"][:-1].values)
        for column, name, color in (("z", "z", "#aaaaaa"), ("ranked_by", "ẑ", BLACK)):
            line = table[column].to_numpy(float).copy()
            line[breaks] = np.nan  # the line breaks between sequences
            if cycle.scored and (name == "z" or not table["z"].equals(table["ranked_by"])):
                draw.line(np.arange(n), line, color=color, legend_label=name)
        # on the canvas of overlays: the figure itself is not drawn again when the frame changes
        style = {"line_color": RED, "line_width": 1.5, "level": "overlay"}
        self.here = Span(location=0, dimension="height", **style)
        draw.add_layout(self.here)
        self._counts = _empty("x", "top", "n")
        style = {"line_color": GREEN, "line_alpha": 0.5, "line_width": 2}
        style |= {"source": self._counts, "legend_label": "pedestrians"}
        bars = draw.segment("x", 0, "x", "top", **style)
        draw.add_tools(HoverTool(renderers=[bars], tooltips=[("pedestrians", "@n")]))
        draw.add_layout(draw.legend[0], "right")

    def show_counts(self, labels: dict):
        """The pedestrians of frames, position → boxes or None where nobody has labeled them: the
        most as high as a quarter of the figure."""
        found = {p: (~own.ignore).sum() for p, own in labels.items() if own is not None}
        counts = pd.Series(found, dtype=int).sort_index()
        counts = counts[counts > 0]
        top = counts * self._high / 4 / counts.max()
        self._counts.data = {"x": counts.index, "top": top, "n": counts}
