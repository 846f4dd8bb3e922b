"""What one pass over a data set finds: its counts, its decoder ceiling, what is wrong with it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from alkit.catalog import Entry
from alkit.data import filters
from alkit.frames import FrameSet
from alkit.profiles import Profile
from alkit.text import evenly

MAX_BAD_FILES = 20  # so many are named, then the check stops reading
DECODED = 500  # frames whose targets are decoded for the decoder ceiling
PATIENCE = 2.0  # seconds until a progress bar appears


class Finding(NamedTuple):
    """One line of a check."""

    what: str
    expected: Any
    found: Any
    ok: bool


@dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over the boxes of a data set finds, at native pixels under its filter.

    `frames` have all labelled objects, whatever the filter says; `args` are the reader's arguments
    that replaced the entry's. `counts`: see `stats`. `positives` int64 (frames,) counts those of
    each frame. `sizes` float64 (boxes, 2) are the **height and width in native pixels** of the
    labelled boxes of the filter's classes, and `kept` bool (boxes,) which of them are positives.
    `identities` are the numbers of the positives' objects. Without boxes the arrays are empty.
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
        return self.frames.with_boxes(lambda boxes: filters.apply(self.entry.filter, boxes))


def stats(entry: Entry) -> dict:
    """Counts of a data set at native pixels under its filter: images, sequences,
    images_with_pedestrians, instances (positives), ignored (ignore boxes), boxes (labelled boxes
    of the filter's classes before height, aspect and visibility), identities, median_height
    (pixels, of the positives; None without any), image_size, and labels (boxes of each class in
    the files, whatever the filter says). Counts of boxes are None where the data has none."""
    return survey(entry).counts


def survey(entry: Entry, progress: bool = True, **args) -> Survey:
    """Open a data set, with `args` in the place of the reader's arguments of the same name, and
    look at all its boxes. No image is read. Raises what opening the entry raises."""
    frames = entry.open_unfiltered(**args)
    counts = {
        "images": len(frames),
        "sequences": None if frames.sequence is None else len(set(frames.sequence.tolist())),
        "image_size": frames.image_size,
    }
    names = ("images_with_pedestrians", "instances", "ignored", "boxes", "identities")
    if frames.boxes is None:
        counts |= dict.fromkeys((*names, "median_height", "labels"))
        nothing = np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0, bool), frozenset()
        return Survey(entry, args, frames, counts, *nothing)

    ignored, labels, identities = 0, Counter(), set()
    positives, sizes, kept = np.zeros(len(frames), np.int64), [], []
    for i in _bar(len(frames), f"{entry.name}: boxes", progress):
        labelled = frames.boxes[i]
        labels.update(labelled.label.tolist())
        boxes = filters.apply(entry.filter, labelled)
        positives[i] = np.count_nonzero(~boxes.ignore)
        ignored += int(np.count_nonzero(boxes.ignore))
        identities.update(boxes.identity[~boxes.ignore & (boxes.identity >= 0)].tolist())
        own = np.isin(boxes.label, entry.filter.classes)
        sizes.append(boxes.ltwh[own][:, [3, 2]])
        kept.append(~boxes.ignore[own])
    sizes = np.concatenate([np.zeros((0, 2)), *sizes])
    kept = np.concatenate([np.zeros(0, bool), *kept])
    counts |= {
        "images_with_pedestrians": int(np.count_nonzero(positives)),
        "instances": int(positives.sum()),
        "ignored": ignored,
        "boxes": len(sizes),
        "identities": len(identities),
        "median_height": float(np.median(sizes[kept, 0])) if kept.any() else None,
        "labels": dict(labels.most_common()),
    }
    return Survey(entry, args, frames, counts, positives, sizes, kept, frozenset(identities))


class Ceiling(NamedTuple):
    """The decoder ceiling of a data set, and the number of its frames that were decoded for it."""

    miss_rate: float
    decoded: int


def decoder_ceiling(
    found: Survey, profile: Profile, most: int = DECODED, progress: bool = True
) -> Ceiling | None:
    """The miss rate at FPPI 1 when the ground truth's own target maps are decoded, at the profile's
    height, under the profile's filter and the protocol "caltech": no detector with these targets
    does better. See `alkit.studies.ceiling.ceiling`, which also tells why.

    Of a data set of more than `most` frames, these many are decoded, evenly chosen. Images are not
    read, except for their sizes where they differ. The rate is NaN without pedestrians; None comes
    back where the data has no boxes.
    """
    # torch takes seconds to import, which nothing else here needs
    from alkit import prediction
    from alkit.evaluation import evaluate
    from alkit.loop import labels
    from alkit.studies.ceiling import one_thread, perfect_logits

    if found.frames.boxes is None:
        return None
    rule, scale = found.entry.under(profile.box_filter).filter, 1 / profile.scale
    if found.frames.image_size is not None:  # at its own aspect, as W_l's images are
        height, width = found.frames.image_size
        rows = profile.image_size[0]
        profile = profile.at((rows, round(width * rows / height)))
    frames = found.frames.take(evenly(len(found.frames), most)).resized(profile.image_size)
    frames = frames.with_boxes(lambda boxes: filters.apply(rule, boxes, scale))
    detections = []
    with one_thread():
        for i in _bar(len(frames), f"{found.name}: decoder ceiling", progress):
            logits = perfect_logits(frames.boxes[i], profile)
            detections += prediction.detect(logits, i + 1, profile)
    rate = evaluate(labels.to_coco(frames), detections).miss_rate_at(1.0)
    return Ceiling(rate, len(frames))


def check(entry: Entry, progress: bool = True) -> list[Finding]:
    """Read all of a data set, decode every image, and compare with what the entry expects.

    Missing images are one finding; images that cannot be read are findings of their own, and after
    `MAX_BAD_FILES` of them the rest is not read. Raises what opening the entry raises.
    """
    found = survey(entry, progress)
    frames = found.frames
    missing, bad, read = [], [], 0
    for i in tqdm(range(len(frames)), desc=f"{entry.name}: images", disable=not progress):
        try:
            frames.images(i)
            read += 1
        except FileNotFoundError as error:
            missing.append(error)
        except (ValueError, OSError) as error:
            bad.append(Finding(f"image {frames.name[i]}", "readable", str(error), False))
            if len(bad) == MAX_BAD_FILES:
                break
    findings = [Finding("readable images", len(frames), read, read == len(frames)), *bad]
    if missing:
        first = f"{len(missing)}, the first is {missing[0]}"
        findings.insert(1, Finding("missing images", 0, first, False))
    return findings + compare_counts(found)


def compare_counts(found: Survey) -> list[Finding]:
    """The counts that the entry expects beside those found, and the image size."""
    entry, counts = found.entry, found.counts
    expected = {key: value for key, value in entry.expect if value is not None}
    if entry.image_size is not None:
        expected["image_size"] = entry.image_size
    return [
        Finding(key, value, counts[key], counts[key] == value) for key, value in expected.items()
    ]


def _bar(n: int, what: str, progress: bool):
    """Positions 0 … n − 1; a bar appears where it takes long, and goes when it is done."""
    return tqdm(range(n), desc=what, leave=False, delay=PATIENCE, disable=not progress)
