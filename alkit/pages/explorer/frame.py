"""One frame: the image under a map, its regions, detections, labeled boxes and default boxes.

Drawn by Bokeh itself: a change of frame replaces the data of the sources and nothing else, and
opacity and threshold change in the browser alone.
"""

import numpy as np
from bokeh.models import ColorBar, ColumnDataSource, HoverTool, LinearColorMapper, Range1d
from bokeh.palettes import all_palettes
from bokeh.plotting import figure
from matplotlib.colors import ListedColormap

from alkit import aggregation, scores
from alkit.pages import matching
from alkit.pages.explorer.cycle import Cycle, Unavailable
from alkit.pages.figures import drawing
from alkit.pages.figures.training_and_scores import LEVELS

OPACITY = np.clip(np.sqrt(np.linspace(0, 1, 256)) * 1.1, 0, 1)  # clear at the lower end
PALETTES = {
    name.lower(): [
        f"{color}{round(255 * a):02x}" for color, a in zip(colors[256], OPACITY, strict=True)
    ]
    for name, colors in all_palettes.items()
    if name in ("Inferno", "Viridis", "Cividis", "Turbo")
}
LAYERS = ("score", "regions", "divergence", "entropy", *LEVELS, "none")
DETECTIONS, LABELS, DEFAULTS = BOXES = "detections", "labeled boxes", "default boxes at a click"
CLEAR = (0, 0, 0, 0)
SIDES = {side: side for side in ("left", "right", "top", "bottom")}


def maps(controls, cycle: Cycle, position: int, radius: int) -> tuple:
    """Probabilities (5, y, x), score and shown map (y, x), what the brightest color stands for, and
    its title. The score is that of step 2, or computed again where the radius is another.

    Scores have one scale for all frames of a cycle. Raises Unavailable.
    """
    p, layer = cycle.probabilities(position), controls.layer.value
    own = radius == cycle.numbers.pixels(cycle.numbers.radius) or not cycle.logits_give_score
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


def picture(controls, cycle: Cycle, position: int) -> drawing.Picture:
    """What is shown of a frame as a Matplotlib figure, for a file. Raises Unavailable."""
    image, name = cycle.pool.images(position), cycle.table["name"][position]
    caption = f"{controls.run.value}, cycle {cycle.number}; {cycle.reason(position)}."
    drawn = drawing.picture(8.2 * image.shape[0] / image.shape[1] + 0.9, name, caption)
    axes = drawn.subplots()
    drawing.photograph(axes, image)
    if controls.layer.value != "none":
        _, _, shown, high, title = maps(controls, cycle, position, controls.radius.value)
        shown = np.ma.masked_less_equal(np.nan_to_num(shown), controls.threshold.value * high)
        style = {"cmap": ListedColormap(PALETTES[controls.palette.value]), "vmin": 0, "vmax": high}
        colors = axes.imshow(shown, alpha=controls.opacity.value, **style)
        drawn.colorbar(colors, ax=axes, label=title, fraction=0.035, pad=0.01)
    parts = zip(BOXES, cycle.matched(position, controls.limit.value), strict=False)
    drawing.matched(axes, [part for name, part in parts if name in controls.boxes.value])
    return drawn


