"""Trainings on the bed of `experiments/street.yaml`: which numbers let few labels teach.

    OMP_NUM_THREADS=1 python -m benchmarks.bed first 0 1 2 3     W_l, three seeds, each setting
    OMP_NUM_THREADS=1 python -m benchmarks.bed settings 0 1      Θ, each setting of retraining
    OMP_NUM_THREADS=1 python -m benchmarks.bed curve 100 101     by the number of labeled frames
    OMP_NUM_THREADS=1 python -m benchmarks.bed gap 106 107       48 frames of `uniform`, and all
    OMP_NUM_THREADS=1 python -m benchmarks.bed controls 100 101  frames without people; X_l again
    OMP_NUM_THREADS=1 python -m benchmarks.bed chance 100 101    other seeds of steps 0 and 6
    OMP_NUM_THREADS=1 python -m benchmarks.bed rates 0 1         each strategy at three rates

The numbers that follow are worlds: 0 to 9 are for choosing, 100 to 119 for results. A training that
is done is a row of results/bed.csv and is not done again; several processes may work at once, each
on worlds of its own. benchmarks/bed_tables.py makes tables of them.

`first` and `source_seed` name W_l and `weights` its file; `setting`, `kind`, `images`, `draw` and
`seed` are Θ's numbers, frames and seeds. `held_out`, `test` are miss rates at FPPI 1, `lamr` the
log-average. Of the test's boxes, `recovered` are the share that W_l misses and Θ finds, `lost` the
reverse, each at its FPPI 1; `fppi_there` is Θ's FPPI where it misses as many as W_l at FPPI 1;
`clips` are boxes found and all of each test clip; `frames` are the positions of the labeled ones.
"""

import argparse
import copy
import csv
import fcntl
import hashlib
import time
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from alkit import catalog, prediction, profiles, scores, training
from alkit.aggregation import image_score
from alkit.evaluation import evaluate
from alkit.loop import labels
from alkit.pages import matching
from alkit.selection import select, smooth
from alkit.strategies import uniform

RESULTS, WEIGHTS = Path("results/bed.csv"), Path("runs/bed")
UNIT = ("world", "first", "source_seed", "setting", "kind", "images", "draw", "seed")
FOUND = (
    *("weights", "pedestrians", "people", "held_out", "test", "lamr", "recovered", "lost"),
    *("fppi_there", "clips", "loss", "seconds", "frames"),
)
RULES = {"exclude_now": 3, "exclude_later": 1}  # the demo's
CYCLE = 16  # b, images: sets under rules are chosen so many at a time, all by W_l's predictions

# Numbers of W_l's training, and of Θ's, beside the demo's profile; results/bed.csv has those tried
OLD = {"learning_rate": 1e-3, "final_learning_rate": 1e-4, "averaged": 0, "augmentation": "flip"}
VARIED = {"averaged": 0.25, "augmentation": "varied"}
OLD_FIRST = OLD | {"iterations": 1125, "initialization": "xavier"}
FIRST = {  # "last" comes with "mean-50"
    "mean-50": OLD_FIRST | {"averaged": 0.5},
    "last": OLD_FIRST,
    "varied": OLD_FIRST | VARIED,
    "varied-1200": OLD_FIRST | VARIED,
    "orthogonal": OLD_FIRST | {"initialization": "orthogonal"},
    "orthogonal-3e-3": OLD_FIRST | {"initialization": "orthogonal", "learning_rate": 3e-3},
    "xavier-3e-3": OLD_FIRST | {"learning_rate": 3e-3},
}
SETTINGS = {
    "old": OLD | {"iterations": 240},
    "3e-4": OLD | {"iterations": 240, "learning_rate": 3e-4, "final_learning_rate": 3e-5},
    "1e-4": OLD | {"iterations": 240, "learning_rate": 1e-4, "final_learning_rate": 1e-5},
}
SETTINGS["1e-4-mean"] = SETTINGS["1e-4"] | {"averaged": 0.5}
for name, changes in {
    "mean": {"averaged": 0.5},
    "mean-varied": {"averaged": 0.5, "augmentation": "varied"},
    "mean-480": {"averaged": 0.5, "iterations": 480},
    "mean-1500": {"averaged": 0.5, "iterations": 1500},
    "mean-480-varied": {"averaged": 0.5, "iterations": 480, "augmentation": "varied"},
    "mean-least-4": {"averaged": 0.5, "min_positives": 4},
    "mean-adam": {"averaged": 0.5, "optimizer": "adam"},
    "mean-n2p-5": {"averaged": 0.5, "n2p": 5},
    "mean-n2p-45": {"averaged": 0.5, "n2p": 45},
    "mean-pixels": {"averaged": 0.5, "loss_mean": "pixels", "learning_rate": 3e-3},
}.items():
    SETTINGS[f"3e-4-{name}"] = SETTINGS["3e-4"] | changes
