"""Reads the embedded data set: street scenes that are drawn when they are asked for."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, validate_call

from alkit.frames import FrameSet, LazySequence
from alkit.street import annotate, clips, render
from alkit.street.plan import plan
from alkit.street.world import DOMAINS

FRAMES = {"source": 300, "pool": 2000, "test": 240}  # where no number is given
TAGS = ("night", "rain", "crowd", "children", "close")
SITUATIONS = np.dtype([("pedestrians", int), *((tag, bool) for tag in TAGS)])
CLOSE = 200.0  # pixels of a 480-row image
KEPT = 16384  # frames whose boxes are kept: training asks for them in every epoch
Domain = Literal[DOMAINS]
Count = Annotated[int, Field(ge=1, le=1_000_000)]  # frames: what identities have room for
Side = Annotated[int, Field(ge=48)]  # rows or columns of an image


@validate_call
def read(
    root: Path | None = None,
    *,
    domain: Domain = "source",
    frames: Count | None = None,
    first: NonNegativeInt = 0,
    world: NonNegativeInt = 0,
    world_offset: NonNegativeInt = 0,
    image_size: tuple[Side, Side] = (480, 640),
) -> FrameSet:
    """Frames of one domain of the street, drawn from `world` + `world_offset`; `root` is not read.

    `domain`: "source" are sharp stills by day, each a scene of its own; "pool" and "test" are
    videos from a moving car, softer, darker, noisier, some in rain or at night. In the pool 20 to
    25 % of the frames show a pedestrian of 50 px or more (of a 480-row image); test takes every
    sixth frame of other videos and leaves out most of those without one. Pool, source and test of
    a world share no scene, person or texture, and another `world` shares nothing at all.

    `frames` is their number; `first` leaves out that many stills before them, so that two sets of
    source frames may have none in common. Pool sequences last 16 s: 240 frames each in a large
    pool; a small one (below 4,800) takes every k-th frame of max(1, frames // 50) sequences, 20 at
    most, so that it keeps the range of situations. Source frame i does not depend on `frames`;
    pool and test do. The same arguments give the same pixels, in any order of reading.

    `image_size` (height, width): drawn at that size; boxes scale with the height, and a wider
    image shows more of the street. `frame` is the position in the sequence in steps of the domain.
    Boxes, all labeled "pedestrian": see `alkit.street.annotate.boxes`. Mannequins, posters, signs
    and trees are background. `identity` is unique among all domains of a world.

    Raises ValueError for an unknown domain, `frames` < 1 (or > 1,000,000), a negative `world`, a
    `first` for videos, and an image below 48 pixels.
    """
    found = plan(world + world_offset, domain, FRAMES[domain] if frames is None else frames)
    footage = found.footage
    if footage is None:
        names = [f"source-{first + i:06d}" for i in range(found.frames)]
        sequence = None
    elif first:
        raise ValueError(f"street: expected first to be 0 for videos, got {first}")
    else:
        sequence = np.array([f"{domain}-{k:03d}" for k in range(len(footage.clips))])[footage.clip]
        names = [f"{s}/{m:03d}" for s, m in zip(sequence, footage.moment, strict=True)]

    @lru_cache(maxsize=KEPT)
    def boxes(i):
        return annotate.boxes(found.state(first + i), image_size)

    return FrameSet(
        dataset=f"street-{domain}",
        name=names,
        read=lambda i: render.image(found.state(first + i), image_size),
        image_size=image_size,
        boxes=LazySequence(found.frames, boxes),
        sequence=sequence,
        frame=None if footage is None else footage.frame,
    )


@validate_call
def describe(
    *,
    domain: Literal["pool", "test"],
    frames: Count | None = None,
    world: NonNegativeInt = 0,
    world_offset: NonNegativeInt = 0,
    **_,
) -> np.ndarray:
    """The situations of each video frame that `read` gives for the same arguments, without drawing.

    A structured array (n,): `pedestrians` of 50 px and more, in view and behind no car (people may
    still hide each other); `night`, `rain`; `crowd`: five of them or more; `children`: a child
    among them; `close`: one of 200 px or more. Pixels are those of a 480-row image.
    """
    found = plan(world + world_offset, domain, FRAMES[domain] if frames is None else frames)
    tags = np.zeros(found.frames, SITUATIONS)
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
