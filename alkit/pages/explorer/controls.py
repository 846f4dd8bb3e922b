"""The widgets of the explorer's page, and links to what they say."""

from pathlib import Path
from urllib.parse import urlencode

import panel as pn
import param
from panel.custom import JSComponent

from alkit.loop.runs import Run
from alkit.pages.explorer import galleries
from alkit.pages.explorer.cycle import Cycle, cycles_of, runs_of
from alkit.pages.explorer.plots import BOXES, LAYERS, PALETTES
from alkit.profiles import unknown

NOTHING = "nothing"  # beside the frame
LISTS = ("layer", "palette", "beside")
VIEW = ("opacity", "threshold", "limit")  # sliders of what is shown
TRIED = ("radius", "region", "now", "later")  # sliders of what is tried
HERE = Path(__file__).parent
IN_LINK = ("run", "cycle", "frame", *LISTS, *VIEW, *TRIED)


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


class Controls:
    """Every widget by its name, for all runs of an experiment that have chosen frames, at one."""

    def __init__(self, run: Run):
        w, self.runs = pn.widgets, runs_of(run)
        if not self.runs:
            raise ValueError(f"{run.out}: no cycle of any run has chosen frames yet")
        self.run = w.Select(label="run", options=list(self.runs), width=190)
        self.run.value = next((n for n, r in self.runs.items() if r == run), self.run.value)
        self.cycle = w.Select(label="cycle", options=[0], width=70)
        self.sequence = w.Select(label="sequence", options=["all"], width=150)
        self.position = w.IntInput(label="position in the pool", value=0, start=0, width=130)
        self.before = w.Button(label="◀", width=40, align="end", description="the frame before")
        self.after = w.Button(label="▶", width=40, align="end", description="the next frame")
        self.beside = w.Select(label="beside it", options=[NOTHING], width=260)

        share = {"start": 0, "end": 1, "step": 0.01}
        self.layer = w.Select(label="over the image", options=list(LAYERS), width=120)
        self.palette = w.Select(label="colors", options=[*PALETTES], value="inferno", width=100)
        self.opacity = w.FloatSlider(label="opacity", value=0.6, width=150, **share)
        above = "threshold (share of the highest)"
        self.threshold = w.FloatSlider(label=above, value=0, width=210, **share)
        self.limit = w.FloatSlider(label="detections from score", value=0, width=190, **share)
        self.boxes = w.CheckButtonGroup(options=list(BOXES), value=list(BOXES))

        self.radius = w.IntSlider(label="radius (pixels)", start=0, width=180)
        self.region = w.IntSlider(label="region (pixels)", start=1, width=180)
        self.now = w.IntSlider(label="rule 1 (frames)", start=0, width=180)
        self.later = w.IntSlider(label="rule 2 (frames)", start=0, width=180)
        self.restore = w.Button(label="as in the run", width=110)

        self.gallery = w.Select(label="gallery", options=list(galleries.GALLERIES), width=220)
        self.sheet = w.IntInput(label="page", value=1, start=1, width=80)

    def tried(self) -> tuple:
        """What the sliders for other numbers say."""
        return tuple(getattr(self, name).value for name in TRIED)

    def restore_numbers(self, cycle: Cycle):
        """Set those sliders to the run's own numbers."""
        longest = max(cycle.numbers.image_size)
        ends = longest // 8, longest // 2, 60, 60
        for name, value, end in zip(TRIED, cycle.tried, ends, strict=True):
            own = {"end": max(end, value), "value": value, "disabled": name in cycle.fixed}
            getattr(self, name).param.update(**own)

    def offer_cycles(self):
        """Offer the cycles of the run: the one that stands there, or the last."""
        known = cycles_of(self.runs[self.run.value])
        value = self.cycle.value if self.cycle.value in known else known[-1]
        self.cycle.param.update(options=known, value=value)

    def open(self, cycle: Cycle):
        """Offer what a cycle has: its frames, sequences, sizes, and what can stand beside it."""
        table, end = cycle.table, len(cycle.table) - 1
        self.position.param.update(end=end, value=min(self.position.value, end))
        videos = [] if cycle.pool.sequence is None else list(dict.fromkeys(table["sequence"]))
        self.sequence.param.update(options=["all", *videos], value="all")
        self.limit.value = cycle.limit
        self.restore_numbers(cycle)
        others = [f"{name}, cycle {k}" for name, run in self.runs.items() for k in cycles_of(run)]
        others.remove(f"{self.run.value}, cycle {self.cycle.value}")
        value = self.beside.value if self.beside.value in others else NOTHING
        self.beside.param.update(options=[NOTHING, *others], value=value)

    # --- links

    def follow(self, link: dict, number: int):
        """Choose the run and cycle that a link names, or else cycle `number` (0: the last). Raises
        ValueError for what is not there."""
        for name in link:
            if name not in IN_LINK:
                raise ValueError(f"the link: {unknown(name, IN_LINK)}")
        self._set("run", link.get("run", self.run.value))
        self.offer_cycles()
        self._set("cycle", link.get("cycle", number or self.cycle.value))

    def follow_in(self, cycle: Cycle, link: dict):
        """The rest of a link, whose limits the opened cycle sets; without a frame, the one chosen
        first. Raises ValueError for what is not there."""
        names, first = cycle.table["name"].tolist(), [*cycle.chosen, 0][0]
        if link.get("frame", names[0]) not in names:
            raise ValueError(f"the link's frame {link['frame']!r} is not in the pool")
        self.position.value = names.index(link["frame"]) if "frame" in link else first
        for name in link.keys() & {*LISTS, *VIEW, *TRIED}:
            self._set(name, link[name])

    def _set(self, name: str, value):
        """What a link says of a list or a slider."""
        widget = getattr(self, name)
        if name in (*VIEW, *TRIED):
            if not widget.start <= float(value) <= widget.end:
                raise ValueError(f"{name}: {value} is not in {widget.start} … {widget.end}")
            widget.value = type(widget.value)(float(value))
            return
        known = {str(option): option for option in widget.options}
        if str(value) not in known:
            raise ValueError(f"{name}: {unknown(value, known)}")
        widget.value = known[str(value)]

    def link(self, cycle: Cycle) -> str:
        """The query of a link back to what the widgets say now."""
        frame = {"frame": cycle.table["name"][self.position.value]}
        said = (name for name in IN_LINK if name != "frame")
        return "?" + urlencode(frame | {name: getattr(self, name).value for name in said})
