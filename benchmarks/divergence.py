"""The paper's score, from five maps of 480×640 to the score map and the image score.

The references are what a good user would write for it. SciPy's keeps its buffers, takes logarithms
in place, filters the sum of the entropies once, since the mean is linear, and divides by the pixels
inside, which it counts once. Torch's takes differences of a cumulative sum; the paper's graph pools
the whole window of each map twice. All calls are interleaved, with one thread and with two. Ours
with two threads against one is taken once more, frame after frame: among the others the second core
has been idle for half a second, and takes up to half a millisecond to be at work.
"""

import shutil

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch.nn.functional import avg_pool2d

from alkit import prediction, scores
from alkit.aggregation import image_score
from alkit.detector import logit_shapes
from alkit.profiles import profile
from benchmarks.measuring import Options, Row, faster, interleaved

RADIUS, REGION = 9, 30


def made_logits(size, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Logits float16 of one view of a frame, (1, 4, y8, x8) and (1, y4, x4): low background with
    a few smooth peaks, as of a detector."""
    rng = np.random.default_rng(seed)

    def level(height, width):
        bumps = uniform_filter(rng.normal(0, 1, (height, width)), 5) * 12
        return bumps - 5 + rng.normal(0, 0.3, (height, width))

    shapes = logit_shapes(size)
    coarse = np.stack([level(*shape) for shape in shapes[:4]])
    return coarse[None].astype(np.float16), level(*shapes[4])[None].astype(np.float16)


class Scipy:
    """Eq. (1), (2), (4) of maps p (level, y, x) of one shape, in the dtype; the result is
    overwritten by the next call."""

    def __init__(self, shape, radius: int = RADIUS, dtype=np.float32):
        self.size, self.tiny = 2 * radius + 1, np.finfo(dtype).tiny
        self.mean, self.log, self.rest, self.terms = np.empty((4, *shape), dtype)
        self.of_mean, self.entropies, self.score = np.empty((3, *shape[1:]), dtype)
        self.inside = self.filter(np.ones(shape[1:], dtype), np.empty(shape[1:], dtype))

    def filter(self, a, out):
        """The mean over the window as if there were zeros around; a (…, y, x)."""
        size = (1,) * (a.ndim - 2) + (self.size,) * 2
        return uniform_filter(a, size, output=out, mode="constant")

    def minus_entropy(self, p, out):
        """Σ p log p + (1 − p) log(1 − p), Eq. (3), over the levels."""
        np.add(p, self.tiny, out=self.log)  # so that 0·log 0 = 0
        np.log(self.log, out=self.log)
        np.multiply(p, self.log, out=self.terms)
        np.subtract(1, p, out=self.rest)
        np.add(self.rest, self.tiny, out=self.log)
        np.log(self.log, out=self.log)
        self.log *= self.rest
        self.terms += self.log
        return self.terms.sum(0, out=out)

    def __call__(self, p):
        p = p.astype(self.mean.dtype, copy=False)
        self.filter(p, self.mean)
        self.mean /= self.inside
        self.mean.clip(0, 1, out=self.mean)
        self.minus_entropy(self.mean, self.of_mean)
        self.filter(self.minus_entropy(p, self.entropies), self.score)
        self.score /= self.inside
        self.score -= self.of_mean
        return self.score.clip(0, out=self.score)


def entropy_of(a):
    """H of a tensor, Eq. (3)."""
    return -torch.xlogy(a, a) - torch.xlogy(1 - a, 1 - a)


def by_sums(p, radius: int = RADIUS):
    """The same by cumulative sums in float64, p a tensor."""
    window = 2 * radius + 1

    def slid(a, axis):  # sums over the window along an axis
        before, after = [0, 0, radius + 1, radius], [radius + 1, radius, 0, 0]
        padded = torch.nn.functional.pad(a, before if axis == -2 else after)
        sums = padded.cumsum(axis, dtype=torch.float64)
        length = a.shape[axis]
        return sums.narrow(axis, window, length) - sums.narrow(axis, 0, length)

    def mean(a):
        return (slid(slid(a, -2), -1) / inside).float().clamp(0, 1)

    ones = torch.ones((1, *p.shape[1:]))
    inside = slid(slid(ones, -2), -1)
    entropies = entropy_of(p).sum(0, keepdim=True)
    mean_of_entropy = (slid(slid(entropies, -2), -1) / inside)[0].float()
    return (entropy_of(mean(p)).sum(0) - mean_of_entropy).clamp(min=0)


def papers_graph(p, radius: int = RADIUS):
    """The same as the authors' graph does it: pooling of the maps and of their entropies, each
    over the whole window."""

    def mean(a):
        return avg_pool2d(a, 2 * radius + 1, 1, radius, count_include_pad=False)

    return (entropy_of(mean(p)) - mean(entropy_of(p))).sum(0)


def rows(options: Options) -> list[Row]:
    size = options.pick((480, 640), (48, 64))
    numbers = profile("paper", {"image_size": size, "double_evaluation": False})
    coarse, fine = made_logits(size)
    p = prediction.probabilities(coarse, fine, numbers)
    p_torch = torch.from_numpy(p)
    references = {
        "scipy": ("SciPy, float32", Scipy(p.shape), p),
        "scipy64": ("SciPy, float64", Scipy(p.shape, dtype=np.float64), p),
        "torch": ("torch, cumulative sums", by_sums, p_torch),
        "graph": ("the paper's graph in torch", papers_graph, p_torch),
    }
    if shutil.which("g++") and not options.quick:  # compiling takes half a minute
        references["compiled"] = ("the same by torch.compile", torch.compile(by_sums), p_torch)

    def with_threads(threads, score, p):
        def call():
            torch.set_num_threads(threads)
            image_score(np.asarray(score(p)), REGION)

        return call

    calls = {}
    for threads in range(1, min(2, options.threads) + 1):
        calls["ours", threads] = with_threads(threads, scores.divergence, p)
        for name, (_, score, maps) in references.items():
            calls[name, threads] = with_threads(threads, score, maps)
    pair = {threads: call for (name, threads), call in calls.items() if name == "ours"}
    try:
        taken = interleaved(calls, options.pick(31, 3), 60)
        frame_after_frame = interleaved(pair, options.pick(101, 3))
    finally:
        torch.set_num_threads(options.threads)
    own, found = scores.divergence(p), []
    maps_of = f"5 maps of {size[0]}×{size[1]}"
    for name, threads in calls:
        if name == "ours":
            continue
        what, score, maps = references[name]
        row = faster(
            f"divergence.{name}" + (".two_threads" if threads == 2 else ""),
            f"divergence and z, {maps_of}, {threads} thread{'s'[: threads - 1]}",
            taken["ours", threads],
            what,
            taken[name, threads],
            3 if (name, threads) == ("scipy", 1) else None,
            note=fastest(taken["ours", threads], taken[name, threads]),
            details={"largest_difference": float(np.abs(own - np.asarray(score(maps))).max())},
        )
        found.append(row)
    if options.threads > 1:
        one, two = frame_after_frame.values()
        what = "two threads against one, frame after frame"
        found.append(
            faster("divergence.threads", what, two, "one thread", one, 1.7, note=fastest(two, one))
        )
    return found


def fastest(ours, reference) -> str:
    """What the best rounds and the rounds one by one say, where others' work disturbs medians."""
    best = min(reference) / min(ours)
    by_round = float(np.median(np.divide(reference, ours)))
    return (
        f"fastest {1e3 * min(ours):.2f} against {1e3 * min(reference):.2f} ms, {best:.2f}×; "
        f"median of the rounds' ratios {by_round:.2f}×"
    )
