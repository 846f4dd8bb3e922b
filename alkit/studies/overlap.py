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
  `annotations`: a reader numbers an object alike in whatever part of its annotations it is read.
  Two data sets besides both count from 0 or 1, and their numbers say nothing. Identities are None
  where that is so, or where one data set does not say who is who.

Times are **raw frame numbers**, `frame` × the entry's `step`; seconds where the entry has a rate.
"""

import inspect
import os
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from alkit.catalog import Entry, files
from alkit.frames import FrameSet
from alkit.studies import survey
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
    frames, sequences, nearest = set(), set(), None
    if certain:
        frames = set(first.frames.name) & set(second.frames.name)
    if certain or not (first.origin.drawn or second.origin.drawn):
        sequences = _sequences(first.frames) & _sequences(second.frames)
    if sequences:
        nearest = min(_distance(_times(first, name), _times(second, name)) for name in sequences)
    identities = None
    if first.origin.numbering == second.origin.numbering and first.identities and second.identities:
        identities = tuple(sorted(first.identities & second.identities))
    rates = {part.entry.frame_rate for part in (first, second)}
    rate = rates.pop() if len(rates) == 1 else None
    return Shared(
        first.entry.name,
        second.entry.name,
        tuple(sorted(frames)),
        tuple(sorted(sequences)),
        identities,
        nearest,
        nearest / rate if rate and nearest is not None else None,
        certain,
    )


def pairs(surveys: list[Survey]) -> list[Shared]:
    """What every two of some data sets share, in their order."""
    return [shared(a, b) for a, b in combinations(map(member, surveys), 2)]


def _sequences(frames: FrameSet) -> set:
    return set() if frames.sequence is None else set(frames.sequence.tolist())


def _times(part: Member, sequence: str) -> np.ndarray:
    """Raw numbers of the frames of one sequence."""
    return part.frames.frame[part.frames.sequence == sequence] * part.entry.step


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The smallest distance of an element of a to one of b, neither empty."""
    b = np.sort(b)
    after = np.searchsorted(b, a)
    gaps = np.minimum(
        np.abs(a - b[np.maximum(after - 1, 0)]), np.abs(b[np.minimum(after, len(b) - 1)] - a)
    )
    return round(float(gaps.min()), 6)  # raw / step · step is a raw number but for rounding


# --- in words ---------------------------------------------------------------------------------


def sentence(found: Shared) -> str:
    """What a pair shares, one line."""
    pair = f"{found.first} and {found.second}"
    if not found.anything:
        return f"{pair}: no frame, sequence or identity in common"
    parts = [
        _counted(found.sequences, "sequence", "sequences"),
        "identities not comparable"
        if found.identities is None
        else _counted(found.identities, "identity", "identities"),
        _counted(found.frames, "frame", "frames"),
    ]
    return f"{pair} share: {', '.join(parts)}{_apart(found)}"


def warning(found: Shared) -> str | None:
    """Why one of a pair is no test of what was learnt on the other; None where they share
    nothing. It names the pair and what it shares."""
    if not found.anything:
        return None
    named = []
    if found.sequences:
        named.append(_named(found.sequences, "sequence", "sequences"))
    if found.identities:
        named.append(_counted(found.identities, "identity", "identities"))
    if found.frames:
        named.append(_counted(found.frames, "frame", "frames"))
    pair = f"{found.first} and {found.second}"
    if not found.certain:
        return (
            f"{pair} lie in two folders, and both have the {' and '.join(named)}{_apart(found)}. "
            f"If that is the same video, neighbouring frames are near-copies, and a test on "
            f"{found.second} is no test"
        )
    if found.frames:
        why = "the same images are in both"
    elif found.sequences:
        why = "neighbouring frames are near-copies"
    else:
        why = "who was seen in the one is seen again in the other"
    return (
        f"{pair} share {_listed(named)}{_apart(found)}: {why}, so a test on {found.second} is no "
        "test"
    )


def warnings(found: list[Shared]) -> list[str]:
    """The warnings about some pairs."""
    return [line for line in map(warning, found) if line is not None]


def _apart(found: Shared) -> str:
    if found.nearest is None:
        return ""
    seconds = "" if found.seconds is None else f" = {found.seconds:.3g} s"
    unit = "frame" if found.nearest == 1 else "frames"
    return f" (the nearest are {found.nearest:g} raw {unit}{seconds} apart)"


def _counted(items, one: str, many: str) -> str:
    return f"{len(items) or 'no'} {one if len(items) == 1 else many}"


def _named(items, one: str, many: str) -> str:
    text = f"{one if len(items) == 1 else many} {', '.join(map(str, items[:NAMED]))}"
    return text if len(items) <= NAMED else f"{text} and {len(items) - NAMED} more"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


# --- an experiment's data sets ----------------------------------------------------------------


def leaks(experiment, catalog) -> list[str]:
    """Warnings about the test set of an experiment: what it shares with the pool and with X_l.

    `experiment` has the names `pool`, `labeled` and `test`, and in `data` the reader's arguments
    that differ from the catalog's; the word `seed` there stands for the first of its `seeds`.
    Boxes are looked at only where identities can tell more than the names: a person that is drawn
    belongs to one scene. Raises what opening the data sets raises.
    """

    def arguments(name):
        given = experiment.data.get(name, {})
        return {k: experiment.seeds[0] if v == "seed" else v for k, v in given.items()}

    opened, found = {}, []
    for other in dict.fromkeys((experiment.pool, experiment.labeled)):
        names = (other, experiment.test)
        places = [origin(catalog[name], **arguments(name)) for name in names]
        stills = any(catalog[name].kind == "stills" for name in names)
        if places[0].place != places[1].place and (stills or any(p.drawn for p in places)):
            continue  # nothing to share, and opening a large data set takes long
        looked = places[0].numbering == places[1].numbering and not places[0].drawn
        for name, place in zip(names, places, strict=True):
            if looked and (name not in opened or opened[name].identities is None):
                opened[name] = member(survey.survey(catalog[name], **arguments(name)))
            elif name not in opened:
                frames = catalog[name].open_unfiltered(**arguments(name))
                opened[name] = Member(catalog[name], place, frames, None)
        found.append(warning(shared(*(opened[name] for name in names))))
    return [line for line in found if line is not None]
