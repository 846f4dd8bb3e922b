"""The card of the test bed `street`: what makes it a fair place to compare strategies, in numbers.

How many frames are empty or alike, how rare the rare situations are, how far a detector of the
source is from the target, and what labels could gain.
"""

import cv2
import numpy as np
import pandas as pd
from scipy.stats import hypergeom
from tqdm import tqdm

from alkit.data.readers import street
from alkit.frames import FrameSet
from alkit.loop import experiment, runs
from alkit.pages import drawing
from alkit.pages.drawing import BLACK, RED
from alkit.studies.ceiling import causes
from alkit.studies.samples import sample
from alkit.studies.survey import Survey, survey
from alkit.text import evenly, sentence

ROLES = ("labeled", "held_out", "pool", "test")
SAMPLE = 0.01  # of the pool: the random sample that rare situations are measured against
NEAR = 4.0  # gray levels; frames of two sequences of the demo's pool are 14 and more apart
THUMBNAIL = (60, 80)  # height, width of the images whose gray levels are compared
PAIRS = 2000  # random pairs of frames
CHOSEN, DRAWS = 48, 100  # frames of a choice, and how many random ones are averaged
EACH, COLUMNS = 3, 3  # frames of a rare situation, columns of their contact sheet
HEADROOM = "experiments/street.yaml"  # the experiment that measures what labels gain

RARE = {
    "night crowd": lambda tags: tags["night"] & tags["crowd"],
    "rain, with people": lambda tags: tags["rain"] & (tags["pedestrians"] > 0),
    "children": lambda tags: tags["children"],
    "close to the camera": lambda tags: tags["close"],
}


def frames_of(run: runs.Run) -> dict:
    """The data sets of a run by role: X_l, the held-out frames where there are some, pool and test.

    Raises ValueError for a run on data other than `street`.
    """
    roles = [role for role in ROLES if getattr(run.experiment, role) is not None]
    if other := [role for role in roles if run.entry(role).reader != "street"]:
        names = [run.entry(role).name for role in other]
        raise ValueError(f"{run.out}: {names} are not drawn by `street`, which this card is about")
    return {role: run.frames(role) for role in roles}


def surveys(run: runs.Run, frames: dict) -> list[Survey]:
    """What one pass over each data set finds, at the catalog's own size and filter."""
    names = dict.fromkeys(own.dataset for own in frames.values())
    return [survey(run.catalog[name], **run.data_arguments(name)) for name in names]


