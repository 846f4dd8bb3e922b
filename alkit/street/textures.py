"""Ground, sky line, clouds, foliage, cloth, noise: drawn once for a world and domain."""

from functools import lru_cache

import cv2
import numpy as np

from alkit.street.world import stream

GROUNDS, SKYLINES, CROWNS = 8, 4, 6  # how many of each a domain has
GROUND_DENSITY, GROUND_HALF, GROUND_PERIOD = 32, 14.0, 12.0  # pixels a metre; metres
NOISE_SPREAD = 32.0  # gray levels, of the noise tile


def smooth_noise(rng, height: int, width: int, cell: float) -> np.ndarray:
    """Noise of mean 0 and about unit spread, smooth over `cell` pixels, float32 (y, x)."""
    grid = (max(2, int(height / cell) + 2), max(2, int(width / cell) + 2))
    coarse = rng.standard_normal(grid, np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def grain(rng, image, fine, coarse):
    """Adds fine grain and large stains to a texture in place."""
    height, width = image.shape[:2]
    noise = smooth_noise(rng, height, width, 2) * fine
    noise += smooth_noise(rng, height, width, 60) * coarse
    image[:] = np.clip(image + noise[..., None], 0, 255).astype(np.uint8)


def pyramid(image, levels):
    """The image and its halvings, so that the distance neither flickers nor costs."""
    pyramid = [image]
    for _ in range(levels - 1):
        height, width = pyramid[-1].shape[:2]
        half = (max(1, width // 2), max(1, height // 2))
        pyramid.append(cv2.resize(pyramid[-1], half, interpolation=cv2.INTER_AREA))
    return tuple(pyramid)


@lru_cache(maxsize=256)
def ground_shape(world: int, domain: str, which: int) -> tuple[float, float]:
    """Half the road's width and the pavement's width, metres."""
    rng = stream(world, domain, "ground", which)
    return rng.uniform(4.3, 6.4), rng.uniform(2.4, 4.2)


@lru_cache(maxsize=128)
def ground(world: int, domain: str, which: int, wet: bool) -> tuple[np.ndarray, ...]:
    """One period of road and pavement from above, uint8 (z, x, 3), and its halvings."""
    rng, (half, _) = stream(world, domain, "ground", which), ground_shape(world, domain, which)
    rng.random(2)  # the two numbers of the shape
    shape = (round(GROUND_PERIOD * GROUND_DENSITY), round(2 * GROUND_HALF * GROUND_DENSITY), 3)
    level = rng.uniform(84, 122) * (0.62 if wet else 1)
    image = np.empty(shape, np.uint8)
    image[:] = (level, level, level * 1.03)

    def strip(left, right, color, z=0.0, depth=GROUND_PERIOD):
        columns = slice(*(round((x + GROUND_HALF) * GROUND_DENSITY) for x in (left, right)))
        rows = slice(*(round(v * GROUND_DENSITY) for v in (z, z + depth)))
        image[rows, columns] = color

    for _ in range(5):  # patches of newer asphalt
        x, z = rng.uniform(-half, half - 1.5), rng.uniform(0, GROUND_PERIOD - 3)
        strip(x, x + rng.uniform(0.6, 1.5), level * rng.uniform(0.85, 1.1), z, rng.uniform(1, 3))
    for x in rng.uniform(-half, half, 3):  # wheel tracks and seams
        strip(x, x + 0.06, level * 0.8)
    white = 214 if not wet else 160
    for z in (0.0, 6.0):
        strip(-0.07, 0.07, white, z, 3.0)
    if rng.random() < 0.6:
        for side in (-1, 1):
            strip(side * (half - 2.1) - 0.05, side * (half - 2.1) + 0.05, white)
    slab = rng.uniform(126, 176) * (0.6 if wet else 1)
    warm = np.clip(slab * np.array([1.02, 1.0, 0.95]) + rng.normal(0, 5, 3), 0, 255)
    for side in (-1, 1):
        near, far = sorted((side * half, side * GROUND_HALF))
        strip(near, far, warm)
        joint = rng.uniform(0.5, 1.0)
        for z in np.arange(0, GROUND_PERIOD, GROUND_PERIOD / round(GROUND_PERIOD / joint)):
            strip(near, far, warm * 0.84, float(z), 0.04)
        for x in np.arange(near, far, joint):
            strip(x, x + 0.04, warm * 0.86)
        strip(*sorted((side * half, side * (half + 0.22))), np.clip(warm * 1.16, 0, 255))  # kerb
        strip(*sorted((side * (half - 0.12), side * half)), level * 0.62)  # gutter
    grain(rng, image, 6, 5)
    return pyramid(image, 4)


@lru_cache(maxsize=64)
def skyline(world: int, domain: str, which: int) -> np.ndarray:
    """Heights of what closes the view, metres, at every 2 m of 240."""
    rng = stream(world, domain, "skyline", which)
    heights = np.repeat(rng.uniform(4, 17, 24), rng.integers(2, 9, 24))[:120]
    return np.resize(heights, 120) + rng.uniform(0, 0.6, 120) * (rng.random(120) < 0.4)


@lru_cache(maxsize=64)
def clouds(world: int, domain: str, which: int) -> np.ndarray:
    """What clouds add to the sky, uint8 (256, 512, 3)."""
    rng = stream(world, domain, "skyline", which, 1)
    puffs = smooth_noise(rng, 256, 512, 60) + 0.5 * smooth_noise(rng, 256, 512, 24)
    puffs += 0.25 * smooth_noise(rng, 256, 512, 9)
    light = np.clip(puffs * 26 * rng.uniform(0.4, 1.2), 0, 60).astype(np.uint8)
    return np.repeat(light[..., None], 3, 2)


@lru_cache(maxsize=64)
def crown(world: int, domain: str, which: int) -> np.ndarray:
    """Foliage as uint8 (128, 128, 4): light (3 equal channels) times alpha, and alpha."""
    rng = stream(world, domain, "crown", which)
    y, x = (np.mgrid[:128, :128].astype(np.float32) - 63.5) / 64
    blob = 0.8 - np.hypot(x, y * rng.uniform(0.95, 1.15))
    leaf = blob + 0.12 * smooth_noise(rng, 128, 128, 22) + 0.09 * smooth_noise(rng, 128, 128, 5)
    alpha = np.clip(leaf * 9, 0, 1)
    light = 0.62 - 0.28 * y - 0.1 * x + 0.13 * smooth_noise(rng, 128, 128, 9)
    light += 0.1 * smooth_noise(rng, 128, 128, 3)
    light = np.clip(light, 0.12, 1.0)
    layers = np.stack([light * alpha] * 3 + [alpha], -1)
    return np.round(layers * 255).astype(np.uint8)


@lru_cache(maxsize=16)
def cloth(world: int, domain: str) -> np.ndarray:
    """Folds and shade on figures, uint8 (512, 512, 4): 128 leaves a color as it is."""
    rng = stream(world, domain, "cloth")
    folds = smooth_noise(rng, 512, 512, 50) * 9 + smooth_noise(rng, 512, 512, 14) * 5
    folds += smooth_noise(rng, 512, 512, 3) * 2.5
    level = np.clip(126 + folds, 60, 190).astype(np.uint8)
    return np.dstack([level, level, level, np.full_like(level, 128)])


@lru_cache(maxsize=16)
def noise(world: int, domain: str) -> np.ndarray:
    """Sensor noise around 128, uint8 (1024, 1024, 3), a little correlated."""
    rng = stream(world, domain, "noise")
    raw = rng.standard_normal((1024, 1024, 3), np.float32)
    raw = raw * 0.8 + raw.mean(2, keepdims=True)
    raw = cv2.GaussianBlur(raw, (3, 3), 0.6)
    return np.clip(128 + raw * (NOISE_SPREAD / raw.std()), 0, 255).astype(np.uint8)
