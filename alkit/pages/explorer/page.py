"""The explorer's page, in a notebook or served: what each widget changes."""

import contextlib
import functools
import io
from functools import partial
from html import escape
from urllib.parse import parse_qsl

import panel as pn

from alkit.loop.runs import Run
from alkit.pages import matching, serving
from alkit.pages.explorer import galleries
from alkit.pages.explorer.controls import NOTHING, TRIED, Controls, Gallery, Keys
from alkit.pages.explorer.cycle import Cycle, Unavailable
from alkit.pages.explorer.plots import DEFAULTS, LEGEND, WIDE, FrameView, Timeline, picture, words
from alkit.pages.explorer.trial import Slices, Trials

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
    """Raise ValueError, before a server serves, for a run or cycle that has chosen no frames."""
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
        self.trial_words, self.link_words = words("trial"), words("link")
        self.gallery, self.gallery_words = Gallery(self.go_to, **WIDE), words("about")
        self.layout = pn.Column(css_classes=["alkit-explorer"], **WIDE)
        self._ticks = pn.state.add_periodic_callback(self._tick, TICK, start=False)
        c.follow(link, number)
        size = self._cycle(c.run.value, c.cycle.value).numbers.image_size
        self.view = FrameView("words", size)
        self.beside = FrameView("words-beside", size, self.view.ranges)
        for view in (self.view, self.beside):
            view.figure.on_event("tap", self._tapped)
            # opacity and threshold change in the browser, without a word to Python
            c.opacity.jslink(view.map.glyph, value="global_alpha")
            low = "mapper.low = Math.max(cb_obj.value * mapper.high, 1e-12)"
            c.threshold.jscallback(args={"mapper": view.mapper}, value=low)
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
        self._labels = Slices(self.cycle.boxes, range(len(self.cycle.pool)))
        self.timeline = Timeline(self.cycle)
        self.timeline.figure.on_event("tap", lambda event: self.go_to(round(event.x)))

    def _reopen(self):
        self._quiet = True  # while several widgets are set
        try:
            self.controls.offer_cycles()
            self._open()
        except (Unavailable, ValueError, OSError) as error:  # what is shown stays
            self.view.words.value = f"<i>{escape(str(error))}</i>"
            return
        finally:
            self._quiet = False
        self._fill()

    def _fill(self):
        self._arrange()
        self._show_gallery()

    # --- going somewhere

    def go_to(self, position: int):
        """Show the frame at a position of the pool."""
        self.controls.position.value = int(min(max(position, 0), len(self.cycle.table) - 1))

    def _step(self, n: int):
        self.go_to(self.controls.position.value + n)

    def _zoom(self):
        sequence, position = self.controls.sequence.value, self.controls.position.value
        known = self.cycle.table["sequence"]
        first, last = known.index[known.eq(sequence) | (sequence == "all")][[0, -1]].tolist()
        with self._together():
            self.timeline.figure.x_range.update(start=first - 0.5, end=last + 0.5)
        if not first <= position <= last:
            self.go_to(first)

    def _tapped(self, event):
        if DEFAULTS in self.controls.boxes.value:
            with self._together():
                for view in (self.view, self.beside):
                    view.show_default_boxes(event.x, event.y, self.cycle.numbers)

    # --- one frame

    def _show_frame(self):
        c = self.controls
        position = c.position.value
        with self._together():
            self.view.show(c, self.cycle, position, c.radius.value)
            self.timeline.here.location = position
            if c.beside.value != NOTHING:
                name, _, number = c.beside.value.rpartition(", cycle ")
                other = self._cycle(name, int(number))  # with its own radius
                self.beside.show(c, other, position, other.tried[0])
            self._say_trial()
            self._say_link()
            if c.gallery.value == galleries.LABELED:
                self._show_gallery()

    def _say_trial(self):
        """What would become of the frame with the sliders' numbers, among what is computed."""
        tried, numbers = self.controls.tried(), self.cycle.numbers
        try:
            said = self._trials.outcome(self.controls.position.value, tried)
        except Unavailable as error:
            said = str(error)
        both = [f"{k}: {numbers.in_words(k, n)}" for k, n in zip(TRIED, tried[:2], strict=False)]
        self.trial_words.value = "<br>".join([*both, escape(said)])
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
        code = f"<code style='overflow-wrap: anywhere'>at = &quot;{escape(query)}&quot;</code>"
        self.link_words.value = f"This view again: {code}"

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

    # --- the gallery that the controls name

    def _show_gallery(self):
        with self.layout[-1].param.update(loading=True):
            try:
                items, said = self._gallery()
            except Unavailable as error:
                items, said = [], str(error)
        self.gallery.html, self.gallery_words.value = galleries.html(items), escape(said)

    def _gallery(self) -> tuple:
        c, cycle, name = self.controls, self.cycle, self.controls.gallery.value
        if name in galleries.RANKED:
            return galleries.ranked(cycle, name, c.sheet.value, c.limit.value)
        if name == galleries.LABELED:
            return galleries.nearest(cycle, c.position.value, c.limit.value)
        if name == "tiles":
            return galleries.tiles(cycle, name)
        if self._labels.left or self._labels.error:
            done = f"{len(self._labels.results)} of {self._labels.total} frames"
            raise Unavailable(f"labeled boxes are read: {done}. {self._labels.error}")
        matched = matching.match(cycle.detections, self._labels.results, c.limit.value)
        if name == galleries.BLIND:
            return galleries.blind_spots(cycle, matched, c.limit.value)
        return galleries.tiles(cycle, name, matched)

    # --- what takes long, in slices

    @property
    def _work(self) -> list:
        return [work for work in (self._labels, self._trials.scores) if work and work.left]

    def _go_on(self):
        if self._work and not self._ticks.running:
            self._ticks.start()

    def _tick(self):
        for work in self._work:
            work.go_on(SLICE)
            if work is self._labels and not work.left:
                with self._together():
                    self.timeline.show_counts(work.results)
                self._show_gallery()
        self._say_trial()
        if not self._work and self._ticks.running:
            self._ticks.stop()

    # --- how the parts are put together

    def _arrange(self):
        """Everything in its place: one frame, or two where two are compared."""
        c = self.controls
        # at the start: two beside each other are else stretched to one height
        frames = [
            pn.Column(view.words, pn.pane.Bokeh(view.figure, **WIDE), align="start", **WIDE)
            for view in (self.view, self.beside)[: 1 if c.beside.value == NOTHING else 2]
        ]
        files = [
            pn.widgets.FileDownload(
                callback=partial(self._file, kind), filename=f"frame.{kind}", label=kind.upper()
            )
            for kind in ("png", "svg")
        ]
        title = words("about", "<b>Other numbers, from the stored logits</b>")
        sliders = c.radius, c.region, c.now, c.later, c.restore, self.trial_words
        place = c.run, c.cycle, c.sequence, c.before, c.position, c.after, c.beside
        look = c.layer, c.palette, c.opacity, c.threshold, c.limit
        keys = Keys(self._step, everywhere=self.served)
        self.layout[:] = [
            pn.FlexBox(*place, pn.Column(pn.Spacer(height=22), keys)),
            pn.pane.Bokeh(self.timeline.figure, **WIDE),
            pn.FlexBox(*look, pn.Column(pn.Spacer(height=14), c.boxes)),
            words("legend", LEGEND),
            pn.Row(*frames, pn.Column(title, *sliders, *files, self.link_words, width=270), **WIDE),
            pn.Column(pn.Row(c.gallery, c.sheet), self.gallery_words, self.gallery, **WIDE),
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
            (self._show_gallery, [c.gallery, c.sheet], "value"),
            (partial(self._step, -1), [c.before], "clicks"),
            (partial(self._step, 1), [c.after], "clicks"),
            (self._restore, [c.restore], "clicks"),
        ):
            for widget in widgets:
                widget.param.watch(lambda _, call=call: None if self._quiet else call(), name)
