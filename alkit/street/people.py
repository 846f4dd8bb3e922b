"""Pedestrians as articulated figures: how one looks, and its outline at a moment of a stride."""

from typing import NamedTuple

import numpy as np

from alkit.street.world import colors

SKIN = ((238, 205, 180), (222, 184, 152), (196, 150, 118), (150, 106, 78), (98, 68, 52))
HAIR = ((32, 26, 22), (62, 44, 30), (104, 74, 44), (176, 142, 88), (150, 150, 150), (110, 50, 28))
BRIGHT = colors(
    "ba3030 2c4e92 e4e4de deb64c 34704e 1a1a20 cc703c 703864 5892b8 d68ca0 "
    "343850 222a3a 962c34 c4b294 242428 788060"
)
MUTED = colors(
    "1e2026 2e323c 3c3836 262e44 544e46 463028 364036 606268 766a5c 3e2226 1a1c1e 8c8a86"
)
TROUSERS = ((28, 30, 38), (44, 58, 92), (58, 74, 112), (40, 38, 36), (92, 84, 70), (74, 74, 78))
SHOES = ((22, 20, 20), (54, 38, 28), (226, 226, 222), (70, 70, 74))
NARROWEST, WIDEST = 0.37, 0.62  # width / height; figures beyond are drawn stouter or slimmer


class Person(NamedTuple):
    """One pedestrian's body and clothes."""

    identity: int
    stature: float  # metres
    girth: float
    skin: tuple
    hair: tuple
    top: tuple
    bottom: tuple
    shoes: tuple
    hem: float  # height of the top's lower edge, in statures
    skirt: bool
    long_hair: bool
    hat: bool
    bag: str  # "", "shoulder", "back"
    color_bag: tuple
    child: bool
    cloth: int  # where its texture lies in the cloth tile


def dress(rng: np.random.Generator, identity: int, palette: str, child: bool = False) -> Person:
    """A person drawn at random; `palette` is "bright" or "muted"."""
    tops, muted = (BRIGHT, 0.0) if palette == "bright" else (MUTED, 1.0)

    def pick(colors, spread=5.0):
        color = colors[rng.integers(len(colors))]
        light, *hue = rng.normal(0, spread, 4).tolist()
        channels = zip(color, hue, strict=True)
        return tuple(min(246.0, max(8.0, c + 2 * light + h)) for c, h in channels)

    if palette == "muted" and rng.random() < (0.5 if child else 0.15):
        tops = BRIGHT
    woman = rng.random() < 0.5
    stature = rng.normal(1.2, 0.09) if child else rng.normal(1.66 if woman else 1.78, 0.06)
    coat = rng.random() < 0.3 + 0.2 * muted
    skirt = woman and not coat and rng.random() < 0.4
    bag = ("", "shoulder", "back")[rng.choice(3, p=(0.5, 0.3, 0.2))]
    girth = np.clip(rng.normal(1.08, 0.07), 0.95, 1.28)
    body = float(np.clip(stature, 1.0, 1.98)), float(girth), pick(SKIN, 3), pick(HAIR, 3)
    clothes = pick(tops), pick(tops if skirt else TROUSERS), pick(SHOES, 3)
    hem = rng.uniform(0.3, 0.4) if coat else rng.uniform(0.46, 0.5)
    long_hair, hat = woman and rng.random() < 0.7, rng.random() < 0.18
    rest = hem, skirt, long_hair, hat, bag, pick(MUTED), child, int(rng.integers(1 << 16))
    return Person(identity, *body, *clothes, *rest)


