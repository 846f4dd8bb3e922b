"""Steps 1 to 3 and training on a GPU, at the paper's size; no figures where there is none.

The reference is the network alone on images that lie in the GPU's memory, both views of a frame,
in batches. The time of the paper's protocol follows from the unit costs, at batch size 1 and at the
batch size that trains the most images a second.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from alkit import training
from alkit.detector import autocast
from alkit.frames import NO_BOXES, FrameSet
from alkit.loop import cluster
from alkit.prediction import GPU_BATCH
from alkit.profiles import Profile
from benchmarks import toy
from benchmarks.measuring import Options, Row, rounded, seconds
from benchmarks.performance import EPOCHS, hours
from benchmarks.steps import PARTS, size_of

BUDGET, LABELED = 500, 7500  # b and B of the paper's protocol
BATCHES = (1, 2, 4, 8, 16)  # of training
STEPS, TRAINING, PROTOCOL, BEST = (
    "steps 1 + 2 + 3 on a GPU, width 1, 480×640, two views",
    "training on a GPU, width 1, 480×640, batch size 1",
    "the paper's protocol on a GPU, by unit costs, batch size 1",
    "the paper's protocol on a GPU, by unit costs, the best batch size",
)
GOALS = {"at_least": 0.7, "judged": "ratio"}


def rows(options: Options) -> list[Row]:
    if not torch.cuda.is_available():
        return [
            Row("gpu.steps", STEPS, None, "frames/s", "bare forward passes", note=NONE, **GOALS),
            Row("gpu.training", TRAINING, None, "images/s", note=NONE),
            Row("gpu.protocol", PROTOCOL, None, "h", note=NONE),
            Row("gpu.protocol_best", BEST, None, "h", at_most=1.5, note=NONE),
        ]
    numbers = Profile(**options.pick({}, {"image_size": (96, 128), "width": 0.25}))
    images = toy.pictures(numbers.image_size, options.pick(toy.DIFFERENT, 4))
    detector = toy.untrained(numbers, images[0])
    bare = 1 / seconds_of_passes(detector, images, numbers)
    ours = frames_a_second(options, numbers, images, detector)
    rates = {n: images_trained_a_second(numbers, images, n) for n in options.pick(BATCHES, (1,))}
    best = max(rates, key=rates.get)
    steps, name = max(ours.values()), torch.cuda.get_device_name()
    where = f"{name}, {size_of(numbers)}"
    each = ", ".join(f"{how} {rate:.0f}" for how, rate in ours.items())

    def protocol(batch):  # iterations at a batch size are fewer by it
        return hours(BUDGET, LABELED, (1 / steps, 1 / rates[batch]), epochs=EPOCHS)

    return [
        Row(
            "gpu.steps",
            STEPS,
            steps,
            "frames/s",
            "bare forward passes",
            bare,
            steps / bare,
            note=f"{where}; frames/s: {each}",
            details={"frames_per_second": ours},
            **GOALS,
        ),
        Row(
            "gpu.training",
            TRAINING,
            rates[1],
            "images/s",
            note=where,
            details={"images_per_second": {str(n): rate for n, rate in rates.items()}},
        ),
        Row("gpu.protocol", PROTOCOL, protocol(1), "h", note=where),
        Row(
            "gpu.protocol_best",
            BEST,
            protocol(best),
            "h",
            at_most=1.5,
            note=f"{where}, batch size {best}",
        ),
    ]


NONE = "not measured: there is no GPU here"


def seconds_of_passes(detector, images: list, numbers: Profile) -> float:
    """Seconds of both views of a frame, from uint8 on the GPU to logits there; the best of five."""
    some = np.stack([images[i % len(images)] for i in range(GPU_BATCH)])
    x = torch.from_numpy(some).to(detector.device).permute(0, 3, 1, 2)
    views = [x, x.flip(-1)] if numbers.double_evaluation else [x]

    def passes():
        with torch.inference_mode(), autocast(detector):
            for _ in range(10):
                for view in views:
                    detector(view)
        torch.cuda.synchronize()

    passes()
    return min(seconds(passes) for _ in range(5)) / 10 / GPU_BATCH


def frames_a_second(options: Options, numbers: Profile, images: list, detector) -> dict:
    """Steps 1 to 3, in one process and by Dask workers that share the GPU."""
    found, n = {}, options.pick(1024, 8)
    overrides = {"image_size": numbers.image_size, "width": numbers.width}
    with tempfile.TemporaryDirectory() as folder:
        run = toy.experiment(Path(folder), "paper", overrides, images, n, detector)

        def all_steps():
            toy.clear(run)
            for step in PARTS:
                step(run, 1)

        all_steps()
        found["1 process"] = n / seconds(all_steps)
        workers = min(8, len(os.sched_getaffinity(0)))
        with cluster.scheduler(f"local:{workers}"):
            all_steps()
            found[f"{workers} workers"] = n / seconds(all_steps)
    return found


def images_trained_a_second(numbers: Profile, images: list, batch: int) -> float:
    """Images a second of training, after one of an epoch."""
    numbers = numbers.model_copy(update={"batch_size": batch})
    boxes = [NO_BOXES] * len(images)
    frames = FrameSet(
        "pictures",
        list(map(str, range(len(images)))),
        lambda i: images[i],
        numbers.image_size,
        boxes,
    )
    detector = training.new_detector(numbers, np.random.SeedSequence(0))
    training.train(detector, frames, numbers, 1, np.random.SeedSequence(0))
    epochs = 20
    taken = seconds(
        lambda: training.train(detector, frames, numbers, epochs, np.random.SeedSequence(0))
    )
    return rounded([epochs * len(images) / taken])[0]
