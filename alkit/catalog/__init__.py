"""The catalog: data_catalog.yaml as validated entries, each of which opens as a `FrameSet`.

The file maps names to entries under `datasets:`; `Entry` lists the fields. Folders are under
$ALKIT_DATA, which is absolute or relative to the project's root.
"""

import difflib
import importlib
import inspect
import os
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

import alkit.data.readers
from alkit.data import filters
from alkit.data.filters import BoxFilter
from alkit.data.imagefile import SUFFIXES, read_image
from alkit.data.records import FileName
from alkit.frames import FrameSet
from alkit.profiles import unknown
from alkit.text import problems

PROJECT_ROOT = Path(__file__).resolve().parents[2]


class CatalogError(ValueError):
    """The catalog, or a call of one of its entries, is wrong; the message says where."""


class UnknownDataSet(KeyError):
    """A name that the catalog does not have."""

    def __str__(self):  # KeyError would show the message in quotes
        return self.args[0]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataFile(_Model):
    """One file of a data set: `path` under the entry's root. Where it may be downloaded without
    registration, `url` and the `sha256` of what lies there; else `note` says how to get it."""

    path: FileName
    url: str | None = None
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    note: str = ""

    @model_validator(mode="after")
    def _verifiable(self):
        if self.url is not None and self.sha256 is None:
            raise ValueError(f"{self.path!r} has a url but no sha256 to verify the download")
        return self


class Expect(_Model):
    """Known numbers of a data set, at native pixels under the entry's filter. `instances` are the
    positives, `boxes` the labeled boxes of the filter's classes before height, aspect and
    visibility, `identities` the different objects among the positives."""

    images: NonNegativeInt | None = None
    images_with_pedestrians: NonNegativeInt | None = None
    instances: NonNegativeInt | None = None
    boxes: NonNegativeInt | None = None
    sequences: NonNegativeInt | None = None
    identities: NonNegativeInt | None = None


class Entry(_Model):
    """One data set. `args` go to the reader, `filter` is a rule of `alkit.data.filters.RULES`, or a
    mapping of `BoxFilter`'s fields with an optional `rule` to start from; `filters` are other ones,
    by the name that a profile's `box_filter` gives. `image_size` is [height, width] in native
    pixels, null where images differ. `step` is the distance of the pool's frames in raw frame
    numbers, `frame_rate` raw frames a second where known."""

    name: str
    title: str
    reader: str = Field(pattern="^[a-z][a-z0-9_]*$")
    root: str | None = None
    args: dict[str, Any] = {}
    filter: BoxFilter = filters.RULES["paper"]
    filters: dict[Literal["paper", "released"], BoxFilter] = {}
    kind: Literal["stills", "video"]
    image_size: tuple[int, int] | None = None
    step: PositiveFloat = 1
    frame_rate: PositiveFloat | None = None
    license: str
    citation: str
    homepage: str
    files: tuple[DataFile, ...] = ()
    expect: Expect = Expect()
    _catalog: str = PrivateAttr("data_catalog.yaml")

    @field_validator("filter", mode="before")
    @classmethod
    def _named_rule(cls, value):
        fields = {"rule": value} if isinstance(value, str) else value
        if not isinstance(fields, dict) or "rule" not in fields:
            return value
        rest = {key: fields[key] for key in fields if key != "rule"}
        if fields["rule"] not in filters.RULES:
            raise ValueError(f"rule: {unknown(fields['rule'], filters.RULES)}")
        return filters.RULES[fields["rule"]].model_dump() | rest

    @field_validator("filters", mode="before")
    @classmethod
    def _named_rules(cls, value):
        if not isinstance(value, dict):
            return value
        return {name: cls._named_rule(rule) for name, rule in value.items()}

    def under(self, box_filter: str) -> "Entry":
        """The entry with its filter of this name, if it has one, in the place of `filter`."""
        return self.model_copy(update={"filter": self.filters.get(box_filter, self.filter)})

    def _wrong(self, what: str) -> CatalogError:
        return CatalogError(f"{self._catalog}: {self.name}: {what}")

    def folder(self) -> Path:
        """Where the data lies, or would lie. Raises CatalogError where $ALKIT_DATA is needed and
        not set."""
        root = Path(self.root or ".").expanduser()
        if root.is_absolute():
            return root
        data = os.environ.get("ALKIT_DATA")
        if not data:
            raise self._wrong(
                f"it lies in the folder {str(root)!r} under $ALKIT_DATA, which is not set. Set it "
                f"to the folder that holds your data sets, absolute or relative to {PROJECT_ROOT}: "
                "export ALKIT_DATA=…"
            )
        return Path(os.path.normpath(PROJECT_ROOT / Path(data).expanduser() / root))

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
        return frames.with_boxes(lambda boxes: filters.apply(self.filter, boxes, scale))

    def open_unfiltered(
        self, image_size: tuple[int, int] | None = None, resizing: str = "area", **args
    ) -> FrameSet:
        """As `open`, with all labeled objects."""
        module = self.reader_module()
        call = self.reader_args(**args)
        if "image_size" in _parameters(module):  # a reader that draws, at any size
            call["image_size"] = image_size or self.image_size
        try:
            frames = module.read(self.existing_root(), **call)
        except ValidationError as error:
            raise self._wrong(f"args: {problems(error)}") from None
        if self.kind == "video" and (frames.sequence is None or frames.frame is None):
            raise self._wrong(
                "it is of kind video, but its frames have no sequence and frame number; give them, "
                "or set kind: stills"
            )
        time = {"sequence": None, "frame": None} if self.kind == "stills" else {}
        frames = replace(frames, dataset=self.name, **time)
        return frames if image_size is None else frames.resized(image_size, resizing)

    def reader_module(self):
        """The module that reads this entry's format."""
        have = [module.name for module in pkgutil.iter_modules(alkit.data.readers.__path__)]
        if self.reader not in have:
            raise self._wrong(f"reader: {unknown(self.reader, have)}")
        return importlib.import_module(f"alkit.data.readers.{self.reader}")

    def reader_args(self, **args) -> dict:
        """The reader's keyword arguments: the entry's, replaced by `args`."""
        parameters = _parameters(self.reader_module())
        given = self.args | args
        allowed = parameters.keys() - {"step", "image_size"}
        for name in given:
            if name not in allowed:
                raise self._wrong(f"args of the reader {self.reader!r}: {unknown(name, allowed)}")
        missing = [n for n, p in parameters.items() if p.default is p.empty and n not in given]
        if missing:
            raise self._wrong(f"the reader {self.reader!r} needs {missing} in args")
        if "step" in parameters:
            given["step"] = int(self.step) if self.step == int(self.step) else self.step
        elif self.step != 1:
            raise self._wrong(f"the reader {self.reader!r} takes no step")
        return given

    def existing_root(self) -> Path | None:
        """`folder()`, which must exist; None for a reader that needs no files."""
        if self.root is None:
            root = inspect.signature(self.reader_module().read).parameters["root"]
            if root.default is None:
                return None
            raise self._wrong(f"the reader {self.reader!r} needs a root")
        folder = self.folder()
        if not folder.exists():
            raise CatalogError(
                f"{self.name}: there is nothing at {folder}. `alkit data fetch {self.name}` "
                f"downloads it or says how to get it; its home is {self.homepage}"
            )
        return folder


