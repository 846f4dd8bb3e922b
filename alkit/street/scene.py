"""What stands in a street: facades, props, light, and what the camera makes of it."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from alkit.street import facades, textures
from alkit.street.props import CAR_COLORS, LEAVES, LENGTH, Prop
from alkit.street.world import Light, stream


class Look(NamedTuple):
    """What the camera does to a picture."""

    lines: int  # rows of the sensor: the drawing is never finer
    blur: float  # Gaussian, in rows of a 480-row image
    noise: float  # spread in gray levels
    quality: int  # of JPEG, 0 for none
    curve: np.ndarray | None  # uint8 (1, 256, 3): white balance, contrast, gamma


class Street(NamedTuple):
    """One scene, without its cars and people."""

    world: int
    domain: str
    ground: int
    half: float  # half the road's width, metres
    wall: float  # from the middle of the road to the facades
    facades: tuple  # of (side, which facade, z), farthest first
    props: tuple[Prop, ...]
    light: Light
    rain: bool
    look: Look
    skyline: int


def _light(rng, weather: str, source: bool) -> Light:
    if weather == "night":
        level = rng.uniform(0.3, 0.4)
        gain, lamps = (level * 1.1, level, level * 0.92), rng.uniform(0.45, 0.75)
        sky = (12, 13, 22), (34, 32, 38)
        return Light("night", gain, lamps, (1, 1), (26, 26, 32), 80.0, sky)
    if weather == "dusk":
        level = rng.uniform(0.44, 0.6)
        gain, sky = (level * 1.08, level * 0.98, level * 0.98), ((88, 98, 132), (186, 160, 150))
        return Light("dusk", gain, 0.15, (0.9, 0.8), (118, 112, 124), 110.0, sky)
    if weather == "rain" or (not source and rng.random() < 0.5):  # overcast
        rain = weather == "rain"
        level = rng.uniform(0.62, 0.8) if rain else rng.uniform(0.72, 0.9)
        gray = 150 if rain else 186
        gain, haze = (level, level, level * 1.03), (gray, gray, gray + 4)
        sky = (gray - 14, gray - 12, gray - 4), (gray + 20,) * 3
        return Light("day", gain, 0.0, (0.95, 0.95), haze, 60.0 if rain else 110.0, sky)
    sides = (1.08, 0.74) if rng.random() < 0.5 else (0.74, 1.08)
    deep = rng.uniform(0.8, 1.1)
    level = rng.uniform(0.9, 1.05)
    gain, sky = (level, level * 0.99, level * 0.96), (96 * deep, 146 * deep, 206 * deep)
    return Light("day", gain, 0.0, sides, (190, 204, 220), 220.0, (sky, (204, 220, 234)))


def _look(rng, domain: str, weather: str) -> Look:
    if domain == "source":
        return Look(4096, 0.0, rng.uniform(1.2, 2.4), 0, None)
    cast = np.array([(0.9, 1.0, 1.1), (1.08, 1.0, 0.86), (0.94, 1.06, 0.94)][rng.integers(3)])
    balance = 1 + (cast - 1) * rng.uniform(0.3, 0.9)
    contrast, gamma = rng.uniform(0.66, 0.88), rng.uniform(0.9, 1.15)
    black, blur, noise = rng.uniform(0.04, 0.12), rng.uniform(0.7, 1.3), rng.uniform(2, 4.5)
    middle = 0.5
    if weather == "night":
        contrast, gamma, middle, noise = contrast + 0.25, 0.8, 0.25, noise * 1.6
    if weather == "rain":
        blur += 0.4
    gray = np.arange(256, dtype=np.float64)[:, None] / 255
    curve = ((gray**gamma - middle) * contrast + middle + black * (1 - contrast)) * balance
    curve = np.clip(curve * 255, 0, 255).astype(np.uint8)[None]
    return Look(360, blur, noise, int(rng.integers(30, 62)), curve)


def _facades(rng, world, domain, length):
    """Rows of buildings on both sides, with gaps."""
    rows = []
    for side in (-1, 1):
        z = -rng.uniform(5, 15)
        while z < length + 115:
            which = int(rng.integers(facades.FACADES))
            rows.append((side, which, z))
            z += facades.facade_width(world, domain, which)
            if rng.random() < 0.12:
                z += rng.uniform(5, 9)
    return tuple(sorted(rows, key=lambda row: -row[2]))


def furniture(world: int, domain: str, number: int, length: float) -> tuple[Prop, ...]:
    """The lamps, signs, trees, boards, bins and bollards along both kerbs of scene `number`."""
    rng, (half, _) = stream(world, domain, "props", number), shape(world, domain, number)
    props = []
    for side in (-1, 1):
        z, trees = rng.uniform(2, 12), rng.random() < 0.5
        while z < length + 80:
            edge = side * (half + rng.uniform(0.35, 0.55))
            roll = rng.random()
            if roll < 0.3:
                high = round(rng.uniform(5, 7), 1)
                props.append(Prop("lamp", edge, z, high, (0.0, 0.0, 0.0), 0))
            elif roll < 0.64 and trees:
                size, crown = rng.uniform(0.75, 1.25), int(rng.integers(textures.CROWNS))
                props.append(Prop("tree", edge, z, size, LEAVES[rng.integers(len(LEAVES))], crown))
            elif roll < 0.84:
                paint = tuple(rng.uniform(40, 170, 3).tolist())
                size = round(rng.uniform(2.1, 2.5), 1)
                props.append(Prop("sign", edge, z, size, paint, int(rng.integers(4))))
            elif roll < 0.92:
                paint = tuple(rng.uniform(60, 220, 3).tolist())
                props.append(Prop("board", side * (half + 0.9), z, 1.0, paint, 0))
            else:
                kind = "bin" if roll < 0.96 else "bollard"
                props.append(Prop(kind, edge, z, 1.0, (70.0, 78.0, 74.0), 0))
            z += rng.uniform(4, 12)
    return tuple(props)


def parked(world: int, domain: str, number: int, length: float, camera_x: float) -> list[Prop]:
    """The cars along both kerbs of scene `number`; none stands in the camera's way."""
    rng = stream(world, domain, "cars", number)
    half, _ = shape(world, domain, number)
    cars = []
    for side in (-1, 1):
        z, density = rng.uniform(-6, 8), rng.uniform(0.15, 0.7)
        while z < length + 70:
            style = 0 if rng.random() < 0.5 else (1 if rng.random() < 0.76 else 2)
            x = side * (half - rng.uniform(0.98, 1.2))
            taken, color = rng.random() < density, CAR_COLORS[rng.integers(len(CAR_COLORS))]
            if taken and not (abs(x - camera_x) < 2.2 and z < length + 12):
                cars.append(Prop("car", x, z, 1.0, color, style))
            z += LENGTH[style] + rng.uniform(0.7, 3.0)
    return cars


def shape(world: int, domain: str, number: int) -> tuple[float, float]:
    """Half the road's width, and from the middle of the road to the facades, metres."""
    ground = int(stream(world, domain, "scene", number).integers(textures.GROUNDS))
    half, pavement = textures.ground_shape(world, domain, ground)
    return half, half + pavement


@lru_cache(maxsize=512)
def street(world: int, domain: str, number: int, length: float, weather: str) -> Street:
    """Scene `number` of a domain: a street that a camera follows for `length` metres.

    `weather` is "day", "dusk", "night" or "rain".
    """
    rng = stream(world, domain, "scene", number)
    ground = int(rng.integers(textures.GROUNDS))
    fronts, props = _facades(rng, world, domain, length), furniture(world, domain, number, length)
    light, rain = _light(rng, weather, domain == "source"), weather == "rain"
    look, skyline = _look(rng, domain, weather), int(rng.integers(textures.SKYLINES))
    space = shape(world, domain, number)  # `half` and `wall`
    return Street(world, domain, ground, *space, fronts, props, light, rain, look, skyline)
