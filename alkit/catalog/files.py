"""The files of a data set: fetch them, and tell by a fingerprint whether they are the same."""

import hashlib
import json
import os
from pathlib import Path

import requests

from alkit import street
from alkit.catalog import CatalogError, Entry

GENERATORS = {"street": street.VERSION}  # readers whose data are drawn, not stored


def fetch(entry: Entry, progress: bool = True) -> list[Path]:
    """Download an entry's files to its folder and verify them; their paths come back.

    A file that is there with the right checksum is not downloaded again; another one takes the
    place of what is there only when it is complete and verified. Raises CatalogError for a
    download that fails or has a wrong checksum, and at the end for missing files that cannot be
    downloaded without registration, with the homepage.
    """
    if entry.root is None:
        return []
    folder = entry.folder()
    if not entry.files and not folder.exists():
        raise CatalogError(f"{entry.name} lists no files; get it from {entry.homepage} to {folder}")
    import pooch  # here: in a notebook it warns of missing widgets

    paths, missing = [folder / file.path for file in entry.files], []
    for file, path in zip(entry.files, paths, strict=True):
        if file.url is None:
            missing += [] if path.exists() else [f"{path} ({file.note})"]
            continue
        known = f"sha256:{file.sha256}"
        try:
            pooch.retrieve(file.url, known, path.name, path.parent, progressbar=progress)
        except (requests.RequestException, OSError, ValueError) as error:
            raise CatalogError(f"{entry.name}: download of {file.url} failed: {error}") from error
    if missing:
        raise CatalogError(
            f"{entry.name}: these files cannot be downloaded without asking. Get them from "
            f"{entry.homepage} and put them at: {'; '.join(missing)}"
        )
    return paths


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
        facts["texts"] = [[os.path.relpath(f, root), _file_hash(f)] for f in texts]
        facts["media"] = [[os.path.relpath(f, root), os.path.getsize(f)] for f in media]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _file_hash(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
