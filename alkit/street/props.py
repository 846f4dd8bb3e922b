"""Parked cars, poles, signs, trees and boards as polygons."""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from alkit.street.world import Item, View, colors

NEAR = 1.0  # metres in front of the camera; nothing is drawn closer
CAR_COLORS = colors("1a1c20 bec0c4 e8e8e6 5c6066 8c181e 1e386e 3c5246 968264")
LEAVES = ((104, 138, 62), (76, 116, 56), (124, 146, 78), (148, 128, 56))
CAR_HALF = 0.88  # half a car's width, metres
BARK, STEEL, PLAIN = (84, 70, 58), (112, 116, 120), (234, 234, 230)
RED, BLUE, SKIN = (188, 30, 34), (30, 70, 150), (216, 178, 150)
_RING = np.stack([np.cos(np.arange(14) * np.pi / 7), np.sin(np.arange(14) * np.pi / 7)], 1)


class Prop(NamedTuple):
    """Something that stands in the street; `size` and `style` mean what its kind says."""

    kind: str
    x: float
    z: float
    size: float
    color: tuple[float, float, float]
    style: int


# hatchback, saloon, van from the side: metres from the tail, heights
_OUTLINES = (
    (0, 0, 0.25, 0.75, 2.25, 3.05, 3.95, 4.1, 4.1),
    (0.32, 0.86, 1.02, 1.44, 1.48, 1.0, 0.84, 0.6, 0.32),
    (0, 0, 0.8, 1.35, 2.6, 3.4, 4.4, 4.55, 4.55),
    (0.32, 0.9, 1.0, 1.4, 1.43, 0.98, 0.82, 0.55, 0.32),
    (0, 0, 0.15, 3.4, 4.2, 4.75, 4.85, 4.85),
    (0.35, 1.0, 1.95, 2.0, 1.2, 1.05, 0.6, 0.35),
)
_BODIES = [np.stack(pair, 1) for pair in zip(_OUTLINES[::2], _OUTLINES[1::2], strict=True)]
_GLASS = (
    ((0.5, 1.04), (0.85, 1.37), (2.2, 1.4), (2.85, 1.03)),
    ((1.0, 1.02), (1.42, 1.34), (2.55, 1.37), (3.15, 1.02)),
    ((2.6, 1.25), (2.6, 1.8), (3.35, 1.82), (3.95, 1.24)),
)
CABIN = ((0.2, 2.9), (0.9, 3.2), (0.0, 4.2))  # from the tail: what hides people behind it
LENGTH = tuple(float(body[-1, 0]) for body in _BODIES)


class _Parts:
    """Collects polygons in metres around a foot, back to front. What faces the camera leans away
    from it above 0.95 m, `lean` metres a metre."""

    def __init__(self, lean: float = 0.0):
        self.polygons, self.colors, self.lean = [], [], lean

    def add(self, points, color):
        points = np.asarray(points, np.float64)
        if points.shape[1] == 2:  # facing the camera
            points = np.column_stack([points, self.lean * np.maximum(points[:, 1] - 0.95, 0)])
        self.polygons.append(points)
        self.colors.append(tuple(float(c) for c in color))

    def box(self, x, y, width, height, color):
        a, b = x - width / 2, x + width / 2
        self.add([(a, y), (b, y), (b, y + height), (a, y + height)], color)

    def disc(self, x, y, radius, color):
        self.add(_RING * radius + (x, y), color)

    def done(self):
        ends = np.cumsum([len(p) for p in self.polygons]).tolist()
        return np.concatenate(self.polygons), ends, np.array(self.colors)


@lru_cache(maxsize=4096)
def _car(style: int, color: tuple, away: bool, side: int, far: bool):
    """A car's outline points, then its parts; (x, y, z) from the middle of its nearest end."""
    body, glass, length = _BODIES[style], np.array(_GLASS[style]), LENGTH[style]
    if not away:
        body, glass = body * (-1, 1) + (length, 0), glass * (-1, 1) + (length, 0)

    def flank(points, x):
        return np.stack([np.full(len(points), x), points[:, 1], points[:, 0]], 1)

    outline = np.concatenate([flank(body, CAR_HALF), flank(body, -CAR_HALF)])
    paint, rubber, window = np.array(color), (22, 22, 24), (42, 48, 56)
    parts = _Parts(lean=0.35 if style == 2 and away else 1.3)
    parts.add(flank(body, side * CAR_HALF), paint * 0.8)
    parts.add(flank(glass, side * CAR_HALF * 0.93), window)
    roof = body[:, 1].max()
    if not far:
        sill = np.array([(0.1, 0.32), (length - 0.1, 0.32), (length - 0.1, 0.45), (0.1, 0.45)])
        parts.add(flank(sill, side * CAR_HALF), paint * 0.5)
        for wheel in (0.75, length - 0.85):
            parts.add(flank(_RING * 0.33 + (wheel, 0.33), side * CAR_HALF), rubber)
            parts.add(flank(_RING * 0.19 + (wheel, 0.33), side * CAR_HALF), (120, 122, 126))
        for x in (-0.68, 0.68):
            parts.box(x, 0, 0.24, 0.4, rubber)
    parts.box(0, 0.28, 2 * CAR_HALF, 0.67, paint * 0.92)
    parts.add([(-0.84, 0.93), (0.84, 0.93), (0.64, roof), (-0.64, roof)], paint)
    parts.add([(-0.72, 1.0), (0.72, 1.0), (0.57, roof - 0.1), (-0.57, roof - 0.1)], window)
    if not far:
        parts.add([(-0.72, 1.0), (0.1, 1.0), (-0.1, roof - 0.1), (-0.57, roof - 0.1)], (66, 74, 84))
        parts.box(0, 0.28, 2 * CAR_HALF, 0.2, paint * 0.5)
        parts.box(0, 0.52, 0.52, 0.12, (222, 220, 200))
    for x in (-0.7, 0.7):
        parts.box(x, 0.68, 0.28, 0.18, (168, 30, 30) if away else (222, 222, 212))
    return outline, *parts.done()


