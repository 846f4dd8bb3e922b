"""Image files: decoded whole, or an error that names the file; and images embedded in a page."""

import base64
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from alkit.frames import Boxes, FrameSet, boxes_by_image

QUALITY = 78  # of JPEG
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def read_image(file, size: tuple[int, int] | None = None, where=None) -> np.ndarray:
    """The image in a file as uint8 RGB (y, x, 3); gray and palette images become RGB. `where`
    stands for a file without a path in errors.

    Pillow decodes, because OpenCV fills the missing part of a truncated JPEG with gray and says
    nothing. An orientation note in the file (EXIF) is not applied: boxes are in stored pixels.

    Raises FileNotFoundError for a missing file, and ValueError for one that is not an image, is
    truncated or damaged, has more than 8 bits a channel, or has another size than `size`
    (height, width).
    """
    where = file if where is None else where
    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"{where}: expected 8 bits a channel, got mode {image.mode}")
            found = (image.height, image.width)
            if size is not None and found != tuple(size):  # before any pixel is decoded
                raise ValueError(
                    f"{where}: the image is {found} (height, width), but its record says "
                    f"{tuple(size)}"
                )
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{where}: there is no such image file") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{where}: the image cannot be read whole ({error}); a truncated or damaged file has "
            f"to be copied or downloaded again"
        ) from error


def labeled_images(
    dataset: str, folder: Path, names: list[str], sizes: list[tuple], image, boxes: Boxes
) -> FrameSet:
    """Image files, given by their names in a folder and their sizes (height, width), with the boxes
    of all; `image` (n,) is the position of each box's image. A file is looked for when it is read.
    """
    return FrameSet(
        dataset,
        names,
        read=lambda i: read_image(folder / names[i], sizes[i]),
        image_size=sizes[0] if len(set(sizes)) == 1 else None,
        boxes=boxes_by_image(len(names), np.array(image, np.int64), boxes),
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


def files_of(path: Path, pattern: str) -> list[Path]:
    """A file by itself, or those of a folder that fit a pattern, by name; names that begin with a
    dot are what some systems add when they pack. Raises FileNotFoundError for none."""
    if path.is_file():
        return [path]
    files = sorted(file for file in path.glob(pattern) if not file.name.startswith("."))
    if not files:
        raise FileNotFoundError(f"{path}: expected a file, or a folder with files {pattern}")
    return files


def jpeg(image: np.ndarray, quality: int = QUALITY) -> str:
    """An image uint8 RGB (y, x, 3) as the address of an embedded JPEG."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
