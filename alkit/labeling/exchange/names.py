"""Which chosen frame an image of a tool's file is, whatever the tool has made of its name.

Tools put things before and behind a name, quote it, change its suffix, its letters' spelling or the
signs between its words, and move it to other folders. What stays are its words.
"""

import csv
import re
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qs, unquote

from alkit.data.imagefile import SUFFIXES
from alkit.labeling.exchange.bundle import Bundle
from alkit.loop.task import Task

TABLE = "frames.csv"
COLUMNS = {"rank", "file", "height", "width", "looked_at", "seconds"}  # beside a selection's
LONGEST = 4000  # letters of a name that are looked at: signed addresses take a thousand


def image_name(name: str, position: int) -> str:
    """The file name of an exported frame: its position, and its name in plain letters; in its own
    letters where it has no plain ones."""
    stem = Path(name).stem
    plain = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-") or "-".join(_words(stem))
    return f"{position:06d}-{plain}"[:80].rstrip("-") + ".png"


def _words(name: str) -> list[str]:
    """Runs of letters and digits, unquoted and in one spelling."""
    name = name[:LONGEST]
    while (plain := unquote(name)) != name:
        name = plain
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFC", name).casefold())


def _bare(name: str) -> str:
    """A name without the suffix of an image."""
    stem, point, suffix = name.rpartition(".")
    return stem if f"{point}{suffix}".lower() in SUFFIXES else name


def _file(name: str) -> str:
    """The path of the file that an address is of; `?d=` holds that of a local storage."""
    if re.match(r"(\w+:/)?/", name):
        name, _, query = name.partition("?")
        name = parse_qs(query).get("d", [name])[0]
    return unquote(name).replace("\\", "/")


class Names:
    """The names by which the frames of a task may come back. Raises ValueError for a `frames.csv`
    in the bundle that is no table; its further columns hold a tool's names."""

    def __init__(self, task: Task, bundle: Bundle):
        self.task = task
        self._given, self._own = defaultdict(set), defaultdict(set)  # positions of chosen frames
        files = {image_name(name, position): position for position, name in task.names.items()}
        for file, position in files.items():
            self._add(file, position)
            for name in (task.names[position], _bare(task.names[position])):
                self._own[name].add(position)
        for row in _rows(bundle):
            if row.get("file") in files:
                for column in {*row} - COLUMNS - {*task.chosen[0]}:
                    if row[column] and isinstance(row[column], str):
                        self._add(row[column], files[row["file"]])

    def _add(self, name: str, position: int):
        last = _last(name)
        for one in (name, last, _bare(last)):
            self._given[one].add(position)

    @cached_property
    def _pool(self) -> tuple[dict, dict, int]:
        """Positions of all frames of the pool by the words of their exported files, and by those
        of their own last names, and the most words: what fits another frame better is no chosen
        one's."""
        files, own = defaultdict(set), defaultdict(set)
        for position, name in enumerate(map(str, self.task.frames.name)):
            files["-".join(_words(_bare(image_name(name, position))))].add(position)
            own["-".join(_words(_bare(_last(name))))].add(position)
        return files, own, 1 + max(words.count("-") for words in (*files, *own))

    def find(self, names: list[str]) -> tuple[int | None, bool]:
        """The position of the frame that goes by one of these names, None if it is none of the
        chosen, and whether the name is one that it was given. Raises ValueError where it may be
        two."""
        tried = map(self._candidates, names)
        found, exact = next((one for one in tried if one[0]), (set(), False))
        if len(found) > 1:
            both = " or ".join(str(self.task.frames.name[p]) for p in sorted(found)[:5])
            raise ValueError(
                f"image {names[0]!r} may be frame {both}. Rename it, or write its name into a "
                f"further column of {TABLE}, beside the frame that it is"
            )
        position = next(iter(found), None)
        return (position if position in self.task.names else None), exact

    def _candidates(self, name: str) -> tuple[set, bool]:
        """Positions of frames that the name may mean, and whether it is one they were given."""
        if given := self._given.get(name) or self._own.get(name) or self._given.get(_last(name)):
            return given, True
        files, own, most = self._pool
        if found := _contained(_words(name), files, most):
            return found, False
        return self._of_folder(name, _contained(_words(_last(_file(name))), own, most)), False

    def _of_folder(self, name: str, found: set) -> set:
        """Those of several frames of one name whose own folders the name tells, all of them."""
        if len(found) < 2:
            return found
        text, told = f"-{'-'.join(_words(name))}-", {}
        for position in found:
            words = _words(str(self.task.frames.name[position]).rpartition("/")[0])
            if f"-{'-'.join(words)}-" in text or not words:
                told[position] = len(words)
        return {p for p, n in told.items() if n == max(told.values())} or found


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _rows(bundle: Bundle) -> list[dict]:
    found = []
    for table in bundle.ending(TABLE):
        lines = bundle.files[table].decode("utf-8-sig", "replace").splitlines()
        sign = max(",;\t", key=lines[0].count) if lines else ","  # as a spreadsheet's language is
        try:
            found += csv.DictReader(lines, delimiter=sign)
        except csv.Error as error:
            raise ValueError(f"{bundle.path}: {table} is no table: {error}") from None
    return found


def _contained(words: list, index: dict, most: int) -> set:
    """What the index holds for runs of up to so many of these words, but for those that lie in a
    longer one that it holds."""
    runs = [(i, j) for i in range(len(words)) for j in range(i + 1, min(i + most, len(words)) + 1)]
    runs = [(i, j) for i, j in runs if "-".join(words[i:j]) in index]
    longest = [r for r in runs if not any(s != r and s[0] <= r[0] and r[1] <= s[1] for s in runs)]
    return {p for i, j in longest for p in index["-".join(words[i:j])]}
