"""What several steps do: train a detector, measure one, list frames; and what they depend on."""

import warnings

import numpy as np
import pandas as pd
import torch

from alkit import prediction, training
from alkit.evaluation import Evaluation, average_precision, evaluate
from alkit.frames import FrameSet, fit_factor
from alkit.loop import labels
from alkit.loop.jsonfile import write_json
from alkit.loop.runs import Run
from alkit.loop.step import Job
from alkit.profiles import EPOCHS
from alkit.protocols import PROTOCOLS

IMAGE = ("image_size", "length_scale", "resizing")
NETWORK = (*IMAGE, "width", "half_pixel", "default_boxes", "whole_pixels")
TARGETS = ("assign_iou", "clear_patch", "positive_patch", "filtered_boxes")
LOSS = ("n2p", "min_positives", "loss_mean")
OPTIMIZER = ("optimizer", "learning_rate", "final_learning_rate", "weight_decay", "batch_size")
DECODING = ("decode_mean", "decode_window", "decode_threshold", "decode_area", "decode_score")
CERTAIN, ABSURD = 100, 1e4  # logits whose probability is 0 or 1 in float32; near float16's largest
LENGTH = (*EPOCHS, "averaged")
TRAINING = (*NETWORK, *TARGETS, *LOSS, *OPTIMIZER, *LENGTH, "augmentation", "crop")
DETECTING = (*NETWORK, "double_evaluation", "double_average", *DECODING, "plateaus", "suppression")


def train(job: Job, detector, frames: FrameSet):
    """Train from where the detector stands; writes its weights and the loss of each epoch.
    Raises FloatingPointError for a training that diverged, to finite nonsense too."""
    checkpoint = job.folder / "checkpoint.safetensors"
    numbers = job.numbers.at(frames.image_size)
    epochs = training.epochs_of(job.numbers, len(frames))
    how = numbers, epochs, job.seed("training"), checkpoint, job.key, job.progress
    losses = training.train(detector, frames, *how)
    image = prediction.uploaded(frames.images(0)[None], detector.device).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = torch.cat([level.flatten() for level in detector(image)]).abs()
    if not (logits.median() < CERTAIN and logits.max() < ABSURD):  # NaN is neither
        if not losses:
            raise ValueError(
                f"weights: {job.run.experiment.weights}: logits of {frames.name[0]} reach "
                f"{logits.max():.3g}, where a probability is 0 or 1; expected trained weights"
            )
        raise FloatingPointError(
            f"{frames.dataset}: the training diverged: the last loss is {losses[-1]:.3g}, logits "
            f"of {frames.name[0]} reach {logits.max():.3g}, where a probability is 0 or 1; lower "
            f"learning_rate (now {job.numbers.learning_rate:g}), for W_l its "
            "pretrain_learning_rate where there is one"
        )
    write_json(job.folder / "losses.json", losses)
    training.save_weights(detector, job.folder / "weights.safetensors")
    checkpoint.unlink(missing_ok=True)


def measure(job: Job, detector, role: str) -> tuple[dict, list]:
    """The evaluation of a detector on the data set in a role, and its detections. A protocol that
    filters by class name is made for one test set; other roles are then measured under "caltech".
    AP is always that of the boxes under the data set's filter."""
    run, protocol = job.run, job.numbers.protocol
    if role != "test" and PROTOCOLS[protocol].by_name:
        protocol = "caltech"
    frames = run.frames(role)
    size = frames.image_size
    found = prediction.detect_all(detector, frames.unlabeled(), job.numbers.at(size), job.progress)
    result = evaluated(run, role, protocol, found)
    return {"dataset": frames.dataset, "protocol": protocol, **result}, found


def evaluated(run: Run, role: str, protocol: str, found: list) -> dict:
    """Curve, counts and AP of detections on the data set in a role.

    Boxes are those under its filter at the size of the run; for a protocol that filters by class
    name all boxes, in native pixels, which takes a data set of one image size. Where sequences are
    evaluated alone (`each`), "parts" are theirs; curve, miss rates and AP are then the means of the
    parts with a pedestrian, `score_at_1` is that of all frames together.
    """
    frames, entry = run.frames(role), run.entry(role)
    truth, by_name, factor = frames, PROTOCOLS[protocol].by_name, 1.0
    if by_name:
        truth = entry.open_unfiltered(**run.data_arguments(entry.name))
        factor = fit_factor(truth.image_size, frames.image_size)

    def measured(positions) -> tuple[Evaluation, dict]:
        images = {i + 1 for i in positions}
        own = [d for d in found if d["image_id"] in images]
        scaled = [d | {"bbox": [v / factor for v in d["bbox"]]} for d in own]
        curve = evaluate(labels.to_coco(truth, positions, by_name), scaled, protocol=protocol)
        up_to_1 = curve.scores[curve.fppi <= 1.0]
        return curve, {
            "images": curve.n_images,
            "boxes": curve.n_boxes,
            "fppi": curve.fppi.tolist(),
            "miss_rate": curve.miss_rate.tolist(),
            "miss_rate_at_1": curve.miss_rate_at(1.0),
            "score_at_1": float(up_to_1[-1]) if len(up_to_1) else None,
            "lamr": curve.lamr,
            **average_precision(labels.to_coco(frames, positions), own),
        }

    curve, result = measured(range(len(frames)))
    if not entry.each or frames.sequence is None or not curve.n_boxes:
        return result
    places = pd.Series(range(len(frames))).groupby(frames.sequence, sort=False)
    each = {name: measured([*own]) for name, own in places}
    known = [pair for pair in each.values() if pair[0].n_boxes]
    if empty := [name for name, (curve, _) in each.items() if not curve.n_boxes]:
        said = f"no pedestrian in {', '.join(empty)}; the means are those of the other sequences"
        warnings.warn(f"{frames.dataset}: {said}", stacklevel=2)
    fppi = np.unique(np.concatenate([curve.fppi for curve, _ in known]))
    rates = np.mean([curve.miss_rate_at(fppi) for curve, _ in known], axis=0)
    means = ("miss_rate_at_1", "lamr", "ap", "ap50")
    result |= {name: float(np.mean([part[name] for _, part in known])) for name in means}
    parts = {name: part for name, (_, part) in each.items()}
    return result | {"fppi": fppi.tolist(), "miss_rate": rates.tolist(), "parts": parts}


def frame_table(frames: FrameSet, positions) -> pd.DataFrame:
    """position, name, sequence and frame of some frames; the last two are empty for stills."""
    own = frames.take(positions)
    about = {"name": own.name, "sequence": own.sequence, "frame": own.frame}
    return pd.DataFrame({"position": positions, **about})
