"""Files of results: written atomically, and an error that names one that cannot be read."""

import contextlib
import gzip
import json
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path):
    """A file to write bytes to, which takes its place when all is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        yield file
    os.replace(partial, path)


def write_json(path: Path, value):
    """Write JSON atomically; floats keep every digit."""
    with replacing(path) as file:
        file.write(json.dumps(value, indent=1).encode())


def write_json_list(path: Path, items):
    """Write items as one gzipped JSON list, atomically; no two of them need be in memory."""
    with replacing(path) as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        before = b"["
        for item in items:
            packed.write(before + json.dumps(item).encode())
            before = b", "
        packed.write(b"[]" if before == b"[" else b"]")


def read_json(path: Path):
    """Read a JSON file, gzipped where its name says so. Raises ValueError naming the file."""
    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged, not readable as JSON ({error})") from None
