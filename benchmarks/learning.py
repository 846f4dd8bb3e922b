"""What a detector of the demo's size learns on `street`: W_l, and Θ after 48 labeled frames.

    OMP_NUM_THREADS=1 python -m benchmarks.learning 100 101 102 [--set NAME=VALUE …] [--as NAME]

Each world is a town of its own and also the seed. A finished training is a row of
results/learning.csv, under the name that `--as` gives (the commit's, if none), and is not done
again. The rows hold the miss rates at FPPI 1 on held-out stills and on the test video, the
log-average miss rate on the latter, the median over its images of an image's highest probability,
and the names of the labeled frames, so that another version can be trained on the same ones
(`--frames-of NAME`).
"""

import argparse
import copy
import csv
import subprocess
from pathlib import Path

import numpy as np
import yaml

from alkit import catalog, prediction, profiles, scores, training
from alkit.aggregation import image_score
from alkit.evaluation import evaluate
from alkit.loop import labels
from alkit.selection import select, smooth

RESULTS = Path("results/learning.csv")
COLUMNS = "code,world,labeled,held_out,test,test_lamr,highest_p,pedestrians,frames".split(",")
BUDGET, RULES = 48, {"exclude_now": 3, "exclude_later": 1}  # the demo's rules, three of its cycles
PURPOSES = ("weights", "training", "selection")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("worlds", type=int, nargs="+")
    parser.add_argument("--set", nargs="*", default=[], dest="changes", metavar="NAME=VALUE")
    parser.add_argument("--as", dest="name", default=None)
    parser.add_argument("--frames-of", default=None)
    given = parser.parse_args()
    changes = {k: yaml.safe_load(v) for k, v in (pair.split("=", 1) for pair in given.changes)}
    numbers = profiles.profile("demo", RULES | changes)
    for world in given.worlds:
        World(given.name or commit(), world, numbers).measure(given.frames_of)


def commit() -> str:
    call = ("git", "rev-parse", "--short", "HEAD")
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()


class World:
    """The data sets of one town and what has been trained on them."""

    def __init__(self, code: str, world: int, numbers):
        self.code, self.world, self.numbers = code, world, numbers
        self.pool = self.open("street-pool", frames=500)

    def open(self, name: str, **arguments):
        entry = catalog.load()[name]
        return entry.open(self.numbers.image_size, world=self.world, **arguments)

    def seed(self, cycle: int, purpose: str) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.world, spawn_key=(cycle, PURPOSES.index(purpose)))

    def measure(self, frames_of: str | None):
        source = training.new_detector(self.numbers, self.seed(0, "weights"))
        weights = Path(f"runs/learning/{self.code}/{self.world}.safetensors")
        if weights.exists():
            source = training.load_weights(weights, self.numbers)
        else:
            weights.parent.mkdir(parents=True, exist_ok=True)
            self.train(source, self.open("street-source"), self.numbers.pretrain_epochs, 0)
            training.save_weights(source, weights)
        self.row("W_l", source, [])
        for name, chosen in self.choices(source, frames_of):
            detector = copy.deepcopy(source)
            if not self.done(name):
                self.train(detector, self.pool.take(chosen()), self.numbers.epochs, 1)
                self.row(name, detector, chosen())

    def train(self, detector, frames, epochs: int, cycle: int):
        training.train(detector, frames, self.numbers, epochs, self.seed(cycle, "training"))

    def choices(self, detector, frames_of: str | None):
        """(name, function that gives the positions) of each way to choose the frames to label."""
        rng = np.random.default_rng(self.seed(1, "selection"))
        guided = self.select(rng.random(len(self.pool)))
        uniform = np.linspace(0, len(self.pool) - 1, BUDGET).round().astype(int)
        yield "uniform", lambda: uniform
        yield "guided-random", lambda: guided
        if frames_of is None:
            divergence = None if self.done("divergence") else self.divergence(detector)
            yield "divergence", lambda: divergence
        else:
            own = {row["labeled"]: row["frames"].split() for row in self.rows(frames_of)}
            places = {name: i for i, name in enumerate(self.pool.name)}
            given = np.array([places[name] for name in own["divergence"]])
            yield f"divergence of {frames_of}", lambda: given

    def divergence(self, detector):
        numbers, z = self.numbers, np.zeros(len(self.pool))
        radius, region = numbers.pixels(numbers.radius), numbers.pixels(numbers.region)

        def use(i, maps):
            p = prediction.probabilities(maps[prediction.COARSE], maps[prediction.FINE], numbers)
            return i, float(image_score(scores.divergence(p, radius), region))

        frames = self.pool.unlabeled()
        for i, score in prediction.predict_all(detector, frames, range(len(z)), numbers, use):
            z[i] = score
        ranked = smooth(z, frames.sequence, frames.frame, numbers.half_width, numbers.sigma)
        return self.select(ranked)

    def select(self, score):
        pool = self.pool
        return select(score, BUDGET, sequence=pool.sequence, frame=pool.frame, **RULES).indices

    def rows(self, code: str) -> list:
        if not RESULTS.exists():
            return []
        with open(RESULTS, newline="") as file:
            found = list(csv.DictReader(file))
        return [r for r in found if r["code"] == code and r["world"] == str(self.world)]

    def done(self, labeled: str) -> bool:
        return any(row["labeled"] == labeled for row in self.rows(self.code))

    def row(self, labeled: str, detector, chosen):
        if self.done(labeled):
            return
        held_out, _ = self.curve(detector, self.open("street-held-out"))
        test, highest = self.curve(detector, self.open("street-test"))
        own = self.pool.take(chosen)
        values = (
            self.code,
            self.world,
            labeled,
            round(held_out.miss_rate_at(1.0), 4),
            round(test.miss_rate_at(1.0), 4),
            round(test.lamr, 4),
            round(float(np.median(highest)), 4),
            sum(int((~boxes.ignore).sum()) for boxes in own.boxes),
            " ".join(own.name),
        )
        new = not RESULTS.exists()
        RESULTS.parent.mkdir(exist_ok=True)
        with open(RESULTS, "a", newline="") as file:
            csv.writer(file).writerows([COLUMNS, values] if new else [values])
        print(*values[:-1], flush=True)

    def curve(self, detector, frames):
        """The evaluation on a data set, and the highest probability of each of its images."""

        def use(i, maps):
            p = prediction.probabilities(maps[prediction.COARSE], maps[prediction.FINE], numbers)
            return float(p.max()), prediction.detect(maps, i + 1, numbers)

        numbers = self.numbers
        found = list(prediction.predict_all(detector, frames, range(len(frames)), numbers, use))
        highest, detections = zip(*found, strict=True)
        return evaluate(labels.to_coco(frames), [d for own in detections for d in own]), highest


if __name__ == "__main__":
    main()
