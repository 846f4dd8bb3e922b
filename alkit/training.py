"""Sampling, loss, optimizer and schedule of the detector (paper Eq. 7; step 6)."""

import contextlib
import math
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from alkit.data import checkpoints
from alkit.data.project import project_root
from alkit.data.samples import Samples
from alkit.detector import Detector, autocast, device
from alkit.frames import FrameSet
from alkit.profiles import Profile

RMSPROP_DECAY = 0.9  # TensorFlow's default; neither paper nor code names another
MOMENTUM = 0.9  # released code
CHECKPOINT_SECONDS = 60  # between two checkpoints of a training that takes long


def cell_weights(labels: list, pixels, profile: Profile, generator: torch.Generator) -> list:
    """The weight of each cell in the loss, float32 (n, y, x) of each level: 0 but for all positives
    and randomly drawn negatives (Eq. 7).

    labels: five int8 maps (n, y, x), 1, 0 or −1 (neither); `pixels` (n, level, 3) counts the pixels
    of the label maps at image resolution that are −1, 0 and 1. As in the released code, N2P is
    counted in these: every negative pixel of all levels, and so every negative cell, is drawn with
    the same chance, N2P · max(min_positives, positive pixels) / pixels, where `min_positives`
    scales with the image's area.

    `loss_mean` "cells": the weights of all drawn cells are equal and sum to 1. (Eq. (7) writes a
    sum; the learning rate then does not depend on how many were drawn.) "pixels": a weight is one
    over the number of pixels drawn in its channel, whether a cell takes its label from them or not
    (released code), so that a channel's weights sum to about 1/64, the finest one's to 1/16.
    """
    positive_pixels = pixels[:, :, 2].sum(1)  # (n,)
    least = profile.min_positives * profile.scale**2
    chance = profile.n2p * positive_pixels.clamp(min=least) / pixels.sum((1, 2))
    chance = chance.clamp(max=1)[:, None, None]
    drawn = [torch.rand(label.shape, generator=generator) < chance for label in labels]
    weights = [
        ((label == 1) | (draw & (label == 0))).float()
        for label, draw in zip(labels, drawn, strict=True)
    ]
    if profile.loss_mean == "cells":
        count = sum(weight.sum() for weight in weights).clamp(min=1)
        return [weight / count for weight in weights]
    for k, (label, weight) in enumerate(zip(labels, weights, strict=True)):
        # Negatives among the pixels that no cell takes its label from: only their number counts.
        between = (pixels[:, k, 1] - (label == 0).sum((1, 2))).float()
        negatives = torch.binomial(between, chance[:, 0, 0], generator=generator)
        negatives += (weight * (label == 0)).sum((1, 2))
        weight /= (pixels[:, k, 2] + negatives).clamp(min=1)[:, None, None] * len(label)
    return weights


def loss_of(logits: list, labels: list, weights: list) -> torch.Tensor:
    """Eq. (7) but for the regularisation, which the optimizer adds to each gradient: the weighted
    sum of the cells' sigmoid cross-entropy. All lists of five maps (n, y, x)."""
    total = 0.0
    for logit, label, weight in zip(logits, labels, weights, strict=True):
        is_positive = (label == 1).float()
        loss = F.binary_cross_entropy_with_logits(logit.float(), is_positive, reduction="none")
        total = total + (weight * loss).sum()
    return total


