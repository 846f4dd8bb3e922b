"""The explorer's page, in a notebook or served: what each widget changes."""

import contextlib
import functools
import io
from functools import partial
from html import escape
from urllib.parse import parse_qsl

import numpy as np
import panel as pn

from alkit.loop.runs import Run
from alkit.pages import serving
from alkit.pages.explorer import galleries
from alkit.pages.explorer.controls import NOTHING, Controls
from alkit.pages.explorer.cycle import Cycle, Unavailable
from alkit.pages.explorer.frame import DEFAULTS, FrameView, picture
from alkit.pages.explorer.timeline import Timeline
from alkit.pages.explorer.trial import Trials
from alkit.pages.explorer.widgets import WIDE, Galleries, Keys, words

TICK = 200  # milliseconds between two slices of work
SLICE = 0.1  # seconds of one, for the page to be quick meanwhile


def page(run: Run, cycle: int = 0, at: str = ""):
    """The explorer of a run's experiment, at a cycle (0: its last) and at what a link says,
    `?run=…&cycle=…&frame=…`. A served page follows the browser's address, and shows what is wrong.

    Raises ValueError for a run that has chosen no frames, and for a link to what is not there.
    """
    if not serving.served():
        pn.extension(inline=True)  # in a notebook too nothing comes from another host
        return Explorer(run, cycle, _link(at)).layout
    given = {k: v[0].decode("utf-8", "replace") for k, v in pn.state.session_args.items() if v}
    try:
        return Explorer(run, cycle, given).layout
    except (ValueError, Unavailable, OSError) as error:
        return serving.notice(str(error))


def check(run: Run, cycle: int, at: str = ""):
    """Raise ValueError for a run or cycle that has chosen no frames: what a server says before it
    serves."""
    Controls(run).follow(_link(at), cycle)


def _link(at: str) -> dict:
    """What a link says: all of it, or what follows its question mark."""
    query = at.rpartition("?")[2]
    return dict(parse_qsl(query, strict_parsing=True)) if query else {}


