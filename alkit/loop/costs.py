"""What one image and one iteration cost on this machine, measured in a few seconds.

On noise, with an untrained detector that finds nothing: what a trained one costs, but for its
boxes.
"""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

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
    """Unit costs in seconds: `predict` of one image, all its views and the decoding of its boxes,
    and `train` of one iteration, by (height, width); `score` of one map by the score's name;
    `aggregate` of one map. `weights` are the bytes of one detector."""

    predict: dict[tuple[int, int], float]
    train: dict[tuple[int, int], float]
    score: dict[str, float]
    aggregate: float
    weights: int


def measure(experiment: Experiment, names, sizes) -> Costs:
    """The unit costs of an experiment's profile on this machine, for scores by their `names` and
    images of `sizes`, (height, width) each, the profile's own among them."""
    numbers = experiment.numbers
    detector = training.new_detector(numbers, np.random.SeedSequence(0)).eval()
    torch.nn.init.constant_(detector.logits.bias, -20)  # no boxes
    rng = np.random.default_rng(0)
    images = {size: rng.integers(0, 256, (*size, 3), np.uint8) for size in sorted(sizes)}

    work = {("aggregate", "a map"): partial(_seconds, partial(_aggregate, numbers))}
    for name in sorted(names):
        score = load_score(name, experiment.plugins, numbers.pixels(numbers.radius))
        image = images[numbers.image_size]
        on = detector.device if name in SCORES else torch.device("cpu")
        if name == "mutual_information":
            call = _dropout_score(score, detector, image, numbers)
        else:
            call = _logit_score(score, detector, image, numbers, on)
        # as step 2 does it: a frame a thread, but for a plugin's score; a GPU's map by itself
        a_thread = name in SCORES and on.type == "cpu"
        work["score", name] = partial(_seconds_of_many if a_thread else _seconds, call)
    for size, image in images.items():
        work["predict", size] = partial(_seconds_of_prediction, detector, image, numbers.at(size))
    for size, image in images.items():  # last, since it changes the detector
        work["train", size] = partial(_seconds_of_iteration, detector, image, numbers.at(size))

    seconds = {"aggregate": {}, "score": {}, "predict": {}, "train": {}}
    for (what, of), measured in tqdm(work.items(), desc="measuring unit costs", leave=False):
        seconds[what][of] = measured()
    (aggregate,) = seconds.pop("aggregate").values()
    return Costs(**seconds, aggregate=aggregate, weights=4 * training.count_parameters(detector))


def _logit_score(score, detector, image, numbers: Profile, on):
    logits = prediction.predict(detector, image, numbers)
    maps = logits[prediction.COARSE], logits[prediction.FINE]
    return lambda: store.quantise(prediction.pixel_scores(score, *maps, numbers, on))


def _dropout_score(score, detector, image, numbers: Profile):
    generator = torch.Generator().manual_seed(0)

    def call():
        passes = prediction.dropout_probabilities(detector, image, numbers, generator)
        store.quantise(to_numpy(score(passes)))

    return call


def _aggregate(numbers: Profile):
    stored = np.zeros(numbers.image_size, store.STORED)
    image_score(store.dequantise(stored), numbers.pixels(numbers.region), grid=numbers.region_grid)


def _seconds_of_prediction(detector, image, numbers: Profile) -> float:
    """Seconds of a frame where, as in step 1, every thread has one, or a GPU full batches."""
    gpu = detector.device.type != "cpu"
    n = 4 * prediction.GPU_BATCH if gpu else torch.get_num_threads()
    frames = FrameSet("noise", ["noise"] * n, lambda i: image, numbers.image_size)

    def detected(position, maps):
        return prediction.detect(maps, position + 1, numbers)

    def call():
        list(prediction.predict_all(detector, frames, range(n), numbers, detected))

    return _seconds(call) / n


def _seconds_of_iteration(detector, image, numbers: Profile) -> float:
    n = numbers.batch_size
    frames = FrameSet("noise", ["noise"] * n, lambda i: image, numbers.image_size, [NO_BOXES] * n)
    samples = training.Samples(frames, numbers, "none")
    optimiser = training.new_optimiser(detector.train(), numbers)
    generator = torch.Generator().manual_seed(0)

    def call():
        sample = samples.batch(range(n), [None] * n)
        training.iteration(detector, optimiser, *sample, numbers, generator)

    with training.flushed_denormals():
        return _seconds(call)


def _seconds_of_many(call) -> float:
    """Seconds of a call where every thread is at one."""
    count = torch.get_num_threads()
    return _seconds(lambda: list(in_threads(lambda _: call(), range(count)))) / count


def _seconds(call) -> float:
    call()  # the first call prepares much that later ones find
    taken = []
    while len(taken) < REPEATS and sum(taken) < SECONDS:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))
