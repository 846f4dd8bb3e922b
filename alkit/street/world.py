"""Seeds, light, and the camera: what every module of the street shares.

Lengths in the world are metres: x to the right, y up from the road, z forward along the street.
Image coordinates are those of a picture 480 pixels high (u to the right, v down, origin at the top
left corner of the first pixel); a picture of another height is the same drawing scaled.
"""

from typing import NamedTuple

import numpy as np

VERSION = 1  # of the generator: results are compared only between equal versions
DOMAINS = ("source", "pool", "test")
HEIGHT = 480  # of the image that image coordinates refer to
_PURPOSES = tuple("plan scene cars props person facade ground skyline cloth crown noise".split())


def stream(world: int, domain: str, purpose: str, *index: int) -> np.random.Generator:
    """The random numbers for one thing: nothing else in any world or domain draws them."""
    key = (VERSION, world, DOMAINS.index(domain), _PURPOSES.index(purpose), *index)
    return np.random.default_rng(np.random.SeedSequence(key))


def colors(text: str) -> tuple[tuple[int, int, int], ...]:
    """Colors (red, green, blue) from hexadecimal numbers with blanks between."""
    return tuple(tuple(bytes.fromhex(one)) for one in text.split())


class View(NamedTuple):
    """A pinhole camera that looks along the street; a turn of the head shifts the image."""

    x: float  # position in the street
    z: float
    height: float  # above the road
    focal: float  # in image pixels
    center: float  # u of the vanishing point
    horizon: float  # v of the vanishing point

    def centered(self, width: float) -> "View":
        """The view in an image `width` wide (at 480 rows)."""
        return self._replace(center=self.center + width / 2)

    def project(self, x, y, z):
        """Image (u, v) of points in the world; they must lie in front of the camera."""
        scale = self.focal / (np.asarray(z) - self.z)
        return self.center + scale * (x - self.x), self.horizon - scale * (y - self.height)


class Light(NamedTuple):
    """The light of a scene; colors are (r, g, b) factors or levels."""

    kind: str  # "day", "dusk" or "night"
    ambient: tuple[float, float, float]  # what falls on everything
    headlight: float  # what the camera's own car adds nearby
    sides: tuple[float, float]  # sun on the left and on the right facades
    haze: tuple[int, int, int]  # color of the distance
    visibility: float  # metres at which 63 % of the color is haze
    sky: tuple[tuple[int, int, int], tuple[int, int, int]]  # top, horizon

    def at(self, distance: float, sideways: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """(gain, haze) at a place ahead: a color is seen there as color · gain + haze."""
        beam = self.headlight * np.exp(-distance / 16 - (sideways / (2 + 0.35 * distance)) ** 2)
        clear = np.exp(-distance / self.visibility)
        return (np.array(self.ambient) + beam) * clear, np.array(self.haze) * (1 - clear)


class Item(NamedTuple):
    """A flat figure in the scene: polygons back to front, in image coordinates.

    Polygon k has the points[ends[k - 1] : ends[k]].
    """

    depth: float  # metres in front of the camera
    sideways: float  # metres to the right of the camera
    points: np.ndarray  # (n, 2) of (u, v)
    ends: list[int]
    colors: np.ndarray  # (k, 3) before light
    shadow: float  # metres of dark ground below it
    person: int = -1  # position of the person in the state's list
    foliage: tuple | None = None  # (which crown, size, color) of a tree
    lamp: float = 0.0  # metres above the ground of a street lamp's light

    def polygons(self, scale: float = 1.0, left: float = 0.0, top: float = 0.0) -> list[np.ndarray]:
        """The polygons in OpenCV's coordinates, as `fixed` has them."""
        return np.split(fixed(self.points, scale, left, top), self.ends[:-1])


def fixed(points: np.ndarray, scale: float = 1.0, left: float = 0.0, top: float = 0.0):
    """Image coordinates as OpenCV's fixed-point ones (4 bits), where whole numbers are the
    middles of pixels, in a patch that begins at pixel (left, top)."""
    return np.rint((points * scale - (left + 0.5, top + 0.5)) * 16).astype(np.int32)
