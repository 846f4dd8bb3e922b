"""Random changes of training images: flips, the authors' twelve operations, crops.

Images are uint8 RGB **(y, x, 3)**; boxes follow. Everything is drawn from the generator given.
"""

from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from alkit.frames import PAD_GRAY, Boxes

BLUR = 1 / 3  # σ of the 3×3 Gaussian, in pixels
ZOOM = 1.25  # the largest scale of an image, and one over the smallest
AUGMENTED = 0.6  # the share of images that one of the twelve operations changes


def augmented(image: np.ndarray, boxes: Boxes, how: str, rng: np.random.Generator):
    """The image and its boxes after a random change. "flip" mirrors half of the images. "twelve"
    gives 60 % of them one of twelve operations, as the released code does in retraining: four are
    the mirror, eight change the pixels and leave the boxes. (The code draws the two factors of
    brightness and saturation once a run; here every image has its own.) "varied" mirrors half,
    and changes scale, place and light of all."""
    if how in ("flip", "varied") and rng.random() < 0.5:
        image, boxes = image[:, ::-1], mirrored(boxes, image.shape[1])
    if how == "varied":
        return relit(*rescaled(image, boxes, rng), rng)
    if how != "twelve" or rng.random() >= AUGMENTED:
        return image, boxes
    k = int(rng.integers(12))
    if k >= len(PHOTOMETRIC):
        return image[:, ::-1], mirrored(boxes, image.shape[1])
    return PHOTOMETRIC[k](image, rng), boxes


def mirrored(boxes: Boxes, width: int) -> Boxes:
    """The boxes of the horizontally mirrored image of `width` pixels."""

    def flip(ltwh):
        flipped = ltwh.copy()
        flipped[:, 0] = width - ltwh[:, 0] - ltwh[:, 2]
        return flipped

    return replace(boxes, ltwh=flip(boxes.ltwh), visible=flip(boxes.visible))


def rescaled(image: np.ndarray, boxes: Boxes, rng: np.random.Generator):
    """The image at 0.8 to 1.25 of its scale, evenly in the logarithm, at a random place: a part of
    it, or all of it amid gray. A box that is less than half inside is ignored."""
    size = np.array(image.shape[1::-1])  # (x, y)
    factor = np.exp(rng.uniform(np.log(1 / ZOOM), np.log(ZOOM)))
    move = rng.random(2) * size * (1 - factor)
    matrix = np.array([[factor, 0, move[0]], [0, factor, move[1]]])
    centers = matrix + [[0, 0, (factor - 1) / 2]]  # OpenCV counts from the middle of a pixel
    image = cv2.warpAffine(image, centers, size.tolist(), borderValue=(PAD_GRAY,) * 3)
    ltwh, visible = (each * factor + [*move, 0, 0] for each in (boxes.ltwh, boxes.visible))
    inside = (ltwh[:, :2] + ltwh[:, 2:]).clip(0, size) - ltwh[:, :2].clip(0, size)
    share = inside.prod(1) / ltwh[:, 2:].prod(1)
    boxes = replace(boxes, ltwh=ltwh, visible=visible, ignore=boxes.ignore | (share < 0.5))
    return image, boxes.take(share > 0)


def relit(image: np.ndarray, boxes: Boxes, rng: np.random.Generator):
    """The image with its contrast, brightness and the balance of its colors changed."""
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)
    mean = image.mean()
    return as_bytes((image - mean) * gain + mean * rng.uniform(0.7, 1.3)), boxes


def sharpened(image, rng):
    """Twice the image less its blurred self."""
    fine = image.astype(np.float32)
    return as_bytes(2 * fine - cv2.GaussianBlur(fine, (3, 3), BLUR))


def blurred(image, rng):
    return cv2.GaussianBlur(image, (3, 3), BLUR)


def motion_blurred(image, rng):
    """The mean along a line of five pixels in a random direction."""
    angle, reach = np.deg2rad(rng.integers(180)), np.linspace(-2, 2, 9)
    kernel = np.zeros((5, 5), np.float32)
    scale = max(abs(np.sin(angle)), abs(np.cos(angle)))  # the line ends at the border of 5×5
    rows = np.rint(2 - reach * np.sin(angle) / scale).astype(int)
    kernel[rows, np.rint(2 + reach * np.cos(angle) / scale).astype(int)] = 1
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def dropped(image, rng):
    """7 % of the pixels are black."""
    return image * (rng.random((*image.shape[:2], 1)) >= 0.07)


def noisy(image, rng):
    """Gaussian noise of one gray level, the same in the three colors."""
    return as_bytes(np.rint(image + rng.normal(0, 1, (*image.shape[:2], 1))))


def scaled(image, rng, channel: int, low: float, high: float):
    """The saturation (channel 1) or value (2) in HSV times a factor between low and high."""
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., channel] = (hsv[..., channel] * rng.uniform(low, high)).clip(0, 1)
    return as_bytes(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255)


darker = partial(scaled, channel=2, low=0.7, high=1.05)
paler = partial(scaled, channel=1, low=0.9, high=1.1)


def picked(image, rng):
    """10 % of the pixels take the place of one at most a pixel up and left of them."""
    where = np.indices(image.shape[:2])
    where -= rng.integers(2, size=where.shape) * (rng.random(image.shape[:2]) < 0.1)
    return image[tuple(where.clip(0))]


PHOTOMETRIC = (sharpened, blurred, motion_blurred, dropped, noisy, darker, paler, picked)


def as_bytes(image):
    return image.clip(0, 255).astype(np.uint8)


def cropped(image: np.ndarray, boxes: Boxes, size, rng: np.random.Generator):
    """A random part of the image, (height, width) pixels, and its boxes (released code): anywhere
    if there is no pedestrian, else one that begins left of and above one of them, or as near to
    that as the image allows. Pedestrians that begin left of or above the part are dropped."""
    room = np.array(image.shape[:2]) - size  # (y, x)
    if (room < 0).any():
        raise ValueError(
            f"crop is {tuple(size)}, but the image has {image.shape[:2]} pixels (height, width); "
            "choose a smaller crop, or a larger image_size"
        )
    real = np.flatnonzero(~boxes.ignore)
    last = boxes.ltwh[rng.choice(real), 1::-1].clip(0) if len(real) else room
    y, x = np.minimum(rng.integers(last.astype(int) + 1), room)
    move = (-x, -y, 0, 0)
    part = replace(boxes, ltwh=boxes.ltwh + move, visible=boxes.visible + move)
    begins = part.ignore | (part.ltwh[:, :2] >= 0).all(1)
    return image[y : y + size[0], x : x + size[1]], part.take(begins)
