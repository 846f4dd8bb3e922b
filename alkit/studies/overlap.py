"""What data sets share: frames, videos, people, and how near in time they are.

A test set that shares a video, a person or a frame with what was learnt from measures memory, too.
Two data sets may just use the same words, though, so an equal name counts as follows.

- Two data sets are of one *origin* if their images come from the same folder, or if the same
  version of a generator drew both in the same world.
- *Frames* are shared by name, within one origin.
- *Pictures* are shared where two image files hold the same pixels, whatever their names.
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
from itertools import combinations, product, starmap
from typing import Any, NamedTuple

from scipy.spatial import KDTree

from alkit.catalog import GENERATORS, Entry
from alkit.data.imagefile import identical
from alkit.frames import FrameSet
from alkit.studies.survey import Survey, survey

NAMED = 3  # names in a sentence; the rest are counted


class Member(NamedTuple):
    """What a data set can share with another: where its images come from, as `origin` gives it, its
    frames, and the numbers of its people, None where nobody looked."""

    entry: Entry
    place: Any
    numbering: Any
    frames: FrameSet
    identities: frozenset | None


class Shared(NamedTuple):
    """What two data sets share.

    `frames`, `sequences` and `identities` are sorted names and numbers, `identities` None where
    that cannot be told; `pictures` says "name = name" of those that are not among `frames`.
    `nearest` is the smallest distance in time of frames in a shared sequence, in raw frames, and
    `seconds` the same; None without a shared sequence, or without a rate. With `certain` False the
    sequences share a name, maybe no more.
    """

    first: str
    second: str
    frames: tuple
    sequences: tuple
    identities: tuple | None
    nearest: float | None
    seconds: float | None
    certain: bool
    pictures: tuple = ()

    @property
    def anything(self) -> bool:
        return bool(self.frames or self.sequences or self.identities or self.pictures)


def origin(entry: Entry, **args) -> tuple:
    """(place, numbering) of an entry opened with `args`: equal places are of one origin, and equal
    numbers are the same object where the numberings are equal."""
    takes = inspect.signature(entry.reader_module().read).parameters
    given = {name: p.default for name, p in takes.items()} | entry.reader_args(**args)
    root = entry.existing_root()
    if root is None:
        world = given.get("world", 0) + given.get("world_offset", 0)
        place = entry.reader, GENERATORS.get(entry.reader), world
        return place, place
    folder = os.path.realpath(root / given.get("images", "."))
    return folder, (entry.reader, folder, given.get("annotations"))


def shared(first: Member, second: Member) -> Shared:
    """What two data sets share; see the module."""
    certain = first.place == second.place
    frames = set(first.frames.name) & set(second.frames.name) if certain else set()
    sequences, nearest, seconds, identities = set(), None, None, None
    parts = first, second
    # videos from two places may be the same: not stills, and nothing that is drawn
    if certain or all(p.entry.kind != "stills" and p.entry.root is not None for p in parts):
        names = [part.frames.sequence for part in parts]
        sequences = set.intersection(*(set() if own is None else {*own.tolist()} for own in names))
    if sequences:
        nearest = min(_distance(first, second, name) for name in sequences)
        rate = first.entry.frame_rate
        seconds = nearest / rate if rate and rate == second.entry.frame_rate else None
    if first.numbering == second.numbering and first.identities and second.identities:
        identities = tuple(sorted(first.identities & second.identities))
    found = tuple(sorted(frames)), tuple(sorted(sequences)), identities, nearest, seconds, certain
    pictures = _pictures(first.frames, second.frames, frames)
    return Shared(first.entry.name, second.entry.name, *found, pictures)


def _pictures(first: FrameSet, second: FrameSet, known: set) -> tuple:
    """`name = name` of image files with the same pixels, without the `known` names."""
    if first.files is None or second.files is None:
        return ()
    same = identical([*first.files, *second.files])
    name_of = dict(zip(same.tolist(), first.name, strict=False))  # those of `first` come first
    pairs = zip(same[len(first) :].tolist(), second.name, strict=True)
    return tuple(
        f"{name_of[k]} = {name}" for k, name in pairs if k in name_of and name not in known
    )


def pairs(surveys: list[Survey]) -> list[Shared]:
    """What every two of some data sets share, in their order; of a join, each of its parts."""
    every = [(s, part) for s in surveys for part in s.entry.parts or (s.entry,)]
    surveys = [s if part is s.entry else survey(part, **s.args) for s, part in every]
    members = [Member(s.entry, *origin(s.entry, **s.args), s.frames, s.identities) for s in surveys]
    return list(starmap(shared, combinations(members, 2)))


def _distance(first: Member, second: Member, sequence: str) -> float:
    """The smallest distance of two frames in one sequence, in raw numbers."""
    times = [
        part.frames.frame[part.frames.sequence == sequence][:, None] * part.entry.step
        for part in (first, second)
    ]
    distances, _ = KDTree(times[0]).query(times[1])
    return round(float(distances.min()), 6)  # raw / step · step is a raw number but for rounding


def sentence(found: Shared) -> str:
    """What a pair shares, and what a test on the one then measures of what the other taught."""
    pair = f"{found.first} and {found.second}"
    if not found.anything:
        return f"{pair}: no frame, picture, sequence or identity in common"
    parts = []
    for what in ("sequences", "identities", "frames", "pictures"):
        own = getattr(found, what) or ()
        more = f" and {len(own) - NAMED} more" if len(own) > NAMED else ""
        parts += [f"{what}: {', '.join(map(str, own[:NAMED]))}{more}"] if own else []
    if found.nearest is not None:
        seconds = "" if found.seconds is None else f" = {found.seconds:.3g} s"
        parts.append(f"the nearest are {found.nearest:g} raw frames{seconds} apart")
    if found.sequences and not found.certain:
        parts.append("if videos of one name in two folders are the same")
    too = "" if found.frames or found.pictures else ", too"
    return f"{pair} share {'; '.join(parts)}. A test on {found.second} measures memory{too}"


def leaks(experiment, catalog) -> list[str]:
    """Warnings about the test set of an experiment: what it shares with the pool and with X_l.

    `experiment` has the names `pool`, `labeled` and `test`, and in `data` the reader's arguments
    that differ from the catalog's; the word `seed` there stands for the first of its `seeds`.
    No boxes are looked at: identities are not compared. Raises what opening the data sets raises.
    """

    lines = []
    for other in dict.fromkeys((experiment.pool, experiment.labeled) if experiment.test else ()):
        sides = []
        for name in (other, experiment.test):
            given, entry = experiment.data.get(name, {}).items(), catalog[name]
            args = {k: experiment.seeds[0] if v == "seed" else v for k, v in given}
            sides.append([(e, args, *origin(e, **args)) for e in entry.parts or (entry,)])
        for pair in product(*sides):
            (first, _, place, _), (second, _, other_place, _) = pair
            if place != other_place and None in (first.root, second.root):
                continue  # what is drawn shares nothing, and opening a large data set takes long
            of = (Member(e, *at, e.open_unfiltered(**args), None) for e, args, *at in pair)
            found = shared(*of)
            lines += [sentence(found)] if found.anything else []
    return lines
