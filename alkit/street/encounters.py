"""Who walks past a filming car: tracks of single people, groups and rare situations."""

from typing import NamedTuple

import numpy as np

BASE = 240  # base frames of a clip, 15 a second
COUNTS = {"crowd": (6, 9), "close": (1, 3), "children": (3, 5)}  # people, before the second number


class Track(NamedTuple):
    """One person's walk: positions at times, and the way walked until then."""

    time: tuple[float, ...]
    x: tuple[float, ...]
    z: tuple[float, ...]
    walked: tuple[float, ...]
    phase: float
    child: bool
    stature: float  # metres


def encounter(rng, clip, kind: str) -> list[Track]:
    """People who walk or stand where the car passes or waits.

    `kind` is "" or one of the rare situations: "crowd", "children", "close" (to the camera).
    """
    waits = np.flatnonzero(clip.speed < 0.02)
    moves = np.flatnonzero(clip.speed >= 0.02)
    how = rng.choice(("passing", "crossing", "standing"), p=(0.45, 0.38, 0.17))
    count = int(rng.choice((1, 2, 3, 4), p=(0.42, 0.33, 0.17, 0.08)))
    if kind:
        count, how = int(rng.integers(*COUNTS[kind])), "crossing"
    children = count - 1 if kind == "children" else 0
    still = how != "passing"
    choices = waits if still and len(waits) else (moves if len(moves) else waits)
    at = int(choices[rng.integers(len(choices))])
    if how == "crossing" and kind == "":
        at += int(rng.integers(-60, 60))
    z_car = float(clip.z[np.clip(at, 0, BASE - 1)])
    side = -1 if rng.random() < 0.45 else 1
    # all three are drawn, whichever counts
    close, near, far = rng.uniform(3.5, 4.4), rng.uniform(5, 9), rng.uniform(5.5, 13)
    ahead = {"close": close, "children": near}.get(kind, far)
    pace, way = rng.uniform(0.07, 0.115), int(rng.choice((-1, 1)))
    strip = clip.wall - clip.half - 1.2
    lane = float(clip.half + 0.7 + rng.uniform(0, strip))
    ahead_walk = rng.uniform(9, 18)
    # where those who cross come from and go to along the pavement: mostly from behind the camera
    come, go = (600 * pace * (1 if not kind and rng.random() < 0.3 else -1) for _ in range(2))
    tracks = []
    for k in range(count):
        child, phase = k < children, rng.uniform(0, 2 * np.pi)
        tall = float(np.clip(rng.normal(1.2, 0.09) if child else rng.normal(1.71, 0.08), 1, 1.95))
        slip = rng.normal(0, 0.5) + 0.75 * (k // 2)
        if how == "standing":
            beside = lane + 0.6 * (k % 2) + rng.normal(0, 0.2)
            x = side * np.clip(beside, clip.half + 0.4, clip.wall - 0.4)
            z = z_car + ahead_walk * 0.9 + slip
            time, xs, zs = (-900, 900), (x, x), (z, z)
        elif how == "passing":
            reach = 900 * pace * way
            x = side * min(lane + 0.62 * (k % 2), clip.wall - 0.4)
            z = z_car + ahead_walk + slip
            time, xs, zs = (at - 900, at + 900), (x, x), (z - reach, z + reach)
        else:
            start, lead, heading = at + slip * 6, ahead + 0.55 * (k % 2), way
            if kind == "crowd":
                start, lead = at + rng.uniform(-30, 30), rng.uniform(5, 13)
                heading = int(rng.choice((-1, 1)))
            z, edge = z_car + lead, clip.wall - 0.7
            leave = start - (edge + heading * clip.x) / pace
            arrive = start + (edge - heading * clip.x) / pace
            x = heading * edge
            time, xs = (leave - 600, leave, arrive, arrive + 600), (-x, -x, x, x)
            zs = (z + come, z, z, z + go)
        walked = np.concatenate([[0], np.cumsum(np.hypot(np.diff(xs), np.diff(zs)))])
        course = (tuple(float(a) for a in values) for values in (time, xs, zs, walked))
        tracks.append(Track(*course, phase, child, tall))
    return tracks
