"""The detector over many frames: logits of each view, probabilities, detections (steps 1 and 7)."""

import numpy as np
import torch

from alkit.boxes import decode
from alkit.detector import Detector, autocast, logit_shapes, to_probabilities
from alkit.frames import FrameSet
from alkit.profiles import Profile

COARSE, FINE = "logits_stride8", "logits_stride4"  # Θ¹ … Θ⁴, and Θ⁵


def logit_arrays(profile: Profile) -> dict:
    """Names, dimensions, shapes and types of what `predict` gives for a frame."""
    coarse, fine = logit_shapes(profile.image_size)[0], logit_shapes(profile.image_size)[4]
    views = 2 if profile.double_evaluation else 1
    return {
        COARSE: (("view", "level", "y8", "x8"), (views, 4, *coarse), np.float16),
        FINE: (("view", "y4", "x4"), (views, *fine), np.float16),
    }


def predict(detector: Detector, image: np.ndarray, profile: Profile) -> dict:
    """Logits of one image uint8 (y, x, 3): float16 (view, level, y8, x8) and (view, y4, x4).

    The second view, with double evaluation, is the mirrored image, its maps not mirrored back.
    """
    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    views = [x, x.flip(-1)] if profile.double_evaluation else [x]
    with torch.inference_mode(), autocast(detector):
        # one after the other: on a processor faster than together
        levels = zip(*(detector(view) for view in views), strict=True)
        maps = [torch.cat(level).to(torch.float16).numpy() for level in levels]
    return {COARSE: np.stack(maps[:4], axis=1), FINE: maps[4]}


def view_probabilities(coarse: np.ndarray, fine: np.ndarray, profile: Profile) -> list:
    """Logits of one frame to probabilities float32 (level, y, x) of each view, the mirror image's
    mirrored back."""
    levels = [torch.from_numpy(coarse[:, k].astype(np.float32)) for k in range(4)]
    levels.append(torch.from_numpy(fine.astype(np.float32)))
    p = to_probabilities(levels, profile.image_size, profile.half_pixel)
    return [p[0], *(mirrored.flip(-1) for mirrored in p[1:])]


def probabilities(coarse: np.ndarray, fine: np.ndarray, profile: Profile) -> np.ndarray:
    """Logits of one frame to probabilities float32 (level, y, x).

    Double evaluation: the mean of the image's probabilities and its mirror image's, mirrored
    back. Where it averages scores, detections come from the image alone.
    """
    p, *mirrored = view_probabilities(coarse, fine, profile)
    if mirrored and profile.double_average == "probabilities":
        p = p.add_(mirrored[0]).div_(2)
    return p.numpy()


def pixel_scores(score, coarse: np.ndarray, fine: np.ndarray, profile: Profile) -> np.ndarray:
    """The score map (y, x) of one frame from its logits; `score` maps probabilities (level, y, x)
    to it. Double evaluation averages probabilities before, or score maps after (released)."""
    if profile.double_average == "probabilities":
        return score(probabilities(coarse, fine, profile))
    views = view_probabilities(coarse, fine, profile)
    return np.mean([score(view.numpy()) for view in views], axis=0)


def dropout_probabilities(detector, image: np.ndarray, profile: Profile, generator) -> np.ndarray:
    """Probabilities float32 (pass, level, y, x) of one image under MC dropout."""
    batch = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    with torch.inference_mode(), autocast(detector):
        maps = detector.dropout_passes(batch, profile.mc_passes, profile.mc_ratio, generator)
    # the passes are a batch of images to the resizing
    passes = [x[0] for x in maps]
    return to_probabilities(passes, profile.image_size, profile.half_pixel).numpy()


def detect(logits: dict, image_id: int, profile: Profile) -> list:
    """Detections of one frame as COCO results."""
    boxes, scores = decode(probabilities(logits[COARSE], logits[FINE], profile), profile)
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "bbox": [round(float(v), 2) for v in box],
            "score": round(float(score), 6),
        }
        for box, score in zip(boxes, scores, strict=True)
    ]


def detect_all(detector: Detector, frames: FrameSet, profile: Profile, progress) -> list:
    """Detections of all frames as COCO results; image ids count from 1."""
    found = []
    for i in range(len(frames)):
        found += detect(predict(detector, frames.images(i), profile), i + 1, profile)
        progress(i + 1, len(frames))
    return found
