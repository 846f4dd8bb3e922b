"""The files that a labelling tool gives back: one file, a folder, or a zip file."""

import json
import zipfile
from pathlib import Path

LARGEST = 64_000_000  # bytes of one annotation file: some hundred frames take a few million
MOST = 200_000  # files
SUFFIXES = (".json", ".xml", ".txt", ".yaml", ".yml", ".names", ".data")


class Bundle:
    """Annotation files by name; images in a folder or zip file are passed over.

    Raises FileNotFoundError, and ValueError for what is no regular file, too large, or a damaged
    zip file.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._zip = None
        if not self.path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        if self.path.is_dir():
            # links are not followed: what a tool gives back lies in its folder
            files = [f for f in self.path.rglob("*") if f.is_file() and not f.is_symlink()]
            sizes = {f.relative_to(self.path).as_posix(): f.stat().st_size for f in files}
        elif zipfile.is_zipfile(self.path):
            self._zip = zipfile.ZipFile(self.path)
            sizes = {i.filename: i.file_size for i in self._zip.infolist() if not i.is_dir()}
        else:
            sizes = {self.path.name: self.path.stat().st_size}
        if len(sizes) > MOST:
            raise ValueError(f"{path}: {len(sizes)} files; {MOST} at most are read")
        self._sizes = {n: s for n, s in sizes.items() if n.lower().endswith(SUFFIXES)}
        self.names = sorted(self._sizes)

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises ValueError if there are too many."""
        size = self._sizes[name]
        if size > LARGEST:
            raise ValueError(
                f"{self.path}: {name} has {size / 1e6:.0f} MB; labels of one cycle take a few, and "
                f"{LARGEST / 1e6:.0f} are the most that is read. Is this the right file?"
            )
        if self._zip:
            try:
                with self._zip.open(name) as file:
                    data = file.read(size + 1)  # a member may claim less than it unpacks to
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
                raise ValueError(f"{self.path}: {name} is damaged: {error}") from None
            if len(data) > size:
                raise ValueError(f"{self.path}: {name} is larger than the zip file says")
            return data
        file = self.path if self.path.is_file() else self.path / name
        return file.read_bytes()

    def text(self, name: str) -> str:
        """A text file. Raises ValueError if it is not UTF-8."""
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: {name} is not UTF-8 text: {error}") from None

    def json(self, name: str):
        """A JSON file. Raises ValueError if it is none."""
        try:
            return json.loads(self.text(name))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{self.path}: {name} is not JSON, or cut off: {error}") from None

    def ending(self, *suffixes: str) -> list:
        """Names that end so."""
        return [name for name in self.names if name.lower().endswith(suffixes)]


def number(value, where: str) -> float:
    """A number of a file. Raises ValueError that says where it stood."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: a number is wanted, got {str(value)[:60]!r}") from None
