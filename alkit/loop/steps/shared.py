"""What several steps do: train a detector, measure one, list frames; and what they depend on."""

import pandas as pd
import torch

from alkit import prediction, training
from alkit.evaluation import average_precision, evaluate
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
    losses = training.train(
        detector,
        frames,
        job.numbers.at(frames.image_size),
        training.epochs_of(job.numbers, len(frames)),
        job.seed("training"),
        checkpoint,
        job.key,
        job.progress,
    )
    image = prediction.uploaded(frames.images(0)[None], detector.device).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = torch.cat([level.flatten() for level in detector(image)]).abs()
    if not (logits.median() < CERTAIN and logits.max() < ABSURD):  # NaN is neither
        raise FloatingPointError(
            f"{frames.dataset}: the training diverged: the last loss is {losses[-1]:.3g}, logits "
            f"of {frames.name[0]} reach {logits.max():.3g}, where a probability is 0 or 1; lower "
            f"learning_rate (now {job.numbers.learning_rate:g})"
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
    result = evaluate(*as_evaluated(run, role, protocol, found), protocol=protocol)
    up_to_1 = result.scores[result.fppi <= 1.0]
    return {
        "dataset": frames.dataset,
        "protocol": protocol,
        "images": result.n_images,
        "boxes": result.n_boxes,
        "fppi": result.fppi.tolist(),
        "miss_rate": result.miss_rate.tolist(),
        "miss_rate_at_1": result.miss_rate_at(1.0),
        "score_at_1": float(up_to_1[-1]) if len(up_to_1) else None,
        "lamr": result.lamr,
        **average_precision(labels.to_coco(frames), found),
    }, found


def as_evaluated(run: Run, role: str, protocol: str, found: list) -> tuple[dict, list]:
    """Boxes and detections as a protocol takes them: under the data set's filter at the size of
    the run, or, for a protocol that filters by class name, all boxes, in native pixels, which takes
    a data set of one image size."""
    frames = run.frames(role)
    if not PROTOCOLS[protocol].by_name:
        return labels.to_coco(frames), found
    entry = run.entry(role)
    native = entry.open_unfiltered(**run.data_arguments(entry.name))
    factor = fit_factor(native.image_size, frames.image_size)
    scaled = [d | {"bbox": [v / factor for v in d["bbox"]]} for d in found]
    return labels.to_coco(native, by_label=True), scaled


def frame_table(frames: FrameSet, positions) -> pd.DataFrame:
    """position, name, sequence and frame of some frames; the last two are empty for stills."""
    return pd.DataFrame(
        {
            "position": positions,
            "name": [frames.name[i] for i in positions],
            "sequence": None if frames.sequence is None else frames.sequence[positions],
            "frame": None if frames.frame is None else frames.frame[positions],
        }
    )
