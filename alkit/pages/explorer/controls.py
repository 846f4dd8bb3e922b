"""The widgets of the explorer's page, and links to what they say."""

import math
from urllib.parse import urlencode

import numpy as np
import panel as pn

from alkit.pages.explorer import galleries, judging, layers
from alkit.pages.explorer.frame import PALETTES
from alkit.pages.explorer.reading import Opened, cycles_of
from alkit.pages.explorer.trying import Numbers
from alkit.profiles import unknown

BOXES = ("detections", "labelled boxes", "default boxes at a click")
NOTHING = "nothing"  # beside the frame
SLIDERS = ("opacity", "threshold", "limit", "radius", "region", "now", "later")  # in a link
IN_LINK = ("run", "cycle", "frame", "layer", "palette", "beside", *SLIDERS)


class Controls:
    """Every widget by its name; `own` are the numbers of the run that is open."""

    def __init__(self, runs: dict, own: str):
        w = pn.widgets
        self.runs = runs
        self.run = w.Select(label="run", options=list(runs), value=own, width=190)
        self.cycle = w.Select(label="cycle", options=[1], width=70)
        self.sequence = w.Select(label="sequence", options=["all"], width=150)
        self.position = w.IntInput(label="position in the pool", value=0, start=0, width=130)
        self.before = w.Button(label="◀", width=40, align="end", description="the frame before")
        self.after = w.Button(label="▶", width=40, align="end", description="the next frame")
        self.compare = w.Select(label="beside it", options=[NOTHING], width=260)

        share = {"start": 0, "end": 1, "step": 0.01}
        self.layer = w.Select(label="over the image", options=list(layers.LAYERS), width=120)
        self.palette = w.Select(label="colours", options=list(PALETTES), width=100)
        self.opacity = w.FloatSlider(label="opacity", value=0.6, width=150, **share)
        self.threshold = w.FloatSlider(
            label="threshold (share of the highest)", value=0, width=210, **share
        )
        self.limit = w.FloatSlider(label="detections from score", value=0, width=190, **share)
        self.boxes = w.CheckButtonGroup(options=list(BOXES), value=list(BOXES))

        self.radius = w.IntSlider(label="radius (pixels)", start=0, end=30, width=180)
        self.region = w.IntSlider(label="region (pixels)", start=1, end=60, width=180)
        self.now = w.IntSlider(label="rule 1 (frames)", start=0, end=60, width=180)
        self.later = w.IntSlider(label="rule 2 (frames)", start=0, end=60, width=180)
        self.restore = w.Button(label="as in the run", width=110)
        self.own = self.numbers()

        self.which = w.Select(label="show", options=list(galleries.GRID), width=220)
        self.sheet = w.IntInput(label="page", value=1, start=1, width=80)
        self.holding = w.Select(label="holding", options=list(judging.TILES), width=160)

    def numbers(self) -> Numbers:
        """What the sliders for other numbers say."""
        sliders = (self.radius, self.region, self.now, self.later)
        return Numbers(*(slider.value for slider in sliders))

    def restore_numbers(self, opened: Opened):
        """Set those sliders to the run's own numbers."""
        numbers = opened.run.numbers(opened.cycle)
        self.radius.value = numbers.pixels(numbers.radius)
        self.region.value = numbers.pixels(numbers.region)
        self.now.value = int(np.max(numbers.exclude_now))
        self.later.value = int(np.max(numbers.exclude_later))
        self.own = self.numbers()

    def offer_cycles(self, wanted=None):
        """Offer the cycles of the run; `wanted`, or the one that stands there, or the last."""
        known = cycles_of(self.runs[self.run.value])
        if wanted is None:
            wanted = self.cycle.value if self.cycle.value in known else known[-1]
        if str(wanted) not in map(str, known):
            raise ValueError(
                f"cycle {wanted} of {self.run.value} has no chosen frames; there are cycles "
                f"{', '.join(map(str, known))}"
            )
        self.cycle.options = known
        self.cycle.value = int(wanted)

    def open(self, opened: Opened):
        """Offer what a cycle has: its frames, sequences, sizes, and what can stand beside it."""
        table, size = opened.table, opened.run.numbers(opened.cycle).image_size
        self.position.end = len(table) - 1
        self.position.value = min(self.position.value, self.position.end)
        videos = [] if opened.pool.sequence is None else list(dict.fromkeys(table["sequence"]))
        self.sequence.options = ["all", *videos]
        self.sequence.value = "all"
        self.limit.value = opened.limit
        self.radius.end, self.region.end = max(size) // 8, max(size) // 2
        self.restore_numbers(opened)
        others = [
            f"{name}, cycle {k}"
            for name, run in self.runs.items()
            for k in cycles_of(run)
            if (name, k) != (self.run.value, self.cycle.value)
        ]
        self.compare.options = [NOTHING, *others]
        if self.compare.value not in self.compare.options:
            self.compare.value = NOTHING

    # links

    def follow(self, link: dict, cycle: int):
        """Choose the run, cycle and layer that a link names, or else `cycle` (0: the last). Raises
        ValueError for what is not there."""
        for name in link:
            if name not in IN_LINK:
                raise ValueError(f"the link: {unknown(name, IN_LINK)}")
        for name in ("run", "layer", "palette"):
            widget = getattr(self, name)
            if link.get(name, widget.value) not in widget.options:
                raise ValueError(f"the link's {name}: {unknown(link[name], widget.options)}")
            widget.value = link.get(name, widget.value)
        last = cycles_of(self.runs[self.run.value])[-1]
        self.offer_cycles(link.get("cycle", cycle) or last)

    def follow_in(self, opened: Opened, link: dict):
        """The rest of a link, whose limits the opened cycle sets; without a frame, the one chosen
        first. Raises ValueError for what is not there."""
        chosen = opened.selection["chosen"]
        if "frame" in link:
            where = np.flatnonzero(opened.table["name"] == link["frame"])
            if not len(where):
                raise ValueError(f"the link's frame {link['frame']!r} is not in the pool")
            self.position.value = int(where[0])
        elif chosen:
            self.position.value = chosen[0]["position"]
        for name in SLIDERS:
            if name in link:
                widget = getattr(self, name)
                try:
                    value = type(widget.value)(float(link[name]))
                except (ValueError, OverflowError):
                    value = math.nan
                if not math.isfinite(value):
                    raise ValueError(f"the link's {name} is {link[name]!r}, no number")
                widget.value = min(max(value, widget.start), widget.end)
        if link.get("beside", NOTHING) not in self.compare.options:
            raise ValueError(f"the link's beside: {unknown(link['beside'], self.compare.options)}")
        self.compare.value = link.get("beside", NOTHING)

    def link(self, opened: Opened) -> str:
        """The query of a link back to what the widgets say now."""
        state = {name: getattr(self, name).value for name in ("run", "cycle", "layer", "palette")}
        state["frame"] = opened.table["name"].iloc[self.position.value]
        state |= {name: round(getattr(self, name).value, 4) for name in SLIDERS[:3]}
        tried = dict(zip(SLIDERS[3:], zip(_values(self.numbers()), _values(self.own), strict=True),
                         strict=True))  # fmt: skip
        state |= {name: value for name, (value, own) in tried.items() if value != own}
        if self.compare.value != NOTHING:
            state["beside"] = self.compare.value
        return "?" + urlencode(state)


def _values(numbers: Numbers) -> tuple:
    return numbers.radius, numbers.region, numbers.exclude_now, numbers.exclude_later