def redundancy(frames: FrameSet, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """How alike frames are, in mean absolute differences of their thumbnails' gray levels (0 to
    255): of each frame to the one before, (n,), NaN at the start of a sequence; and of `PAIRS`
    random pairs of the same frames, (pairs,)."""
    gray = np.empty((len(frames), *THUMBNAIL), np.uint8)
    for i in tqdm(range(len(frames)), desc=f"{frames.dataset}: images", leave=False):
        image = cv2.cvtColor(frames.images(i), cv2.COLOR_RGB2GRAY)
        gray[i] = cv2.resize(image, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA)

    def difference(a, b):
        return np.array([cv2.absdiff(gray[i], gray[j]).mean() for i, j in zip(a, b, strict=True)])

    every = np.arange(1, len(frames))
    consecutive = np.append(np.nan, difference(every, every - 1))
    if frames.sequence is not None:
        consecutive[1:][frames.sequence[1:] != frames.sequence[:-1]] = np.nan
    a, b = np.random.default_rng(seed).integers(0, len(frames), (2, PAIRS))
    return consecutive, difference(a[a != b], b[a != b])


def draw_redundancy(frames: FrameSet):
    """How much frames differ from the one before and from random others, and where in the pool."""
    consecutive, random = redundancy(frames)
    known = consecutive[~np.isnan(consecutive)]
    caption = (
        f"{(known < NEAR).mean():.0%} of the frames differ from the one before by less than "
        f"{NEAR:g} gray levels (dotted), and {(random < NEAR).mean():.1%} of random pairs do."
    )
    figure = drawing.picture(3.1, "Redundancy of the pool", caption)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    bins = np.linspace(0, max([*known, *random, 2 * NEAR]), 40)
    drawing.tidy(left, "", "mean absolute difference (gray levels)", "density")
    style = {"density": True, "histtype": "step"}
    left.hist(random, bins, color=BLACK, label="random pairs", **style)
    left.hist(known, bins, color=RED, label="a frame and the one before", **style)
    left.axvline(NEAR, color=BLACK, linewidth=0.8, linestyle=":")
    left.legend(fontsize=8, frameon=False)
    drawing.tidy(right, "", "position in the pool", "difference to the one before")
    drawing.timeline(right, consecutive, frames.sequence, RED)
    right.axhline(NEAR, color=BLACK, linewidth=0.8, linestyle=":")
    right.set_ylim(bottom=0)
    return figure


def situations(run: runs.Run, role: str = "pool") -> np.ndarray:
    """The situation of every pool or test frame; see `alkit.data.readers.street.describe`."""
    entry = run.entry(role)
    given = [part.reader_args(**run.data_arguments(entry.name)) for part in entry.parts or (entry,)]
    return np.concatenate([street.describe(**args) for args in given])


def coverage(run: runs.Run, frames: dict) -> pd.DataFrame:
    """How many clips, people and situations pool and test hold, and how many of them `CHOSEN`
    frames hold: evenly spaced, random (the mean of `DRAWS`), or each the one that adds the most.
    People have a pedestrian's box; a situation is day, night or rain, with one of `RARE` or not."""
    rows, rng = {}, np.random.default_rng(0)
    for role in ("pool", "test"):
        own, tags = frames[role], situations(run, role)
        light = np.select([tags["rain"], tags["night"]], ["rain", "night"], "day")
        kinds = {"": tags["pedestrians"] >= 0} | {k: is_in(tags) for k, is_in in RARE.items()}
        held = {
            "clips": [{clip} for clip in own.sequence],
            "people": [{*boxes.identity[~boxes.ignore]} for boxes in own.boxes],
            "situations": [{(of, k) for k in kinds if kinds[k][i]} for i, of in enumerate(light)],
        }
        n = min(CHOSEN, len(own))
        draws = [rng.choice(len(own), n, replace=False) for _ in range(DRAWS)]
        ways = {"all": [range(len(own))], "evenly spaced": [evenly(len(own), n)], "random": draws}
        for what, each in held.items():
            counts = {k: [len(set().union(*(each[i] for i in d))) for d in ways[k]] for k in ways}
            rows[role, what] = {way: np.mean(found) for way, found in counts.items()}
            seen = set()
            for _ in range(n):
                seen |= max(each, key=lambda own: len(own - seen))
            rows[role, what] |= {"at best": len(seen), "frames": n}
    return pd.DataFrame(rows).T.round(1)


def rare(tags: np.ndarray, sequence: np.ndarray) -> pd.DataFrame:
    """One row for each rare situation: its frames, their share, the sequences they are in, and the
    probability that a random sample of `SAMPLE` of the frames holds none of them."""
    drawn, shown = max(1, round(SAMPLE * len(tags))), {k: is_in(tags) for k, is_in in RARE.items()}
    table = pd.DataFrame({"frames": {name: where.sum() for name, where in shown.items()}})
    table["share"] = table["frames"] / len(tags)
    table["sequences"] = [len(np.unique(sequence[where])) for where in shown.values()]
    missed = hypergeom.pmf(0, len(tags), table["frames"], drawn)
    return table.assign(**{f"missed by {drawn} random frames": missed}).round(3)


def rare_sheet(frames: FrameSet, tags: np.ndarray):
    """Pool frames of each rare situation."""
    items = []
    for name, is_in in RARE.items():
        where = np.flatnonzero(is_in(tags))
        chosen = [int(where[k]) for k in evenly(len(where), EACH)]
        items += [sample(frames, i, f"{name}: {frames.name[i]}") for i in chosen]
    caption = f"Up to {EACH} frames of each situation, evenly chosen among all that show it."
    title, empty = "Rare situations of the pool", "The pool has none of the rare situations."
    return drawing.contact_sheet(items, COLUMNS, title, caption, empty)


def ceilings(run: runs.Run, frames: dict) -> pd.DataFrame:
    """The decoder ceiling's causes on the test set, and on held-out frames where there are some."""
    both = [frames[role] for role in ("held_out", "test") if role in frames]
    return pd.DataFrame({own.dataset: causes(own, run.numbers(0)) for own in both}).T


def miss_rates(run: runs.Run, headroom: str, ceilings: pd.DataFrame) -> pd.DataFrame:
    """Miss rates at FPPI 1 of the decoder ceiling and of W_l, and on the test set after the last
    cycle of each fold of the experiment folder `headroom` that started from the same W_l, mean over
    its seeds. Folds that are not complete have no row."""
    held_out, test = run.held_out(), run.evaluation(0)
    rows = [("decoder ceiling", name, rate) for name, rate in ceilings["together"].items()]
    rows += [("W_l", own["dataset"], own["miss_rate_at_1"]) for own in (held_out, test) if own]
    path = run.catalog.project / headroom
    for out in runs.experiments(path) if path.exists() else ():
        table = experiment.ledger(out).rename(columns={"miss rate at FPPI 1": "rate"})
        first = table[(table["cycle"] == 0) & (table["seed"] == run.seed)]
        last = table[(table["cycle"] == table["cycle"].max()) & (table["cycle"] > 0)]
        if len(last) and (first["rate"] == test["miss_rate_at_1"]).all():
            means = last.groupby("strategy")[["labeled images", "rate"]].mean()
            for name, (images, rate) in means.iterrows():
                rows.append((f"labeled frames: {images:.0f}, {name}", test["dataset"], rate))
    return pd.DataFrame(rows, columns=["what", "data", "miss rate"])


def check(run: runs.Run, frames: dict) -> str:
    """Boxes are inside their images, and frames drawn a second time are the same to the pixel."""
    problems = []
    for role, own in frames.items():
        size = np.array(own.image_size[::-1])
        for name, boxes in zip(own.name, own.boxes, strict=True):
            low, sides = np.hsplit(boxes.ltwh, 2)
            if (low < -1e-6).any() or (low + sides > size + 1e-6).any() or (sides <= 0).any():
                problems.append(f"a box of {name} is empty or not inside the image")
        again = run.frames(role)
        problems += [
            f"{own.name[i]} differs when it is drawn again"
            for i in evenly(len(own), 3)
            if not np.array_equal(own.images(i), again.images(i))
        ]
    return sentence("street: boxes inside images, frames redrawn equal", problems[:5])