_ARC = np.linspace(0, np.pi, 6)
_ROUND = np.stack([np.cos(_ARC), np.sin(_ARC)], 1)  # half a circle
_TURN = np.arange(16) * np.pi / 8
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)
_NECK = np.array([(-0.032, 0.84), (0.032, 0.84), (0.03, 0.9), (-0.03, 0.9)])
_BAG = np.array([(-0.05, 0.57), (0.05, 0.57), (0.062, 0.44), (-0.062, 0.44)])
# hip, knee, ankle, heel, toe, shoulder, elbow, hand, fingers, each left and right of the walker
_SIDES, _BOTH, _NIL = np.array([-1.0, 1.0]), np.array([0, np.pi]), np.zeros(2)
_LATERAL = np.outer((0.052, 0.052, 0.057, 0.057, 0.07, 0.12, 0.159, 0.172, 0.172), _SIDES).ravel()
_FROM = np.array([0, 1, 2, 3, 6, 7, 10, 11, 12, 13, 14, 15])
_TO = np.array([2, 3, 4, 5, 8, 9, 12, 13, 14, 15, 16, 17])
# thigh, shin, foot, upper arm, forearm, hand: at the start and at the end
_RADII = np.array(
    [(0.068, 0.046, 0.026, 0.042, 0.036, 0.02), (0.05, 0.034, 0.02, 0.036, 0.028, 0.018)]
)


def _capsules(start, end, r_start, r_end):
    """Tapered limbs with round ends, (k, 2) points and (k,) radii -> (k, 12, 2) outlines."""
    along = end - start
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)[:, None]
    axis = along / length
    normal = np.stack([-axis[:, 1], axis[:, 0]], 1)

    def cap(center, radius, sign):
        across, out = _ROUND[None, :, :1], _ROUND[None, :, 1:]
        shape = across * normal[:, None] * sign + out * axis[:, None] * sign
        return center[:, None] + shape * np.asarray(radius)[:, None, None]

    return np.concatenate([cap(end, r_end, 1), cap(start, r_start, -1)], 1)


