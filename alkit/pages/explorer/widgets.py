"""What the page has beside Panel's own widgets: keys, words, galleries in tabs."""

from html import escape
from pathlib import Path

import numpy as np
import panel as pn
import param
from panel.custom import JSComponent

from alkit.pages import matching
from alkit.pages.explorer import galleries
from alkit.pages.explorer.cycle import Cycle, Unavailable
from alkit.pages.explorer.trial import Slices

HERE = Path(__file__).parent
WIDE = {"sizing_mode": "stretch_width"}


def words(name: str, html: str = ""):
    """Words whose `value`, HTML, may change. (A pane of HTML would ask another host for its style
    sheets then, in a notebook.)"""
    return pn.widgets.StaticText(value=html, css_classes=[f"alkit-{name}"], **WIDE)


class Heard(JSComponent):
    """A part of the page that sends numbers, which `hear(number)` is called with."""

    __abstract = True

    def __init__(self, hear, **params):
        self._hear = hear
        super().__init__(**params)

    def _handle_msg(self, message: int):
        self._hear(int(message))


class Keys(Heard):
    """The arrow keys, which send how many frames to step."""

    everywhere = param.Boolean()
    _esm = HERE / "keys.js"


class Gallery(Heard):
    """Pictures as `galleries.html` makes them; a click sends the position of a frame."""

    html = param.String()
    _esm = HERE / "gallery.js"


class Galleries:
    """The gallery that the controls name; `go_to(position)` hears of a click on a picture."""

    def __init__(self, controls, go_to):
        self._controls, self.gallery = controls, Gallery(go_to, **WIDE)
        self._words, above = words("about"), pn.Row(controls.gallery, controls.sheet)
        self.layout = pn.Column(above, self._words, self.gallery, **WIDE)

    def open(self, cycle: Cycle):
        """Show another cycle from now on, whose labeled boxes are read by and by."""
        self._cycle = cycle
        self.labels = Slices(cycle.boxes, range(len(cycle.pool)))

    def counts(self) -> np.ndarray:
        """Known pedestrians in each frame (n,), as far as labels are read."""
        known = (self.labels.results.get(p) for p in range(self.labels.total))
        return np.array([0 if own is None else int((~own.ignore).sum()) for own in known])

    def show(self):
        """Fill the gallery."""
        with self.layout.param.update(loading=True):
            try:
                items, said = self._filled()
            except Unavailable as error:
                items, said = [], str(error)
        self.gallery.html, self._words.value = galleries.html(items), escape(said)

    def _filled(self) -> tuple:
        c, cycle, limit = self._controls, self._cycle, self._controls.limit.value
        name = c.gallery.value
        if name in galleries.RANKED:
            return galleries.ranked(cycle, name, c.sheet.value, limit)
        if name == galleries.LABELED:
            return galleries.nearest(cycle, c.position.value, limit)
        if name == "tiles":
            return galleries.tiles(cycle, name)
        if self.labels.left or self.labels.error:
            done = f"{len(self.labels.results)} of {self.labels.total} frames"
            raise Unavailable(f"labeled boxes are read: {done}. {self.labels.error}")
        matched = matching.match(cycle.detections, self.labels.results, limit)
        if name == galleries.BLIND:
            return galleries.blind_spots(cycle, matched[1], limit)
        return galleries.tiles(cycle, name, matched)
