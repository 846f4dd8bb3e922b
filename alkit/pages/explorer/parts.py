"""The parts of the page that run in the browser."""

from pathlib import Path

import panel as pn
import param
from panel.custom import JSComponent

HERE = Path(__file__).parent
STRETCH = {"sizing_mode": "stretch_width"}


def words(html: str = "", name: str = "about"):
    """Words whose `value`, HTML, may change. (A pane of HTML would ask another host for its style
    sheets then, in a notebook.)"""
    return pn.widgets.StaticText(value=html, css_classes=[f"alkit-{name}"], **STRETCH)


class Keys(JSComponent):
    """The arrow keys; `on_step(n)` hears of them."""

    everywhere = param.Boolean()
    _esm = HERE / "keys.js"

    def __init__(self, on_step, **params):
        self._on_step = on_step
        super().__init__(**params)

    def _handle_msg(self, message: dict):
        self._on_step(int(message["step"]))


class Gallery(JSComponent):
    """Pictures to click on; `on_click(position)` hears of it. `items` are dicts of position,
    image (an address), mark (bold) and text."""

    items = param.List()
    empty = param.String("Nothing to show.")
    picture_width = param.Integer(190)
    _esm = HERE / "gallery.js"

    def __init__(self, on_click, **params):
        self._on_click = on_click
        super().__init__(**params)

    def _handle_msg(self, message: dict):
        self._on_click(int(message["position"]))
