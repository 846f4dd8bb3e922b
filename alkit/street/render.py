"""Draws a frame: the backdrop, the figures back to front, then what the camera makes of it."""

import cv2
import numpy as np

from alkit.street import backdrop, textures
from alkit.street.annotate import person_items, prop_items
from alkit.street.plan import State
from alkit.street.world import HEIGHT, Item, fixed, stream

_SPOT = np.clip(1 - np.hypot(*np.mgrid[-1:1:48j, -1:1:48j]), 0, 1).astype(np.float32)


def image(state: State, size: tuple[int, int]) -> np.ndarray:
    """The finished frame of `size` (height, width), uint8 RGB (y, x, 3)."""
    street, look = state.street, state.street.look
    rows = min(size[0], look.lines)
    picture = draw(state, (rows, max(1, round(size[1] * rows / size[0]))))
    rng = stream(street.world, street.domain, "noise", *state.key)
    if street.rain:
        _rain(picture, rng)
    if look.blur:
        picture = cv2.GaussianBlur(picture, (0, 0), look.blur * rows / HEIGHT)
    if look.curve is not None:
        picture = cv2.LUT(picture, look.curve)
    _grain(picture, textures.noise(street.world, street.domain), look.noise, rng)
    if picture.shape[:2] != tuple(size):
        picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    if look.quality:
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, look.quality])[1]
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return picture


def draw(state: State, size: tuple[int, int]) -> np.ndarray:
    """The scene through a perfect lens, uint8 RGB (y, x, 3)."""
    scale = size[0] / HEIGHT
    width = size[1] / scale
    view = state.view.centered(width)
    canvas = np.empty((*size, 3), np.uint8)
    backdrop.draw(canvas, state, view, scale)
    items = prop_items(state, view, width) + person_items(state, view, width)
    items.sort(key=lambda item: -item.depth)
    for item in items:
        if item.depth < 45:
            metre = view.focal / item.depth
            foot = (view.center + metre * item.sideways, view.horizon + metre * view.height)
            _shadow(canvas, foot, item.shadow * metre, scale)
    for item in items:
        _item(canvas, state, view, item, scale)
    return canvas


def _shadow(canvas, foot, width, scale):
    """A soft dark patch where something touches the ground."""
    half = 0.6 * width * scale
    part, spot = _spot(canvas, foot[0] * scale, foot[1] * scale, half, max(1.5, 0.24 * half))
    if spot is not None:
        keep = (255 - 190 * np.minimum(spot * 1.6, 1)).astype(np.uint8)
        cv2.multiply(part, cv2.merge([keep] * 3), dst=part, scale=1 / 255)


def _spot(canvas, u, v, across, down):
    """The part of the canvas around a place, and the share of a soft spot on each of its pixels;
    twice None where it is outside, too small or too large."""
    rows, columns = canvas.shape[:2]
    x0, x1, y0, y1 = round(u - across), round(u + across), round(v - down), round(v + down)
    outside = x0 >= columns or x1 <= 0 or y0 >= rows or y1 <= 0
    if outside or x1 - x0 < 3 or y1 - y0 < 2 or x1 - x0 > 4 * columns:
        return None, None
    spot = cv2.resize(_SPOT, (x1 - x0, y1 - y0))
    spot = spot[max(0, -y0) : rows - y0, max(0, -x0) : columns - x0]
    return canvas[max(0, y0) : y1, max(0, x0) : x1], spot


def _item(canvas, state, view, item: Item, scale):
    light = state.street.light
    gain, haze = light.at(item.depth, item.sideways)
    colors = np.minimum(item.colors * gain + haze, 255).tolist()
    if item.person >= 0:
        _person(canvas, state, item, colors, scale)
        return
    for polygon, color in zip(item.polygons(scale), colors, strict=True):
        cv2.fillPoly(canvas, [polygon], color, cv2.LINE_AA, 4)
    if item.foliage is not None:
        _crown(canvas, state, view, item, scale, gain, haze)
    if item.lamp and light.kind == "night":
        metre = view.focal / item.depth * scale
        u = (view.center * scale) + metre * (item.sideways + (1.2 if item.sideways < 0 else -1.2))
        _glow(canvas, u, view.horizon * scale + metre * (view.height - item.lamp), 1.1 * metre)


