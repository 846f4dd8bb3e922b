"""What one pass over a data set finds: its counts, and what is wrong with it."""

import fnmatch
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from alkit.catalog import CatalogError, Entry
from alkit.data import filters
from alkit.data.imagefile import identical
from alkit.frames import FrameSet
from alkit.profiles import PAPER, Profile
from alkit.strategies import selected
from alkit.text import sentence

MAX_BAD_FILES = 20  # so many are named, then the check stops reading
ASKED = "kind", "title", "license", "citation", "homepage"  # what a reader of results asks for
PATIENCE = 2.0  # seconds until a progress bar appears


class Finding(NamedTuple):
    """One line of a check; with `expected` None it only says something."""

    what: str
    expected: Any
    found: Any

    @property
    def ok(self) -> bool:
        return self.expected is None or self.found == self.expected

    def __str__(self):
        if self.expected is None:
            return f"note  {self.what}: {self.found}"
        mark = "ok   " if self.ok else "WRONG"
        return f"{mark} {self.what}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over the boxes of a data set finds, at native pixels under its filter.

    `frames` have all labeled objects, whatever the filter says; `args` are the reader's arguments
    that replaced the entry's. `positives` int64 (frames,) counts those of each frame. `sizes`
    float64 (boxes, 2) are the **height and width in native pixels** of the labeled boxes of the
    filter's classes, and `kept` bool (boxes,) which of them are positives. `identities` are the
    numbers of the positives' objects. Without boxes the arrays are empty.

    `counts`: images, sequences, image_size, images_with_pedestrians, instances (positives), ignored
    (ignore boxes), boxes (labeled boxes of the filter's classes before height, aspect and
    visibility), identities, median_height (pixels, of the positives; None without any), and labels
    (all boxes of each class in the files). Counts of boxes are None where the data has none.
    """

    entry: Entry
    args: dict
    frames: FrameSet = field(repr=False)
    counts: dict
    positives: np.ndarray = field(repr=False)
    sizes: np.ndarray = field(repr=False)
    kept: np.ndarray = field(repr=False)
    identities: frozenset = field(repr=False)

    @property
    def name(self) -> str:
        return self.entry.name

    def filtered(self) -> FrameSet:
        """The frames with their boxes under the entry's filter, at native pixels."""
        return self.entry.filtered(self.frames)


def survey(entry: Entry, progress: bool = True, **args) -> Survey:
    """Open a data set, with `args` in the place of the reader's arguments of the same name, and
    look at all its boxes. No image is read. Raises what opening the entry raises."""
    frames = entry.open_unfiltered(**args)
    ignored, labels, identities = 0, Counter(), set()
    labeled = frames.boxes is not None
    positives, sizes, kept = np.zeros(len(frames) if labeled else 0, np.int64), [], []
    bar = {"desc": f"{entry.name}: boxes", "leave": False, "delay": PATIENCE}
    for i in tqdm(range(len(positives)), disable=not progress, **bar):
        found = frames.boxes[i]
        labels.update(found.label.tolist())
        boxes = filters.apply(entry.filter_of(frames, i), found)
        positives[i] = np.count_nonzero(~boxes.ignore)
        ignored += int(np.count_nonzero(boxes.ignore))
        identities.update(boxes.identity[~boxes.ignore & (boxes.identity >= 0)].tolist())
        own = np.isin(boxes.label, entry.filter.classes)
        sizes.append(boxes.ltwh[own][:, [3, 2]])
        kept.append(~boxes.ignore[own])
    sizes = np.concatenate([np.zeros((0, 2)), *sizes])
    kept = np.concatenate([np.zeros(0, bool), *kept])
    of_boxes = {
        "images_with_pedestrians": int(np.count_nonzero(positives)),
        "instances": int(positives.sum()),
        "ignored": ignored,
        "boxes": len(sizes),
        "identities": len(identities),
        "median_height": float(np.median(sizes[kept, 0])) if kept.any() else None,
        "labels": dict(labels.most_common()),
    }
    counts = {
        "images": len(frames),
        "sequences": None if frames.sequence is None else len(set(frames.sequence.tolist())),
        "image_size": frames.image_size,
        **(of_boxes if labeled else dict.fromkeys(of_boxes)),
    }
    return Survey(entry, args, frames, counts, positives, sizes, kept, frozenset(identities))


def by_sequence(found: Survey, numbers: Profile) -> pd.DataFrame:
    """Of each sequence its frames, pedestrians, their share of all, and how many of them fail the
    filter at the size of a profile: they are too small there."""
    frames, size = found.filtered(), numbers.image_size
    small = found.entry.open(size, 1 / numbers.scale, **found.args).boxes
    lost = [(~a.ignore & b.ignore).sum() for a, b in zip(frames.boxes, small, strict=True)]
    columns = {"frames": 1, "pedestrians": found.positives, f"lost at {size[0]}×{size[1]}": lost}
    table = pd.DataFrame(columns).groupby(frames.sequence, sort=False).sum()
    return table.assign(share=(table["pedestrians"] / found.positives.sum()).round(3))