class FrameView:
    """A Bokeh figure of frames of one size (height, width). `ranges` of another view link them."""

    def __init__(self, size: tuple[int, int], ranges=None):
        height, width = self.size = size
        self.ranges = ranges or (Range1d(0, width), Range1d(height, 0))
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
        names = ["map", "score", *(f"p{k}" for k in range(1, 6)), "h", "w"]
        self.image = self.figure.image_rgba(
            "image", source=_empty("image"), x=0, y=0, dw=width, dh=height
        )
        self.map = self.figure.image(
            "map", source=_empty(*names), color_mapper=self.mapper, x=0, y=0, dw="w", dh="h"
        )
        self.map.glyph.global_alpha = 0.6
        self.labels, self.detections, self.defaults = map(self._boxes, (2.5, 1.5, 1.5))
        lines = [("pixel", "x $x{0}, y $y{0}"), ("shown", "@map{0.00000}")]
        lines += [("score", "@score{0.00000} nats")]
        lines += [(level, f"@p{k}{{0.0000}}") for k, level in enumerate(LEVELS, 1)]
        boxes = [self.labels, self.detections, self.defaults]
        self.figure.add_tools(
            HoverTool(renderers=[self.map], tooltips=lines),
            HoverTool(renderers=boxes, tooltips=[("box", "@what")]),
        )

    def _boxes(self, width: float):
        source = _empty(*SIDES, "color", "what", "dash")
        style = {"fill_color": None, "line_color": "color", "line_dash": "dash"}
        return self.figure.quad(source=source, line_width=width, **style, **SIDES)

    def show(self, controls, cycle: Cycle, position: int, radius: int) -> str:
        """Show a frame as the controls say; what is not there comes back as a sentence."""
        try:
            image = cycle.pool.images(position)
        except (ValueError, OSError) as error:
            return str(error)
        rgba = np.full((*image.shape[:2], 4), 255, np.uint8)
        rgba[..., :3] = image
        self.image.data_source.data = {"image": [rgba.view(np.uint32)[..., 0]]}
        _clear(self.defaults)
        self.mapper.palette = PALETTES[controls.palette.value]
        for name, boxes in zip(BOXES, (self.detections, self.labels, self.defaults), strict=True):
            boxes.visible = name in controls.boxes.value
        detections, labels = cycle.matched(position, controls.limit.value)
        scored = zip(detections.kind, detections.score, strict=True)
        what = [f"detection, {kind or 'unmatched'}, score {score:.3f}" for kind, score in scored]
        colors = [matching.COLORS[kind] for kind in (*detections.kind, *labels.kind)]
        _put(self.detections, detections.ltwh, colors[: len(what)], what, "solid")
        what = [f"labeled, {kind}" for kind in labels.kind]
        _put(self.labels, labels.ltwh, colors[len(colors) - len(what) :], what, [6, 4])
        self.map.visible = controls.layer.value != "none"
        try:
            p, score, shown, high, title = maps(controls, cycle, position, radius)
        except Unavailable as error:
            _clear(self.map)
            return str(error)
        # what the pointer reads: the pixel's score and its probabilities
        planes = {"map": shown, "score": score} | {f"p{k}": own for k, own in enumerate(p, 1)}
        planes = {name: [np.ascontiguousarray(own, np.float32)] for name, own in planes.items()}
        self.map.data_source.data = planes | {"h": [self.size[0]], "w": [self.size[1]]}
        self.mapper.high = max(float(high), 1e-9)
        self.mapper.low = max(controls.threshold.value * self.mapper.high, 1e-12)
        self.bar.title = title
        return ""

    def show_default_boxes(self, x: float, y: float, numbers):
        """The default boxes of a profile around a pixel."""
        sizes = np.array(numbers.default_boxes, float) * numbers.scale
        height, width = sizes.T
        ltwh = np.column_stack([x - width / 2, y - height / 2, width, height])
        what = [
            f"default box of {level}, {h:.0f}×{w:.0f} pixels"
            for level, (h, w) in zip(LEVELS, sizes, strict=True)
        ]
        _put(self.defaults, ltwh, drawing.COLORS[: len(ltwh)], what, "solid")


def _empty(*columns) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in columns})


def _clear(renderer):
    """Show nothing."""
    renderer.data_source.data = {name: [] for name in renderer.data_source.data}


def _put(renderer, ltwh: np.ndarray, colors, what: list, dash):
    """Show boxes."""
    left, top, width, height = np.reshape(ltwh, (-1, 4)).T
    sides = {"left": left, "right": left + width, "top": top, "bottom": top + height}
    style = {"color": list(colors), "what": what, "dash": [dash] * len(left)}
    renderer.data_source.data = sides | style
