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

CLOCK = 2.0  # seconds in which a file may be written twice without another time: some disks' clock


def remembered(what: str, files: Sequence[Path], find: Callable) -> list:
    """find(file), a JSON value, of each file; asked only where the cache does not say it under the
    name `what`. Threads do it, with a progress bar. Raises what `find` and a missing file raise.
    """
    folders, found = {}, [None] * len(files)
    for i, file in enumerate(files):
        folders.setdefault(file.parent, []).append((i, file))
    for folder, own in folders.items():
        key = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()
        store = user_cache_path("alkit") / what / f"{key}.json"
        known, new = _read(store), {}
        for i, file in own:
            stat = file.stat()
            size, written, answer = known.get(file.name, (None,) * 3)
            if (size, written) == (stat.st_size, stat.st_mtime_ns):
                found[i] = answer
            else:
                new[i] = file, stat
        bar = {"desc": f"{folder.name}: {what}", "total": len(new), "delay": 2, "leave": False}
        answers = in_threads(lambda one: find(one[0]), new.values())
        for i, answer in zip(new, tqdm(answers, **bar), strict=True):
            found[i], (file, stat) = answer, new[i]
            if abs(time.time() - stat.st_mtime) > CLOCK:
                known[file.name] = stat.st_size, stat.st_mtime_ns, answer
        if new:
            _write(store, known)
    return found


def _read(store: Path) -> dict:
    try:
        known = json.loads(store.read_bytes())
        return {name: own for name, own in known.items() if len(own) == 3}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(store: Path, known: dict):
    with contextlib.suppress(OSError):  # no place to remember it: it is found out again next time
        store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=store.parent, delete=False) as file:
            json.dump(known, file)
        os.replace(file.name, store)


def content(file: Path) -> str:
    """sha256 of what an annotation file says: of JSON and text whatever their white space and the
    order of keys, and of JSON without what its top says about the file; else of its bytes."""
    data = file.read_bytes()
    if file.suffix == ".json":
        with contextlib.suppress(ValueError, RecursionError):  # its reader says what is wrong
            said = json.loads(data, parse_float=_number)
            if isinstance(said, dict):
                said = {key: said[key] for key in said if key not in ("info", "licenses")}
            data = json.dumps(said, sort_keys=True).encode()
    elif file.suffix in (".txt", ".ini"):
        lines = [re.sub(rb"\s*([,=])\s*", rb"\1", line) for line in data.split(b"\n")]
        lines = [line.strip() for line in lines if line.strip()]
        data = b"\n".join(sorted(lines) if file.suffix == ".ini" else lines)
    return hashlib.sha256(data).hexdigest()


def _number(text: str) -> int | float:
    """160.0 is 160."""
    number = float(text)
    return int(number) if number.is_integer() else number
