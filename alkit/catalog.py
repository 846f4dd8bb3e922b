"""The catalog: data_catalog.yaml as validated entries, each of which opens as a `FrameSet`.

The file maps names to entries under `datasets:`; `Entry` lists the fields. Folders are under
$ALKIT_DATA, which is absolute or relative to the project's root. A folder of pictures, of videos,
or of MOTChallenge is a data set by its path, without an entry.
"""

import contextlib
import difflib
import hashlib
import importlib
import inspect
import json
import os
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, ValidationError

import alkit.data.readers
from alkit import street
from alkit.data import filters
from alkit.data.download import DataFile
from alkit.data.filters import BoxFilter
from alkit.data.imagefile import Orientation
from alkit.data.project import CATALOG, project_root
from alkit.data.remembered import content, remembered
from alkit.data.sequences import joined
from alkit.data.yamlfile import read_yaml
from alkit.frames import FrameSet
from alkit.text import problems

GENERATORS = {"street": street.VERSION}  # readers whose data are drawn, not stored
READERS = tuple(module.name for module in pkgutil.iter_modules(alkit.data.readers.__path__))


class CatalogError(ValueError):
    """The catalog, or a call of one of its entries, is wrong; the message says where."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Count = Literal[
    "images", "images_with_pedestrians", "instances", "boxes", "sequences", "identities"
]
ALIKE = {"reader", "kind", "each", "image_size", "license", "citation", "homepage"}
OF_JOIN = {"name", "project", "title", "join", "each", "license", "citation", "homepage", "expect"}


class Entry(_Model):
    """One data set; `reader` and, but for what is drawn, `root` have to be given; or `join` alone:
    the names of data sets that are one, in this order, each with its own filter and scale.

    `name` is its key in the file. `args` go to the reader; `filter` says which boxes are
    pedestrians, and `filters` are other ones, by the name that a profile's `box_filter` gives.
    `kind` null is video where the reader finds sequences. With `each` "sequence" each of them is
    evaluated alone, and the result is their mean. `orientation` says whether images and
    videos with a note to turn them are read as "stored", where their boxes are, or "upright"; null
    is stored, with a warning, where there are annotations, else upright. `image_size` is [height,
    width] in native pixels, null where images differ. `step` is the distance of the pool's frames
    in raw frame numbers, `frame_rate` raw frames a second where known. `expect` are known numbers,
    at native pixels under the filter: instances are the positives, identities the objects among
    them, boxes the labeled boxes of the filter's classes before height, aspect and visibility."""

    name: str = ""
    project: Path | None = None  # the root that $ALKIT_DATA may be relative to
    title: str = ""
    join: tuple[str, ...] = ()
    parts: tuple["Entry", ...] = ()  # what `join` names, by the catalog
    reader: Literal[READERS] | None = None
    root: str | None = None
    args: dict[str, Any] = {}
    filter: BoxFilter = filters.RULES["paper"]
    filters: dict[Literal["paper", "released"], BoxFilter] = {}
    kind: Literal["stills", "video"] | None = None
    each: Literal["sequence"] | None = None
    orientation: Orientation | None = None
    image_size: tuple[int, int] | None = None
    step: PositiveFloat = 1
    frame_rate: PositiveFloat | None = None
    license: str = ""
    citation: str = ""
    homepage: str = ""
    files: tuple[DataFile, ...] = ()
    expect: dict[Count, NonNegativeInt] = {}

    def model_post_init(self, _):
        if not self.join and self.reader is None:
            raise ValueError("expected `reader`, or `join` with the names of other data sets")
        if self.join and (own := self.model_fields_set - OF_JOIN):
            raise ValueError(f"{', '.join(sorted(own))}: of the data sets that are joined")

    def joining(self, parts: list["Entry"]) -> "Entry":
        """The join of these entries, which says of itself what all of them say."""
        first = vars(parts[0]).items()
        said = {k: v for k, v in first if k in ALIKE and all(vars(p)[k] == v for p in parts)}
        said |= {k: vars(self)[k] for k in said if vars(self)[k]}
        rule = filters.union([part.filter for part in parts])
        return self.model_copy(update={**said, "filter": rule, "parts": (*parts,)})

    def under(self, box_filter: str) -> "Entry":
        """The entry with its filter of this name, if it has one, in the place of `filter`."""
        if self.parts:
            return self.joining([part.under(box_filter) for part in self.parts])
        return self.model_copy(update={"filter": self.filters.get(box_filter, self.filter)})

    def folder(self) -> Path:
        """Where the data lies, or would lie. Raises CatalogError for want of $ALKIT_DATA."""
        root = Path(self.root or ".").expanduser()
        if root.is_absolute():
            return root
        data, project = os.environ.get("ALKIT_DATA"), self.project or project_root()
        if not data:
            raise CatalogError(
                f"{self.name}: it lies in {str(root)!r} under $ALKIT_DATA, which is not set. Set "
                f"it to the folder of your data sets, absolute or relative to {project}"
            )
        return Path(os.path.normpath(project / Path(data).expanduser() / root))

    def open(
        self,
        image_size: tuple[int, int] | None = None,
        scale: float | None = None,
        resizing: str = "area",
        **args,
    ) -> FrameSet:
        """The frames with their boxes under the entry's filter, at native pixels or, by `resizing`
        (see `frames.fit`), at `image_size` = (height, width). `args` replace the reader's arguments
        of the same name.

        The filter measures heights at the paper's scale, `scale` pixels of it for each of these:
        if None, 480 / image_size[0], at native pixels the filter's own `scale`.
        """
        frames = self.open_unfiltered(image_size, resizing, **args)
        if scale is None and image_size is not None:
            scale = 480 / image_size[0]
        return self.filtered(frames, scale)

    def filtered(self, frames: FrameSet, scale: float | None = None) -> FrameSet:
        """Frames of `open_unfiltered`, or some of them, under the entry's filter; see `open`."""
        return frames.with_boxes(
            lambda boxes, i: filters.apply(self.filter_of(frames, i), boxes, scale)
        )

    def filter_of(self, frames: FrameSet, i: int) -> BoxFilter:
        """The filter of one of the entry's frames: that of its part."""
        return self.parts[frames.part[i]].filter if self.parts else self.filter

    def open_unfiltered(
        self, image_size: tuple[int, int] | None = None, resizing: str = "area", **args
    ) -> FrameSet:
        """As `open`, with all labeled objects."""
        if self.parts:  # each takes `args`
            sets = [part.open_unfiltered(image_size, resizing, **args) for part in self.parts]
            return joined(sets, self.name)
        read, call = self.reader_module().read, self.reader_args(**args)
        known = inspect.signature(read).parameters
        # image_size is for a reader that draws, at any size
        own = {"image_size": image_size or self.image_size, "kind": self.kind}
        own |= {"orientation": self.orientation}
        call |= {name: value for name, value in own.items() if name in known}
        if self.orientation and "orientation" not in known:
            raise CatalogError(f"{self.name}: reader {self.reader} knows no orientation")
        try:
            frames = read(root=self.existing_root(), **call)
        except ValidationError as error:
            raise CatalogError(f"{self.name}: args: {problems(error, known=known)}") from None
        if self.kind == "stills":
            frames = replace(frames, sequence=None, frame=None)
        elif self.kind == "video" and (frames.sequence is None or frames.frame is None):
            raise CatalogError(
                f"{self.name}: it is of kind video, but its frames have no sequence and frame "
                "number; give them, or set kind: stills"
            )
        frames = replace(frames, dataset=self.name)
        return frames if image_size is None else frames.resized(image_size, resizing)

    def reader_module(self):
        return importlib.import_module(f"alkit.data.readers.{self.reader}")

    def reader_args(self, **args) -> dict:
        """The reader's keyword arguments: the entry's, replaced by `args`, and its step."""
        given = self.args | args
        if "step" in given:
            raise CatalogError(f"{self.name}: step is a field of the entry, not one of its args")
        if self.step != 1 or "step" in inspect.signature(self.reader_module().read).parameters:
            given["step"] = self.step
        return given

    def existing_root(self) -> Path | None:
        """`folder()`, which must exist; None for data that is drawn."""
        if self.reader in GENERATORS:
            return None
        if self.root is None:
            raise CatalogError(f"{self.name}: reader {self.reader} needs `root`, the data's folder")
        folder = self.folder()
        if not folder.exists():
            raise CatalogError(
                f"{self.name}: there is nothing at {folder}. `alkit data fetch {self.name}` "
                f"downloads it or says how to get it; its home is {self.homepage or '?'}"
            )
        return folder


