"""The video sequences of the pool and test domains: where the car drives and who walks past.

A clip is filmed at 15 base frames a second. Large pools take every base frame; a small pool has
fewer and shorter sequences and takes every k-th base frame, so that each still spans about 16 s.
"""

from typing import NamedTuple

import numpy as np

from alkit.street import scene
from alkit.street.encounters import BASE, Track, encounter
from alkit.street.props import CABIN, CAR_HALF, LENGTH
from alkit.street.world import stream

FOCAL = 560.0
TEST_STEP = 6  # base frames between two test frames
SHARE = 0.222  # of pool frames with a pedestrian of 50 px whom no car hides: a few poles more do
SCREENS = {"board": 0.55, "tree": 0.15}  # what hides people too: half its width, metres
CROWD = 5  # people in view
SMALL = 50.0  # pixels: pedestrians from this height on count
# weather, share of frames with people, rare situation: ten clips in a deck
_DECK = (
    ("day", 0.0, ""),
    ("day", 0.1, ""),
    ("day", 0.3, "children"),
    ("day", 0.5, ""),
    ("day", 0.4, "close"),
    ("dusk", 0.05, ""),
    ("dusk", 0.3, ""),
    ("night", 0.0, ""),
    ("night", 0.4, "crowd"),
    ("rain", 0.2, ""),
)


class Clip:
    """A filmed sequence. Equal only to itself."""

    def __init__(self, world: int, domain: str, number: int, weather: str, rare: str):
        rng = stream(world, domain, "plan", number)
        self.number, self.weather, self.rare = number, weather, rare
        self.half, self.wall = scene.shape(world, domain, number)
        self.x = float(self.half * rng.uniform(0.3, 0.42))
        self.height = rng.uniform(1.3, 1.55)
        self.speed = _speed(rng, bool(rare))
        self.z = np.concatenate([[0], np.cumsum(self.speed)[:-1]])
        self.length = float(self.z[-1])
        slow = np.arange(BASE) / BASE * 2 * np.pi
        sway = rng.uniform(4, 22) * np.sin(slow * rng.uniform(0.6, 1.6) + rng.uniform(0, 6))
        shake = 0.15 + 1.2 * np.minimum(self.speed, 0.5)
        self.center = rng.uniform(-25, 25) + sway * (np.minimum(self.z, 30) / 30)
        self.center = self.center + rng.normal(0, 0.25, BASE) * shake
        self.horizon = rng.uniform(195, 225) + rng.normal(0, 0.9, BASE) * shake
        self.tracks: list[Track] = []
        self.cars = scene.parked(world, domain, number, self.length, self.x)
        self.screens = [
            (prop.x, prop.z, prop.z + 0.1, SCREENS[prop.kind])
            for prop in scene.furniture(world, domain, number, self.length)
            if prop.kind in SCREENS
        ]

    def sizes(self, tracks) -> np.ndarray:
        """Heights in image pixels, (person, base frame); 0 where out of view or behind a car."""
        t = np.arange(BASE)
        sizes = np.zeros((len(tracks), BASE))
        for k, track in enumerate(tracks):
            ahead = np.maximum(np.interp(t, track.time, track.z) - self.z, 0.5)
            aside = np.interp(t, track.time, track.x) - self.x
            size = FOCAL * track.stature / ahead
            u = aside * FOCAL / ahead + self.center
            near = (np.abs(u) < 320 + 0.08 * size) & (size >= SMALL) & (size < 420)
            if near.any():
                near[near] = ~self._hidden(aside[near], ahead[near], self.z[near])
            sizes[k] = size * near
        return sizes

    def _hidden(self, aside, ahead, z):
        """Whether the line of sight to places beside and ahead of the camera meets something."""
        hiding = self.screens + [(car.x, *_cabin(car), CAR_HALF) for car in self.cars]
        x, near, far, half = np.array(hiding).reshape(-1, 4).T[..., None]
        x = x - self.x
        first, last = np.maximum(near - z, 0.5), np.minimum(far - z, ahead)
        a, b = aside * first / ahead, aside * last / ahead
        meets = (np.minimum(a, b) < x + half) & (np.maximum(a, b) > x - half)
        return (meets & (last > first)).any(0)

    def clear_way(self, tracks) -> None:
        """Removes the parked cars that somebody walks through."""
        time = np.arange(-200, BASE + 200, 4)
        places = [(car.x, car.z, LENGTH[car.style]) for car in self.cars]
        middle, tail, length = np.array(places).reshape(-1, 3).T[..., None]
        hit = np.zeros(len(places), bool)
        for track in tracks:
            x, z = (np.interp(time, track.time, where) for where in (track.x, track.z))
            inside = np.abs(x - middle) < CAR_HALF + 0.3
            hit |= (inside & (z > tail - 0.5) & (z < tail + length + 0.5)).any(1)
        self.cars = [car for car, gone in zip(self.cars, hit, strict=True) if not gone]


def _cabin(car):
    """Where a parked car's cabin begins and ends along the street; on the left it faces us."""
    tail, front = CABIN[car.style]
    if car.x > 0:
        return car.z + tail, car.z + front
    return car.z + LENGTH[car.style] - front, car.z + LENGTH[car.style] - tail


