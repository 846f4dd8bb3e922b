"""Which street, camera and people each frame of a domain shows."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from alkit.street import clips
from alkit.street.people import Person, dress
from alkit.street.props import CAR_HALF, LENGTH, Prop
from alkit.street.scene import Street, parked, shape, street
from alkit.street.world import DOMAINS, View, stream


class Placed(NamedTuple):
    """A person at a place: metres, unit vector of the walk, moment and length of the stride."""

    person: Person
    x: float
    z: float
    dx: float
    dz: float
    phase: float
    stride: float


class State(NamedTuple):
    """One frame before it is drawn. `view.center` counts from the middle of the image."""

    street: Street
    cars: tuple[Prop, ...]
    view: View
    people: tuple[Placed, ...]
    key: tuple[int, ...]  # numbers the frame's noise and rain


class Plan(NamedTuple):
    """All frames of a domain; `footage` is None for stills."""

    world: int
    domain: str
    frames: int
    footage: clips.Footage | None

    def state(self, i: int) -> State:
        """What frame i shows."""
        if self.footage is None:
            return _still(self.world, i)
        clip = self.footage.clips[self.footage.clip[i]]
        return _moment(self.world, self.domain, clip, int(self.footage.moment[i]))


@lru_cache(maxsize=16)
def plan(world: int, domain: str, frames: int) -> Plan:
    """The frames of a domain, in order. Opens quickly: nothing is drawn."""
    footage = None if domain == "source" else clips.shoot(world, domain, frames)
    return Plan(world, domain, frames, footage)


@lru_cache(maxsize=4096)
def _person(world, domain, scene, k, palette, child):
    rng = stream(world, domain, "person", scene, k)
    identity = (DOMAINS.index(domain) * 1_000_000 + scene) * 100 + k  # unique in a world
    return dress(rng, identity, palette, child)


def _inside(x, z, car):
    beside = abs(x - car.x) < CAR_HALF + 0.3
    return beside and car.z - 0.4 < z < car.z + LENGTH[car.style] + 0.4


@lru_cache(maxsize=1024)
def _still(world: int, number: int) -> State:
    """Still `number` of the source domain: a street of its own with people in view."""
    rng = stream(world, "source", "plan", number)
    half, wall = shape(world, "source", number)
    on_pavement = rng.random() < 0.25
    x = float(rng.uniform(half + 0.8, wall - 0.8) if on_pavement else rng.uniform(-0.6, 0.6) * half)
    x = x if rng.random() < 0.5 else -x
    height, focal = rng.uniform(1.35, 1.7), rng.uniform(520, 620)
    center, horizon = rng.uniform(-110, 110), rng.uniform(190, 240)
    view = View(x, 0.0, height, focal, center, horizon)
    scene = street(world, "source", number, 0.0, "day")
    cars = parked(world, "source", number, 0.0, view.x)
    want = int(rng.choice(10, p=(0.03, 0.12, 0.16, 0.17, 0.16, 0.12, 0.1, 0.07, 0.04, 0.03)))
    people, spans, tries = [], [], 0
    while len(people) < want and tries < 60:
        tries += 1
        size = 50 * 4.9 ** rng.beta(1.0, 1.35)  # pixels of an adult: 50 to 245
        if rng.random() < 0.1:
            size *= 0.6
        z = view.focal * 1.72 / size
        u = rng.uniform(-330, 330)
        if people and rng.random() < 0.4:  # beside the one before
            near = people[-1]
            z = near.z + rng.normal(0, 0.5)
            side = -1 if rng.random() < 0.5 else 1
            u = (near.x - view.x) * view.focal / z + view.center + side * size * 0.6
        at = view.x + (u - view.center) * z / view.focal
        if abs(at) > wall - 0.5 or z < 3.6 or any(_inside(at, z, car) for car in cars):
            continue
        width = 0.45 * view.focal * 1.72 / z
        span = (u - width / 2, u + width / 2)
        shared = max((min(span[1], b) - max(span[0], a) for a, b in spans), default=0) / width
        if shared > (0.6 if rng.random() < 0.15 else 0.3):
            continue
        spans.append(span)
        along = abs(at) > half  # on the pavement people walk along the street
        angle = np.pi * (int(rng.integers(2)) + (0.0 if along else 0.5)) + rng.normal(0, 0.5)
        stride = rng.uniform(0.6, 1.1) if rng.random() < 0.8 else 0.05
        child = rng.random() < 0.07
        person = _person(world, "source", number, len(people), "bright", child)
        phase = rng.uniform(0, 2 * np.pi)
        people.append(Placed(person, at, z, np.sin(angle), np.cos(angle), phase, stride))
    return State(scene, tuple(cars), view, tuple(people), (number,))


@lru_cache(maxsize=2048)
def _moment(world: int, domain: str, clip: clips.Clip, t: int) -> State:
    z, center, horizon = (float(a[t]) for a in (clip.z, clip.center, clip.horizon))
    view = View(clip.x, z, clip.height, clips.FOCAL, center, horizon)
    scene = street(world, domain, clip.number, clip.length, clip.weather)
    people = []
    for k, track in enumerate(clip.tracks):
        (x0, x, x1), (z0, z, z1) = (
            np.interp((t - 0.5, t, t + 0.5), track.time, where) for where in (track.x, track.z)
        )
        if not 2.2 < z - view.z < 90:
            continue
        pace = float(np.hypot(x1 - x0, z1 - z0))
        person = _person(world, domain, clip.number, k, "muted", track.child)
        person = person._replace(stature=track.stature)
        if pace > 0.01:
            dx, dz, stride = (x1 - x0) / pace, (z1 - z0) / pace, 1.0
        else:
            dx, dz, stride = np.sin(track.phase), np.cos(track.phase), 0.0
        walked = np.interp(t, track.time, track.walked)
        phase = track.phase + 2 * np.pi * walked / (0.83 * person.stature)
        people.append(Placed(person, x, z, dx, dz, phase, stride))
    return State(scene, tuple(clip.cars), view, tuple(people), (clip.number, t))
