"""The card of the test bed `street`: what makes it a fair place to compare strategies, in numbers.

How many frames are empty or alike, how rare the rare situations are, how far a detector of the
source is from the target, and what labels could gain. `alkit.studies.figures.testbed` draws it.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pandas as pd
from scipy.stats import hypergeom
from tqdm import tqdm

from alkit.data.readers import street
from alkit.frames import FrameSet
from alkit.loop import experiment, runs
from alkit.profiles import Profile
from alkit.street import VERSION
from alkit.studies.ceiling import causes
from alkit.text import evenly, sentence

ROLES = {
    "labeled": "X_l, the domain that is labelled",
    "held_out": "held-out frames of X_l's domain",
    "pool": "X_u, the pool to choose from",
    "test": "test set of the target domain",
}
DEFAULTS = {"domain": "source", "world": 0}  # of the reader
SAMPLE = 0.01  # of the pool: the random sample that rare situations are measured against
NEAR = 4.0  # grey levels; frames of two sequences of the demo's pool are 14 and more apart
THUMBNAIL = (60, 80)  # height, width of the images whose grey levels are compared
PAIRS = 2000  # random pairs of frames
HEADROOM = "experiments/street.yaml"  # the experiment that measures what labels gain

RARE = {
    "night crowd": lambda tags: tags["night"] & tags["crowd"],
    "rain, with people": lambda tags: tags["rain"] & (tags["pedestrians"] > 0),
    "children": lambda tags: tags["children"],
    "close to the camera": lambda tags: tags["close"],
}


@dataclass(frozen=True)
class Bed:
    """The data sets of a run by role, all of `street`: frames, and the reader's arguments."""

    run: runs.Run
    frames: dict = field(repr=False)
    args: dict

    @property
    def profile(self) -> Profile:
        return self.run.numbers(0)


def open_bed(run: runs.Run) -> Bed:
    """Open the data sets of a run: X_l, the held-out frames where there are some, pool and test.

    Raises ValueError for a run on data other than `street`.
    """
    frames, args = {}, {}
    for role in ROLES:
        name = getattr(run.experiment, role)
        if name is None:
            continue
        entry = run.catalog[name]
        if entry.reader != "street":
            raise ValueError(
                f"{name} ({role} of {run.out}) is of the reader {entry.reader!r}; this card is "
                "about data that `street` draws"
            )
        frames[role] = run.frames(role)
        args[role] = DEFAULTS | entry.reader_args(**run.data_arguments(name))
    return Bed(run, frames, args)


def origin(bed: Bed) -> str:
    """The generator's version and the worlds."""
    worlds = ", ".join(f"{role} from {args['world']}" for role, args in bed.args.items())
    return f"street, version {VERSION} of the generator; worlds: {worlds}"


