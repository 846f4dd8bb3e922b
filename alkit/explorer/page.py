"""The explorer's page, in a notebook or served: what each widget changes."""

import contextlib
import re
from html import escape
from urllib.parse import parse_qsl

import numpy as np
import panel as pn

from alkit import serving
from alkit.explorer import galleries, layers, picture, reasons, trying
from alkit.explorer.controls import BOXES, NOTHING, Controls, no_cycle
from alkit.explorer.frame import PALETTES, FrameView
from alkit.explorer.parts import Keys
from alkit.explorer.reading import NotThere, Opened, cycles_of, runs_of
from alkit.explorer.tabs import STRETCH, Tabs
from alkit.explorer.timeline import Timeline
from alkit.profiles import unknown
from alkit.runs import Run, open_run

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
    link = _link(at)
    runs = _runs(run)
    names = {other.folder: name for name, other in runs.items()}
    name = link.get("run", names.get(run.folder, next(iter(runs))))
    if name not in runs:
        raise ValueError(f"the link's run: {unknown(name, runs)}")
    wanted, known = link.get("cycle", cycle), cycles_of(runs[name])
    if wanted and str(wanted) not in map(str, known):
        raise ValueError(no_cycle(wanted, name, known))


def _runs(run: Run) -> dict:
    runs = runs_of(run)
    if not runs:
        raise ValueError(
            f"{run.out}: no cycle of any run has chosen frames yet, so there is nothing to "
            "explore; `alkit run` the experiment first"
        )
    return runs


