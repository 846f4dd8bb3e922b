"""One frame: the image under a map, its regions, detections, labelled boxes and default boxes.

Drawn by Bokeh itself: a change of frame replaces the data of the sources and nothing else, and
opacity, colours and threshold change in the browser alone.
"""

import numpy as np
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    CustomJSHover,
    HoverTool,
    LinearColorMapper,
    Range1d,
)
from bokeh.palettes import Cividis256, Inferno256, Turbo256, Viridis256
from bokeh.plotting import figure

from alkit.pages.explorer import judging
from alkit.pages.explorer.judging import Judged
from alkit.pages.views import drawing


def _clear_at_zero(palette) -> list:
    """A palette that is clear at its lower end and opaque from 80 % on."""
    opacity = np.clip(np.sqrt(np.linspace(0, 1, len(palette))) * 1.1, 0, 1)
    return [
        f"{colour}{round(255 * alpha):02x}" for colour, alpha in zip(palette, opacity, strict=True)
    ]


PALETTES = {
    "inferno": _clear_at_zero(Inferno256),
    "viridis": _clear_at_zero(Viridis256),
    "cividis": _clear_at_zero(Cividis256),
    "turbo": _clear_at_zero(Turbo256),
}
LEVELS = ("Θ¹", "Θ²", "Θ³", "Θ⁴", "Θ⁵")
COLOUR_OF = {
    judging.HIT: drawing.TRUTH, judging.FALSE: drawing.FOUND, judging.ABSORBED: "#bbbbbb",
    "": drawing.FOUND, judging.FOUND: drawing.TRUTH, judging.MISSED: drawing.MISSED,
    judging.IGNORED: "#ffffff", judging.LABELLED: drawing.SKY,
}  # fmt: skip
CLEAR = (0, 0, 0, 0)
STEPS = 65535  # of a probability as it goes to the browser
NO_MAP = {"map": [], "score": [], **{f"p{k}": [] for k in range(1, 6)}, "h": [], "w": []}
NO_BOXES = {k: [] for k in ("left", "right", "top", "bottom", "colour", "what", "dash")}
NO_TILES = {k: [] for k in ("left", "right", "top", "bottom", "value")}