def domains(bed: Bed) -> pd.DataFrame:
    """One row for each data set: images, sequences, the share of images without a pedestrian,
    pedestrians, ignore boxes, median height (pixels), people, and the median number of frames in
    which each of them is seen."""
    rows = {}
    for role, frames in bed.frames.items():
        of_frame = [frames.boxes[i] for i in range(len(frames))]
        real = [boxes.take(~boxes.ignore) for boxes in of_frame]
        count = np.array([len(boxes) for boxes in real])
        heights = np.concatenate([boxes.ltwh[:, 3] for boxes in real])
        _, seen = np.unique(np.concatenate([b.identity for b in real]), return_counts=True)
        rows[f"{ROLES[role]}: {frames.dataset}"] = {
            "images": len(frames),
            "sequences": 0 if frames.sequence is None else len(np.unique(frames.sequence)),
            "empty": (count == 0).mean(),
            "pedestrians": count.sum(),
            "ignore boxes": sum(map(len, of_frame)) - count.sum(),
            "median height": np.median(heights) if len(heights) else np.nan,
            "people (tracks)": len(seen),
            "frames of a person": np.median(seen) if len(seen) else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


# --- frames that are alike --------------------------------------------------------------------


@dataclass(frozen=True)
class Redundancy:
    """How alike frames are: mean absolute differences of their grey levels (0 to 255).

    `consecutive` (n,) is each frame's difference to the one before, NaN at the start of a
    sequence; `random` (pairs,) that of random pairs of the same frames; `sequence` (n,) or None.
    """

    consecutive: np.ndarray
    random: np.ndarray
    sequence: np.ndarray | None = None

    @property
    def near(self) -> float:
        """The share of frames, of those with one before, that differ from it by less than NEAR."""
        known = self.consecutive[~np.isnan(self.consecutive)]
        return float((known < NEAR).mean()) if len(known) else np.nan

    @property
    def longest(self) -> int:
        """Frames in the longest stretch in which each is near-identical to the one before."""
        near = np.concatenate([[False], self.consecutive < NEAR, [False]])
        edges = np.flatnonzero(near[1:] != near[:-1]).reshape(-1, 2)
        return int((edges[:, 1] - edges[:, 0]).max(initial=0)) + 1


def redundancy(frames: FrameSet, seed: int = 0) -> Redundancy:
    """Compare each frame with the one before, and `PAIRS` random pairs, at thumbnail size."""
    height, width = THUMBNAIL
    grey = np.empty((len(frames), height, width), np.uint8)
    for i in tqdm(range(len(frames)), desc=f"{frames.dataset}: images", leave=False):
        image = cv2.cvtColor(frames.images(i), cv2.COLOR_RGB2GRAY)
        grey[i] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def difference(a, b):
        return np.array([cv2.absdiff(grey[i], grey[j]).mean() for i, j in zip(a, b, strict=True)])

    every = np.arange(1, len(frames))
    consecutive = np.append(np.nan, difference(every, every - 1))
    if frames.sequence is not None:
        consecutive[1:][frames.sequence[1:] != frames.sequence[:-1]] = np.nan
    a, b = np.random.default_rng(seed).integers(0, len(frames), (2, PAIRS))
    other = a != b
    return Redundancy(consecutive, difference(a[other], b[other]), frames.sequence)


# --- rare situations --------------------------------------------------------------------------


def situations(bed: Bed) -> np.ndarray:
    """The situation of every pool frame; see `alkit.data.readers.street.describe`."""
    return street.describe(**bed.args["pool"])


def rare(tags: np.ndarray, sequence: np.ndarray) -> pd.DataFrame:
    """One row for each rare situation: its frames, their share, the sequences they are in, and the
    probability that a random sample of `SAMPLE` of the frames holds none of them."""
    drawn = sample_size(len(tags))
    rows = {}
    for name, is_in in RARE.items():
        where = is_in(tags)
        rows[name] = {
            "frames": int(where.sum()),
            "share": where.mean(),
            "sequences": len(np.unique(sequence[where])),
            f"missed by {drawn} random frames": hypergeom.pmf(0, len(tags), where.sum(), drawn),
        }
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


def sample_size(frames: int) -> int:
    """`SAMPLE` of a number of frames, at least one."""
    return max(1, round(SAMPLE * frames))


# --- what the detector misses, and what labels can gain ---------------------------------------


def ceilings(bed: Bed) -> pd.DataFrame:
    """The decoder ceiling's causes on the test set, and on held-out frames where there are some."""
    rows = {
        frames.dataset: causes(frames, bed.profile)
        for role, frames in bed.frames.items()
        if role in ("held_out", "test")
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def miss_rates(bed: Bed, headroom: str, ceilings: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Miss rates at FPPI 1 of the decoder ceiling, of W_l, and of the experiment folder `headroom`,
    which labels random frames; and in words the gap, W_l's on the test set less that on held-out
    frames of its own domain, and the headroom, the test set's with few labels less that with all.
    """
    held_out, test = bed.run.held_out(), bed.run.evaluation(0)
    own, other = held_out.get("miss_rate_at_1", np.nan), test["miss_rate_at_1"]
    rows = [("decoder ceiling", name, rate) for name, rate in ceilings["together"].items()]
    rows += [("W_l", held_out["dataset"], own)] if held_out else []
    rows.append(("W_l", test["dataset"], other))
    try:
        labelled = random_labels(headroom, bed.run.seed, other)
        said = f"headroom: {labelled[0][1] - labelled[-1][1]:.3f}, the fewest labels less the most"
    except LookupError as error:
        labelled, said = [], f"headroom: not measured: {error.args[0]}"
    rows += [(f"{n} random frames labelled", test["dataset"], rate) for n, rate in labelled]
    gap = f"gap: {other - own:.3f}, W_l on the test set less W_l on its own domain"
    return pd.DataFrame(rows, columns=["what", "data", "miss rate"]), f"{gap}\n{said}"


def random_labels(folder: str, seed: int, w_l: float) -> list:
    """(images labelled, miss rate at FPPI 1, mean over seeds) after the last cycle of each fold of
    an experiment, fewest first. Raises LookupError, which says what to do, where they are not there
    or did not start from the W_l with the miss rate `w_l` for `seed`."""
    path, found = runs.ROOT / folder, []
    if not path.exists():
        raise LookupError(f"there is no {folder}; `alkit run {HEADROOM} --out {folder}` makes it")
    for out in runs.experiments(path):
        table = experiment.ledger(out)
        if len(table) == 0 or table["cycle"].max() == 0:
            raise LookupError(f"{out} is not complete; go on with `alkit run {HEADROOM}`")
        first = table[(table["cycle"] == 0) & (table["seed"] == seed)]
        if (first["miss rate at FPPI 1"] != w_l).any():
            raise LookupError(f"{out} started from another W_l than this run's")
        last = table[table["cycle"] == table["cycle"].max()]
        images, rate = last[["labeled images", "miss rate at FPPI 1"]].mean()
        found.append((round(images), float(rate)))
    return sorted(found)


# --- the checked line -------------------------------------------------------------------------


def check(bed: Bed) -> str:
    """The boxes are inside their images, no person is in two domains of a world, and frames drawn
    a second time are the same to the pixel."""
    problems, people = [], {}
    for role, frames in bed.frames.items():
        height, width = frames.image_size
        seen = people.setdefault((bed.args[role]["world"], bed.args[role]["domain"]), set())
        for i in range(len(frames)):
            boxes = frames.boxes[i]
            low, high = boxes.ltwh[:, :2], boxes.ltwh[:, :2] + boxes.ltwh[:, 2:]
            if (low < -1e-6).any() or (high > np.array([width, height]) + 1e-6).any():
                problems.append(f"a box of {frames.name[i]} is not inside the image")
            if (low >= high).any():
                problems.append(f"a box of {frames.name[i]} is empty")
            seen.update(boxes.identity.tolist())
        again = bed.run.frames(role)
        for i in evenly(len(frames), 3):
            if not np.array_equal(frames.images(i), again.images(i)):
                problems.append(f"{frames.name[i]} differs when it is drawn again")
    for (world, domain), seen in people.items():
        for (other_world, other), others in people.items():
            if world == other_world and domain < other and seen & others:
                problems.append(f"{len(seen & others)} people are in {domain} and {other}")
    claim = "street: boxes inside images, nobody in two domains of a world, frames redrawn equal"
    return sentence(claim, problems[:5])
