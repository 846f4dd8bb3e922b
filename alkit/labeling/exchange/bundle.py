"""The files that a labeling tool gives back: one file, a folder, or a zip file."""

import json
import lzma
import zipfile
import zlib
from pathlib import Path

SUFFIXES = (".json", ".xml", ".txt", ".yaml", ".yml", ".names", ".data")
# What reading a damaged zip file raises.
BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
DAMAGED = (*BROKEN, NotImplementedError, RuntimeError, EOFError, OSError)


class Bundle:
    """The content of annotation files by name, in the order of the names; images beside them are
    passed over.

    Raises FileNotFoundError, and ValueError for what is no regular file, or a damaged zip file.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        if path.is_dir():
            # links are not followed: what a tool gives back lies in its folder
            files = [f for f in path.rglob("*") if f.is_file() and not f.is_symlink()]
            names = [f.relative_to(path).as_posix() for f in files]
            self.files = _read(names, lambda name: (path / name).read_bytes())
        elif not path.is_file():
            raise ValueError(f"{path}: expected a file, a folder or a zip file; this is neither")
        elif zipfile.is_zipfile(path):
            try:
                with zipfile.ZipFile(path) as archive:
                    self.files = _read(archive.namelist(), archive.read)
            except DAMAGED as error:
                raise ValueError(f"{path}: a damaged zip file: {error}") from None
        else:
            self.files = _read([path.name], lambda _: path.read_bytes())

    def text(self, name: str) -> str:
        """A text file. Raises ValueError if it is not UTF-8."""
        try:
            return self.files[name].decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: {name} is not UTF-8 text: {error}") from None

    def json(self, name: str):
        """A JSON file. Raises ValueError if it is none."""
        text = self.text(name)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path}: {name} is not JSON, or cut off: {error}") from None

    def ending(self, *suffixes: str) -> list[str]:
        """Names that end so."""
        return [name for name in self.files if name.lower().endswith(suffixes)]

    def one(self, names: list[str], what: str) -> str:
        """The only one of some names. Raises ValueError if there are more, or none."""
        if len(names) != 1:
            raise ValueError(f"{self.path}: expected {what}, found {len(names)} of them")
        return names[0]


def _read(names: list, read) -> dict:
    return {name: read(name) for name in sorted(names) if name.lower().endswith(SUFFIXES)}