def car(view: View, prop: Prop) -> Item | None:
    """A car whose nearest end is at `prop.z`: on the right its tail, on the left its front."""
    depth = prop.z - view.z
    if depth + LENGTH[prop.style] < NEAR:
        return None
    side = 1 if prop.x < view.x else -1
    far = depth > 0.075 * view.focal
    outline, points, ends, colors = _car(prop.style, prop.color, prop.x > 0, side, far)
    all_points = np.concatenate([outline, points])
    depths = np.maximum(all_points[:, 2] + prop.z, view.z + NEAR)
    flat = np.stack(view.project(all_points[:, 0] + prop.x, all_points[:, 1], depths), 1)
    hull = cv2.convexHull(flat[: len(outline)].astype(np.float32))[:, 0]
    points = np.concatenate([hull, flat[len(outline) :]])
    ends = [len(hull) + end for end in (0, *ends)]
    colors = np.concatenate([[np.array(prop.color) * 1.06 + 8], colors])
    return Item(max(depth, NEAR), prop.x - view.x, points, ends, colors, 2.2)


def _sign(parts, size, style, color):
    if style == 3:  # a parking meter: a head and a trunk at a person's height
        parts.box(0, 0, 0.1, 1.0, STEEL)
        parts.box(0, 0.95, 0.34, 0.55, color)
        parts.disc(0, 1.55, 0.14, color)
        return
    parts.box(0, 0, 0.08, size + 0.5, STEEL)
    if style == 0:
        parts.disc(0, size, 0.34, RED)
        parts.disc(0, size, 0.25, PLAIN)
    elif style == 1:
        parts.add([(-0.42, size - 0.3), (0.42, size - 0.3), (0, size + 0.42)], RED)
        parts.add([(-0.26, size - 0.2), (0.26, size - 0.2), (0, size + 0.24)], PLAIN)
    else:
        parts.box(0, size - 0.35, 0.6, 0.7, BLUE)
        parts.box(0, size - 0.2, 0.22, 0.4, PLAIN)


def _board(parts, color):
    """An advertisement at the pavement's edge, with one large bust."""
    parts.box(0, 0, 1.3, 2.5, (58, 60, 64))
    parts.box(0, 0.6, 1.12, 1.75, color)
    coat = tuple(255 - c for c in color)
    parts.add([(-0.5, 0.6), (0.5, 0.6), (0.4, 1.15), (0.12, 1.3), (-0.12, 1.3), (-0.4, 1.15)], coat)
    parts.box(0, 1.2, 0.2, 0.3, SKIN)
    parts.add(_RING * (0.25, 0.32) + (0, 1.65), SKIN)
    parts.add(np.clip(_RING, (-1, 0.25), (1, 1)) * (0.27, 0.34) + (0, 1.65), (60, 44, 34))
    parts.box(0, 2.15, 0.9, 0.12, coat)


@lru_cache(maxsize=4096)
def _upright(kind: str, size: float, color: tuple, style: int, side: int):
    """The parts of a prop around its foot, the width of its shadow, and the height of its lamp."""
    parts, shadow, lamp = _Parts(), 0.4, 0.0
    if kind == "lamp":
        parts.box(0, 0, 0.2, 0.9, STEEL)
        parts.box(0, 0.9, 0.12, size, STEEL)
        parts.box(0.6 * side, size + 0.82, 1.2, 0.08, STEEL)
        parts.box(1.2 * side, size + 0.7, 0.5, 0.14, (196, 196, 186))
        lamp = size + 0.7
    elif kind == "sign":
        _sign(parts, size, style, color)
    elif kind == "tree":
        trunk = [(-0.2, 0), (0.2, 0), (0.13, 0.5), (0.11, 3.4), (-0.11, 3.4), (-0.13, 0.5)]
        parts.add(np.multiply(trunk, (size, 1)), BARK)
        parts.add(np.maximum(trunk, (0.03, 0)) * (size, 1), (64, 54, 46))
        shadow = 1.8
    elif kind == "board":
        _board(parts, color)
        shadow = 1.4
    elif kind == "bin":
        parts.box(0, 0.05, 0.55, 0.95, color)
        parts.box(0, 0.92, 0.62, 0.1, (50, 52, 54))
        shadow = 0.7
    else:
        parts.box(0, 0, 0.16, 0.9, color)
        parts.box(0, 0.7, 0.17, 0.1, PLAIN)
    return *parts.done(), shadow, lamp


def upright(view: View, prop: Prop) -> Item:
    """A lamp, sign, tree, board, bin or bollard that faces the camera, in front of it."""
    depth = prop.z - view.z
    side = 1 if prop.x < 0 else -1  # lamps reach over the road
    about = prop.kind, prop.size, prop.color, prop.style
    points, ends, colors, shadow, lamp = _upright(*about, side)
    scale = view.focal / depth
    foot = (view.center + scale * (prop.x - view.x), view.horizon + scale * view.height)
    flat = points[:, :2] * (scale, -scale) + foot
    foliage = (prop.style, prop.size, prop.color) if prop.kind == "tree" else None
    return Item(depth, prop.x - view.x, flat, ends, colors, shadow, -1, foliage, lamp)
