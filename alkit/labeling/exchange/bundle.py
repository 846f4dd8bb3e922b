"""The files that a labeling tool gives back: one file, a folder, or a zip file."""

import lzma
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from alkit.data.imagefile import visible

LARGEST = 64_000_000  # bytes of all annotation files: some hundred frames take a few million
SUFFIXES = (".json", ".xml", ".txt", ".yaml", ".yml", ".names", ".data", "frames.csv")
# What reading a damaged zip file raises.
BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, OSError)


class Bundle:
    """The content of annotation files by name, in the order of the names; images beside them are
    passed over, and what a system puts beside files: `__MACOSX`, names that begin with a dot."""

    def __init__(self, path: Path):
        self.path = path
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        if path.is_dir():
            # links are not followed: what a tool gives back lies in its folder
            files = [f for f in path.rglob("*") if f.is_file() and not f.is_symlink()]
            sizes = {f.relative_to(path).as_posix(): f.stat().st_size for f in files}
            self.files = self._read(sizes, lambda name: (path / name).read_bytes())
        elif not path.is_file():
            raise ValueError(f"{path}: expected a file, a folder or a zip file; this is neither")
        elif zipfile.is_zipfile(path):
            try:
                with zipfile.ZipFile(path) as archive:
                    sizes = {info.filename: info.file_size for info in archive.infolist()}
                    self.files = self._read(sizes, archive.read)
            except BROKEN as error:
                raise ValueError(f"{path}: a damaged zip file: {error}") from None
        else:
            self.files = self._read({path.name: path.stat().st_size}, lambda _: path.read_bytes())

    def _read(self, sizes: dict, read) -> dict:
        paths = {name: PurePosixPath(name.replace("\\", "/")) for name in sizes}
        ours = [name for name in sizes if name.lower().endswith(SUFFIXES) and visible(paths[name])]
        sizes = {name: sizes[name] for name in ours}
        if (total := sum(sizes.values())) > LARGEST:
            raise ValueError(
                f"{self.path}: expected annotation files of {LARGEST / 1e6:.0f} MB together at "
                f"most, got {total / 1e6:.0f} MB. Is this the right file?"
            )
        return {name: read(name) for name in sorted(sizes)}

    def text(self, name: str) -> str:
        """A text file. Raises ValueError if it is not UTF-8."""
        try:
            return self.files[name].decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: {name} is not UTF-8 text: {error}") from None

    def ending(self, *suffixes: str) -> list[str]:
        """Names that end so."""
        return [name for name in self.files if name.lower().endswith(suffixes)]

    def one(self, names: list[str], what: str) -> tuple[bytes, str]:
        """The only file of some names, and its place for errors; ValueError for more, or none."""
        if len(names) != 1:
            raise ValueError(f"{self.path}: expected {what}, found {len(names)} of them")
        return self.files[names[0]], f"{self.path}: {names[0]}"
