"""Reads the embedded data set: street scenes that are drawn when they are asked for."""

from collections.abc import Sequence
from functools import lru_cache
from numbers import Integral
from pathlib import Path

import numpy as np

from alkit.frames import FrameSet, LazySequence
from alkit.street import annotate, clips, render
from alkit.street.plan import Plan, plan
from alkit.street.world import DOMAINS

FRAMES = {"source": 300, "pool": 2000, "test": 240}  # where no number is given
SITUATIONS = np.dtype(
    [("pedestrians", int), ("night", bool), ("rain", bool), ("crowd", bool), ("children", bool),
     ("close", bool)]
)  # fmt: skip
CLOSE = 200.0  # pixels of a 480-row image
KEPT = 16384  # frames whose boxes are kept: training asks for them in every epoch
MOST = 1_000_000  # frames: what identities have room for
SMALLEST = 48  # rows or columns of an image


def read(
    root: Path | None = None,
    *,
    domain: str = "source",
    frames: int | None = None,
    first: int = 0,
    world: int = 0,
    image_size: tuple[int, int] = (480, 640),
) -> FrameSet:
    """Frames of one domain of the procedural street, drawn from `world` alone; `root` is not read.

    `domain`: "source" are sharp stills by day, each a scene of its own; "pool" and "test" are
    videos from a moving car, softer, darker, noisier, some in rain or at night. In the pool 20 to
    25 % of the frames show a pedestrian of 50 px or more (of a 480-row image); test takes every
    sixth frame of other videos and leaves out most of those without one. Pool, source and test of
    a world share no scene, person or texture, and another `world` shares nothing at all.

    `frames` is their number; `first` leaves out that many stills before them, so that two sets of
    source frames may have none in common. Pool sequences last 16 s: 240 frames each in a large
    pool; a small one (below 4,800) takes every k-th frame of max(1, frames // 50) sequences, 20 at
    most, so that it keeps the range of situations. Source frame i does not depend on `frames`;
    pool and test are planned for it. The same (world, domain, frames, image_size) gives the same
    pixels, in any order of reading.

    `image_size` (height, width): drawn at that size; boxes scale with the height, and a wider
    image shows more of the street. `frame` is the position in the sequence in steps of the domain.
    Boxes, all labelled "pedestrian": see `alkit.street.annotate.boxes`. Mannequins, posters, signs
    and trees are background. `identity` is unique among all domains of a world.

    Raises ValueError for an unknown domain, `frames` < 1 (or > 1,000,000), a negative `world`, a
    `first` for videos, and an image below 48 pixels.
    """
    found, size = _checked(domain, frames, world, image_size)
    footage = found.footage
    if not _whole(first) or first < 0 or (first and footage is not None):
        raise ValueError(
            f"street: first is {first!r}; a whole number from 0 is wanted, and 0 for videos"
        )
    if footage is None:
        names = [f"source-{first + i:06d}" for i in range(found.frames)]
        sequence = None
    else:
        sequence = np.array([f"{domain}-{k:03d}" for k in range(len(footage.clips))])[footage.clip]
        names = [f"{s}/{m:03d}" for s, m in zip(sequence, footage.moment, strict=True)]

    def picture(i):
        if not 0 <= i < found.frames:
            raise IndexError(f"position {i} of {found.frames}")
        return render.image(found.state(first + i), size)

    @lru_cache(maxsize=KEPT)
    def boxes(i):
        return annotate.boxes(found.state(first + i), size)

    return FrameSet(
        dataset=f"street-{domain}",
        name=names,
        read=picture,
        image_size=size,
        boxes=LazySequence(found.frames, boxes),
        sequence=sequence,
        frame=None if footage is None else footage.frame,
    )


def describe(
    *, domain: str = "source", frames: int | None = None, world: int = 0, **_
) -> np.ndarray:
    """The situations of each frame that `read` gives for the same arguments, without drawing.

    A structured array (n,): `pedestrians` of 50 px and more, in view and behind no car (people may
    still hide each other); `night`, `rain`; `crowd`: five of them or more; `children`: a child
    among them; `close`: one of 200 px or more. Pixels are those of a 480-row image.
    """
    found, _ = _checked(domain, frames, world, (480, 640))
    tags = np.zeros(found.frames, SITUATIONS)
    if found.footage is None:
        for i in range(found.frames):
            state = found.state(i)
            seen = annotate.boxes(state, (480, 640))
            seen = seen.take(~seen.ignore & (seen.ltwh[:, 3] >= clips.SMALL))
            young = {p.person.identity for p in state.people if p.person.child}
            tall = bool((seen.ltwh[:, 3] >= CLOSE).any())
            child = any(int(k) in young for k in seen.identity)
            tags[i] = (len(seen), False, False, len(seen) >= clips.CROWD, child, tall)
        return tags
    for k, clip in enumerate(found.footage.clips):
        mine = np.flatnonzero(found.footage.clip == k)
        sizes = clip.sizes(clip.tracks)[:, found.footage.moment[mine]]
        young = np.array([track.child for track in clip.tracks], bool)
        count = (sizes > 0).sum(0)
        tags["pedestrians"][mine] = count
        tags["night"][mine] = clip.weather == "night"
        tags["rain"][mine] = clip.weather == "rain"
        tags["crowd"][mine] = count >= clips.CROWD
        tags["children"][mine] = (sizes[young] > 0).any(0)
        tags["close"][mine] = (sizes >= CLOSE).any(0)
    return tags


def _checked(domain, frames, world, image_size) -> tuple[Plan, tuple[int, int]]:
    if domain not in DOMAINS:
        raise ValueError(
            f"street: domain {domain!r} is unknown; choose one of {', '.join(DOMAINS)}"
        )
    frames = FRAMES[domain] if frames is None else frames
    if not _whole(frames) or not 1 <= frames <= MOST:
        raise ValueError(f"street: frames is {frames!r}; a whole number from 1 to {MOST} is wanted")
    if not _whole(world) or world < 0:
        raise ValueError(f"street: world is {world!r}; a whole number from 0 is wanted")
    pair = isinstance(image_size, Sequence) and len(image_size) == 2
    if not pair or not all(_whole(n) and n >= SMALLEST for n in image_size):
        raise ValueError(
            f"street: image_size is {image_size!r}; two whole numbers (height, width) of "
            f"{SMALLEST} pixels or more are wanted"
        )
    return plan(int(world), domain, int(frames)), (int(image_size[0]), int(image_size[1]))


def _whole(number) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)
