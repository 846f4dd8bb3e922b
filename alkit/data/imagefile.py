"""Image files: decoded whole, or an error that names the file; and images embedded in a page."""

import base64
import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps

from alkit.data.remembered import remembered
from alkit.frames import Boxes, FrameSet, LazySequence, boxes_by_image

QUALITY = 78  # of JPEG
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # of which is known how deep they are
ORIENTATION, SIDEWAYS = 274, (5, 6, 7, 8)  # EXIF's note, and its values that swap the sides
# Whether images and videos are read as they are stored, or turned as a note in the file says; None:
# as stored, with a warning where there is such a note.
Orientation = Literal["stored", "upright"]
DEEP = re.compile("^[IF]|;16[BLN]")  # modes of more than 8 bits; RGB of 16 Pillow would cut to 8
_said: set = set()  # folders whose notes were warned of


def read_image(
    file, size: tuple[int, int] | None = None, where=None, orientation: Orientation | None = None
) -> np.ndarray:
    """The image in a file as uint8 RGB (y, x, 3); gray and palette images become RGB. `where`
    stands for a file without a path in errors.

    Pillow decodes: OpenCV fills the missing part of a truncated JPEG with gray, without a word.

    Raises FileNotFoundError for a missing file, and ValueError for one that is not an image, is
    truncated or damaged, has more than 8 bits a channel, or has another size than `size`
    (height, width).
    """
    where = file if where is None else where
    with _opened(file, where) as image:
        kind = f"{image.mode} {image.tile[0][3] if image.tile else ''}"
        if DEEP.search(kind):
            raise ValueError(
                f"{where}: expected 8 bits a channel, got {kind}; convert the image, and choose "
                "which range of its values becomes 0 to 255"
            )
        value, turned = _noted(image), orientation == "upright"
        note = f"its EXIF orientation is {value}" if value > 1 else ""
        found = _size(image, turned)
        if size is not None and found != tuple(size):  # before any pixel is decoded
            raise ValueError(
                f"{where}: the image is {found} (height, width), but its record says "
                f"{tuple(size)}{note and f'; {note}, see `orientation` of the catalog entry'}"
            )
        if note and not turned and image.format == "TIFF":  # Pillow always turns it
            raise ValueError(f"{where}: {note}; expected `orientation: upright` for a TIFF")
        if note and orientation is None and (folder := getattr(file, "parent", None)) not in _said:
            _said.add(folder)
            warnings.warn(
                f"{file}: {note}, but it is read as stored. That is right where its boxes count "
                "stored pixels; then say `orientation: stored` in the catalog, else `upright`",
                stacklevel=2,
            )
        if note and turned:
            image = ImageOps.exif_transpose(image)
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


@contextlib.contextmanager
def _opened(file, where):
    """An image whose pixels are decoded when they are asked for; errors name it."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{where}: there is no such image file") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{where}: the image cannot be read whole ({error}); a truncated or damaged file has "
            f"to be copied or downloaded again, one that is none of {', '.join(FORMATS)} converted"
        ) from error


def _noted(image: Image.Image) -> int:
    """The orientation that a file notes, 1 to 8; 1, upright, where it notes none."""
    # behind the pixels of a PNG Pillow would look, too, but decode them for it
    late = image.format == "PNG" and "exif" not in image.info
    value = 1 if late else image.getexif().get(ORIENTATION)
    return value if value in range(1, 9) else 1


def _size(image: Image.Image, upright: bool) -> tuple[int, int]:
    size = image.height, image.width
    # Pillow gives a TIFF's size upright already
    sideways = upright and image.format != "TIFF" and _noted(image) in SIDEWAYS
    return size[::-1] if sideways else size


def size_of(file: Path, upright: bool = False) -> tuple[int, int]:
    """(height, width) of an image file by its header alone. Raises as `read_image`."""
    with _opened(file, file) as image:
        return _size(image, upright)


def identical(files: Sequence[Path]) -> np.ndarray:
    """A number for each image file, int64 (n,), equal for those that hold the same pixels. A file
    that cannot be read equals no other."""

    def digest(file):
        with contextlib.suppress(OSError, ValueError):
            image = read_image(file, orientation="upright")
            return hashlib.sha256(np.int64(image.shape).tobytes() + image.tobytes()).hexdigest()

    there = [file for file in files if file.is_file()]
    digests = dict(zip(there, remembered("digests", there, digest), strict=True))
    first = {}
    return np.array([first.setdefault(digests.get(f) or i, i) for i, f in enumerate(files)])


def labeled_images(
    dataset: str,
    folder: Path,
    names: list[str],
    sizes: list[tuple],
    image,
    boxes: Boxes,
    orientation: Orientation | None = None,
) -> FrameSet:
    """Image files, given by their names in a folder and their sizes (height, width), with the boxes
    of all; `image` (n,) is the position of each box's image. A file is looked for when it is read.
    """
    files = LazySequence(len(names), lambda i: folder / names[i])
    return FrameSet(
        dataset,
        names,
        read=lambda i: read_image(files[i], sizes[i], None, orientation),
        image_size=sizes[0] if len(set(sizes)) == 1 else None,
        boxes=boxes_by_image(len(names), np.array(image, np.int64), boxes),
        files=files,
    )


def check_present(where, files: list[Path]):
    """Raise FileNotFoundError that begins with `where` unless all files exist. One listing per
    folder: half a million single questions take minutes on a network disk."""
    listed = {
        folder: {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        for folder in {file.parent for file in files}
    }
    missing = [file for file in files if file.name not in listed[file.parent]]
    if missing:
        raise FileNotFoundError(
            f"{where}: {len(missing)} of {len(files)} files are missing, the first is {missing[0]}"
        )


def visible(path: PurePath) -> bool:
    """Whether a file is somebody's: not one of those that some systems add when they pack."""
    hidden = (part for part in path.parts if part[0] == "." and part != "..")
    return not any(hidden) and not {"__MACOSX", "@eaDir"} & {*path.parts}


def files_of(path: Path, pattern: str) -> list[Path]:
    """A file, or a folder's visible ones that fit a pattern, by name. Raises FileNotFoundError."""
    if path.is_file():
        return [path]
    files = sorted(file for file in path.glob(pattern) if visible(file.relative_to(path)))
    if not files:
        raise FileNotFoundError(f"{path}: expected a file, or a folder with files {pattern}")
    return files


def files_below(folder: Path, suffixes: tuple) -> list[Path]:
    """The visible files of a folder and of those below it, folder by folder, in natural order."""
    found, seen = [], set()
    for parent, inner, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:  # a link that leads back
            inner.clear()
            continue
        seen.add(real)
        own = Path(parent).relative_to(folder)
        found += [own / name for name in names if name.lower().endswith(suffixes)]

    def key(path):
        return [_natural(part) for part in path.parent.parts], _natural(path.name)

    return [folder / path for path in sorted(filter(visible, found), key=key)]


def _natural(name: str) -> list:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def jpeg(image: np.ndarray, quality: int = QUALITY) -> str:
    """An image uint8 RGB (y, x, 3) as the address of an embedded JPEG."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
