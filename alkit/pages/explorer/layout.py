"""Where everything stands on the page."""

import panel as pn

from alkit.pages.explorer.controls import NOTHING
from alkit.pages.explorer.parts import STRETCH, words


def whole(page, timeline_place, frames_place):
    """The page of an `Explorer` around the places of its timeline and of its `frames`."""
    c = page.controls
    tries = pn.Column(
        words("<b>Other numbers, from the stored logits</b>"),
        c.radius, c.region, c.now, c.later, c.restore, page.trials.words, page.progress,
        pn.Row(*page.files), page.link, width=270,
    )  # fmt: skip
    return pn.Column(
        pn.FlexBox(
            c.run, c.cycle, c.sequence, c.before, c.position, c.after, c.compare,
            pn.Column(pn.Spacer(height=22), page.keys),
        ),
        timeline_place,
        pn.FlexBox(
            c.layer, c.palette, c.opacity, c.threshold, c.limit,
            pn.Column(pn.Spacer(height=14), c.boxes),
        ),
        pn.Row(frames_place, tries, **STRETCH),
        page.tabs.layout,
        css_classes=["alkit-explorer"],
        **STRETCH,
    )  # fmt: skip


def frames(page) -> list:
    """The frame that an `Explorer` shows, and the one beside it where two are compared."""
    # at the start: two beside each other are else stretched to one height
    column = {"align": "start", **STRETCH}
    view = pn.Column(page.words, pn.pane.Bokeh(page.view.figure, **STRETCH), **column)
    if page.controls.compare.value == NOTHING:
        return [view]
    other = pn.pane.Bokeh(page.beside.figure, **STRETCH)
    return [view, pn.Column(page.words_beside, other, **column)]