def check(entry: Entry, progress: bool = True) -> list[Finding]:
    """Read all of a data set, decode every image, and compare with what the entry expects; say what
    was assumed, warned of, and found twice.

    Images that are missing or cannot be read are findings of their own; after `MAX_BAD_FILES` of
    them the rest is not read. Raises what opening the entry raises.
    """
    bad, outside = [], []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = survey(entry, progress)
        frames = found.frames
        for i in tqdm(range(len(frames)), desc=f"{entry.name}: images", disable=not progress):
            try:
                outside += _outside(frames, i)
            except (ValueError, OSError) as error:
                bad.append(Finding(f"image {frames.name[i]}", "readable", str(error)))
                if len(bad) == MAX_BAD_FILES:
                    break
    n = f"{len(bad)} or more" if len(bad) == MAX_BAD_FILES else len(bad)
    findings = [Finding("unreadable images", 0, n), *bad, *compare_counts(found)]
    if (labels := found.counts["labels"]) is not None:
        findings.append(Finding("boxes outside of their image", [], outside[:3]))
        if not found.positives.any():
            said = filters.no_box_of(entry.filter, labels) or "none passes the filter"
            findings.append(Finding("boxes to learn from", "some", said))
    notes = {str(warning.message): "warning" for warning in warned}
    if frames.sequence is not None and len(frames):
        most = len(selected(np.zeros(len(frames)), len(frames), frames, PAPER, []).indices)
        said = f"let one cycle choose at most {most} of {len(frames)} frames"
        notes[f"{said} (exclude_now {PAPER.exclude_now})"] = "the temporal rules"
    if twice := copies(frames):
        notes[f"{len(twice)} times; {'; '.join(twice[:3])}"] = "the same image under several names"
    if open_ := [name for name in ASKED if not vars(entry)[name]]:
        kind = "stills" if frames.sequence is None else "video"
        notes[f"{', '.join(open_)}; its frames are taken for {kind}"] = "the entry does not say"
    return [*findings, *(Finding(what, None, said) for said, what in notes.items())]


def _outside(frames: FrameSet, i: int) -> list[str]:
    """The boxes of image i, which is read, that do not touch it."""
    height, width = frames.images(i).shape[:2]
    boxes = frames.boxes[i].ltwh if frames.boxes is not None else np.zeros((0, 4))
    near = (boxes[:, :2] < (width, height)).all(1) & (boxes[:, :2] + boxes[:, 2:] > 0).all(1)
    return [f"{frames.name[i]} {box}" for box in boxes[~near].tolist()]


def copies(frames: FrameSet) -> list[str]:
    """`name = name` of the image files with the same pixels; none where there are no files."""
    if frames.files is None:
        return []
    names = pd.Series(frames.name).groupby(identical(frames.files), sort=False)
    return [" = ".join(own) for _, own in names if len(own) > 1]


def compare_counts(found: Survey) -> list[Finding]:
    """The counts that the entry expects beside those found, and the image size."""
    return [Finding(k, value, found.counts[k]) for k, value in _expected(found.entry).items()]


def _expected(entry: Entry) -> dict:
    size = {} if entry.image_size is None else {"image_size": entry.image_size}
    return entry.expect | size


# --- several data sets ------------------------------------------------------------------------


def table_of_counts(entries: list[Entry], surveys: list[Survey]) -> pd.DataFrame:
    """The counts of data sets as text, a column for each, with what the catalog expects in
    brackets; "–" for what is not known. Identities are the different people among the positives."""
    counts = {found.name: found.counts for found in surveys}
    columns = {}
    for entry in entries:
        found, expected = counts.get(entry.name, {}), _expected(entry)
        columns[entry.name] = {
            key.replace("_", " "): _shown(found.get(key))
            + (f" ({_shown(expected[key])} expected)" if key in expected else "")
            for key in found | expected
        }
    return pd.DataFrame(columns).fillna("–")


def _shown(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {n}" for name, n in value.items())
    if isinstance(value, tuple):
        return " × ".join(map(str, value))
    return "–" if value is None else f"{round(value, 2):.10g}"


def matching(catalog, names: str) -> list[Entry]:
    """The entries of a catalog that a text names, with commas or blanks between; in a name `*`
    stands for anything. Raises CatalogError for a name or a pattern that matches none."""
    found = {}
    for name in names.replace(",", " ").split():
        for one in fnmatch.filter(catalog, name) or [name]:
            found[one] = catalog[one]
    return list(found.values())


def survey_present(entries: list[Entry]) -> tuple[list[Survey], dict]:
    """Survey the data sets that are there; of the others, by name, why they cannot be read."""
    surveys, absent = [], {}
    for entry in entries:
        try:
            surveys.append(survey(entry))
        except (CatalogError, FileNotFoundError) as error:
            absent[entry.name] = str(error)
    return surveys, absent


def check_counts(surveys: list[Survey]) -> str:
    """The checked line: the counts are those that the catalog expects."""
    problems = [
        f"{found.name}: {line.what}: {line.found}, {line.expected} expected"
        for found in surveys
        for line in compare_counts(found)
        if not line.ok
    ]
    return sentence("data sets: counts as the catalog expects", problems[:5])