for name in ("1e-4", "1e-3"):
    own = {"learning_rate": float(name), "final_learning_rate": float(name) / 10}
    SETTINGS[f"{name}-mean-480"] = SETTINGS["3e-4-mean-480"] | own
SETTINGS["1e-3-mean-3000"] = SETTINGS["1e-3-mean-480"] | {"iterations": 3000}
STILLS = {"varied-1200": 1200}  # of X_l, where it has not 300; the held-out ones follow them
BASE = "orthogonal-3e-3"  # the W_l that settings of retraining are tried from
CHOSEN, LONGER = "3e-4-mean-480", "1e-3-mean-3000"
RATES = ("1e-4-mean-480", CHOSEN, "1e-3-mean-480")
SIZES = (16, 32, 48, 96, 192)
STRATEGIES = ("uniform", "random", "divergence", "expected-count", "guided-random")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("worlds", type=int, nargs="+")
    parser.add_argument("--settings", nargs="*", help="of these names alone")
    given = parser.parse_args()
    for number in given.worlds:
        STUDIES[given.study](number, given.settings)


def first(number: int, names):
    """W_l of each setting, three seeds."""
    for seed in range(3):
        for name in names or FIRST:
            World(number, name, seed).first_row()


def settings(number: int, names):
    """Θ of each setting, on three kinds of sets at two sizes."""
    world = World(number, BASE)
    world.first_row()
    for images in (48, 16):
        for name in names or SETTINGS:
            for kind in ("uniform", "random", "divergence"):
                world.row(name, kind, images)


def curve(number: int, names):
    """Θ on more and more frames, evenly spaced and random, two draws of each; and on all."""
    world = World(number, BASE)
    gap(number, names)
    for draw in range(2):
        for images in SIZES:
            for kind in ("uniform", "random"):
                world.row(CHOSEN, kind, images, draw)


def gap(number: int, names):
    """Θ on 48 evenly spaced frames, two draws, and on the whole pool, in as many steps and in
    more."""
    world = World(number, BASE)
    world.first_row()
    for draw in range(2):
        world.row(CHOSEN, "uniform", 48, draw)
    for name in (CHOSEN, LONGER):
        world.row(name, "all", len(world.pool))


def controls(number: int, names):
    """Θ on 48 frames without people, and on X_l alone, in as many steps."""
    world = World(number, BASE)
    world.first_row()
    world.row(CHOSEN, "nobody", 48)
    world.row(CHOSEN, "X_l", 0)


def chance(number: int, names):
    """The same 48 evenly spaced frames with other seeds of retraining, and with other W_l."""
    for seed in range(3):
        World(number, BASE).row(CHOSEN, "uniform", 48, seed=seed)
    for source_seed in (1, 2):
        world = World(number, BASE, source_seed)
        world.first_row()
        world.row(CHOSEN, "uniform", 48)


def rates(number: int, names):
    """Five strategies' 48 frames at three learning rates."""
    world = World(number, BASE)
    world.first_row()
    for kind in STRATEGIES:
        for name in names or RATES:
            world.row(name, kind, 48)


STUDIES = {f.__name__: f for f in (first, settings, curve, gap, controls, chance, rates)}


