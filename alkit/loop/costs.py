"""What one image, one score map and one training iteration take on this machine.

Measured in seconds on noise, with an untrained detector that finds nothing: a trained one takes the
same, but for its boxes.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from alkit import prediction, training
from alkit.aggregation import image_score
from alkit.arrays import to_numpy
from alkit.frames import NO_BOXES, FrameSet
from alkit.loop import store
from alkit.loop.plugins import SCORES, load_score
from alkit.loop.settings import Experiment
from alkit.profiles import Profile
from alkit.threads import in_threads

REPEATS, SECONDS = 3, 0.5  # of a measurement: the median of so many, fewer where they take longer


@dataclass(frozen=True)
class Costs:
    """Unit costs in seconds, at the profile's image size: `predict` of one image, all its views and
    the decoding of its boxes; `train` of one iteration; `score` of one map by the score's name;
    `aggregate` of one map. `weights` are the bytes of one detector."""

    predict: float
    train: float
    score: dict[str, float]
    aggregate: float
    weights: int


def measure(experiment: Experiment, scores) -> Costs:
    """The unit costs of an experiment's profile on this machine, for scores by their names.

    Raises ValueError for a score that neither alkit nor a plugin of the experiment defines.
    """
    numbers = experiment.numbers
    radius, region = numbers.pixels(numbers.radius), numbers.pixels(numbers.region)
    functions = {name: load_score(name, experiment.plugins, radius) for name in scores}
    detector = training.new_detector(numbers, np.random.SeedSequence(0)).eval()
    torch.nn.init.constant_(detector.logits.bias, -20)  # no boxes
    a_map = np.zeros(numbers.image_size, store.STORED)
    return Costs(
        predict=_predict(detector, numbers),
        score={name: _score(name, score, detector, numbers) for name, score in functions.items()},
        aggregate=_seconds(
            lambda: image_score(store.dequantize(a_map), region, grid=numbers.region_grid)
        ),
        train=_train(detector, numbers),
        weights=4 * training.count_parameters(detector),
    )


def _predict(detector, numbers: Profile) -> float:
    """Seconds of a frame where, as in step 1, each thread has one, or a GPU full batches."""
    gpu = detector.device.type != "cpu"
    n = 4 * prediction.GPU_BATCH if gpu else torch.get_num_threads()
    frames = _noise(numbers, n)
    return _seconds(lambda: prediction.detect_all(detector, frames, numbers, lambda *_: None)) / n


def _score(name: str, score, detector, numbers: Profile) -> float:
    """Seconds of a map. As in step 2, each thread has a frame, but for a plugin's score."""
    image = _noise(numbers, 1).images(0)
    logits = prediction.predict(detector, image, numbers)
    maps = logits[prediction.COARSE], logits[prediction.FINE]
    on = detector.device if name in SCORES else torch.device("cpu")
    threads = torch.get_num_threads() if name in SCORES and on.type == "cpu" else 1

    def call(seed):
        if name != "mutual_information":
            return store.quantize(prediction.pixel_scores(score, *maps, numbers, on))
        generator = torch.Generator().manual_seed(seed)
        passes = prediction.dropout_probabilities(detector, image, numbers, generator)
        return store.quantize(to_numpy(score(passes)))

    return _seconds(lambda: list(in_threads(call, range(threads), threads))) / threads


def _train(detector, numbers: Profile) -> float:
    """Seconds of an iteration, after which the detector is another."""
    n = numbers.batch_size
    samples = training.Samples(_noise(numbers, n), numbers, "none")
    optimizer = training.new_optimizer(detector.train(), numbers)
    generator = torch.Generator().manual_seed(0)

    def call():
        sample = samples.batch(range(n), [None] * n)
        training.iteration(detector, optimizer, *sample, numbers, generator)

    with training.flushed_denormals():
        return _seconds(call)


def _noise(numbers: Profile, n: int) -> FrameSet:
    image = np.random.default_rng(0).integers(0, 256, (*numbers.image_size, 3), np.uint8)
    return FrameSet("noise", ["noise"] * n, lambda _: image, numbers.image_size, [NO_BOXES] * n)


def _seconds(call) -> float:
    call()  # the first call prepares much that later ones find
    taken = []
    while len(taken) < REPEATS and sum(taken) < SECONDS:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))