def figure(person: Person, phase: float, dx: float, dz: float, stride: float = 1.0):
    """The outline of a person at one moment.

    `phase` (radians) is the moment of the stride, `stride` its length (0 stands still), and
    (dx, dz) the unit vector of the walk: right and away from the camera. Returns polygons back to
    front as points (n, 2), the end of each among them, and colors (k, 3). The unit is the
    stature, x to the right from the middle of the body, y up from the sole; heights span exactly
    [0, 1].
    """
    legs_at = phase + _BOTH
    swing = np.sin(legs_at)
    swing = np.sign(swing) * np.abs(swing) ** 0.7  # quick through the narrow middle of a stride
    thigh = (0.12 + 0.36 * stride) * swing
    shin = thigh - (0.06 + 0.7 * stride * np.maximum(0, np.cos(legs_at)))
    g = person.girth * (1.12 if person.child else 1.0)
    # arms swing against the legs, a little later
    swung = -0.75 * (0.1 + 0.9 * stride) * np.sin(legs_at - 0.35)
    bent = swung + 0.25 + 0.25 * stride
    knee_f, knee_up = 0.245 * np.sin(thigh), 0.51 - 0.245 * np.cos(thigh)
    ankle_f, ankle_up = knee_f + 0.235 * np.sin(shin), knee_up - 0.235 * np.cos(shin)
    elbow_f, elbow_up = 0.165 * np.sin(swung), 0.79 - 0.16 * np.cos(swung)
    hand_f, hand_up = elbow_f + 0.15 * np.sin(bent), elbow_up - 0.15 * np.cos(bent)
    tip_f, tip_up = 1.22 * hand_f - 0.22 * elbow_f, 1.22 * hand_up - 0.22 * elbow_up
    forward = np.concatenate(
        [_NIL, knee_f, ankle_f, ankle_f - 0.02, ankle_f + 0.095, _NIL, elbow_f, hand_f, tip_f]
    )
    leg_up = [_NIL + 0.51, knee_up, ankle_up, ankle_up - 0.012, ankle_up - 0.014]
    up = np.concatenate([*leg_up, _NIL + 0.79, elbow_up, hand_up, tip_up])
    joints = np.stack([forward * dx + _LATERAL * g * dz, up], 1)
    limbs = _capsules(joints[_FROM], joints[_TO], *(_RADII * (g, g, 1, g, g, 1)).repeat(2, 1))
    legs, arms = limbs[:6], limbs[6:]

    bare = tuple(c * 0.96 for c in person.skin) if person.skirt else person.bottom
    near = 1 if dx >= 0 else 0  # the side towards the camera
    dim = 0.74  # the far limbs are in the body's shade

    def leg(side, shade):
        cloth = tuple(c * shade for c in bare)
        shoe = tuple(c * shade for c in person.shoes)
        return [(legs[4 + side], shoe), (legs[2 + side], cloth), (legs[side], cloth)]

    def arm(side, shade):
        sleeve = tuple(c * shade for c in person.top)
        skin = tuple(c * shade for c in person.skin)
        return [(arms[4 + side], skin), (arms[side], sleeve), (arms[2 + side], sleeve)]

    wide, deep = abs(dz), abs(dx)
    top = 0.125 * wide * g + 0.082 * deep * g
    waist = 0.098 * wide * g + 0.088 * deep * g
    low = 0.105 * wide * g + 0.095 * deep * g
    hem = person.hem
    flare = low * (1.1 if hem < 0.44 else 1.0)
    torso = np.array(
        [(0.035, 0.862), (top * 0.8, 0.838), (top, 0.79), (waist, 0.63), (low, 0.53), (flare, hem)]
    )
    shade = np.concatenate([torso[1:], (torso[1:] * (0.45, 1))[::-1]])
    torso = np.concatenate([torso, (torso * (-1, 1))[::-1]])
    parts = arm(1 - near, dim) + leg(1 - near, dim) + leg(near, 1.0)
    if person.skirt:
        cut = np.array([(0.9, 0.6), (1.35, 0.31), (-1.35, 0.31), (-0.9, 0.6)])
        parts.append((cut * (low, 1), person.bottom))
    if person.bag == "back" and dx:
        back = -0.12 * dx
        pack = np.array([(-0.06, 0.8), (0.06, 0.8), (0.07, 0.6), (-0.07, 0.6)])
        pack[:, 0] = pack[:, 0] * (0.6 * deep + 1.2 * wide) + back
        parts.insert(0 if dz < 0 else len(parts), (pack, person.color_bag))
    parts.append((torso, person.top))
    parts.append((shade, tuple(c * 0.86 for c in person.top)))
    if dz < -0.3:  # an open collar and the front's shade line
        parts.append((np.array([(-0.03, 0.862), (0.03, 0.862), (0.0, 0.80)]), person.skin))
    big = 1.22 if person.child else 1.0
    rx, ry = 0.053 * big * (0.9 + 0.12 * deep), 0.068 * big
    middle = np.array([0.022 * dx, 1 - ry])
    parts.append((_NECK + (0.012 * dx, 0), person.skin))
    if person.long_hair:
        mane = _CIRCLE * (rx * 1.15, ry * 1.35) + middle + (-0.35 * rx * dx, -ry * 0.5)
        mane = np.minimum(mane, (9, 1))
        parts.insert(0 if dz < 0.3 else len(parts), (mane, person.hair))
    head = _CIRCLE * (rx, ry) + middle
    parts.append((head, person.hair if dz > 0.55 else person.skin))
    if dz <= 0.55:  # hair: a cap that slides back as the head turns
        cap = _CIRCLE.copy()
        cap[:, 1] = np.maximum(cap[:, 1], 0.35 - 0.75 * cap[:, 0] * -np.sign(dx) * deep)
        parts.append((cap * (rx * 1.03, ry) + middle, person.hair))
    if person.hat:
        brim = [(-1.35, 0.38), (1.35, 0.38), (1.1, 0.55), (0.95, 1), (-0.95, 1), (-1.1, 0.55)]
        parts.append((np.multiply(brim, (rx, ry)) + middle, person.color_bag))
    parts += arm(near, 0.9)
    if person.bag == "shoulder":
        at = 0.162 * g * _SIDES[near] * dz
        parts.append((_BAG + (at, 0), person.color_bag))

    points = np.concatenate([p for p, _ in parts])
    width, tall = np.ptp(points, 0)
    stretch = min(max(width / tall, NARROWEST), WIDEST) / (width / tall)
    points = (points - (0, points[:, 1].min())) * (stretch / tall, 1 / tall)
    ends = np.cumsum([len(p) for p, _ in parts]).tolist()
    return points, ends, np.array([c for _, c in parts])