class World:
    """The bed of a number, and W_l of a setting and a seed."""

    def __init__(self, number: int, first: str, source_seed: int = 0):
        self.number, self.first, self.source_seed = number, first, source_seed

    def seed(self, purpose: str, draw: int = 0) -> np.random.SeedSequence:
        purposes = ("weights", "pretraining", "frames", "retraining")
        key = purposes.index(purpose), draw
        own = self.source_seed if purpose in purposes[:2] else 0  # another W_l, the same frames
        return np.random.SeedSequence((self.number, own), spawn_key=key)

    @cached_property
    def pool(self):
        return opened("street-bed-pool", self.number)

    @property
    def test(self):
        return opened("street-bed-test", self.number)

    @property
    def labeled(self):
        """X_l."""
        return opened("street-source", self.number, frames=STILLS.get(self.first, 300))

    def file(self, setting: str) -> Path:
        """Where W_l of a setting lies."""
        folder = WEIGHTS / setting
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.number}-{self.source_seed}.safetensors"

    @cached_property
    def source(self):
        numbers = profiles.profile("demo", FIRST[self.first])
        file = self.file(self.first)
        if not file.exists():
            detector = training.new_detector(numbers, self.seed("weights"))
            epochs = training.epochs_of(numbers, len(self.labeled))

            def progress(done, total, loss):  # the last weights, before their mean takes over
                if done == total and self.first == "mean-50":
                    training.save_weights(detector, self.file("last"))

            seed = self.seed("pretraining")
            training.train(detector, self.labeled, numbers, epochs, seed, progress=progress)
            training.save_weights(detector, file)
        self.digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        return training.load_weights(file, numbers)

    @cached_property
    def of_source(self):
        """What W_l finds on the test set."""
        return Measured(self.source, self.test)

    def first_row(self):
        unit = self.unit("W_l", "", 0, 0, 0)
        if unit not in done():
            start = time.monotonic()
            self.write(unit, self.source, self.of_source, [], 0, start)

    def unit(self, setting, kind, images, draw, seed) -> tuple:
        own = self.number, self.first, self.source_seed, setting, kind, images, draw, seed
        return tuple(map(str, own))

    def row(self, setting: str, kind: str, images: int, draw: int = 0, seed: int = 0):
        """Train Θ on a set of frames and measure it, unless that is done."""
        unit = self.unit(setting, kind, images, draw, seed)
        if unit in done():
            return
        numbers = profiles.profile("demo", SETTINGS[setting])
        detector, start = copy.deepcopy(self.source), time.monotonic()
        chosen = [] if kind == "X_l" else self.chosen(kind, images, draw)
        frames = self.pool.take(chosen) if kind != "X_l" else self.labeled
        epochs = training.epochs_of(numbers, len(frames))
        losses = training.train(detector, frames, numbers, epochs, self.seed("retraining", seed))
        self.write(unit, detector, Measured(detector, self.test), chosen, losses[-1], start)

    def chosen(self, kind: str, images: int, draw: int) -> np.ndarray:
        """Positions of the pool, (images,)."""
        pool, n = self.pool, len(self.pool)
        rng = np.random.default_rng(self.seed("frames", draw))
        match kind:
            case "all":
                return np.arange(n)
            case "random":
                return rng.permutation(n)[:images]
            case "uniform":
                rank = uniform(pool.sequence, pool.frame, [], rng)
                return np.argsort(-rank, kind="stable")[:images]
            case "guided-random":
                return self.ranked(rng.random(n), images)
            case "divergence":
                numbers = profiles.DEMO
                own = pool.sequence, pool.frame, numbers.half_width, numbers.sigma
                return self.ranked(smooth(self.of_pool[0], *own), images)
            case "expected-count":
                return self.ranked(self.of_pool[1], images)
            case "nobody":  # frames without people
                shown = np.zeros(n, bool)
                shown[pool.with_pedestrians()] = True
                return rng.permutation(np.flatnonzero(~shown))[:images]
        raise ValueError(f"no kind of frames {kind!r}")

    @cached_property
    def of_pool(self) -> np.ndarray:
        """What W_l makes of each frame of the pool: the paper's z, and the sum of its detections'
        scores; (2, n)."""
        file = self.file(self.first).with_suffix(f".{self.digest}.npy")
        if not file.exists():
            numbers, frames = profiles.DEMO, self.pool.unlabeled()
            radius, region = numbers.pixels(numbers.radius), numbers.pixels(numbers.region)

            def use(i, maps):
                found = prediction.detect(maps, i + 1, numbers)
                maps = maps[prediction.COARSE], maps[prediction.FINE]
                p = prediction.probabilities(*maps, numbers)
                z = float(image_score(scores.divergence(p, radius), region))
                return z, sum(d["score"] for d in found)

            every = range(len(frames))
            found = list(prediction.predict_all(self.source, frames, every, numbers, use))
            np.save(file, np.transpose(found))
        return np.load(file)

    def ranked(self, score, images: int) -> np.ndarray:
        """The frames with the highest scores under the temporal rules, `CYCLE` at a time."""
        own = {"sequence": self.pool.sequence, "frame": self.pool.frame, **RULES}
        labeled = []
        while len(labeled) < images:
            labeled += select(score, CYCLE, labeled=labeled, **own).indices.tolist()
        return np.array(labeled[:images])

    def write(self, unit, detector, measured, chosen, loss, start):
        boxes = [self.pool.boxes[int(i)] for i in chosen]
        people = {int(who) for own in boxes for who in own.identity[~own.ignore]}
        first = len(self.labeled)  # of the stills that are held out
        frames = opened("street-held-out", self.number, first=first)
        held_out = Measured(detector, frames).curve.miss_rate_at(1.0)
        values = (
            self.digest,
            sum(int((~own.ignore).sum()) for own in boxes),
            len(people),
            round(held_out, 4),
            round(measured.curve.miss_rate_at(1.0), 4),
            round(measured.curve.lamr, 4),
            *measured.beside(self.of_source),
            measured.by_clip(),
            round(loss, 4),
            round(time.monotonic() - start),
            " ".join(map(str, chosen)) if len(chosen) < 100 else "",
        )
        with open(RESULTS, "a", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            rows = [unit + values] if file.tell() else [UNIT + FOUND, unit + values]
            csv.writer(file).writerows(rows)
        print(*unit, *values[:-1], flush=True)


@lru_cache(maxsize=5)
def opened(name: str, world: int, **own):
    """A data set of a world at the demo's size, its images kept in memory."""
    frames = catalog.load()[name].open(profiles.DEMO.image_size, world=world, **own)
    vars(frames)["read"] = lru_cache(maxsize=None)(frames.read)
    return frames


class Measured:
    """What a detector finds on a data set of a world: the curve, and by threshold which boxes."""

    def __init__(self, detector, frames):
        self.frames = frames
        found = prediction.detect_all(
            detector, self.frames.unlabeled(), profiles.DEMO, lambda *_: None
        )
        self.curve = evaluate(labels.to_coco(self.frames), found)
        up_to_1 = self.curve.scores[self.curve.fppi <= 1.0]
        limit = up_to_1[-1] if len(up_to_1) else np.inf
        own = matching.by_image(found)
        every = range(len(self.frames))
        detections = {i: own.get(i, []) for i in every}
        matched = matching.match(detections, {i: self.frames.boxes[i] for i in every}, limit)
        matched = matched[matched["kind"].isin([matching.FOUND, matching.MISSED])]
        self.position = matched["position"].to_numpy()
        self.found = (matched["kind"] == matching.FOUND).to_numpy()

    def beside(self, first: "Measured") -> tuple:
        """Shares of the boxes that W_l, each at FPPI 1, missed and this one finds, and found and
        this one misses; and this one's FPPI where it misses as many as W_l at FPPI 1."""
        recovered, lost = self.found & ~first.found, first.found & ~self.found
        reached = self.curve.miss_rate <= first.curve.miss_rate_at(1.0)
        there = self.curve.fppi[np.argmax(reached)] if reached.any() else np.inf
        return round(recovered.mean(), 4), round(lost.mean(), 4), round(float(there), 3)

    def by_clip(self) -> str:
        """Boxes found at FPPI 1 and boxes of each clip of the test set, "found/all …"."""
        clip = self.frames.sequence
        if clip is None:
            return ""
        each = [clip[self.position] == name for name in dict.fromkeys(clip)]
        return " ".join(f"{self.found[own].sum()}/{own.sum()}" for own in each)


def done() -> set:
    """The units that have a row."""
    if not RESULTS.exists():
        return set()
    with open(RESULTS, newline="") as file:
        return {tuple(row[name] for name in UNIT) for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
