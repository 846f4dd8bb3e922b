"""The explorer's page, in a notebook or served: what each widget changes."""

import contextlib
import re
from html import escape
from urllib.parse import parse_qsl

import numpy as np
import panel as pn

from alkit.loop.runs import Run, open_run
from alkit.pages import serving
from alkit.pages.explorer import layers, layout, showing
from alkit.pages.explorer.controls import BOXES, NOTHING, Controls
from alkit.pages.explorer.frame import PALETTES, FrameView
from alkit.pages.explorer.parts import STRETCH, Keys, words
from alkit.pages.explorer.reading import NotThere, Opened, runs_of
from alkit.pages.explorer.tabs import Tabs
from alkit.pages.explorer.timeline import Timeline
from alkit.pages.explorer.trials import Trials

TICK = 400  # milliseconds between two looks at what threads have done


def page(run: str | Run, cycle: int = 0, at: str = ""):
    """The explorer of a run's experiment, at a cycle (0: its last) and at what a link says,
    `?run=…&cycle=…&frame=…`. A served page follows the browser's address, and shows what is wrong.

    Raises ValueError for a run that has chosen no frames, and for a link to what is not there.
    """
    run = run if isinstance(run, Run) else open_run(run)
    if not serving.served():
        pn.extension(inline=True)  # in a notebook too nothing comes from another host
        return Explorer(run, cycle, _link(at)).layout
    given = {k: v[0].decode("utf-8", "replace") for k, v in pn.state.session_args.items() if v}
    try:
        return Explorer(run, cycle, given).layout
    except (ValueError, NotThere, OSError) as error:
        return serving.notice(str(error))


def _link(at: str) -> dict:
    """What a link says: all of it, or what follows its question mark."""
    words = dict(parse_qsl(at.rpartition("?")[2]))
    if at.strip("? ") and not words:
        raise ValueError(f"at is {at!r}; a link such as ?cycle=2&frame=NAME is wanted")
    return words


def check(run: Run, cycle: int, at: str = ""):
    """Raise ValueError for a run or cycle that has chosen no frames: what a server says before it
    serves."""
    _controls(run).follow(_link(at), cycle)


def _controls(run: Run) -> Controls:
    """The widgets for all runs of the experiment that have chosen frames, at this run."""
    runs = runs_of(run)
    if not runs:
        raise ValueError(
            f"{run.out}: no cycle of any run has chosen frames yet, so there is nothing to "
            "explore; `alkit run` the experiment first"
        )
    names = {other.folder: name for name, other in runs.items()}
    return Controls(runs, names.get(run.folder, next(iter(runs))))


