"""Batches to train on: images with their label maps."""

import functools

import numpy as np
import torch

from alkit.boxes import at_cells, targets
from alkit.data.augmentation import augmented, cropped
from alkit.frames import FrameSet
from alkit.profiles import Profile
from alkit.threads import made_ahead

IMAGE_CACHE_BYTES = 1 << 30  # decoded training images kept in memory


class Samples:
    """Batches of images, label maps and pixel counts, made ahead; images that fit are kept."""

    def __init__(self, frames: FrameSet, profile: Profile):
        self.frames, self.profile = frames, profile
        height, width = profile.image_size
        kept = IMAGE_CACHE_BYTES // (height * width * 3)
        self.image = functools.lru_cache(kept)(frames.images)

    def batch(self, chosen, generators) -> tuple:
        """Images uint8 (n, 3, y, x), five label maps int8 (n, y, x), and the numbers of pixels
        (n, level, 3) whose label is −1, 0 and 1; each image has a generator."""
        images, maps = [], []
        for i, rng in zip(chosen, generators, strict=True):
            image, boxes = self.image(int(i)), self.frames.boxes[int(i)]
            image, boxes = augmented(image, boxes, self.profile.augmentation, rng)
            if self.profile.crop is not None:
                image, boxes = cropped(image, boxes, self.profile.crop, rng)
            images.append(image)
            maps.append(targets(boxes, self.profile, image.shape[:2]))
        stacked = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2))
        pixels = np.array(
            [[[np.count_nonzero(m == v) for v in (-1, 0, 1)] for m in own] for own in maps]
        )
        cells = zip(*(at_cells(own, self.profile.half_pixel) for own in maps), strict=True)
        labels = [torch.from_numpy(np.stack(level)) for level in cells]
        return stacked, labels, torch.from_numpy(pixels)

    def epoch(self, rng, batches: int | None = None):
        """All frames once in random order, or so many batches of them."""
        order, generators = rng.permutation(len(self.frames)), rng.spawn(len(self.frames))
        size = self.profile.batch_size
        starts = range(0, len(order), size)[:batches]
        parts = [slice(start, start + size) for start in starts]
        return made_ahead(lambda part: self.batch(order[part], generators[part]), parts)