class Catalog(dict):
    """Data sets by name; `path` is the file that they are from, `project` the root of theirs."""

    def __init__(self, path: Path, entries: dict[str, Entry], project: Path):
        self.path, self.project = path, project
        for name, entry in entries.items():
            self[name] = entry.model_copy(update={"name": name, "project": project})

    def __getitem__(self, name: str) -> Entry:
        entry = super().__getitem__(name)
        if not entry.join:
            return entry
        try:
            parts = [super(Catalog, self).__getitem__(part) for part in entry.join]
            if inner := [part.name for part in parts if part.join]:
                raise CatalogError(f"{inner[0]} is a join itself; name the data sets that it joins")
        except CatalogError as error:
            raise CatalogError(f"{name}: join: {error}") from None
        return entry.joining(parts)

    def __missing__(self, name: str) -> Entry:
        with contextlib.suppress(CatalogError):
            own = {"name": str(name), "title": str(name), "project": self.project}
            entry = Entry(**own, reader="mot", root=str(name))
            if name and entry.folder().exists():
                return entry
        near = ", ".join(difflib.get_close_matches(str(name), self, 3, 0.5) or self)
        raise CatalogError(
            f"there is no data set {name!r} in {self.path}, and nothing of this path under "
            f"$ALKIT_DATA; nearest names: {near}"
        )


