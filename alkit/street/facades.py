"""Fronts of houses: windows, doors, shops with mannequins behind glass, posters."""

from functools import lru_cache

import cv2
import numpy as np

from alkit.street.textures import grain, pyramid
from alkit.street.world import colors, stream

FACADES = 24  # how many a domain has
DENSITY = 40  # pixels a metre
STOREY = 3.2  # metres
WALLS = {
    "bright": colors("ceba98 bc785c ded6c8 aaa49c cca880 a05442 e8e2ce"),
    "muted": colors("88827c 7a5c50 9e9688 68686c 8e7462 60544e aaa6a0"),
}


class _Wall:
    """A facade's canvas in metres, y up."""

    def __init__(self, image):
        self.image, self.height = image, image.shape[0] / DENSITY

    def _px(self, x, y):
        return round(x * DENSITY), round((self.height - y) * DENSITY)

    def box(self, x, y, width, height, color, edge=None):
        low, high = self._px(x, y + height), self._px(x + width, y)
        cv2.rectangle(self.image, low, (high[0] - 1, high[1] - 1), color, -1)
        if edge is not None:
            cv2.rectangle(self.image, low, high, edge, 2)

    def shape(self, points, color):
        flat = np.array([self._px(x, y) for x, y in points], np.int32)
        cv2.fillPoly(self.image, [flat], color, cv2.LINE_AA)


def _tint(color, factor):
    return tuple(float(min(255, c * factor)) for c in color)


def _glass(rng, night):
    """The color of a window and of its upper reflection."""
    if night:
        if rng.random() < 0.3:
            warm = np.array([250, 206, 130]) * rng.uniform(0.5, 0.95)
            return tuple(warm.tolist()), tuple((warm * 0.9).tolist())
        return (16, 18, 26), (24, 26, 34)
    level = rng.uniform(36, 84)
    sky = level + rng.uniform(20, 60)
    return (level, level * 1.06, level * 1.14), (sky, sky * 1.05, sky * 1.12)


def _window(rng, wall, x, y, width, height, frame, night):
    glass, reflection = _glass(rng, night)
    wall.box(x - 0.07, y - 0.07, width + 0.14, height + 0.14, frame)
    wall.box(x, y, width, height, glass)
    slant, right, top = rng.uniform(0.2, 0.7) * height, x + width, y + height
    bright = [(x, top), (right, top), (right, y + slant), (x, y + slant * 0.6)]
    wall.shape(bright, reflection)
    if rng.random() < 0.5:  # curtains
        curtain = _tint(reflection, 1.25) if night else (208, 202, 192)
        for left in (x, x + width * 0.78):
            wall.box(left, y, width * 0.22, height, curtain)
    wall.box(x + width / 2 - 0.03, y, 0.06, height, frame)
    wall.box(x, y + height * 0.62, width, 0.06, frame)
    wall.box(x - 0.12, y - 0.16, width + 0.24, 0.1, _tint(frame, 0.8))


def _mannequin(rng, wall, x, night):
    """A pale headless figure on a rod behind glass."""
    pale = (196, 182, 164) if not night else (210, 186, 140)
    dress = tuple(float(c) for c in rng.uniform(50, 210, 3))
    wall.box(x - 0.02, 0.5, 0.04, 0.5, (120, 120, 120))
    wall.box(x - 0.17, 0.46, 0.34, 0.05, (120, 120, 120))
    wall.shape([(x - 0.2, 1.78), (x + 0.2, 1.78), (x + 0.13, 1.4), (x - 0.13, 1.4)], dress)
    wall.shape([(x - 0.13, 1.4), (x + 0.13, 1.4), (x + 0.24, 0.86), (x - 0.24, 0.86)], dress)
    wall.box(x - 0.05, 1.78, 0.1, 0.14, pale)


def _poster(rng, wall, x, y, width, height):
    ground = tuple(float(c) for c in rng.uniform(90, 240, 3))
    coat = tuple(float(c) for c in rng.uniform(20, 200, 3))
    wall.box(x, y, width, height, ground, (60, 60, 60))
    middle, head = x + width / 2, y + height * 0.62
    foot, shoulder, high = width * 0.4, width * 0.3, y + height * 0.38
    left, right = [(middle - foot, y), (middle - shoulder, high)], [(middle + shoulder, high)]
    wall.shape([*left, *right, (middle + foot, y)], coat)
    radius = round(width * 0.2 * DENSITY)
    cv2.circle(wall.image, wall._px(middle, head), radius, (216, 176, 146), -1, cv2.LINE_AA)
    wall.box(x + width * 0.1, y + height * 0.88, width * 0.8, height * 0.06, coat)