class Explorer:
    """One page: the cycle that is open, the frame that is shown, and how widgets change them."""

    def __init__(self, run: Run, number: int, link: dict):
        c = self.controls = Controls(run)
        self.served, self._quiet = serving.served(), False
        self._cycle = functools.cache(lambda name, number: Cycle(c.runs[name], number))
        self.words, self.words_beside = words("words"), words("words-beside")
        self.trial_words, self.link_words = words("trial"), words("link")
        self.galleries = Galleries(c, self.go_to)
        self.layout = pn.Column(css_classes=["alkit-explorer"], **WIDE)
        self._ticks = pn.state.add_periodic_callback(self._tick, TICK, start=False)
        c.follow(link, number)
        self.view = FrameView(self._cycle(c.run.value, c.cycle.value).numbers.image_size)
        self.beside = FrameView(self.view.size, self.view.ranges)
        for view in (self.view, self.beside):
            view.figure.on_event("tap", self._tapped)
            # opacity and threshold change in the browser, without a word to Python
            c.opacity.jslink(view.map.glyph, value="global_alpha")
            c.threshold.jscallback(
                args={"mapper": view.mapper},
                value="mapper.low = Math.max(cb_obj.value * mapper.high, 1e-12)",
            )
        self._open()
        c.follow_in(self.cycle, link)
        self._connect()
        self._fill()

    # --- opening a cycle

    def _open(self):
        """Open the cycle that the widgets name; the frame stays."""
        c = self.controls
        self.cycle = self._cycle(c.run.value, c.cycle.value)
        c.open(self.cycle)
        self._trials = Trials(self.cycle)
        self.galleries.open(self.cycle)
        self.timeline = Timeline(self.cycle)
        self.timeline.figure.on_event("tap", lambda event: self.go_to(round(event.x)))

    def _reopen(self):
        self._quiet = True  # while several widgets are set
        try:
            self.controls.offer_cycles()
            self._open()
        except (Unavailable, ValueError, OSError) as error:  # what is shown stays
            self.words.value = f"<i>{escape(str(error))}</i>"
            return
        finally:
            self._quiet = False
        self._fill()

    def _fill(self):
        self._arrange()
        self.galleries.show()

    # --- going somewhere

    def go_to(self, position: int):
        """Show the frame at a position of the pool."""
        self.controls.position.value = int(min(max(position, 0), len(self.cycle.table) - 1))

    def _step(self, n: int):
        self.go_to(self.controls.position.value + n)

    def _zoom(self):
        sequence, position = self.controls.sequence.value, self.controls.position.value
        known = self.cycle.table["sequence"]
        where = np.flatnonzero(known.eq(sequence) | (sequence == "all"))
        with self._together():
            self.timeline.zoom(int(where[0]), int(where[-1]))
        if not where[0] <= position <= where[-1]:
            self.go_to(int(where[0]))

    def _tapped(self, event):
        if DEFAULTS in self.controls.boxes.value:
            with self._together():
                for view in (self.view, self.beside):
                    view.show_default_boxes(event.x, event.y, self.cycle.numbers)

    # --- one frame

    def _show_frame(self):
        c, cycle = self.controls, self.cycle
        position = c.position.value
        with self._together():
            said = self.view.show(c, cycle, position, c.radius.value)
            self.words.value = cycle.description(position, said)
            self.timeline.go_to(position)
            if c.beside.value != NOTHING:
                name, _, number = c.beside.value.rpartition(", cycle ")
                other = self._cycle(name, int(number))
                own = other.numbers  # other numbers are tried in the open cycle
                said = self.beside.show(c, other, position, own.pixels(own.radius))
                self.words_beside.value = other.description(position, said)
            self._say_trial()
            self._say_link()
            if c.gallery.value == galleries.LABELED:
                self.galleries.show()

    def _say_trial(self):
        """What would become of the frame with the sliders' numbers, among what is computed."""
        try:
            said = self._trials.outcome(self.controls.position.value, self.controls.numbers())
        except Unavailable as error:
            said = str(error)
        self.trial_words.value = escape(said)
        if self.served:  # a change before the browser has the page may be lost on the way
            pn.state.onload(self._go_on)
        else:
            self._go_on()

    def _say_link(self):
        """The link to what is shown: the address of a served page, else words."""
        query = self.controls.link(self.cycle)
        if self.served and pn.state.location is not None:
            pn.state.location.search = query
            return
        self.link_words.value = (
            "This view again: <code style='overflow-wrap: anywhere'>"
            f"at = &quot;{escape(query)}&quot;</code>"
        )

    @contextlib.contextmanager
    def _together(self):
        """Send changes of Bokeh models at once: a server when all are made, a kernel when told."""
        if self.served:
            with pn.io.hold():
                yield
            return
        yield
        pn.io.push_notebook(self.layout)

    def _restore(self):
        self.controls.restore_numbers(self.cycle)
        self._show_frame()

    def _file(self, kind: str) -> io.BytesIO:
        """The frame as it is shown, as PNG or SVG."""
        file = io.BytesIO()
        drawn = picture(self.controls, self.cycle, self.controls.position.value)
        drawn.savefig(file, format=kind, dpi=200)
        file.seek(0)
        return file

    # --- what takes long, in slices

    @property
    def _work(self) -> list:
        return [work for work in (self.galleries.labels, self._trials.scores) if work and work.left]

    def _go_on(self):
        if self._work and not self._ticks.running:
            self._ticks.start()

    def _tick(self):
        labels = self.galleries.labels
        for work in self._work:
            work.go_on(SLICE)
            if work is labels and not work.left:
                with self._together():
                    self.timeline.show_counts(self.galleries.counts())
                self.galleries.show()
        self._say_trial()
        if not self._work and self._ticks.running:
            self._ticks.stop()

    # --- how the parts are put together

    def _arrange(self):
        """Everything in its place: one frame, or two where two are compared."""
        c = self.controls
        views = [(self.words, self.view), (self.words_beside, self.beside)]
        # at the start: two beside each other are else stretched to one height
        frames = [
            pn.Column(words, pn.pane.Bokeh(view.figure, **WIDE), align="start", **WIDE)
            for words, view in views[: 1 if c.beside.value == NOTHING else 2]
        ]
        sliders = c.radius, c.region, c.now, c.later, c.restore, self.trial_words
        title = words("about", "<b>Other numbers, from the stored logits</b>")
        files = [
            pn.widgets.FileDownload(
                callback=partial(self._file, kind), filename=f"frame.{kind}", label=kind.upper()
            )
            for kind in ("png", "svg")
        ]
        tried = pn.Column(title, *sliders, *files, self.link_words, width=270)
        keys = Keys(self._step, everywhere=self.served)
        place = c.run, c.cycle, c.sequence, c.before, c.position, c.after, c.beside
        look = c.layer, c.palette, c.opacity, c.threshold, c.limit
        self.layout[:] = [
            pn.FlexBox(*place, pn.Column(pn.Spacer(height=22), keys)),
            pn.pane.Bokeh(self.timeline.figure, **WIDE),
            pn.FlexBox(*look, pn.Column(pn.Spacer(height=14), c.boxes)),
            pn.Row(*frames, tried, **WIDE),
            self.galleries.layout,
        ]
        self._show_frame()

    def _connect(self):
        c = self.controls
        for call, widgets, name in (
            (self._reopen, [c.run, c.cycle], "value"),
            (self._zoom, [c.sequence], "value"),
            (self._show_frame, [c.position, c.layer, c.palette, c.limit, c.boxes], "value"),
            (self._show_frame, [c.radius, c.region, c.now, c.later], "value_throttled"),
            (self._say_link, [c.opacity, c.threshold], "value_throttled"),
            (self._arrange, [c.beside], "value"),
            (self.galleries.show, [c.gallery, c.sheet], "value"),
            (partial(self._step, -1), [c.before], "clicks"),
            (partial(self._step, 1), [c.after], "clicks"),
            (self._restore, [c.restore], "clicks"),
        ):
            for widget in widgets:
                widget.param.watch(lambda _, call=call: None if self._quiet else call(), name)
