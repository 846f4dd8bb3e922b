"""What data sets share: frames, videos, people, and how near in time they are.

A test set that shares a video, a person or a frame with what was learnt from measures memory. Two
data sets may just use the same words, though, so an equal name counts as follows.

- Two data sets are of one *origin* if their images come from the same folder, or if the same
  version of a generator drew both in the same world.
- *Frames* are shared by name, within one origin.
- *Sequences* are shared by name, within one origin. Two folders that each have a sequence of one
  name may hold the same video or not: that counts, and the sentence says "if". Of data that is
  drawn, another world or generator shares nothing.
- *Identities* are shared by number, within one origin and, for files, one reader with the same
  `annotations`; elsewhere equal numbers say nothing. They are None where that is so, or where one
  data set does not say who is who.

Times are **raw frame numbers**, `frame` × the entry's `step`; seconds where the entry has a rate.
"""

import inspect
import os
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from alkit.catalog import Entry, files
from alkit.frames import FrameSet
from alkit.studies.survey import Survey

NAMED = 3  # names in a sentence; the rest are counted


class Origin(NamedTuple):
    """Where a data set's images come from; see the module. `numbering` is equal where equal
    numbers are the same object."""

    drawn: bool
    place: Any
    numbering: Any


class Member(NamedTuple):
    """What a data set can share with another. `identities` is None where nobody looked."""

    entry: Entry
    origin: Origin
    frames: FrameSet
    identities: frozenset | None


class Shared(NamedTuple):
    """What two data sets share.

    `frames`, `sequences` and `identities` are sorted names and numbers, `identities` None where
    that cannot be told. `nearest` is the smallest distance in time of a frame of `first` and one of
    `second` within a shared sequence, in raw frames, and `seconds` the same; None without a shared
    sequence, or without a rate. With `certain` False the sequences share a name, maybe no more.
    """

    first: str
    second: str
    frames: tuple
    sequences: tuple
    identities: tuple | None
    nearest: float | None
    seconds: float | None
    certain: bool

    @property
    def anything(self) -> bool:
        return bool(self.frames or self.sequences or self.identities)


def origin(entry: Entry, **args) -> Origin:
    """Where the images of an entry come from, with `args` as in `Entry.open`."""
    given = entry.reader_args(**args)
    takes = inspect.signature(entry.reader_module().read).parameters
    root = entry.existing_root()
    if root is None:
        world = given.get("world", takes["world"].default if "world" in takes else None)
        place = (entry.reader, files.GENERATORS.get(entry.reader), world)
        return Origin(True, place, place)
    images = given.get("images", takes["images"].default if "images" in takes else ".")
    folder = os.path.realpath(root / images)
    return Origin(False, folder, (entry.reader, folder, given.get("annotations")))


def member(found: Survey) -> Member:
    """A surveyed data set."""
    return Member(found.entry, origin(found.entry, **found.args), found.frames, found.identities)


def shared(first: Member, second: Member) -> Shared:
    """What two data sets share; see the module."""
    certain = first.origin.place == second.origin.place
    drawn = first.origin.drawn or second.origin.drawn
    frames = set(first.frames.name) & set(second.frames.name) if certain else set()
    sequences, nearest, seconds, identities = set(), None, None, None
    if certain or not drawn:
        names = [part.frames.sequence for part in (first, second)]
        sequences = set.intersection(*(set() if own is None else {*own.tolist()} for own in names))
    if sequences:
        nearest = min(_distance(_times(first, name), _times(second, name)) for name in sequences)
        rate = first.entry.frame_rate
        seconds = nearest / rate if rate and rate == second.entry.frame_rate else None
    if first.origin.numbering == second.origin.numbering and first.identities and second.identities:
        identities = tuple(sorted(first.identities & second.identities))
    found = tuple(sorted(frames)), tuple(sorted(sequences)), identities
    return Shared(first.entry.name, second.entry.name, *found, nearest, seconds, certain)


def pairs(surveys: list[Survey]) -> list[Shared]:
    """What every two of some data sets share, in their order."""
    return [shared(a, b) for a, b in combinations(map(member, surveys), 2)]


def _times(part: Member, sequence: str) -> np.ndarray:
    """Raw numbers of the frames of one sequence."""
    return part.frames.frame[part.frames.sequence == sequence] * part.entry.step


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The smallest distance of an element of a to one of b, neither empty."""
    b = np.concatenate([[-np.inf], np.sort(b), [np.inf]])
    after = np.searchsorted(b, a)
    # raw / step · step is a raw number but for rounding
    return round(float(np.minimum(b[after] - a, a - b[after - 1]).min()), 6)


def sentence(found: Shared) -> str:
    """What a pair shares, and why then the one is no test of what was learnt on the other."""
    pair = f"{found.first} and {found.second}"
    if not found.anything:
        return f"{pair}: no frame, sequence or identity in common"
    parts = []
    for what in ("sequences", "identities", "frames"):
        own = getattr(found, what) or ()
        more = f" and {len(own) - NAMED} more" if len(own) > NAMED else ""
        parts += [f"{what}: {', '.join(map(str, own[:NAMED]))}{more}"] if own else []
    if found.nearest is not None:
        seconds = "" if found.seconds is None else f" = {found.seconds:.3g} s"
        parts.append(f"the nearest are {found.nearest:g} raw frames{seconds} apart")
    if not found.certain:
        why = "if the videos of one name in their two folders are the same, neighboring frames are"
        why += " near-copies"
    elif found.frames:
        why = "the same images are in both"
    elif found.sequences:
        why = "neighboring frames are near-copies"
    else:
        why = "who was seen in the one is seen again in the other"
    return f"{pair} share {'; '.join(parts)}. A test on {found.second} is no test: {why}"


def leaks(experiment, catalog) -> list[str]:
    """Warnings about the test set of an experiment: what it shares with the pool and with X_l.

    `experiment` has the names `pool`, `labeled` and `test`, and in `data` the reader's arguments
    that differ from the catalog's; the word `seed` there stands for the first of its `seeds`.
    No boxes are looked at: identities are not compared. Raises what opening the data sets raises.
    """

    def arguments(name):
        given = experiment.data.get(name, {})
        return {k: experiment.seeds[0] if v == "seed" else v for k, v in given.items()}

    lines = []
    for other in dict.fromkeys((experiment.pool, experiment.labeled)):
        parts = [(catalog[name], arguments(name)) for name in (other, experiment.test)]
        origins = [origin(entry, **args) for entry, args in parts]
        stills = any(entry.kind == "stills" for entry, _ in parts)
        if origins[0].place != origins[1].place and (stills or any(o.drawn for o in origins)):
            continue  # nothing to share, and opening a large data set takes long
        found = shared(
            *(
                Member(entry, place, entry.open_unfiltered(**args), None)
                for (entry, args), place in zip(parts, origins, strict=True)
            )
        )
        lines += [sentence(found)] if found.anything else []
    return lines
