"""Video files: any frame by its position, exactly as a reading from the start gives it."""

import functools
import threading
from pathlib import Path

import cv2
import numpy as np

from alkit.frames import LazySequence

CACHE_BYTES = 256 * 2**20


class Video(LazySequence):
    """The frames of a video file, uint8 RGB **(y, x, 3)**, decoded when asked for.

    Seeking in compressed video is not exact in general, so frames are decoded in order, and a
    step back opens the file again and reads forward. Frames that were asked for are kept, the
    latest up to `cache_bytes`, so that training on a few frames in random order decodes each once.

    `n_frames` is the known length; None takes the container's word for it. `image_size` is
    (height, width). Raises FileNotFoundError or ValueError with the file's name where it is
    missing, is no video, or ends before the frame asked for.
    """

    def __init__(self, path: Path, n_frames: int | None = None, cache_bytes: int = CACHE_BYTES):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: there is no such video file")
        self._lock = threading.Lock()
        self._open()
        n = n_frames or int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if n < 1:
            raise ValueError(f"{self.path}: the file does not say how many frames it has")
        super().__init__(n, self._image)
        first = self._decode(0)
        self.image_size = first.shape[:2]
        self._kept = functools.lru_cache(max(1, cache_bytes // first.nbytes))(self._decode)

    def _image(self, i: int) -> np.ndarray:
        with self._lock:
            return self._kept(i).copy()

    def _open(self):
        self._capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise ValueError(f"{self.path}: not a video that OpenCV can open")
        self._next = 0

    def _decode(self, i):
        if i < self._next:
            self._open()
        while self._next <= i:
            if not self._capture.grab():
                ended, self._next = self._next, len(self)  # whatever comes next opens the file anew
                raise ValueError(
                    f"{self.path}: the video ends after {ended} frames, {len(self)} were expected; "
                    "the file is truncated, or its length is stated wrongly"
                )
            self._next += 1
        found, image = self._capture.retrieve()
        if not found:
            raise ValueError(f"{self.path}: frame {i} (from 0) cannot be decoded")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