class Explorer:
    """One page: the cycle that is open, the frame that is shown, and how widgets change them."""

    def __init__(self, run: Run, cycle: int, link: dict):
        self.served = serving.served()
        self.controls = _controls(run)
        self._cycles, self._quiet, self._ticking = {}, True, None
        self._make_parts()
        self.controls.follow(link, cycle)
        self._open(link)
        self.layout = self._layout()
        self._connect()
        if self.served:
            pn.state.curdoc.on_session_destroyed(lambda _: self._close())
        self._quiet = False
        self._show_frame()
        self.tabs.show()

    def _make_parts(self):
        """What is no control: words, tabs, files."""
        names = "words", "words-beside", "link"
        self.words, self.words_beside, self.link = (words(name=name) for name in names)
        self.trials = Trials(self.controls)
        self.progress = pn.indicators.Progress(value=0, max=1, width=180, visible=False)
        self.tabs = Tabs(self.controls, self.go_to)
        self.files = [
            pn.widgets.FileDownload(
                callback=lambda kind=kind: self._file(kind), filename=f"frame.{kind}",
                label=kind.upper(), width=110,
            )
            for kind in ("png", "svg")
        ]  # fmt: skip
        self.keys = Keys(self._step, everywhere=self.served)

    # --- opening a cycle

    def _cycle_of(self, name: str, cycle: int) -> Opened:
        key = name, cycle
        if key not in self._cycles:
            self._cycles[key] = Opened(self.controls.runs[name], cycle)
        return self._cycles[key]

    def _close(self):
        """Let the threads end."""
        self.tabs.close()
        self.trials.close()

    def _open(self, link: dict | None = None):
        """Open the cycle that the widgets name; `link` says where, else the frame stays."""
        c = self.controls
        self.opened = opened = self._cycle_of(c.run.value, c.cycle.value)
        c.open(opened)
        if link is not None:
            c.follow_in(opened, link)
        size = opened.run.numbers(opened.cycle).image_size
        self.view = FrameView(size)
        self.beside = FrameView(size, self.view.ranges)
        for view in (self.view, self.beside):
            view.figure.on_event("tap", self._tapped)
            _link_in_browser(c, view)
        self.timeline = Timeline(opened)
        self.timeline.figure.on_event("tap", lambda event: self.go_to(round(event.x)))
        self.tabs.open(opened)
        self.trials.open(opened)
        self._counted = False
        self._set_palette()
        self._set_boxes()
        self._watch()

    def _change_run(self):
        with self._quietly():
            self.controls.offer_cycles()
        self._reopen()

    def _reopen(self):
        try:
            with self._quietly():
                self._open()
        except (NotThere, ValueError, OSError) as error:  # what is shown stays
            self.words.value = f"<i>{escape(str(error))}</i>"
            return
        self._timeline_place[:] = [pn.pane.Bokeh(self.timeline.figure, **STRETCH)]
        self._frames_place[:] = layout.frames(self)
        self._show_frame()
        self.tabs.show()

    @contextlib.contextmanager
    def _quietly(self):
        """Set several widgets before any of them is heard."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    # --- going somewhere

    def go_to(self, position: int):
        """Show the frame at a position of the pool."""
        self.controls.position.value = int(min(max(position, 0), len(self.opened.table) - 1))

    def _step(self, n: int):
        self.go_to(self.controls.position.value + n)

    def _zoom(self):
        sequence, position = self.controls.sequence.value, self.controls.position.value
        where = np.arange(len(self.opened.table))
        if sequence != "all":
            where = np.flatnonzero(self.opened.table["sequence"] == sequence)
        with self._together():
            self.timeline.zoom(int(where[0]), int(where[-1]))
        if not where[0] <= position <= where[-1]:
            self.go_to(int(where[0]))

    def _tapped(self, event):
        if BOXES[2] in self.controls.boxes.value:
            with self._together():
                for view in (self.view, self.beside):
                    showing.show_default_boxes(view, self.opened, event.x, event.y)

    # --- one frame

    def _show_frame(self):
        c, opened = self.controls, self.opened
        position = c.position.value
        with self._together():
            said = showing.fill(self.view, c, opened, position, c.radius.value)
            self.words.value = layers.describe(opened, position, said)
            self.timeline.go_to(position)
            if c.compare.value != NOTHING:
                other = self._beside()
                own = other.run.numbers(other.cycle)  # other numbers are tried in the open cycle
                said = showing.fill(self.beside, c, other, position, own.pixels(own.radius))
                self.words_beside.value = layers.describe(other, position, said)
            self.trials.say()
            if self.trials.pending:
                self._watch()
            self._say_link()
            for file in self.files:
                name = re.sub(r"[^A-Za-z0-9]+", "-", opened.table["name"].iloc[position])
                file.filename = f"{name}.{file.label.lower()}"
            if self.tabs.follows_the_frame:
                self.tabs.show()

    def _say_link(self):
        """The link to what is shown: the address of a served page, else words."""
        query = self.controls.link(self.opened)
        if self.served and pn.state.location is not None:
            pn.state.location.search = query
            return
        self.link.value = (
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
        if hasattr(self, "layout"):
            pn.io.push_notebook(self.layout)

    def _set_palette(self):
        self._say_link()
        with self._together():
            for view in (self.view, self.beside):
                view.mapper.palette = PALETTES[self.controls.palette.value]

    def _set_boxes(self):
        shown = [name in self.controls.boxes.value for name in BOXES]
        with self._together():
            for view in (self.view, self.beside):
                renderers = view.found_renderer, view.truth_renderer, view.default_renderer
                for renderer, visible in zip(renderers, shown, strict=True):
                    renderer.visible = visible

    def _beside(self) -> Opened:
        name, _, cycle = self.controls.compare.value.rpartition(", cycle ")
        return self._cycle_of(name, int(cycle))

    def _file(self, kind: str):
        return showing.as_file(kind, self.controls, self.opened, self.controls.position.value)

    def _restore(self):
        with self._quietly():
            self.controls.restore_numbers(self.opened)
        self._show_frame()

    def _place_beside(self):
        self._frames_place[:] = layout.frames(self)
        self._show_frame()

    # --- what threads do

    def _watch(self):
        """Look again and again at what the threads have done, until they are done. A served page
        waits until the browser has it: a change before that may be lost on the way."""
        if self.served:
            pn.state.onload(self._start_ticking)
        else:
            self._start_ticking()

    def _start_ticking(self):
        if self._ticking is None:
            self._ticking = pn.state.add_periodic_callback(self._tick, TICK)

    def _tick(self):
        self.trials.tick()
        boxes = self.tabs.boxes
        under_way = self.trials.progress or (None if boxes.finished else (boxes.done, boxes.total))
        self.progress.visible = under_way is not None
        if under_way:
            self.progress.value, self.progress.max = under_way[0], max(1, under_way[1])
        if boxes.finished and not self._counted:
            self._counted = True
            counts = boxes.counts()
            if counts is not None:
                with self._together():
                    self.timeline.show_counts(counts)
            self.tabs.show()
        if boxes.finished and not self.trials.pending and self._ticking is not None:
            self._ticking.stop()
            self._ticking = None

    # --- how the parts are put together

    def _layout(self):
        self._timeline_place = pn.Column(pn.pane.Bokeh(self.timeline.figure, **STRETCH), **STRETCH)
        self._frames_place = pn.Row(*layout.frames(self), **STRETCH)
        return layout.whole(self, self._timeline_place, self._frames_place)

    def _connect(self):
        c = self.controls
        changes = {
            self._change_run: [c.run],
            self._reopen: [c.cycle],
            self._zoom: [c.sequence],
            self._show_frame: [c.position, c.layer, c.limit],
            self._set_palette: [c.palette],
            self._set_boxes: [c.boxes],
            self._place_beside: [c.compare],
            self.tabs.show: [c.which, c.sheet, c.holding],
        }
        for call, widgets in changes.items():
            for widget in widgets:
                widget.param.watch(self._unless_quiet(call), "value")
        for slider in (c.radius, c.region, c.now, c.later):
            slider.param.watch(self._unless_quiet(self._show_frame), "value_throttled")
        for slider in (c.opacity, c.threshold):
            slider.param.watch(self._unless_quiet(self._say_link), "value_throttled")
        c.before.on_click(lambda _: self._step(-1))
        c.after.on_click(lambda _: self._step(1))
        c.restore.on_click(lambda _: self._restore())

    def _unless_quiet(self, call):
        """A watcher that does nothing while several widgets are being set."""
        return lambda _: None if self._quiet else call()


def _link_in_browser(controls: Controls, view: FrameView):
    """Opacity and threshold change in the browser, without a word to Python."""
    controls.opacity.jslink(view.map_renderer.glyph, value="global_alpha")
    controls.threshold.jscallback(
        args={"mapper": view.mapper},
        value="mapper.low = Math.max(cb_obj.value * mapper.high, 1e-12)",
    )