def _parameters(module) -> dict[str, inspect.Parameter]:
    """What a reader takes by name."""
    parameters = inspect.signature(module.read).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


class Catalog(dict):
    """Data sets by name; `path` is the file that they are from."""

    def __init__(self, path: Path, entries: dict[str, Entry]):
        super().__init__(entries)
        self.path = path

    def __missing__(self, name: str):
        near = difflib.get_close_matches(str(name), self, 3, 0.5) or list(self)
        raise UnknownDataSet(
            f"there is no data set {name!r} in {self.path}; nearest names: {', '.join(near)}"
        )


class _UniqueKeys(yaml.SafeLoader):
    """YAML that does not let a second entry of the same name replace the first."""


def _mapping(loader, node):
    own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    keys = [loader.construct_object(key) for key in own]
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: duplicate key {twice[0]!r}")
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(path: str | Path = "data_catalog.yaml") -> Catalog:
    """The catalog in a file. A relative path that does not exist in the working directory is taken
    from the project's root.

    Raises FileNotFoundError, or CatalogError that names the file, the entry and the field.
    """
    path = Path(path).expanduser()
    if not path.exists() and not path.is_absolute():
        path = PROJECT_ROOT / path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such catalog file")
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict) or set(data) != {"datasets"}:
        raise CatalogError(f"{path}: expected one key `datasets:` with the entries under it")
    if not isinstance(data["datasets"], dict):
        raise CatalogError(f"{path}: `datasets:` maps names to entries; it is {data['datasets']!r}")

    entries = {}
    for name, fields in data["datasets"].items():
        if not isinstance(fields, dict) or "name" in fields:
            raise CatalogError(f"{path}: entry {name!r} is not a mapping of fields without `name`")
        try:
            entry = Entry(name=name, **fields)
        except ValidationError as error:
            raise CatalogError(f"{path}: entry {name!r}: {_explain(error)}") from None
        entry._catalog = str(path)
        entries[name] = entry
    return Catalog(path, entries)


def open_frames(source: str | Path, image_size: tuple[int, int]) -> FrameSet:
    """Frames at `image_size` = (height, width), in pixels: those of the catalog's data set of this
    name, or the images in a folder, stills without boxes in the order of their names.

    Raises FileNotFoundError for what is neither, and for a folder without images.
    """
    known = load()
    if source in known:
        return known[source].open(image_size)
    folder = Path(source).expanduser()
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not files:
        raise FileNotFoundError(
            f"{source}: expected a data set of {known.path} or a folder with images "
            f"({', '.join(SUFFIXES)}); got {'a folder without' if folder.is_dir() else 'neither'}"
        )
    names = [file.name for file in files]
    return FrameSet(folder.name, names, lambda i: read_image(files[i])).resized(image_size)


def _explain(error: ValidationError) -> str:
    for problem in error.errors():
        if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
            return unknown(problem["loc"][0], Entry.model_fields)
    return problems(error)
