"""Several sets of frames as one."""

import warnings
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from alkit.frames import FrameSet, LazySequence


def joined(sets: list[FrameSet], dataset: str, bits: int = 40) -> FrameSet:
    """Frames of several sets in their order; `part` says which set each is of.

    What is equal by chance stays apart. If two sets share a name or a sequence, the names and
    sequences of all begin with the last part of their set's own name. Identities of set k are
    k · 2^`bits` higher. Beside videos, a still is a sequence of its own. There are no boxes where
    one set has none, with a warning. Raises ValueError for two sets of one name.
    """
    prefix = [Path(one.dataset).name for one in sets]
    if twice := sorted({name for name in prefix if prefix.count(name) > 1}):
        raise ValueError(f"{dataset}: expected data sets of different names, got twice {twice}")
    part = np.repeat(range(len(sets)), [*map(len, sets)])
    own = [i for one in sets for i in range(len(one))]
    video = any(one.sequence is not None for one in sets)
    names = [[*one.name] for one in sets]
    clips = [[*one.name] if one.sequence is None else one.sequence.tolist() for one in sets]
    if any(len({*chain(*all_)}) < sum(len({*each}) for each in all_) for all_ in (names, clips)):
        for k, p in enumerate(prefix):
            names[k], clips[k] = ([f"{p}/{name}" for name in all_[k]] for all_ in (names, clips))
    moments = [np.zeros(len(one)) if one.frame is None else one.frame for one in sets]
    bare = [one.dataset for one in sets if one.boxes is None]
    if 0 < len(bare) < len(sets):
        said = f"{', '.join(bare)} has no boxes, so those of the others are not used"
        warnings.warn(f"{dataset}: {said}", stacklevel=2)

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
    )