def train(
    detector: Detector,
    frames: FrameSet,
    profile: Profile,
    epochs: float,
    seed: np.random.SeedSequence,
    checkpoint: Path | None = None,
    key: str = "",
    progress=lambda done, total, loss: None,
) -> list:
    """Train in place for `epochs` over `frames`; the last iteration's weights stay, or the mean of
    those of the last iterations, a share `averaged` of all.

    The last epoch may be a part of one. Images change as `augmentation` says (`augmented`), and
    are cut to parts of (height, width) `crop`. A fresh optimizer, its rate annealed exponentially
    from `learning_rate` to `final_learning_rate` at the last iteration. Everything random follows
    from `seed`, epoch by epoch, so that a training that goes on from its checkpoint file ends with
    the same weights; `key` says what the training is made from, and a checkpoint of another is left
    alone.
    Returns the mean loss of every epoch. Raises FloatingPointError if the loss diverges.
    """
    gpus = [detector.device] if detector.device.type == "cuda" else []
    optimizer = new_optimizer(detector, profile)
    batches = -(-len(frames) // profile.batch_size)
    iterations = round(epochs * batches)
    decay = (profile.final_learning_rate / profile.learning_rate) ** (1 / max(1, iterations - 1))

    trained = {"weights": detector, "optimizer": optimizer}
    if profile.averaged:
        trained["average"] = AveragedModel(detector)
    losses = checkpoints.restore(checkpoint, key, trained) if checkpoint else []
    samples = Samples(frames, profile)
    detector.train()
    saved = time.monotonic()
    # dropout draws from PyTorch's own generator
    with torch.random.fork_rng(gpus), flushed_denormals():
        for epoch, epoch_seed in enumerate(seed.spawn(math.ceil(iterations / batches))):
            if epoch < len(losses):
                continue
            order_seed, draw_seed = epoch_seed.spawn(2)
            rng = np.random.default_rng(order_seed)
            torch_seed = int(draw_seed.generate_state(1, np.uint64)[0] >> 1)
            generator = torch.Generator().manual_seed(torch_seed)
            torch.manual_seed(torch_seed)
            own = []  # losses
            left = min(batches, iterations - epoch * batches)
            for batch, sample in enumerate(samples.epoch(rng, left), epoch * batches):
                for group in optimizer.param_groups:
                    group["lr"] = profile.learning_rate * decay**batch
                own.append(iteration(detector, optimizer, *sample, profile, generator))
                if batch >= (1 - profile.averaged) * iterations:
                    trained["average"].update_parameters(detector)
                progress(batch + 1, iterations, own[-1])
            losses.append(sum(own) / len(own))
            if not np.isfinite(losses[-1]):
                raise FloatingPointError(
                    f"{frames.dataset}: the loss is {losses[-1]} in epoch {epoch + 1}; "
                    f"lower learning_rate (now {profile.learning_rate}), for W_l its "
                    "pretrain_learning_rate where there is one"
                )
            if checkpoint and time.monotonic() - saved > CHECKPOINT_SECONDS:
                checkpoints.keep(checkpoint, key, trained, losses)
                saved = time.monotonic()
    if profile.averaged:
        detector.load_state_dict(trained["average"].module.state_dict())
    detector.eval()
    return losses


def epochs_of(profile: Profile, images: int) -> float:
    """Epochs of a training on so many images."""
    if profile.iterations is None:
        return profile.epochs
    return profile.iterations / -(-images // profile.batch_size)


def iteration(
    detector: Detector, optimizer, images, labels, pixels, profile: Profile, generator
) -> float:
    """One step of the optimizer on a batch as `Samples` has it; its loss."""
    where = detector.device
    weights = cell_weights(labels, pixels, profile, generator)
    with autocast(detector):
        logits = detector(images.to(where))
    loss = loss_of(logits, *([each.to(where) for each in maps] for maps in (labels, weights)))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def new_optimizer(detector: Detector, profile: Profile) -> torch.optim.Optimizer:
    """RMSProp (paper), gradient descent with momentum (released code's default), or Adam. λ decays
    the kernels, not the shifts (released code)."""
    own = {"lr": profile.learning_rate, "weight_decay": profile.weight_decay}
    parameters = [
        {"params": [p for p in detector.parameters() if p.ndim > 1]},
        {"params": [p for p in detector.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if profile.optimizer == "momentum":
        return torch.optim.SGD(parameters, momentum=MOMENTUM, **own)
    if profile.optimizer == "adam":
        return torch.optim.Adam(parameters, **own)
    return torch.optim.RMSprop(parameters, alpha=RMSPROP_DECAY, **own)


@contextlib.contextmanager
def flushed_denormals():
    """Take numbers below 1e-38 as 0: the squares of tiny gradients make a processor ten times
    slower otherwise. A setting of the thread, put back for what comes after."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def initial_detector(
    profile: Profile,
    labeled: FrameSet | None = None,
    weights: Path | str | None = None,
    epochs: float | None = None,
    seed: int = 0,
) -> Detector:
    """A detector with the weights W_l: those in the file `weights`, a path from the project's root,
    if there is one, else trained on the frames `labeled`, with a bar, for `epochs` (the profile's,
    unless given).

    Raises FileNotFoundError if there is neither, and what `load_weights` and `train` raise.
    """
    if weights is not None and (file := project_root() / weights).exists():
        return load_weights(file, profile)
    if labeled is None:
        raise FileNotFoundError(f"weights: there is no file {weights}, and no labeled frames")
    initial, training = np.random.SeedSequence(seed).spawn(2)
    detector = new_detector(profile, initial)
    own = profile.pretraining
    epochs = epochs_of(own, len(labeled)) if epochs is None else epochs
    with tqdm(desc=f"W_l on {len(labeled)} frames", mininterval=3, file=sys.stdout) as bar:

        def progress(done, total, loss):
            bar.total = total
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update(done - bar.n)

        train(detector, labeled, own, epochs, training, progress=progress)
    return detector


def new_detector(profile: Profile, seed: np.random.SeedSequence) -> Detector:
    """A freshly initialized detector of the profile's width.

    "orthogonal": the filters of a layer are at right angles (Saxe et al., ICLR 2014), so that none
    of a narrow layer's few is a copy of another. Their scale is about Xavier's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
        detector = Detector(profile.width, profile.half_pixel)
        if profile.initialization == "orthogonal":
            for kernel in detector.parameters():
                if kernel.ndim > 1:
                    nn.init.orthogonal_(kernel)
    return _placed(detector)


def _placed(detector: Detector) -> Detector:
    """The detector where it works, in the layout that is fastest there."""
    gpu = device().type == "cuda"
    layout = torch.channels_last if gpu else torch.preserve_format
    return detector.to(device(), memory_format=layout)


def save_weights(detector: Detector, path: Path):
    """Write the weights as safetensors, atomically."""
    checkpoints.write(detector.state_dict(), Path(path))


def load_weights(path: Path, profile: Profile) -> Detector:
    """A detector with the weights of a safetensors file.

    Raises ValueError if the file is not safetensors or holds the weights of another network,
    or some that are not finite.
    """
    detector = Detector(profile.width, profile.half_pixel)
    try:
        detector.load_state_dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from None
    except RuntimeError as error:
        raise ValueError(
            f"{path}: weights of another network than this profile's, which has width "
            f"{profile.width}. {textwrap.shorten(str(error), 200)}"
        ) from None
    if bad := [name for name, own in detector.state_dict().items() if not own.isfinite().all()]:
        raise ValueError(f"{path}: {bad[0]} is not finite everywhere; expected trained weights")
    return _placed(detector).eval()
