"""The files that a labelling tool gives back: one file, a folder, or a zip file."""

import json
import lzma
import zipfile
import zlib
from pathlib import Path

LARGEST = 64_000_000  # bytes of all annotation files: some hundred frames take a few million
MOST = 200_000  # files
DAMAGED = (  # what reading a damaged zip file raises
    zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error,
    lzma.LZMAError,
)  # fmt: skip
SUFFIXES = (".json", ".xml", ".txt", ".yaml", ".yml", ".names", ".data")


class Bundle:
    """Annotation files by name; images in a folder or zip file are passed over. Close it.

    Raises FileNotFoundError, and ValueError for what is no regular file, too large, or a damaged
    zip file.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._zip = None
        if not self.path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        if not (self.path.is_dir() or self.path.is_file()):
            raise ValueError(f"{path}: a file, a folder or a zip file is wanted; this is neither")
        if self.path.is_dir():
            # links are not followed: what a tool gives back lies in its folder
            files = [f for f in self.path.rglob("*") if f.is_file() and not f.is_symlink()]
            sizes = {f.relative_to(self.path).as_posix(): f.stat().st_size for f in files}
        elif zipfile.is_zipfile(self.path):
            try:
                self._zip = zipfile.ZipFile(self.path)
            except DAMAGED as error:
                raise ValueError(f"{path}: a damaged zip file: {error}") from None
            sizes = {i.filename: i.file_size for i in self._zip.infolist() if not i.is_dir()}
        else:
            sizes = {self.path.name: self.path.stat().st_size}
        if len(sizes) > MOST:
            raise ValueError(f"{path}: {len(sizes)} files; {MOST} at most are read")
        self._sizes = {n: s for n, s in sizes.items() if n.lower().endswith(SUFFIXES)}
        self.names = sorted(self._sizes)
        if sum(self._sizes.values()) > LARGEST:
            self.close()
            name, size = max(self._sizes.items(), key=lambda item: item[1])
            raise ValueError(
                f"{path}: {name} has {size / 1e6:.0f} MB, all {len(self.names)} annotation files "
                f"together {sum(self._sizes.values()) / 1e6:.0f}; labels of one cycle take a few, "
                f"and {LARGEST / 1e6:.0f} are the most that is read. Is this the right file?"
            )

    def close(self):
        """Close the zip file, if it is one."""
        if self._zip:
            self._zip.close()

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises ValueError if it is damaged."""
        size = self._sizes[name]
        if self._zip:
            try:
                with self._zip.open(name) as file:
                    data = file.read(size + 1)  # a member may claim less than it unpacks to
            except DAMAGED as error:
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
        text = self.text(name)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
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
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where}: a number is wanted, got {str(value)[:60]!r}") from None


def size_of(height, width, where: str) -> tuple[int, int]:
    """(height, width) as a file states it. Raises ValueError unless they are whole numbers."""
    sides = number(height, f"{where}, height"), number(width, f"{where}, width")
    if not all(side.is_integer() for side in sides):
        raise ValueError(f"{where}: a size in whole pixels is wanted, got {width} × {height}")
    return tuple(map(int, sides))


def key(value, where: str):
    """An id of a JSON file. Raises ValueError for what can be none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{where}: a whole number or a text is wanted, got {str(value)[:60]!r}")
    return value
