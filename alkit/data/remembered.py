"""What was found out about a file once, kept in the user's cache folder: data may be read-only.

For each folder and question there is a JSON file: name of a file → size, time, answer. An answer
holds as long as the file's size and time are the same. Deleting the cache loses time, nothing else.
"""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from platformdirs import user_cache_path
from tqdm import tqdm

from alkit.threads import in_threads

CLOCK = 2e9  # nanoseconds: within a tick of a disk's clock a file may change without another time


def remembered(what: str, files: Sequence[Path], find: Callable) -> list:
    """find(file), a JSON value, of each file; asked only where the cache does not say it under the
    name `what`. Threads do it, with a progress bar. Raises what `find` and a missing file raise.
    """
    known = {folder: _read(_store(what, folder)) for folder in {file.parent for file in files}}
    marks = [[stat.st_size, stat.st_mtime_ns] for stat in (file.stat() for file in files)]
    own = list(zip(files, marks, strict=True))
    new = [(f, mark) for f, mark in own if known[f.parent].get(f.name, [])[:2] != mark]
    answers = in_threads(lambda one: find(one[0]), new)
    answers = tqdm(answers, what, len(new), delay=2, leave=False)
    for (file, mark), answer in zip(new, answers, strict=True):
        known[file.parent][file.name] = [*mark, answer]
    for folder in {file.parent for file, _ in new}:
        _write(_store(what, folder), known[folder])
    return [known[file.parent][file.name][2] for file in files]


def _store(what: str, folder: Path) -> Path:
    key = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()
    return user_cache_path("alkit") / what / f"{key}.json"


def _read(store: Path) -> dict:
    try:
        known = json.loads(store.read_bytes())
        return {name: own for name, own in known.items() if len(own) == 3}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(store: Path, known: dict):
    settled = {name: own for name, own in known.items() if abs(time.time_ns() - own[1]) > CLOCK}
    with contextlib.suppress(OSError):  # no place to remember it: it is found out again next time
        store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=store.parent, delete=False) as file:
            file.write(json.dumps(settled).encode())
        os.replace(file.name, store)


def content(file: Path) -> str:
    """sha256 of what an annotation file says: of JSON and text whatever their white space and the
    order of keys, and of JSON without what its top says about the file; else of its bytes."""
    data = file.read_bytes()
    if file.suffix == ".json":
        with contextlib.suppress(ValueError, RecursionError):  # its reader says what is wrong
            said = json.loads(data, parse_float=_number)
            if isinstance(said, dict):
                said = said | dict.fromkeys(("info", "licenses"))
            data = json.dumps(said, sort_keys=True).encode()
    elif file.suffix in (".txt", ".ini"):
        lines = [re.sub(rb"\s*([,=])\s*", rb"\1", line.strip()) for line in data.splitlines()]
        lines = [*filter(None, lines)]
        data = b"\n".join(sorted(lines) if file.suffix == ".ini" else lines)
    return hashlib.sha256(data).hexdigest()


def _number(text: str) -> int | float:
    """160.0 is 160."""
    number = float(text)
    return int(number) if number.is_integer() else number
