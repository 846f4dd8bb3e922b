"""Files of results: written atomically, and an error that names one that cannot be read."""

import gzip
import json
import os
from pathlib import Path

import numpy as np


def write_json(path: Path, value, compress=False):
    """Write JSON atomically; floats keep every digit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=None if compress else 1)
    partial = path.with_name(path.name + ".partial")
    if compress:
        partial.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        partial.write_text(text)
    os.replace(partial, path)


def write_array(path: Path, values: np.ndarray):
    """Write an array as .npy, atomically."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        np.save(file, values, allow_pickle=False)
    os.replace(partial, path)


def read_json(path: Path):
    """Read a JSON file, gzipped where its name says so. Raises ValueError naming the file."""
    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged, not readable as JSON ({error})") from None
