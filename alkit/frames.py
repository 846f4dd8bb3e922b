"""FrameSet: the one view of a data set, with lazy images, boxes, sequence and frame number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

PAD_GRAY = 127  # becomes about 0 after the network's (x − 127) / 128


@dataclass(frozen=True)
class Boxes:
    """Annotated boxes of one frame, **[left, top, width, height] in pixels**, origin at the top
    left corner of the first pixel, as in COCO.

    `ltwh` is the full box and `visible` the visible part of it, both float64 (n, 4); where the
    visible part is unknown it equals the full box. `label` is the class name (n,). `ignore` (n,)
    marks boxes that are neither a positive nor background. `identity` (n,) int64 numbers the
    objects of a data set, −1 where unknown.
    """

    ltwh: np.ndarray
    label: np.ndarray
    ignore: np.ndarray = None
    visible: np.ndarray = None
    identity: np.ndarray = None

    def __post_init__(self):
        n = len(self.ltwh)
        ltwh = np.asarray(self.ltwh, np.float64).reshape(n, 4)
        ignore = np.zeros(n) if self.ignore is None else self.ignore
        visible = ltwh if self.visible is None else self.visible
        identity = np.full(n, -1) if self.identity is None else self.identity
        vars(self).update(  # the class is frozen
            ltwh=ltwh,
            label=np.asarray(self.label, np.str_).reshape(n),
            ignore=np.asarray(ignore, bool),
            visible=np.asarray(visible, np.float64).reshape(n, 4),
            identity=np.asarray(identity, np.int64),
        )

    def __len__(self):
        return len(self.ltwh)

    def take(self, which) -> "Boxes":
        """The boxes at the given positions or under a mask."""
        return Boxes(**{name: value[which] for name, value in vars(self).items()})

    def scaled(self, factor: float) -> "Boxes":
        """The same boxes in an image resized by `factor`."""
        return replace(self, ltwh=self.ltwh * factor, visible=self.visible * factor)


NO_BOXES = Boxes(np.zeros((0, 4)), [])


class LazySequence(Sequence):
    """A sequence of n items made by a function of the position when they are asked for."""

    def __init__(self, n: int, make: Callable):
        self._n, self._make = n, make

    def __len__(self):
        return self._n

    def __getitem__(self, i):
        if not 0 <= i < self._n:
            raise IndexError(f"position {i} of {self._n}")
        return self._make(i)


def boxes_by_image(n: int, image: np.ndarray, boxes: Boxes) -> LazySequence:
    """The `Boxes` of each of n images, from those of all: `image` has each box's image. A large
    data set stays small in memory."""
    order = np.argsort(image, kind="stable")
    boxes, start = boxes.take(order), np.searchsorted(image[order], np.arange(n + 1))
    return LazySequence(n, lambda i: boxes.take(slice(start[i], start[i + 1])))


def cut_to_pixels(ltwh: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) with their corners cut to whole pixels, toward 0. A corner that scaling left a
    billionth of a pixel below a whole number counts as that number."""
    corners = np.trunc(np.hstack([ltwh[:, :2], ltwh[:, :2] + ltwh[:, 2:]]).round(9))
    return np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])


