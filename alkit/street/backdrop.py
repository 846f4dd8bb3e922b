"""What lies behind the figures of a frame: sky, far houses, facades, road and pavement."""

from itertools import pairwise

import cv2
import numpy as np

from alkit.street import facades, textures
from alkit.street.plan import State
from alkit.street.world import View, fixed

_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def draw(canvas: np.ndarray, state: State, view: View, scale: float) -> None:
    """Fills a uint8 RGB canvas that is `scale` times as fine as image coordinates."""
    _sky(canvas, state, view, scale)
    _ground(canvas, state, view, scale)
    for side, which, z in state.street.facades:
        _facade(canvas, state, view, scale, side, which, z)


def _sky(canvas, state, view, scale):
    street = state.street
    top, low = (np.array(c, np.float64) for c in street.light.sky)
    edge = int(np.clip(view.horizon * scale + 2, 1, canvas.shape[0]))
    mix = np.linspace(0, 1, edge)[:, None]
    canvas[:edge] = (top * (1 - mix) + low * mix).astype(np.uint8)[:, None]
    if street.light.kind != "night":
        clouds = textures.clouds(street.world, street.domain, street.skyline)
        shift = int(abs(view.center)) % 64
        part = cv2.resize(clouds[:, shift : shift + 448], (canvas.shape[1], edge))
        cv2.add(canvas[:edge], part, dst=canvas[:edge])
    heights = textures.skyline(street.world, street.domain, street.skyline)
    x = np.repeat(np.arange(-120, 122, 2.0), 2)[1:-1] + 0.3 * view.x
    u, v = view.project(x, np.repeat(heights, 2), view.z + 150.0)
    outline = np.concatenate([np.stack([u, v], 1), [(u[-1], view.horizon), (u[0], view.horizon)]])
    gain, haze = street.light.at(110.0)
    cv2.fillPoly(canvas, [fixed(outline, scale)], (110 * gain + haze).tolist(), cv2.LINE_AA, 4)


def _ground(canvas, state, view: View, scale):
    """Road and pavement: three bands of distance, each from a coarser texture."""
    street, light = state.street, state.street.light
    levels = textures.ground(street.world, street.domain, street.ground, street.rain)
    rows = canvas.shape[0]
    first = int(np.clip(np.ceil(view.horizon * scale), 0, rows))
    reach = view.focal * view.height
    edges = [first] + [int((view.horizon + reach / far) * scale) for far in (34.0, 13.0, 6.0)]
    edges = np.clip([*edges, rows], first, rows)
    for level, (top, bottom) in enumerate(pairwise(edges)):
        if bottom <= top:
            continue
        texture = levels[3 - level]
        density = textures.GROUND_DENSITY / 2 ** (3 - level)
        # x (v − h) = X (v − h) + (u − c) H and z (v − h) = Z (v − h) + f H, rows of (u, v, 1)
        h, c, high = view.horizon, view.center, view.height
        to_x = np.array([high, view.x, -view.x * h - c * high])
        z = view.z % textures.GROUND_PERIOD
        to_z = np.array([0, z, view.focal * high - z * h])
        below = np.array([0, 1, -h])
        across = (to_x + textures.GROUND_HALF * below) * density - 0.5 * below
        matrix = np.stack([across, to_z * density - 0.5 * below, below])
        _warp(texture, matrix, canvas, (0, top, canvas.shape[1], bottom), scale, cv2.BORDER_WRAP)
    _light_ground(canvas, light, view, scale, first)


def _light_ground(canvas, light, view, scale, first):
    """Multiplies the ground with the light that falls on it, on a coarse grid."""
    rows, columns = canvas.shape[:2]
    if first >= rows:
        return
    v = (np.linspace(first, rows - 1, 12) + 0.7) / scale
    ahead = view.focal * view.height / np.maximum(v - view.horizon, 1.0)
    u = np.linspace(0, columns, 17) / scale
    sideways = (u[None] - view.center) * ahead[:, None] / view.focal
    ahead = ahead[:, None]
    beam = light.headlight * np.exp(-ahead / 14 - (sideways / (2 + 0.35 * ahead)) ** 2)
    clear = np.exp(-ahead / light.visibility)[..., None]
    gain = (np.array(light.ambient) + beam[..., None]) * clear
    haze = np.array(light.haze) * (1 - clear)
    part, flat = canvas[first:], (columns, rows - first)
    if light.headlight <= 0.3:  # no beam to be seen: the same from left to right
        gain = gain[:, :1]
    gain = cv2.resize(np.clip(gain * 128, 0, 255).astype(np.uint8), flat)
    cv2.multiply(part, gain, dst=part, scale=1 / 128)
    haze = cv2.resize(np.clip(haze, 0, 255).astype(np.uint8), flat)
    cv2.add(part, haze, dst=part)