class _File(_Model):
    datasets: dict[str, Entry]


def load(path: str | Path = CATALOG, *starts) -> Catalog:
    """The catalog in a file, for the project of `starts`, or the file's own. A relative path that
    does not exist in the working directory is taken from the root of its project.

    Raises FileNotFoundError, or CatalogError that names the file, the entry and the field.
    """
    path = Path(path).expanduser()
    if not path.exists() and not path.is_absolute():
        path = project_root() / path
    if not path.is_file():
        said = "--catalog names another, `alkit init FOLDER` writes one with a project"
        raise FileNotFoundError(f"{path}: there is no such catalog file; {said}")
    try:
        entries = _File.model_validate(read_yaml(path)).datasets
    except ValidationError as error:
        raise CatalogError(f"{path}: {problems(error, known=Entry.model_fields)}") from None
    except ValueError as error:
        raise CatalogError(str(error)) from None
    return Catalog(path, entries, project_root(*starts, path))


def open_frames(source: str | Path, image_size: tuple[int, int]) -> FrameSet:
    """Frames at `image_size` = (height, width), in pixels: those of the catalog's data set of this
    name, or what lies at a path, as the reader `mot` gives it: pictures, videos, MOTChallenge.

    Raises CatalogError for what is neither, and FileNotFoundError for an empty folder.
    """
    known, folder = load(), Path(source).expanduser()
    if source not in known and folder.exists():
        source = folder.absolute()
    return known[str(source)].open(image_size)


def fingerprint(entry: Entry, overrides: dict | None = None) -> str:
    """A sha256 over what determines the data: the reader, its generator's version, its arguments
    with `overrides`, filter, kind, orientation and size; what annotation files say; the names and
    sizes of images and videos, since hashing their content would take as long as reading the data
    set. An image changed to another of the same size in bytes goes unnoticed. Of a join, its parts'
    names and fingerprints."""
    if entry.parts:
        facts = [[part.name, fingerprint(part, overrides)] for part in entry.parts], entry.each
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    args = entry.reader_args(**(overrides or {}))
    frames, root = entry.open_unfiltered(**(overrides or {})), entry.existing_root()
    facts = {
        "reader": [entry.reader, GENERATORS.get(entry.reader)],
        "args": args,
        "filter": entry.filter.model_dump(),
        "image_size": entry.image_size,
        # what an entry says that was assumed before changes nothing
        "video": entry.each or frames.sequence is not None,
        "orientation": entry.orientation or ("upright" if frames.boxes is None else "stored"),
    }
    if root is not None:
        texts, media = entry.reader_module().sources(root, **args)
        said = zip(texts, remembered("content", texts, content), strict=True)
        facts["texts"] = [[os.path.relpath(file, root), own] for file, own in said]
        facts["media"] = [[os.path.relpath(f, root), os.path.getsize(f)] for f in media]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
