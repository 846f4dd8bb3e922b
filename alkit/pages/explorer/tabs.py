"""The galleries below the frame, in tabs: the one that is open is filled, the others wait."""

from html import escape

import panel as pn

from alkit.pages.explorer import galleries, judging
from alkit.pages.explorer.controls import Controls
from alkit.pages.explorer.parts import STRETCH, Gallery, words
from alkit.pages.explorer.reading import AllBoxes, NotThere, Opened

NAMES = ("Highest ranked", "Tiles", "Blind spots", "Nearest labelled")


class Tabs:
    """The tabs of a page; `go_to(position)` hears of a click on a picture."""

    def __init__(self, controls: Controls, go_to):
        self._controls, self.boxes = controls, None
        self._galleries = [Gallery(go_to, **STRETCH) for _ in NAMES]
        self._words = [words() for _ in NAMES]
        above = ([pn.Row(controls.which, controls.sheet)], [controls.holding], [], [])
        parts = zip(NAMES, above, self._words, self._galleries, strict=True)
        self.layout = pn.Tabs(
            *(
                (name, pn.Column(*own, words, shown, **STRETCH))
                for name, own, words, shown in parts
            ),
            **STRETCH,
        )
        self.layout.param.watch(lambda _: self.show(), "active")

    def open(self, opened: Opened):
        """Show another cycle from now on, whose labelled boxes a thread begins to read."""
        self.close()
        self._opened, self.boxes, self._judged = opened, AllBoxes(opened), (None, None)

    def close(self):
        """Let the thread end."""
        if self.boxes is not None:
            self.boxes.stop()

    @property
    def follows_the_frame(self) -> bool:
        """Whether the open tab is about the frame that is shown."""
        return NAMES[self.layout.active] == "Nearest labelled"

    def show(self):
        """Fill the gallery that is open."""
        active, items = self.layout.active, []
        self.layout.loading = True
        try:
            items, said = self._filled(NAMES[active])
        except NotThere as error:
            said = str(error)
        finally:
            self.layout.loading = False
        self._galleries[active].items = items
        self._words[active].value = escape(said)

    def _filled(self, name: str) -> tuple[list, str]:
        c, opened = self._controls, self._opened
        limit, kind = c.limit.value, c.holding.value
        match name:
            case "Highest ranked":
                return galleries.ranked(opened, c.which.value, c.sheet.value, limit)
            case "Tiles":
                judged = self._everything() if judging.TILES[kind] else None
                return galleries.tiles(opened, kind, judged)
            case "Blind spots":
                return galleries.blind_spots(opened, self._everything(), limit)
            case "Nearest labelled":
                return galleries.nearest(opened, c.position.value, limit)

    def _everything(self) -> judging.Judged:
        """All frames' detections and boxes, matched. Raises NotThere while they are read."""
        done, total = self.boxes.done, self.boxes.total
        if self.boxes.error:
            raise NotThere(f"labelled boxes cannot be read: {self.boxes.error}")
        if not self.boxes.finished:
            raise NotThere(f"reading labelled boxes: {done} of {total} frames")
        limit = self._controls.limit.value
        if self._judged[0] != limit:
            found = judging.judge(self._opened.all_detections(), self.boxes.boxes, limit)
            self._judged = limit, found
        return self._judged[1]