def _facade(canvas, state, view, scale, side, which, z):
    street, light = state.street, state.street.light
    x = side * street.wall
    rows, columns = canvas.shape[:2]
    width = facades.facade_width(street.world, street.domain, which)
    across = (x - view.x) * view.focal
    border = (columns / scale - view.center) if side > 0 else view.center
    nearest = max(abs(across) / max(border, 1.0), 0.5)  # closer is outside the image
    near, far = max(z - view.z, nearest * 0.98), z + width - view.z
    if far <= near or near > 140:
        return
    night = light.kind == "night"
    levels = facades.facade(street.world, street.domain, which, night)
    middle = view.focal * scale / np.sqrt(near * min(far, near * 3))
    level = int(np.clip(np.floor(np.log2(facades.DENSITY / middle) + 0.3), 0, 3))
    texture = levels[level]
    density = facades.DENSITY / 2**level
    height = levels[0].shape[0] / facades.DENSITY
    u0, u1 = (view.center + across / d for d in (far, near))
    left, right = sorted((u0 * scale, u1 * scale))
    left, right = max(0, int(np.floor(left))), min(columns, int(np.ceil(right)))
    top = max(0, int((view.horizon - view.focal * (height - view.height) / near) * scale) - 1)
    bottom = min(rows, int((view.horizon + view.focal * view.height / near) * scale) + 2)
    if right <= left or bottom <= top:
        return
    clear = float(np.exp(-np.sqrt(near * far) / light.visibility))
    shade = light.sides[side > 0] * clear
    gain = [a * shade for a in ((0.75,) * 3 if night else light.ambient)]
    haze = [h * (1 - clear) for h in light.haze]
    if z - view.z > 0.8 * nearest:  # the blank wall at its near end, if no other house hides it
        corners = np.array([(x, 0), (x + side * 14, 0), (x + side * 14, height), (x, height)])
        u, v = view.project(corners[:, 0], corners[:, 1], z)
        paint = np.array(cv2.mean(levels[3])[:3]) * 0.9
        paint = np.minimum(paint * gain + haze, 255).tolist()
        cv2.fillPoly(canvas, [fixed(np.stack([u, v], 1), scale)], paint, cv2.LINE_AA, 4)
    lit = cv2.transform(texture, np.hstack([np.diag(gain), np.array(haze)[:, None]]))
    # z (u − c) = Z (u − c) + f (x − X) and y (u − c) = H (u − c) − (v − h) (x − X)
    c, h, apart = view.center, view.horizon, x - view.x
    over = np.array([1, 0, -c])
    to_z = (view.z - z) * over + np.array([0, 0, across])
    to_y = view.height * over - apart * np.array([0, 1, -h])
    down = (height * over - to_y) * density - 0.5 * over
    matrix = np.stack([to_z * density - 0.5 * over, down, over])
    _warp(lit, matrix, canvas, (left, top, right, bottom), scale, cv2.BORDER_TRANSPARENT)


def _warp(texture, matrix, canvas, box, scale, border):
    """Draws a texture on a part of the canvas; `matrix` leads from image coordinates to it."""
    left, top, right, bottom = box
    x, y = (left + 0.5) / scale, (top + 0.5) / scale
    matrix = matrix @ [[1 / scale, 0, x], [0, 1 / scale, y], [0, 0, 1]]
    part, size = canvas[top:bottom, left:right], (right - left, bottom - top)
    cv2.warpPerspective(texture, matrix, size, dst=part, flags=_WARP, borderMode=border)