def _speed(rng, must_wait: bool) -> np.ndarray:
    """Metres driven in each base frame: stretches of driving and of waiting."""
    speed, t = np.zeros(BASE), 0
    waiting = bool(rng.random() < 0.5)
    while t < BASE:
        span = int(rng.integers(60, 150) if waiting else rng.integers(40, 130))
        speed[t : t + span] = 0 if waiting else rng.uniform(0.25, 0.65)
        t, waiting = t + span, not waiting
    if must_wait:
        at = int(rng.integers(0, BASE - 110))
        speed[at : at + 110] = 0
    padded = np.pad(speed, 8, mode="edge")
    return np.convolve(padded, np.ones(17) / 17, "valid").clip(0)


def _populate(rng, clip: Clip, step: int, length: int, want: float, rare: str) -> int:
    """Adds people until about `want` of the sampled frames show one; returns how many do."""
    sampled = slice(0, length * step, step)
    shown = (clip.sizes(clip.tracks) > 0).any(0) if clip.tracks else np.zeros(BASE, bool)
    for attempt in range(40):
        have = int(shown[sampled].sum())
        if not rare and (want - have < max(1, 5 / step) or (have and attempt > 15)):
            break
        new, cars = encounter(rng, clip, rare), clip.cars
        clip.clear_way(new)
        present = clip.sizes(new) > 0
        joint = shown | present.any(0)
        count = int(joint[sampled].sum())
        most = want + max(1, 3 / step)
        if rare:  # a short one if that can be had
            most = max(want, (0.3 if attempt < 25 else 0.9) * length)
        fits = have < count <= most and len(clip.tracks) + len(new) < 100
        if rare == "crowd":  # most of them at once
            fits = fits and int((present.sum(0) >= CROWD)[sampled].sum()) > 0.08 * length
        if fits:
            clip.tracks += new
            shown, rare = joint, ""
        else:
            clip.cars = cars
    return int(shown[sampled].sum())


def _decks(rng, number: int):
    """Clips with weather, wanted share and rare situation, dealt from shuffled decks."""
    rares = ("crowd", "children", "close")
    for deck in range(-(-number // len(_DECK))):
        cards = list(_DECK)
        if deck:  # later decks hold one rare situation each, and rain is in every second
            keep = rares[deck % 3]
            cards = [(w, s, r if r == keep else "") for w, s, r in cards]
            if deck % 2 == 0:
                cards = [("dusk" if w == "rain" else w, s, r) for w, s, r in cards]
        for k in rng.permutation(len(cards)):
            yield cards[k]


class Footage(NamedTuple):
    """The frames of a video domain, in order."""

    clips: tuple[Clip, ...]
    clip: np.ndarray  # (n,) which clip
    moment: np.ndarray  # (n,) its base frame
    frame: np.ndarray  # (n,) position in the sequence, in sampled frames


def shoot(world: int, domain: str, frames: int) -> Footage:
    """The clips of the pool or the test domain and the frames taken from them."""
    rng = stream(world, domain, "plan", 1 << 30)
    return _test(rng, world, frames) if domain == "test" else _pool(rng, world, frames)


def _pool(rng, world, frames) -> Footage:
    number = max(round(frames / BASE), min(20, frames // 50), 1)
    lengths = np.diff(np.round(np.linspace(0, frames, number + 1)).astype(int))
    step = max(1, BASE // int(lengths.max()))
    cards = list(_decks(rng, number))[:number]
    clips = [Clip(world, "pool", k, weather, rare) for k, (weather, _, rare) in enumerate(cards)]
    share = np.array([share for _, share, _ in cards])
    wanted = share * lengths * (SHARE * frames / max(share @ lengths, 1e-9))
    shown, carry = np.zeros(number), 0.0
    for again in (False, True):  # the second time only to make up what is missing
        for k, clip in enumerate(clips):
            start = shown[k] if again else wanted[k]
            want = min(max(start + carry, min(start, 5.0)), 0.8 * lengths[k])
            if share[k] == 0 or (again and carry < 4):
                continue
            before = shown[k]
            rare = "" if again else clip.rare
            shown[k] = _populate(rng, clip, step, int(lengths[k]), want, rare)
            carry += (before if again else wanted[k]) - shown[k]
    clip = np.repeat(np.arange(number), lengths)
    frame = np.concatenate([np.arange(n) for n in lengths])
    return Footage(tuple(clips), clip, np.minimum(frame * step, BASE - 1), frame.astype(float))


def _test(rng, world, frames) -> Footage:
    """As the pool, but at a coarser step, and most frames without people are left out."""
    clips, numbers, moments = [], [], np.zeros(0, int)
    cards = _decks(rng, frames + 1)
    every = np.arange(0, BASE, TEST_STEP)
    while len(moments) < frames:
        weather, share, rare = next(cards)
        clip = Clip(world, "test", len(clips), weather, rare)
        _populate(rng, clip, TEST_STEP, len(every), 1.2 * share * len(every), rare)
        shown = (clip.sizes(clip.tracks) > 0).any(0)[every]
        full, empty = every[shown], every[~shown]
        spare = empty[:: max(1, len(empty) // max(2, round(0.6 * len(full))))]
        moments = np.concatenate([moments, np.sort(np.concatenate([full, spare]))])[:frames]
        numbers += [len(clips)] * (len(moments) - len(numbers))
        clips.append(clip)
    return Footage(tuple(clips), np.array(numbers), moments, moments / TEST_STEP)