def _person(canvas, state, item, colors, scale):
    """Draws a figure on a patch of its own, adds folds and shade, and puts it in place."""
    rows, columns = canvas.shape[:2]
    x0, y0 = np.floor(item.points.min(0) * scale).astype(int) - 1
    x1, y1 = np.ceil(item.points.max(0) * scale).astype(int) + 2
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, columns), min(y1, rows)
    if x1 <= x0 or y1 <= y0:
        return
    # drawn twice as fine: OpenCV's soft edges stand out by more than half a pixel
    patch = np.zeros((2 * (y1 - y0), 2 * (x1 - x0), 4), np.uint8)
    for polygon, color in zip(item.polygons(2 * scale, 2 * x0, 2 * y0), colors, strict=True):
        cv2.fillPoly(patch, [polygon], (*color, 255), cv2.LINE_AA, 4)
    patch = cv2.resize(patch, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    tile = textures.cloth(state.street.world, state.street.domain)
    seed = state.people[item.person].person.cloth
    if max(patch.shape) <= tile.shape[0]:
        y = seed % (tile.shape[0] - patch.shape[0] + 1)
        x = seed // 7 % (tile.shape[1] - patch.shape[1] + 1)
        patch = cv2.multiply(patch, tile[y:, x:][: patch.shape[0], : patch.shape[1]], scale=1 / 128)
    _blend(canvas[y0:y1, x0:x1], patch)


def _blend(target, patch):
    """Puts color (already multiplied with its alpha, the fourth channel) over what is there."""
    *_, alpha = cv2.split(patch)
    keep = cv2.bitwise_not(alpha)
    under = cv2.multiply(target, cv2.merge([keep] * 3), scale=1 / 255)
    cv2.add(under, cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB), dst=target)


def _crown(canvas, state, view, item, scale, gain, haze):
    which, size, color = item.foliage
    metre = view.focal / item.depth * scale
    w, h = 3.4 * size * metre, 3.8 * size * metre
    left = view.center * scale + metre * item.sideways - w / 2
    top = view.horizon * scale + metre * (view.height - 2.3 - 3.8 * size)
    rows, columns = canvas.shape[:2]
    a0, a1 = max(int(left), 0), min(int(np.ceil(left + w)), columns)
    b0, b1 = max(int(top), 0), min(int(np.ceil(top + h)), rows)
    if a1 - a0 < 2 or b1 - b0 < 2:
        return
    sprite = textures.crown(state.street.world, state.street.domain, which)
    place = np.array([[w / sprite.shape[1], 0, left - a0], [0, h / sprite.shape[0], top - b0]])
    patch = cv2.warpAffine(sprite, place, (a1 - a0, b1 - b0))
    leaves = np.minimum((np.array(color) * gain + haze) / 160, 1.6)
    _blend(canvas[b0:b1, a0:a1], cv2.multiply(patch, (*leaves.tolist(), 1.0)))


def _glow(canvas, u, v, radius):
    part, spot = _spot(canvas, u, v, radius, radius)
    if spot is not None and radius <= canvas.shape[0]:
        light = spot[..., None] ** 2 * (255, 214, 150)
        cv2.add(part, light.astype(np.uint8), dst=part)


def _grain(picture, tile, spread, rng):
    """Adds sensor noise: a large tile at a random place, repeated where the picture is larger."""
    y, x = rng.integers(0, tile.shape[0], 2)
    rows, columns = picture.shape[:2]
    if rows < tile.shape[0] and columns < tile.shape[1]:
        y, x = y % (tile.shape[0] - rows), x % (tile.shape[1] - columns)
        grain = tile[y : y + rows, x : x + columns]
    else:
        down, across = (y + np.arange(rows)) % len(tile), (x + np.arange(columns)) % len(tile)
        grain = tile[down[:, None], across]
    amount = spread / textures.NOISE_SPREAD
    cv2.addWeighted(picture, 1.0, grain, amount, -128 * amount, dst=picture)


def _rain(picture, rng):
    rows, columns = picture.shape[:2]
    layer = picture.copy()
    start = rng.uniform((0, 0), (columns, rows), (150, 2))
    length = rng.uniform(0.02, 0.07, 150) * rows
    lines = np.stack([start, start + np.stack([0.18 * length, length], 1)], 1)
    cv2.polylines(layer, list(fixed(lines)), False, (206, 208, 212), 1, cv2.LINE_AA, 4)
    cv2.addWeighted(picture, 0.66, layer, 0.34, 0, dst=picture)
