"""The detector over many frames: logits of each view, probabilities, detections (steps 1 and 7),
and score maps of stored logits (step 2)."""

from functools import cache

import numpy as np
import torch

from alkit.arrays import to_numpy
from alkit.boxes import decode
from alkit.detector import Detector, autocast, logit_shapes, to_probabilities
from alkit.frames import FrameSet
from alkit.profiles import Profile
from alkit.threads import in_threads, made_ahead

GPU_BATCH = 16  # frames in one pass; results do not depend on it
COARSE, FINE = "logits_stride8", "logits_stride4"  # Θ¹ … Θ⁴, and Θ⁵
FEATURES = "features"


@cache
def logit_arrays(profile: Profile) -> dict:
    """Names, dimensions, shapes and types of what `predict` gives for a frame."""
    coarse, *_, fine = logit_shapes(profile.image_size)
    views = 2 if profile.double_evaluation else 1
    with torch.device("meta"):
        channels = Detector(profile.width).dec1[0].in_channels
    return {
        COARSE: (("view", "level", "y8", "x8"), (views, 4, *coarse), np.float16),
        FINE: (("view", "y4", "x4"), (views, *fine), np.float16),
        FEATURES: (("channel",), (channels,), np.float32),
    }


def predict(detector: Detector, image: np.ndarray, profile: Profile) -> dict:
    """Of one image uint8 (y, x, 3) the logits, float16 (view, level, y8, x8) and (view, y4, x4),
    and features float32 (channel,), the mean of f42 over its pixels and the views.

    The second view, with double evaluation, is the mirrored image, its maps not mirrored back. This
    is what step 1 stores; `predict_probabilities` gives what it means. Raises ValueError for an
    image that is not uint8 or not of the profile's size.
    """
    (maps,) = predict_batch(detector, uploaded(np.asarray(image)[None], detector.device), profile)
    return maps


def predict_probabilities(detector: Detector, image: np.ndarray, profile: Profile) -> np.ndarray:
    """How probable a pedestrian is at every pixel of one image uint8 (y, x, 3), for each of the
    five default boxes: float32 (level, y, x), the same bits whatever the number of torch's threads.
    Raises as `predict`."""
    (logits,) = in_threads(lambda image: predict(detector, image, profile), [image], 1)
    return probabilities(logits[COARSE], logits[FINE], profile)


def uploaded(images: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).to(device)


def _channels_first(images: torch.Tensor, profile: Profile) -> torch.Tensor:
    """Images (n, y, x, 3) as (n, 3, y, x). Raises as `predict`."""
    size, found = (*profile.image_size, 3), tuple(images.shape[1:])
    if images.dtype != torch.uint8 or found != size:
        raise ValueError(
            f"expected an image uint8 {size}, the profile's size; got {images.dtype} {found}. Open "
            "the frames at that size, or give `profile.at(size)`"
        )
    return images.permute(0, 3, 1, 2)


def predict_batch(detector: Detector, images: torch.Tensor, profile: Profile) -> list[dict]:
    """The same for several images uint8 (n, y, x, 3), whatever number of them: one dict each."""
    x = _channels_first(images, profile)
    views = [x, x.flip(-1)] if profile.double_evaluation else [x]
    with torch.inference_mode(), autocast(detector):
        # one after the other: on a processor faster than together
        found = [detector.features(view) for view in views]
        mean = torch.stack([own[0].float().mean((2, 3)) for own in found]).mean(0).cpu().numpy()
        levels = zip(*([detector.logits(x)[:, 0] for x in own[1:]] for own in found), strict=True)
        levels = [torch.stack(level, 1).to(torch.float16) for level in levels]  # (n, view, y, x)
    maps = [level.cpu().numpy() for level in levels]
    coarse, fine = np.stack(maps[:4], axis=2), maps[4]
    arrays = zip(coarse, fine, mean, strict=True)
    return [dict(zip((COARSE, FINE, FEATURES), own, strict=True)) for own in arrays]


def predict_all(detector: Detector, frames: FrameSet, positions, profile: Profile, use):
    """use(position, maps) of the frames at the positions, in that order; threads do it. The maps
    are what `predict` gives.

    On a processor each has a frame, from the image to what `use` gives; a GPU gets batches. Images
    are read in order, because a video's later frames take its earlier ones.
    """
    if detector.device.type == "cpu":
        images = ((position, frames.images(position)) for position in positions)
        return in_threads(lambda one: use(one[0], predict(detector, one[1], profile)), images)
    maps = in_batches(detector, frames, positions, profile, GPU_BATCH)
    return in_threads(lambda one: use(*one), maps)


def in_batches(detector, frames: FrameSet, positions, profile: Profile, size: int):
    """(position, maps) of each frame, by batches of `size`; a thread reads and uploads the next."""

    def read(batch):
        images = np.stack([frames.images(position) for position in batch])
        return batch, uploaded(images, detector.device)

    batches = [positions[start : start + size] for start in range(0, len(positions), size)]
    for batch, images in made_ahead(read, batches):
        yield from zip(batch, predict_batch(detector, images, profile), strict=True)


def _views(coarse, fine, profile: Profile, on="cpu") -> list:
    """Stored logits of one frame to probabilities float32 (level, y, x), torch tensors on the
    device `on`: of the image, and of its mirror image, mirrored back; the mean of the two alone
    where double evaluation averages probabilities."""
    levels = [*np.moveaxis(coarse, 1, 0), fine]  # (view, y, x) each
    levels = [torch.from_numpy(np.ascontiguousarray(level)).to(on) for level in levels]
    image, *mirrored = to_probabilities(levels, profile.image_size, profile.half_pixel)
    mirrored = [view.flip(-1) for view in mirrored]
    if mirrored and profile.double_average == "probabilities":
        return [image.add_(mirrored[0]).div_(2)]
    return [image, *mirrored]


def probabilities(coarse: np.ndarray, fine: np.ndarray, profile: Profile) -> np.ndarray:
    """Logits of one frame to probabilities float32 (level, y, x).

    Double evaluation: the mean of the image's probabilities and its mirror image's, mirrored
    back. Where it averages scores, detections come from the image alone.
    """
    return _views(coarse, fine, profile)[0].numpy()


def pixel_scores(
    score, coarse: np.ndarray, fine: np.ndarray, profile: Profile, on="cpu"
) -> np.ndarray:
    """The score map (y, x) of one frame from its logits, computed on the device `on`; `score` maps
    probabilities, a torch tensor (level, y, x), to it. Double evaluation averages probabilities
    before, or score maps after (released)."""
    maps = [to_numpy(score(view)) for view in _views(coarse, fine, profile, on)]
    return np.mean(maps, axis=0)


def dropout_probabilities(detector, image: np.ndarray, profile: Profile, generator):
    """Probabilities float32 (pass, level, y, x) of one image under MC dropout, a torch tensor on
    the detector's device. `generator` is the processor's."""
    x = _channels_first(uploaded(image[None], detector.device), profile)
    with torch.inference_mode(), autocast(detector):
        maps = detector.dropout_passes(x, profile.mc_passes, profile.mc_ratio, generator)
        # the passes are a batch of images to the resizing
        passes = [level[0] for level in maps]
        return to_probabilities(passes, profile.image_size, profile.half_pixel)


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
    found, everyone = [], range(len(frames))
    each = predict_all(detector, frames, everyone, profile, lambda i, m: detect(m, i + 1, profile))
    for i, own in enumerate(each):
        found += own
        progress(i + 1, len(frames))
    return found
