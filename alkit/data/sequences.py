"""Several sets of frames as one, and a range of the frames of each video."""

import warnings
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from alkit.data.records import unique
from alkit.frames import FrameSet, LazySequence

Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[PositiveInt, PositiveInt] | tuple[Share, Share]


def taken(where, number, length, frames: Range | None, step: int) -> np.ndarray:
    """Positions of every step-th frame in the range `frames` of each video. `number` (n,) counts
    the frames of a video **from 1**, `length` is how many it has. A range is [first, last], both
    included, or two shares of the length: [0, 0.65] and [0.65, 1] hold each frame once.

    Raises ValueError that begins with `where` for a range that a video does not have."""
    first, last = frames or (1, length)
    if isinstance(first, float):
        first, last = np.round(first * length) + 1, np.round(last * length)
    if np.any(first > last) or np.any(last > length):
        n = np.min(length)
        said = f"expected frames [first, last] of 1 to {n}, or as shares [0.0, 1.0] of these"
        raise ValueError(f"{where}: {said}; got {[*frames]}, which takes none or others")
    return np.flatnonzero((number >= first) & (number <= last) & ((number - first) % step == 0))


def joined(sets: list[FrameSet], dataset: str, bits: int = 40) -> FrameSet:
    """Frames of several sets in their order; `part` says which set each is of.

    What is equal by chance stays apart. If two sets share a name or a sequence, the names and
    sequences of all begin with the last part of their set's own name. Identities of set k are
    k · 2^`bits` higher. Beside videos, a still is a sequence of its own. There are no boxes where
    one set has none, with a warning. Raises ValueError for two sets of one name, or with one image.
    """
    prefix = [Path(one.dataset).name for one in sets]
    unique(dataset, "data set", prefix)
    unique(dataset, "image", [str(file) for one in sets for file in one.files or ()])
    part = np.repeat(range(len(sets)), [*map(len, sets)])
    own = [i for one in sets for i in range(len(one))]
    video = any(one.sequence is not None for one in sets)
    names = [[*one.name] for one in sets]
    clips = [[*one.name] if one.sequence is None else one.sequence.tolist() for one in sets]
    if any(len({*chain(*all_)}) < sum(len({*each}) for each in all_) for all_ in (names, clips)):
        for k, p in enumerate(prefix):
            names[k], clips[k] = ([f"{p}/{name}" for name in all_[k]] for all_ in (names, clips))
    moments = [np.zeros(len(one)) if one.frame is None else one.frame for one in sets]
    bare = [name for name, one in zip(prefix, sets, strict=True) if one.boxes is None]
    if 0 < len(bare) < len(sets):
        warnings.warn(f"{dataset}: {bare} have no boxes, so none are used", stacklevel=2)

    def boxes(i):
        found = sets[part[i]].boxes[own[i]]
        shift = np.where(found.identity < 0, 0, int(part[i]) << bits)
        return replace(found, identity=found.identity + shift)

    sizes, files = {one.image_size for one in sets}, [one.files for one in sets]
    return FrameSet(
        dataset,
        [*chain(*names)],
        read=lambda i: sets[part[i]].images(own[i]),
        image_size=sizes.pop() if len(sizes) == 1 else None,
        boxes=None if bare else LazySequence(len(part), boxes),
        sequence=np.array([*chain(*clips)]) if video else None,
        frame=np.concatenate(moments) if video else None,
        files=None if None in files else LazySequence(len(part), lambda i: files[part[i]][own[i]]),
        part=part,
        sizes=LazySequence(len(part), lambda i: sets[part[i]].image_size),
    )
