"""Video files: any frame by its position, exactly as a reading from the start gives it."""

import functools
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from alkit.data.imagefile import Orientation
from alkit.data.remembered import remembered
from alkit.frames import LazySequence

CACHE_BYTES = 256 * 2**20


class Video(LazySequence):
    """The frames of a video file, uint8 RGB **(y, x, 3)**, decoded when asked for.

    Seeking in compressed video is not exact in general, so frames are decoded in order, and a
    step back opens the file again and reads forward. Frames that were asked for are kept, the
    latest up to `cache_bytes`, so that training on a few frames in random order decodes each once.

    `len` is the number of frames that can be decoded, counted once and remembered; a container that
    says another number is warned of. `image_size` is (height, width). A note in the file that the
    picture is to be turned is followed unless `orientation` is "stored"; None warns of it. Raises
    FileNotFoundError or ValueError with the file's name where it is missing or no video.
    """

    def __init__(
        self, path: Path, orientation: Orientation | None = "upright", cache_bytes=CACHE_BYTES
    ):
        self.path, self._upright = Path(path), orientation == "upright"
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: there is no such video file")
        self._lock = threading.Lock()
        ((n, stated, height, width, degrees),) = remembered("videos", [self.path], _facts)
        if stated > 0 and stated != n:
            said = f"the container says {stated} frames, {n} can be decoded and are used"
            warnings.warn(f"{self.path}: {said}", stacklevel=2)
        if degrees and orientation is None:
            said = f"a note says to turn the picture by {degrees}°, but it is read as stored"
            warnings.warn(f"{self.path}: {said}; see `orientation` of the catalog", stacklevel=2)
        super().__init__(n, self._image)
        sideways = self._upright and degrees in (90, 270)
        self.image_size = (width, height) if sideways else (height, width)
        kept = max(1, cache_bytes // (height * width * 3))
        self._kept = functools.lru_cache(kept)(self._decode)
        self._next = n  # so that the first frame opens the file

    def _image(self, i: int) -> np.ndarray:
        with self._lock:
            return self._kept(i).copy()

    def _decode(self, i):
        if i < self._next:
            self._capture, self._next = _opened(self.path, self._upright), 0
        while self._next <= i:
            if not self._capture.grab():
                ended, self._next = self._next, len(self)  # whatever comes next opens the file anew
                said = f"the video ends after {ended} frames, {len(self)} were counted"
                raise ValueError(f"{self.path}: {said}; the file has changed")
            self._next += 1
        found, image = self._capture.retrieve()
        if self._next == len(self):
            self._capture = None  # many videos read to their end keep no decoder
        if not found:
            raise ValueError(f"{self.path}: frame {i} (from 0) cannot be decoded")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _opened(path: Path, upright: bool) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ValueError(f"{path}: not a video that OpenCV can open")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, float(upright))
    return capture


def _facts(path: Path) -> list:
    """Frames that can be decoded, frames that the container states (0 or less: unknown), and, as
    stored, height, width, and the degrees by which a note says to turn it."""
    capture = _opened(path, upright=False)
    stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    degrees = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
    n, size = 0, None
    with tqdm(desc=f"{path.name}: counting", unit="frame", delay=2, leave=False) as bar:
        while capture.grab():
            n += 1
            bar.update()
            if size is None:
                size = capture.retrieve()[1].shape[:2]
    if n == 0:
        raise ValueError(f"{path}: not a video with a frame that OpenCV can decode")
    return [n, stated, *size, degrees]