class Explorer:
    """One page: the cycle that is open, the frame that is shown, and how widgets change them."""

    def __init__(self, run: Run, cycle: int, link: dict):
        self.served = serving.served()
        self.runs = _runs(run)
        names = {other.folder: name for name, other in self.runs.items()}
        self.controls = Controls(self.runs, names.get(run.folder, next(iter(self.runs))))
        self._cycles, self._quiet, self._ticking, self._trial = {}, True, None, None
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
        self.words, self.words_beside, self.trial_words, self.link = (
            pn.pane.HTML("", css_classes=[f"alkit-{name}"], **STRETCH)
            for name in ("words", "words-beside", "trial", "link")
        )
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
            self._cycles[key] = Opened(self.runs[name], cycle)
        return self._cycles[key]

    def _close(self):
        """Let the threads end."""
        self.tabs.close()
        if self._trial is not None:
            self._trial.stop()

    def _open(self, link: dict | None = None):
        """Open the cycle that the widgets name; `link` says where, else the frame stays."""
        c = self.controls
        self._close()
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
        self._counted = False
        self._trial, self._told = None, False
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
            self.words.object = f"<i>{escape(str(error))}</i>"
            return
        self._timeline_place[:] = [pn.pane.Bokeh(self.timeline.figure, **STRETCH)]
        self._frames_place[:] = self._frames()
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
            numbers = self.opened.run.numbers(self.opened.cycle)
            sizes = np.array(numbers.default_boxes, float) * numbers.scale
            with self._together():
                for view in (self.view, self.beside):
                    view.show_default_boxes(event.x, event.y, sizes)

    # --- one frame

    def _show_frame(self):
        c, opened = self.controls, self.opened
        position = c.position.value
        with self._together():
            said = self._show(self.view, opened, position)
            self.words.object = layers.describe(opened, position, said)
            self.timeline.go_to(position)
            if c.compare.value != NOTHING:
                other = self._beside()
                said = self._show(self.beside, other, position)
                self.words_beside.object = layers.describe(other, position, said)
            self._try()
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
        self.link.object = (
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

    def _maps(self, opened: Opened, position: int) -> tuple:
        """Probabilities (5, y, x), score and shown map (y, x), with what the brightest colour
        stands for and its title. A radius that is tried counts in the open cycle. Raises NotThere.
        """
        c = self.controls
        p, radius = opened.probabilities(position), c.radius.value
        tried = radius != c.own.radius and opened is self.opened and opened.logits_give_score
        score = opened.scores_again(position, radius) if tried else opened.scores(position)
        shown = layers.values(c.layer.value, p, score, radius)
        return p, score, shown, *layers.scale(c.layer.value, opened, shown)

    def _show(self, view: FrameView, opened: Opened, position: int) -> str:
        """Fill a view; what is not there comes back as a sentence."""
        c = self.controls
        try:
            image = opened.image(position)
        except (ValueError, OSError) as error:
            return str(error)
        view.show_image(image)
        view.no_default_boxes()
        view.show_boxes(galleries.judged(opened, position, c.limit.value))
        view.map_renderer.visible = c.layer.value not in ("regions", "none")
        view.tile_renderer.visible = c.layer.value == "regions"
        try:
            p, score, shown, high, title = self._maps(opened, position)
        except NotThere as error:
            view.no_map()
            return str(error)
        view.show_map(shown, score, p, high, title, c.threshold.value)
        if c.layer.value == "regions":
            view.show_tiles(*layers.regions(opened, score, c.region.value))
        return ""

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

    def _place_beside(self):
        self._frames_place[:] = self._frames()
        self._show_frame()

    # --- trying other numbers

    def _try(self):
        """z of this frame with the sliders' numbers, and its rank among what is computed."""
        c, opened = self.controls, self.opened
        try:
            self.trial_words.object = escape(self._tried(c.numbers(), opened, c.position.value))
        except NotThere as error:
            self.trial_words.object = escape(str(error))

    def _tried(self, wanted: trying.Numbers, opened: Opened, position: int) -> str:
        own = self.controls.own
        if wanted == own:
            return "The sliders stand as in the run."
        if (wanted.radius, wanted.region) == (own.radius, own.region):
            return trying.sentence(opened, position, opened.table["z"].to_numpy(), wanted)
        if not opened.logits_give_score:
            raise NotThere("the stored logits do not give this strategy's score; try the rules")
        if self._trial is None or not self._trial.is_of(wanted):
            if self._trial is not None:
                self._trial.stop()
            self._trial, self._told = trying.Trial(opened, wanted.radius, wanted.region), False
            self._watch()
        if self._trial.error:
            raise NotThere(f"other frames cannot be computed: {self._trial.error}")
        if opened.row[position] >= 0:
            self._trial.of(position)
        return trying.sentence(opened, position, self._trial.z.copy(), wanted)

    def _restore(self):
        with self._quietly():
            self.controls.restore_numbers(self.opened)
        self._show_frame()

    def _watch(self):
        """Look again and again at what the threads have done, until they are done."""
        if self._ticking is None:
            self._ticking = pn.state.add_periodic_callback(self._tick, TICK)

    def _tick(self):
        trial, boxes = self._trial, self.tabs.boxes
        computing = trial is not None and not trial.finished
        self.progress.visible = computing or not boxes.finished
        if computing:
            self.progress.max, self.progress.value = trial.total, trial.done
        elif not boxes.finished:
            self.progress.max, self.progress.value = max(1, boxes.total), boxes.done
        if trial is not None and not self._told:
            self._try()
            self._told = not computing
        if boxes.finished and not self._counted:
            self._counted = True
            counts = boxes.counts()
            if counts is not None:
                with self._together():
                    self.timeline.show_counts(counts)
            self.tabs.show()
        if not computing and boxes.finished and self._ticking is not None:
            self._ticking.stop()
            self._ticking = None

    # --- taking it along

    def _file(self, kind: str):
        """What is shown of the frame, as a file."""
        c, opened, position = self.controls, self.opened, self.controls.position.value
        shown, high, label, said = None, 1.0, "", ""
        if c.layer.value != "none":
            try:
                _, score, shown, high, label = self._maps(opened, position)
                if c.layer.value == "regions":
                    shown = layers.region_map(opened, score, c.region.value)
            except NotThere as error:
                said = str(error)
        words = {
            BOXES[0]: f"Detections from score {c.limit.value:.2f}: green hit, orange false.",
            BOXES[1]: "Labelled: green found, red missed, blue not looked for, white to ignore.",
        }
        caption = (
            f"{c.run.value}, cycle {c.cycle.value}; {reasons.sentence(opened, position)}. "
            f"{' '.join(text for name, text in words.items() if name in c.boxes.value)} {said}"
        )
        figure = picture.draw(
            opened.image(position), galleries.judged(opened, position, c.limit.value), shown, high,
            c.palette.value, c.opacity.value, c.threshold.value * high,
            opened.table["name"].iloc[position], label, caption,
            [name in c.boxes.value for name in BOXES[:2]],
        )  # fmt: skip
        return picture.encoded(figure, kind)

    # --- the layout

    def _frames(self) -> list:
        # at the start: two beside each other are else stretched to one height
        column = {"align": "start", **STRETCH}
        view = pn.Column(self.words, pn.pane.Bokeh(self.view.figure, **STRETCH), **column)
        if self.controls.compare.value == NOTHING:
            return [view]
        other = pn.pane.Bokeh(self.beside.figure, **STRETCH)
        return [view, pn.Column(self.words_beside, other, **column)]

    def _layout(self):
        c = self.controls
        self._timeline_place = pn.Column(pn.pane.Bokeh(self.timeline.figure, **STRETCH), **STRETCH)
        self._frames_place = pn.Row(*self._frames(), **STRETCH)
        tries = pn.Column(
            pn.pane.HTML("<b>Other numbers, from the stored logits</b>"),
            c.radius, c.region, c.now, c.later, c.restore, self.trial_words, self.progress,
            pn.Row(*self.files), self.link, width=270,
        )  # fmt: skip
        return pn.Column(
            pn.FlexBox(
                c.run, c.cycle, c.sequence, c.before, c.position, c.after, c.compare,
                pn.Column(pn.Spacer(height=22), self.keys),
            ),
            self._timeline_place,
            pn.FlexBox(
                c.layer, c.palette, c.opacity, c.threshold, c.limit,
                pn.Column(pn.Spacer(height=14), c.boxes),
            ),
            pn.Row(self._frames_place, tries, **STRETCH),
            self.tabs.layout,
            css_classes=["alkit-explorer"],
            **STRETCH,
        )  # fmt: skip

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
