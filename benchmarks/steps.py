"""Steps 1, 2 and 3 of a pool of JPEG files, against the bare forward passes of the same frames.

The steps are the real ones on a real experiment in a temporary folder: they decode images and
boxes, compute maps, compress and write. The reference is the network alone on images that lie in
memory as tensors: both views of a frame in one pass, each in its own, or each in its own by threads
side by side as the steps have it, whichever is fastest.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from alkit import training
from alkit.detector import autocast
from alkit.frames import FrameSet
from alkit.loop import steps
from alkit.loop.runs import Run
from alkit.loop.store import SHARD_FRAMES
from alkit.profiles import Profile
from alkit.threads import in_threads
from benchmarks import toy
from benchmarks.measuring import Missing, Options, Row, rounded, seconds, slower

PARTS = (steps.predict, steps.score, steps.aggregate)


def rows(options: Options) -> list[Row]:
    return [*at_full_width(options), *at_demo_size(options)]


def at_full_width(options: Options) -> list[Row]:
    overrides = options.pick({}, {"image_size": (96, 128), "width": 0.25})
    numbers = Profile(**overrides)
    n = options.pick(2 * SHARD_FRAMES, 4)
    images = toy.pictures(numbers.image_size, min(n, toy.DIFFERENT))
    detector = toy.untrained(numbers, images[0])
    what = f"steps 1 + 2 + 3, {size_of(numbers)}, a frame"
    with tempfile.TemporaryDirectory() as folder:
        run = toy.experiment(Path(folder), "paper", overrides, images, n, detector)
        taken = measure(run, options.pick(3, 1))
    note = "random weights, set so that maps are about as lively as a trained network's"
    return [row("steps.full", what, taken, 1.10, n, note)]


def at_demo_size(options: Options) -> list[Row]:
    """With the demo's own weights; a row without figures where there is no demo."""
    try:
        demo = toy.demo(options)
    except Missing as error:
        what = "steps 1 + 2 + 3 at the demo's size, a frame"
        return [Row("steps.demo", what, None, "ms", judged="ratio", at_most=1.6, note=str(error))]
    numbers = demo.experiment.numbers
    n = options.pick(500, 6)  # the demo's own pool
    images = toy.pictures(numbers.image_size, min(n, toy.DIFFERENT))
    detector = training.load_weights(demo.weights(0), numbers)
    profile, overrides = demo.experiment.profile, demo.experiment.set
    with tempfile.TemporaryDirectory() as folder:
        run = toy.experiment(Path(folder), profile, overrides, images, n, detector)
        taken = measure(run, options.pick(3, 1))
    what = f"steps 1 + 2 + 3, {size_of(numbers)}, a frame"
    return [row("steps.demo", what, taken, 1.6, n, "the demo's W_l")]


def size_of(numbers: Profile) -> str:
    height, width = numbers.image_size
    views = "two views" if numbers.double_evaluation else "one view"
    return f"width {numbers.width:g}, {height}×{width}, {views}"


def measure(run: Run, repeats: int) -> dict:
    """Seconds of each step and of the forward passes over the pool, interleaved, (repeats,) each;
    and the number of detections in a frame. A first round does not count."""
    numbers = run.experiment.numbers
    frames = run.frames("pool").unlabeled()
    detector = training.load_weights(run.weights(0), numbers).eval()
    passes = {
        "views together": batches(frames, numbers.double_evaluation),
        "views alone": [x for pair in batches(frames, numbers.double_evaluation) for x in pair],
    }
    passes["views alone"] = [x[None] for x in passes["views alone"]]
    calls = {
        name: lambda images=images: forward(detector, images) for name, images in passes.items()
    }
    calls["views side by side"] = lambda: in_parallel(detector, passes["views alone"])
    taken = {step.name: [] for step in PARTS} | {name: [] for name in calls}
    for _ in range(repeats + 1):
        toy.clear(run)
        for step in PARTS:
            taken[step.name].append(seconds(lambda step=step: step(run, 1)))
        for name, call in calls.items():
            taken[name].append(seconds(call))
    taken = {name: np.array(times[1:]) / len(frames) for name, times in taken.items()}
    return taken | {"detections": len(run.detections(1, "pool")) / len(frames)}


def batches(frames: FrameSet, mirrored: bool) -> list:
    """Each frame as a tensor uint8 (view, 3, y, x)."""
    images = (
        torch.from_numpy(frames.images(i).transpose(2, 0, 1).copy()) for i in range(len(frames))
    )
    return [torch.stack([x, x.flip(-1)] if mirrored else [x]) for x in images]


def forward(detector, images):
    """The network over all images, in the precision that the steps use."""
    with torch.inference_mode(), autocast(detector):
        for image in images:
            detector(image)


def in_parallel(detector, images):
    """The same by as many threads as torch has, each with one thread of torch's and its share."""
    count = torch.get_num_threads()
    shares = [images[k::count] for k in range(count)]
    list(in_threads(lambda share: forward(detector, share), shares))


def row(key, what, taken, at_most, n, note) -> Row:
    ours = sum(taken[step.name] for step in PARTS)
    bare = [name for name in taken if name.startswith("views")]
    how = min(bare, key=lambda name: np.median(taken[name]))
    parts = {step.name: float(np.median(taken[step.name])) for step in PARTS}
    in_words = ", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in parts.items())
    details = {
        "frames": n,
        "detections_a_frame": taken["detections"],
        "forward_ms": {name: rounded(taken[name], 1e3) for name in bare},
        "steps_ms": {step.name: rounded(taken[step.name], 1e3) for step in PARTS},
    }
    note = f"{n} frames, {taken['detections']:.0f} detections a frame; {in_words}; {note}"
    return slower(
        key,
        what,
        ours,
        f"bare forward passes, {how}",
        taken[how],
        at_most,
        note=note,
        details=details,
    )
