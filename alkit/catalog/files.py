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
        if path.is_file() and file.sha256 is not None:
            if (found := _file_hash(path)) != file.sha256:
                raise CatalogError(
                    f"{entry.name}: {path} has the checksum {found}, the catalog says "
                    f"{file.sha256}. Delete it to download it again, or correct the catalog"
                )
        elif path.exists():
            continue
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


def _file_hash(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(entry, file, path, progress):
    import pooch  # here: in a notebook it warns of missing widgets

    # pooch writes to a temporary name beside the file and moves it there once verified.
    known = f"sha256:{file.sha256}"
    try:
        pooch.retrieve(file.url, known, path.name, path.parent, progressbar=progress)
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
        facts["texts"] = [[os.path.relpath(f, root), _file_hash(f)] for f in texts]
        facts["media"] = [[os.path.relpath(f, root), os.path.getsize(f)] for f in media]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