def _shop(rng, wall, width, night):
    """A ground floor of shop windows, some with mannequins behind them."""
    board = tuple(float(c) for c in rng.uniform(20, 200, 3) * (0.35 if night else 1))
    wall.box(0, 0, width, STOREY, _tint(board, 0.6))
    wall.box(0, 2.65, width, 0.5, board)
    letter, x = (236, 230, 210) if sum(board) < 380 else (40, 36, 36), 0.8
    while x < width - 1.2 and x < 5:
        size = rng.uniform(0.16, 0.3)
        wall.box(x, 2.78, size, 0.24, letter)
        x += size + 0.1
    x, door = 0.3, rng.integers(0, 3)
    while x < width - 1.6:
        pane = min(rng.uniform(1.5, 2.4), width - 0.2 - x)
        lit = night and rng.random() < 0.6
        glass = (226, 190, 128) if lit else ((26, 28, 34) if night else (64, 70, 76))
        wall.box(x, 0.12 if door == 0 else 0.42, pane, 2.4 if door == 0 else 2.1, glass)
        if door == 0:
            wall.box(x + pane / 2 - 0.03, 0.12, 0.06, 2.4, _tint(board, 0.5))
        elif rng.random() < 0.45:
            _mannequin(rng, wall, x + pane * rng.uniform(0.3, 0.7), lit)
        elif rng.random() < 0.5:
            _poster(rng, wall, x + 0.2, 0.8, 0.8, 1.15)
        streak = _tint(glass, 1.35 if not lit else 1.05)
        wall.shape([(x, 2.5), (x + 0.5, 2.5), (x + 0.1, 1.6), (x, 1.5)], streak)
        x += pane + 0.18
        door -= 1
    if rng.random() < 0.5:  # an awning
        cloth = np.array(rng.uniform(60, 230, 3)) * (0.3 if night else 1)
        for k, left in enumerate(np.arange(0.2, width - 0.4, 0.45)):
            color = tuple(cloth.tolist()) if k % 2 else ((70, 68, 66) if night else (226, 222, 214))
            wall.box(float(left), 2.3, 0.45, 0.5, color)


def _house(rng, wall, width, frame, night):
    wall.box(0, 0, width, 0.5, (70, 66, 62) if not night else (20, 20, 22))
    door = rng.uniform(0.6, width - 2.0)
    color = tuple(float(c) for c in rng.uniform(30, 130, 3) * (0.3 if night else 1))
    wall.box(door - 0.12, 0, 1.34, 2.5, frame)
    wall.box(door, 0, 1.1, 2.35, color)
    wall.box(door + 0.15, 1.3, 0.8, 0.8, _tint(color, 0.7))
    x = 0.7
    while x < width - 1.5:
        if x + 1.2 < door - 0.2 or x > door + 1.3:
            _window(rng, wall, x, 1.0, 1.1, 1.5, frame, night)
        x += 1.9
    if rng.random() < 0.35:
        _poster(rng, wall, min(door + 1.5, width - 1.2), 0.75, 0.9, 1.3)


def _storeys(rng) -> tuple[int, float]:
    return int(rng.integers(2, 6)), round(rng.uniform(7, 15) * 5) / 5


@lru_cache(maxsize=1024)
def facade_width(world: int, domain: str, which: int) -> float:
    """Metres of street that a facade takes."""
    return _storeys(stream(world, domain, "facade", which))[1]


@lru_cache(maxsize=256)
def facade(world: int, domain: str, which: int, night: bool) -> tuple[np.ndarray, ...]:
    """A building's front, uint8 (y, x, 3), top row first, at full size and halved three times."""
    rng = stream(world, domain, "facade", which)
    storeys, width = _storeys(rng)
    height = STOREY * storeys + rng.uniform(0.5, 1.4)
    walls = WALLS["bright" if domain == "source" else "muted"]
    base = np.array(walls[rng.integers(len(walls))]) + rng.normal(0, 10, 3)
    base = base * (0.16, 0.16, 0.2) if night else base
    shape = (round(height * DENSITY / 8) * 8, round(width * DENSITY), 3)
    image = np.empty(shape, np.uint8)
    image[:] = np.clip(base, 8, 245)
    if rng.random() < 0.4:  # courses of brick
        for y in range(0, shape[0], 6):
            image[y] = np.clip(base * 0.86, 0, 255)
    grain(rng, image, 5 if not night else 2, 9 if not night else 3)
    wall = _Wall(image)
    trim = np.clip(base * rng.choice([0.6, 1.25]), 0, 250)
    frame = tuple(trim.tolist())
    opening, tall = rng.uniform(0.9, 1.5), rng.uniform(1.3, 1.9)
    pitch = opening + rng.uniform(0.7, 1.4)
    columns = max(1, int((width - 0.6) / pitch))
    margin = (width - columns * pitch + pitch - opening) / 2
    for storey in range(1, storeys):
        bottom = storey * STOREY + 0.75
        if rng.random() < 0.3:
            wall.box(0, storey * STOREY - 0.05, width, 0.16, frame)
        for column in range(columns):
            _window(rng, wall, margin + column * pitch, bottom, opening, tall, frame, night)
    wall.box(0, height - 0.4, width, 0.4, _tint(frame, 0.85))
    if rng.random() < 0.6:
        _shop(rng, wall, width, night)
    else:
        _house(rng, wall, width, frame, night)
    image[:, :3] = image[:, :3] // 2
    return pyramid(image, 4)
