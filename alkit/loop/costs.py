"""What one image, one score map and one training iteration take on this machine.

Measured in seconds on noise, with an untrained detector that finds nothing: a trained one takes the
same, but for its boxes.
"""

import timeit
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
from alkit.threads import in_threads


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
    """The unit costs of an experiment's profile on this machine, for scores by their names, with as
    many frames side by side as the steps have."""
    numbers, seed = experiment.numbers, np.random.SeedSequence(0)
    detector = training.new_detector(numbers, seed).eval()
    torch.nn.init.constant_(detector.logits.bias, -20)  # no boxes
    image = np.random.default_rng(0).integers(0, 256, (*numbers.image_size, 3), np.uint8)
    logits = prediction.predict(detector, image, numbers)
    threads = torch.get_num_threads()
    on_cpu = detector.device.type == "cpu"

    def noise(n):
        return FrameSet("noise", ["noise"] * n, lambda _: image, numbers.image_size, [NO_BOXES] * n)

    def of_score(name):
        score = load_score(name, experiment.plugins, numbers.pixels(numbers.radius))
        device, side_by_side = (detector.device, None) if name in SCORES else ("cpu", 1)

        def a_map(k):
            if name == "mutual_information":
                generator = torch.Generator().manual_seed(k)
                passes = prediction.dropout_probabilities(detector, image, numbers, generator)
                return store.quantize(to_numpy(score(passes)))
            maps = logits[prediction.COARSE], logits[prediction.FINE]
            return store.quantize(prediction.pixel_scores(score, *maps, numbers, device))

        return _seconds(lambda: list(in_threads(a_map, range(threads), side_by_side))) / threads

    n = threads if on_cpu else 4 * prediction.GPU_BATCH
    a_map = np.zeros(numbers.image_size, store.STORED)
    region = numbers.pixels(numbers.region), numbers.region_grid
    return Costs(
        predict=_seconds(lambda: prediction.detect_all(detector, noise(n), numbers, _quiet)) / n,
        score={name: of_score(name) for name in scores},
        aggregate=_seconds(lambda: image_score(store.dequantize(a_map), region[0], grid=region[1])),
        train=_seconds(
            lambda: training.train(detector, noise(numbers.batch_size), numbers, 1, seed)
        ),
        weights=4 * training.count_parameters(detector),
    )


def _quiet(*_):
    """The progress of a measurement."""


def _seconds(call) -> float:
    """The shortest of three times: the first call prepares much that later ones find."""
    return min(timeit.repeat(call, number=1, repeat=3))
