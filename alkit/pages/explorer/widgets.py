"""What the page has beside Panel's own widgets: words, keys, pictures to click on."""

from pathlib import Path

import panel as pn
import param
from panel.custom import JSComponent

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