@dataclass(frozen=True)
class FrameSet:
    """Frames of one data set in order.

    `name` (n,) strings, unique; `read(i)` gives image i as uint8 RGB **(y, x, 3)**; `image_size`
    is (height, width), or None where the images differ in size. `boxes[i]` are a `Boxes`, or
    `boxes` is None where nobody has labeled the frames. `sequence` (n,) names each frame's video
    and `frame` (n,) float64 is its position on the pool's sampled grid (raw number / step); both
    are None for stills. `files` are the image files, one for each frame; None for what is drawn or
    lies in a video. `part` (n,) is the position of each frame's set among those that were `joined`;
    `sizes` are (height, width) of each image, where they differ and are known.
    """

    dataset: str
    name: Sequence[str]
    read: Callable[[int], np.ndarray] = field(repr=False)
    image_size: tuple[int, int] | None = None
    boxes: Sequence[Boxes] | None = field(default=None, repr=False)
    sequence: np.ndarray | None = field(default=None, repr=False)
    frame: np.ndarray | None = field(default=None, repr=False)
    files: Sequence[Path] | None = field(default=None, repr=False)
    part: np.ndarray | None = field(default=None, repr=False)
    sizes: Sequence[tuple[int, int]] | None = field(default=None, repr=False)

    def __len__(self):
        return len(self.name)

    def images(self, i: int) -> np.ndarray:
        """Image i, uint8 RGB (y, x, 3)."""
        i = int(i)
        if not 0 <= i < len(self):
            raise IndexError(f"position {i} of {len(self)} in {self.dataset}")
        image = self.read(i)
        expected = (*(self.image_size or image.shape[:2]), 3)
        if image.dtype != np.uint8 or image.shape != expected:
            raise ValueError(
                f"{self.dataset}, frame {self.name[i]}: expected an image uint8 (y, x, 3) of shape "
                f"{expected}, got {image.dtype} {image.shape}"
            )
        return image

    def take(self, positions) -> "FrameSet":
        """The frames at the given positions, in that order."""
        positions = np.asarray(positions, np.int64)

        def taken(items):
            if isinstance(items, np.ndarray):
                return items[positions]
            if items is not None:
                return LazySequence(len(positions), lambda i: items[int(positions[i])])

        about = ("boxes", "files", "sizes", "sequence", "frame", "part")
        own = {name: taken(getattr(self, name)) for name in about}
        own["name"] = [self.name[i] for i in positions]
        return replace(self, read=lambda i: self.read(int(positions[i])), **own)

    def with_pedestrians(self) -> np.ndarray:
        """Positions of the frames with a box that is not ignored, int64."""
        return np.flatnonzero([not np.all(boxes.ignore) for boxes in self.boxes or ()])

    def unlabeled(self) -> "FrameSet":
        """The same frames without their boxes: what everything but the oracle may see."""
        return replace(self, boxes=None)

    def with_boxes(self, change: Callable[[Boxes, int], Boxes]) -> "FrameSet":
        """The same frames, the boxes of each passed through `change` with its position."""
        if self.boxes is None:
            return self
        return replace(self, boxes=LazySequence(len(self), lambda i: change(self.boxes[i], i)))

    def resized(self, image_size: tuple[int, int], resizing: str = "area") -> "FrameSet":
        """All images at (height, width): scaled to fit, aspect kept, gray at the right and bottom
        where the aspect differs. Boxes follow. `resizing` is that of `fit`."""
        size = tuple(image_size)
        if self.image_size == size:
            return self

        def read(i):
            return fit(self.images(i), size, resizing)[0]

        def scaled(boxes, i):
            if len(boxes) == 0:
                return boxes  # without reading an image for its size
            shape = self.image_size or (self.sizes and self.sizes[i]) or self.images(i).shape[:2]
            return boxes.scaled(fit_factor(shape, size))

        return replace(self.with_boxes(scaled), read=read, image_size=size)


def fit_factor(shape: tuple[int, int], size: tuple[int, int]) -> float:
    """The factor that makes an image of `shape` fit into `size`, both (height, width)."""
    return min(size[0] / shape[0], size[1] / shape[1])


def fit(image: np.ndarray, size: tuple[int, int], resizing="area") -> tuple[np.ndarray, float]:
    """An image scaled to fit into (height, width) and padded with gray, and the factor used. Made
    smaller, a pixel is the mean of the `resizing` "area" it covers, or "bilinear" from the four
    nearest."""
    factor = fit_factor(image.shape[:2], size)
    height = min(size[0], max(1, round(image.shape[0] * factor)))
    width = min(size[1], max(1, round(image.shape[1] * factor)))
    method = cv2.INTER_AREA if factor < 1 and resizing == "area" else cv2.INTER_LINEAR
    scaled = cv2.resize(image, (width, height), interpolation=method)
    if (height, width) == tuple(size):
        return scaled, factor
    padded = np.full((*size, 3), PAD_GRAY, np.uint8)
    padded[:height, :width] = scaled
    return padded, factor
