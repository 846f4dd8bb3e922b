"""The paper's score: five maps of 480×640, from logits at their own stride to a score map.

The references start from probabilities that are upsampled already; ours upsamples them itself.
"""

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from scipy.special import xlogy
from torch.nn.functional import avg_pool2d

from alkit import prediction, scores
from alkit.detector import logit_shapes
from alkit.profiles import profile
from benchmarks.measuring import Options, Row, faster, interleaved, rounded

RADIUS = 9


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


def entropy(p):
    """H(z) = −z log z − (1 − z) log(1 − z), Eq. (3)."""
    return -xlogy(p, p) - xlogy(1 - p, 1 - p)


def with_scipy(p, radius: int = RADIUS):
    """Eq. (1), (2), (4) in float64; the mean at the border is over the pixels inside, which are
    counted by the same filter."""
    p = p.astype(np.float64)
    size = (1, 2 * radius + 1, 2 * radius + 1)
    count = uniform_filter(np.ones((1, *p.shape[1:])), size, mode="constant")
    mean = uniform_filter(p, size, mode="constant") / count
    mean_entropy = uniform_filter(entropy(p), size, mode="constant") / count
    return (entropy(mean.clip(0, 1)) - mean_entropy).sum(0)


def with_torch(p, radius: int = RADIUS):
    """The same in float32 with PyTorch's pooling of the whole window."""

    def mean(a):
        return avg_pool2d(a, 2 * radius + 1, 1, radius, count_include_pad=False)

    def entropy_of(a):
        return -torch.xlogy(a, a) - torch.xlogy(1 - a, 1 - a)

    return (entropy_of(mean(p)) - mean(entropy_of(p))).sum(0)


def rows(options: Options) -> list[Row]:
    size = options.pick((480, 640), (48, 64))
    numbers = profile("paper", {"image_size": size, "double_evaluation": False})
    coarse, fine = made_logits(size)
    p = prediction.probabilities(coarse, fine, numbers)
    p_torch = torch.from_numpy(p)

    def score(p):
        return scores.divergence(p, RADIUS)

    own = prediction.pixel_scores(score, coarse, fine, numbers)
    error = {
        "scipy": float(np.abs(own - with_scipy(p)).max()),
        "torch": float(np.abs(own - with_torch(p_torch).numpy()).max()),
    }
    taken = interleaved(
        {
            "ours": lambda: prediction.pixel_scores(score, coarse, fine, numbers),
            "scipy": lambda: with_scipy(p),
            "torch": lambda: with_torch(p_torch),
            "upsampling": lambda: prediction.probabilities(coarse, fine, numbers),
            "divergence": lambda: score(p),
        },
        options.pick(21, 3),
    )
    what = f"divergence, 5 maps of {size[0]}×{size[1]}, from logits"
    parts = {f"{name}_ms": rounded(taken[name], 1e3) for name in ("upsampling", "divergence")}
    rows = [
        faster(
            "divergence.scipy",
            what,
            taken["ours"],
            "scipy.ndimage, float64, upsampled before",
            taken["scipy"],
            8,
            details=parts | {"largest_difference": error["scipy"]},
        ),
        faster(
            "divergence.torch",
            what,
            taken["ours"],
            "avg_pool2d 19×19, upsampled before",
            taken["torch"],
            30,
            details={"largest_difference": error["torch"]},
        ),
    ]
    for name, what in (
        ("upsampling", "  of it float16 to float32, upsampling, sigmoid"),
        ("divergence", "  of it the divergence"),
    ):
        rows.append(Row(f"divergence.{name}", what, 1e3 * float(np.median(taken[name])), "ms"))
    return rows
