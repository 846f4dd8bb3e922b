"""What one does with a data set as a whole: check it, count it, fetch it, fingerprint it."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pooch
import requests
from tqdm import tqdm

from alkit import filters, street
from alkit.catalog import CatalogError, Entry
from alkit.frames import FrameSet

GENERATORS = {"street": street.VERSION}  # readers whose data are drawn, not stored
MAX_BAD_FILES = 20  # so many are named, then the check stops reading


class Finding(NamedTuple):
    """One line of a check."""

    what: str
    expected: Any
    found: Any
    ok: bool


def stats(entry: Entry) -> dict:
    """Counts of a data set at native pixels under its filter: images, sequences,
    images_with_pedestrians, instances (positives), ignored (ignore boxes), boxes (labelled boxes
    of the filter's classes before height, aspect and visibility), identities, median_height
    (pixels, of the positives; None without any), image_size, and labels (boxes of each class in
    the files, whatever the filter says). Counts of boxes are None where the data has none."""
    return _count(entry, entry.open_unfiltered())


def _count(entry: Entry, frames: FrameSet) -> dict:
    counts = {
        "images": len(frames),
        "sequences": None if frames.sequence is None else len(set(frames.sequence.tolist())),
        "image_size": frames.image_size,
    }
    names = ("images_with_pedestrians", "instances", "ignored", "boxes", "identities")
    if frames.boxes is None:
        return counts | dict.fromkeys((*names, "median_height", "labels"))
    counts |= dict.fromkeys(names, 0)
    labels, identities, heights = Counter(), set(), []
    for labelled in frames.boxes:
        labels.update(labelled.label.tolist())
        boxes = filters.apply(entry.filter, labelled)
        kept = boxes.take(~boxes.ignore)
        counts["images_with_pedestrians"] += len(kept) > 0
        counts["instances"] += len(kept)
        counts["ignored"] += len(boxes) - len(kept)
        counts["boxes"] += int(np.isin(boxes.label, entry.filter.classes).sum())
        identities.update(kept.identity[kept.identity >= 0].tolist())
        heights.append(kept.ltwh[:, 3])
    counts["identities"] = len(identities)
    heights = np.concatenate(heights) if heights else np.zeros(0)
    counts["median_height"] = float(np.median(heights)) if len(heights) else None
    return counts | {"labels": dict(labels.most_common())}


def check(entry: Entry, progress: bool = True) -> list[Finding]:
    """Read all of a data set, decode every image, and compare with what the entry expects.

    Files that cannot be read are findings of their own; after `MAX_BAD_FILES` of them the rest is
    not read. Raises what opening the entry raises.
    """
    frames = entry.open_unfiltered()
    counts = _count(entry, frames)
    bad, read = [], 0
    for i in tqdm(range(len(frames)), desc=f"{entry.name}: images", disable=not progress):
        try:
            frames.images(i)
            read += 1
        except (ValueError, OSError) as error:
            bad.append(Finding(f"image {frames.name[i]}", "readable", str(error), False))
            if len(bad) == MAX_BAD_FILES:
                break
    findings = [Finding("readable images", len(frames), read, read == len(frames)), *bad]
    expected = {key: value for key, value in entry.expect if value is not None}
    if entry.image_size is not None:
        expected["image_size"] = entry.image_size
    return findings + [
        Finding(key, value, counts[key], counts[key] == value) for key, value in expected.items()
    ]


def fetch(entry: Entry, progress: bool = True) -> list[Path]:
    """Download an entry's files to its folder and verify them; their paths come back.

    A file that is there and has the right checksum is not downloaded again. A download gets its
    name only when it is complete and verified. Raises CatalogError for a file that is there with
    another checksum (it is left as it is), for a download that fails or has a wrong checksum, and
    at the end for files that cannot be downloaded without registration, with the homepage.
    """
    if entry.root is None:
        return []
    folder = entry.folder()
    if not entry.files and not folder.exists():
        raise CatalogError(f"{entry.name} lists no files; get it from {entry.homepage} to {folder}")
    paths, missing = [], []
    for file in entry.files:
        path = folder / file.path
        paths.append(path)
        if path.exists():
            _verify(entry, path, file.sha256)
        elif file.url is None:
            missing.append(f"{path}" + (f" ({file.note})" if file.note else ""))
        else:
            _download(entry, file, path, progress)
    if missing:
        raise CatalogError(
            f"{entry.name}: these files have no address to download from without asking. Get them "
            f"from {entry.homepage} (registration may be needed) and put them at: "
            + "; ".join(missing)
        )
    return paths


def _verify(entry, path, sha256):
    if sha256 is not None and path.is_file() and pooch.file_hash(str(path)) != sha256:
        raise CatalogError(
            f"{entry.name}: {path} has the checksum {pooch.file_hash(str(path))}, the catalog says "
            f"{sha256}. Delete it to download it again, or correct the catalog"
        )


def _download(entry, file, path, progress):
    # pooch writes to a temporary name beside the file and moves it there once verified.
    try:
        pooch.retrieve(
            file.url,
            known_hash=f"sha256:{file.sha256}",
            fname=path.name,
            path=path.parent,
            progressbar=progress,
        )
    except (requests.RequestException, OSError, ValueError) as error:
        raise CatalogError(
            f"{entry.name}: the download of {file.url} failed, and nothing was written to {path}: "
            f"{error}. Run the same command again"
        ) from error


def fingerprint(entry: Entry, overrides: dict | None = None) -> str:
    """A sha256 over what determines the data: the reader, its generator's version, its arguments
    with `overrides`, filter, kind and size; the content of annotation files; the names and sizes
    of images and videos, since hashing their content would take as long as reading the data set.
    An image changed to another of the same size in bytes goes unnoticed."""
    module = entry.reader_module()
    args = entry.reader_args(**(overrides or {}))
    facts = {
        "reader": [entry.reader, GENERATORS.get(entry.reader)],
        "args": args,
        "filter": entry.filter.model_dump(),
        "kind": entry.kind,
        "image_size": entry.image_size,
    }
    root = entry.existing_root()
    if root is not None:
        texts, media = module.sources(root, **args)
        facts["texts"] = [[os.path.relpath(f, root), pooch.file_hash(str(f))] for f in texts]
        facts["media"] = [[os.path.relpath(f, root), os.path.getsize(f)] for f in media]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
