"""Which frame an image of a tool's file is. Tools put things before and behind a name, quote it,
change its suffix, the spelling of its letters or the signs between its words, and move it to other
folders. What stays are its words."""

import csv
import re
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from alkit.data.imagefile import SUFFIXES
from alkit.labeling.exchange.bundle import Bundle
from alkit.loop.task import Task

TABLE = "frames.csv"
OURS = {"rank", "file", "height", "width", "looked_at", "seconds"}  # columns beside a selection's
LONGEST = 4000  # letters of a name that are looked at: signed addresses take a thousand


def image_name(name: str, position: int) -> str:
    """The file name of an exported frame: its position, and its name in plain letters; in its own
    letters where it has no plain ones."""
    stem = Path(name).stem
    plain = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-") or _words(stem).strip("-")
    return f"{position:06d}-{plain}"[:80].rstrip("-") + ".png"


def _words(name: str) -> str:
    """Its runs of letters and digits as "-a-b-", in one spelling, without quotes of addresses."""
    plain = unicodedata.normalize("NFC", unquote(name)).casefold()
    return "-" + "-".join(re.findall(r"[^\W_]+", plain)) + "-"


def _bare(name: str) -> str:
    """A name without the suffix of an image."""
    return name[: name.rindex(".")] if name.lower().endswith(SUFFIXES) else name


class Names:
    """The names by which the frames of a task may come back."""

    def __init__(self, task: Task, bundle: Bundle):
        self._task, self._given = task, defaultdict(set)  # positions by names; of files after a "/"
        files = {image_name(own, position): position for position, own in task.names.items()}
        for file, position in files.items():
            own = task.names[position]
            for name in (own, _bare(own), f"/{file}", f"/{_bare(file)}"):
                self._given[name].add(position)
        for table in bundle.ending(TABLE):  # further columns hold a tool's names
            head, *_ = text = bundle.text(table).splitlines() or [""]
            for row in csv.DictReader(text, delimiter=max(",;\t", key=head.count)):
                for column in {*row} - OURS - {*task.chosen[0]}:
                    if row.get("file") in files and row[column]:
                        self._given["/" + row[column].split("/")[-1]].add(files[row["file"]])

    @cached_property
    def _pool(self) -> tuple[dict, dict]:
        """Positions by the words of exported names, and of own names in their folders and without.
        Of all frames: what another one fits better is no chosen one's."""
        files, owns = defaultdict(set), defaultdict(set)
        for position, name in enumerate(map(str, self._task.frames.name)):
            files[_words(_bare(image_name(name, position)))].add(position)
            parts = _bare(name).split("/")
            for k in range(len(parts)):
                owns[_words("/".join(parts[k:]))].add(position)
        return files, owns

    def find(self, names: list[str]) -> tuple[set, bool]:
        """Positions of all frames that may go by one of these names, and whether one was given."""
        given = [self._given.get(n) or self._given.get("/" + n.split("/")[-1]) for n in names]
        exact = any(given)
        return next(filter(None, given if exact else map(self._fitting, names)), set()), exact

    def _fitting(self, name: str) -> set:
        """Frames whose words stand in the name and end in its last part, within no other's."""
        parts = re.split(r"[/\\?=&]", unquote(unquote(name[:LONGEST])))
        last = max(range(len(parts)), key=lambda k: (_bare(parts[k]) != parts[k], k))
        words, before = (_words("/".join(parts[:n])) for n in (last + 1, last))
        for known in self._pool:  # an exported name says more than an own one, which may be "5"
            runs = [r for r in known if r in words and words.rindex(r) + len(r) > len(before)]
            inner = {r for r in runs for other in runs if r != other and r in other}
            if runs:
                return {position for r in {*runs} - inner for position in known[r]}
        return set()