class FrameView:
    """A Bokeh figure of frames of one size (height, width). `ranges` of another view link them."""

    def __init__(self, size: tuple[int, int], ranges=None):
        height, width = size
        self.size = size
        x, y = ranges or (
            Range1d(0, width, bounds=(-width, 2 * width)),
            Range1d(height, 0, bounds=(-height, 2 * height)),
        )
        self.ranges = x, y
        self.figure = figure(
            x_range=x, y_range=y, aspect_ratio=width / height, sizing_mode="scale_width",
            min_width=320, toolbar_location="above",
            tools="pan,wheel_zoom,box_zoom,reset,save,tap", active_scroll="wheel_zoom",
            x_axis_label="x (pixels)", y_axis_label="y (pixels)",
        )  # fmt: skip
        self.figure.grid.visible = False
        self.mapper = LinearColorMapper(
            palette=PALETTES["inferno"],
            low=0,
            high=1,
            low_color=CLEAR,
            nan_color=CLEAR,
        )
        self.image = ColumnDataSource({"image": []})
        self.map = ColumnDataSource(dict(NO_MAP))
        self.tiles = ColumnDataSource(dict(NO_TILES))
        self.truth = ColumnDataSource(dict(NO_BOXES))
        self.found = ColumnDataSource(dict(NO_BOXES))
        self.defaults = ColumnDataSource(dict(NO_BOXES))
        whole = {"x": 0, "y": 0, "dw": width, "dh": height}
        self.figure.image_rgba("image", source=self.image, **whole)
        self.map_renderer = self.figure.image(
            "map", source=self.map, color_mapper=self.mapper, x=0, y=0, dw="w", dh="h",
            global_alpha=0.6,
        )  # fmt: skip
        self.tile_renderer = self.figure.quad(
            source=self.tiles, line_color="#ffffff", line_alpha=0.25, fill_alpha=0.6,
            fill_color={"field": "value", "transform": self.mapper},
            **{k: k for k in ("left", "right", "top", "bottom")},
        )  # fmt: skip
        self.truth_renderer = self._boxes(self.truth, 2.5)
        self.found_renderer = self._boxes(self.found, 1.5)
        self.default_renderer = self._boxes(self.defaults, 1.5)
        self.bar = ColorBar(color_mapper=self.mapper, title="score (nats)", width=12, padding=4)
        self.figure.add_layout(self.bar, "right")
        self._add_hover()

    def _boxes(self, source, width):
        sides = {k: k for k in ("left", "right", "top", "bottom")}
        return self.figure.quad(
            source=source, fill_color=None, line_color="colour", line_width=width,
            line_dash="dash", **sides,
        )  # fmt: skip

    def _add_hover(self):
        share = CustomJSHover(code=f"return (value / {STEPS}).toFixed(4)")
        lines = [("pixel", "x $x{0}, y $y{0}"), ("score", "@score{0.00000} nats")]
        lines += [(level, f"@p{k}{{custom}}") for k, level in enumerate(LEVELS, 1)]
        pixel = HoverTool(
            renderers=[self.map_renderer], tooltips=lines,
            formatters={f"@p{k}": share for k in range(1, 6)},
        )  # fmt: skip
        boxes = HoverTool(
            renderers=[self.truth_renderer, self.found_renderer, self.default_renderer],
            tooltips=[("box", "@what")],
        )
        tiles = HoverTool(
            renderers=[self.tile_renderer], tooltips=[("highest in region", "@value{0.00000} nats")]
        )
        self.figure.add_tools(pixel, boxes, tiles)

    # what is shown

    def show_image(self, image: np.ndarray):
        """An image uint8 (y, x, 3)."""
        rgba = np.full((*image.shape[:2], 4), 255, np.uint8)
        rgba[..., :3] = image
        self.image.data = {"image": [rgba.view(np.uint32)[..., 0]]}

    def show_map(self, values, score, p, high: float, title: str, threshold: float):
        """A map float32 (y, x) coloured from 0 to `high`, clear below the share `threshold` of it;
        under the pointer stand the pixel's score and its probabilities p (5, y, x)."""
        height, width = self.size
        quantised = np.rint(np.asarray(p) * STEPS).astype(np.uint16)
        self.map.data = {
            "map": [np.ascontiguousarray(values, np.float32)],
            "score": [np.ascontiguousarray(score, np.float32)],
            **{f"p{k}": [plane] for k, plane in enumerate(quantised, 1)},
            "h": [height],
            "w": [width],
        }
        _empty(self.tiles, NO_TILES)
        self.mapper.high = max(float(high), 1e-9)
        self.mapper.low = max(threshold * self.mapper.high, 1e-12)
        self.bar.title = title

    def no_map(self):
        """Nothing over the image."""
        _empty(self.map, NO_MAP)
        _empty(self.tiles, NO_TILES)

    def show_tiles(self, maxima: np.ndarray, rows: np.ndarray, columns: np.ndarray):
        """Region maxima (row, column) between the edges of rows and columns in pixels."""
        top, left = np.meshgrid(rows[:-1], columns[:-1], indexing="ij")
        bottom, right = np.meshgrid(rows[1:], columns[1:], indexing="ij")
        sides = {"top": top, "bottom": bottom, "left": left, "right": right}
        data = {name: side.ravel() for name, side in sides.items()}
        self.tiles.data = data | {"value": np.asarray(maxima, np.float32).ravel()}

    def show_boxes(self, own: Judged):
        """Detections and labelled boxes of a frame."""
        what = [
            f"detection, {kind or 'unjudged'}, score {score:.3f}"
            for kind, score in zip(own.found_kind, own.score, strict=True)
        ]
        self.found.data = _quads(own.found, own.found_kind, what, "solid")
        what = [f"labelled, {kind}" for kind in own.truth_kind]
        self.truth.data = _quads(own.truth, own.truth_kind, what, [6, 4])

    def show_default_boxes(self, x: float, y: float, sizes: np.ndarray):
        """The default boxes, (5, 2) heights and widths in pixels, around a pixel."""
        height, width = np.asarray(sizes, float).T
        ltwh = np.column_stack([x - width / 2, y - height / 2, width, height])
        what = [
            f"default box of {level}, {h:.0f}×{w:.0f} pixels"
            for level, (h, w) in zip(LEVELS, sizes, strict=True)
        ]
        data = _quads(ltwh, [""] * len(ltwh), what, "solid")
        data["colour"] = list(drawing.COLOURS[: len(ltwh)])
        self.defaults.data = data

    def no_default_boxes(self):
        _empty(self.defaults, NO_BOXES)


def _empty(source: ColumnDataSource, nothing: dict):
    """Take the data out of a source; one that is empty is not sent to the browser again."""
    if any(len(column) for column in source.data.values()):
        source.data = dict(nothing)


def _quads(ltwh: np.ndarray, kinds, what: list, dash) -> dict:
    left, top, width, height = np.reshape(ltwh, (-1, 4)).T
    return {
        "left": left, "right": left + width, "top": top, "bottom": top + height,
        "colour": [COLOUR_OF[kind] for kind in kinds], "what": what, "dash": [dash] * len(left),
    }  # fmt: skip
