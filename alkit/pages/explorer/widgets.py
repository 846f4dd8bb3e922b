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
    """The tabs of a page; `go_to(position)` hears of a click on a picture."""

    def __init__(self, controls, go_to):
        c = self._controls = controls
        self.galleries = [Gallery(go_to, **WIDE) for _ in range(4)]
        self._words = [words("about") for _ in self.galleries]
        above = {
            "Highest ranked": [pn.Row(c.which, c.sheet)],
            "Tiles": [c.holding],
            "Blind spots": [],
            "Nearest labeled": [],
        }
        self._names = list(above)
        parts = zip(above.items(), self._words, self.galleries, strict=True)
        tabs = [(name, pn.Column(*own, *rest, **WIDE)) for (name, own), *rest in parts]
        self.layout = pn.Tabs(*tabs, **WIDE)
        self.layout.param.watch(lambda _: self.show(), "active")

    def open(self, cycle: Cycle):
        """Show another cycle from now on, whose labeled boxes are read by and by."""
        self._cycle = cycle
        self.labels = Slices(cycle.boxes, range(len(cycle.pool)))

    def counts(self) -> np.ndarray | None:
        """Pedestrians in each frame (n,), when all labels are read; None where none is known."""
        known = [own for _, own in sorted(self.labels.results.items())]
        if self.labels.error or all(own is None for own in known):
            return None
        return np.array([0 if own is None else int((~own.ignore).sum()) for own in known])

    @property
    def name(self) -> str:
        """The name of the tab that is open."""
        return self._names[self.layout.active]

    def show(self):
        """Fill the gallery that is open."""
        active = self.layout.active
        self.layout.loading = True
        try:
            items, said = self._filled()
        except Unavailable as error:
            items, said = [], str(error)
        finally:
            self.layout.loading = False
        self.galleries[active].html = galleries.html(items)
        self._words[active].value = escape(said)

    def _filled(self) -> tuple:
        c, limit = self._controls, self._controls.limit.value
        match self.name:
            case "Highest ranked":
                return galleries.ranked(self._cycle, c.which.value, c.sheet.value, limit)
            case "Tiles":
                both = (None, None) if c.holding.value == "all" else self._all_matched(limit)
                return galleries.tiles(self._cycle, c.holding.value, *both)
            case "Blind spots":
                return galleries.blind_spots(self._cycle, self._all_matched(limit)[1], limit)
            case "Nearest labeled":
                return galleries.nearest(self._cycle, c.position.value, limit)

    def _all_matched(self, limit: float) -> tuple:
        """All frames' detections and labeled boxes. Raises Unavailable while they are read."""
        if self.labels.error:
            raise Unavailable(f"labeled boxes cannot be read: {self.labels.error}")
        if self.labels.left:
            done = self.labels.total - len(self.labels.left)
            raise Unavailable(f"reading labeled boxes: {done} of {self.labels.total} frames")
        return matching.match(self._cycle.detections, self.labels.results, limit)
