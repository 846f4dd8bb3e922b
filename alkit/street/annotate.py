"""Figures of a frame in image coordinates, and their boxes, without drawing the image."""

import cv2
import numpy as np

from alkit.frames import NO_BOXES, Boxes
from alkit.street import props
from alkit.street.people import figure
from alkit.street.plan import State
from alkit.street.world import HEIGHT, Item, View

TINY = 14.0  # pixels of a 480-row image: smaller people are neither drawn nor boxed
EDGE = 0.4  # pixels by which a drawn edge, being soft, is outside its outline
HIDDEN = 0.35  # share of a figure in sight below which its box is to be ignored


def person_items(state: State, view: View, width: float) -> list[Item]:
    """The people in or near the image, in the order of the state."""
    items = []
    for k, (person, x, z, dx, dz, phase, stride) in enumerate(state.people):
        depth = z - view.z
        metre = view.focal / depth
        scale = metre * person.stature
        u, v = view.center + metre * (x - view.x), view.horizon + metre * view.height
        if scale < TINY or not -0.5 * scale < u < width + 0.5 * scale:
            continue
        points, ends, colors = figure(person, phase, dx, dz, stride)
        points = points * (scale, -scale) + (u, v)
        items.append(Item(depth, x - view.x, points, ends, colors, 0.9, k))
    return items


def prop_items(state: State, view: View, width: float, farthest: float = 100.0) -> list[Item]:
    """Cars, poles, trees and boards in or near the image, up to `farthest` metres away."""
    items = []
    for prop in (*state.street.props, *state.cars):
        depth = prop.z - view.z
        if not -6 < depth < farthest:
            continue
        if prop.kind == "car":
            item = props.car(view, prop)
            if item and item.points[:, 0].max() >= 0 and item.points[:, 0].min() <= width:
                items.append(item)
        elif depth >= 1.5 * props.NEAR:
            metre = view.focal / depth
            u = view.center + metre * (prop.x - view.x)
            around = (3.0 if prop.kind in ("tree", "lamp") else 1.2) * metre
            if depth <= 3 or -around < u < width + around:
                items.append(props.upright(view, prop))
    return items


def _silhouette(canvas, item, value, left=0.0, top=0.0):
    for polygon in item.polygons(1.0, left, top):  # together, they would cut holes in each other
        cv2.fillPoly(canvas, [polygon], value, cv2.LINE_8, 4)


def boxes(state: State, size: tuple[int, int]) -> Boxes:
    """The pedestrians' boxes in an image of `size` (height, width), exact at 480 rows and scaled.

    `ltwh` is the extent of the whole figure, hidden parts included, cut at the image's border;
    `visible` the extent of what neither a car, a pole, a board, another person nor the border
    hides. Figures with less than 35 % in sight are marked `ignore`; those with nothing in sight,
    or under 14 px high at 480 rows, are left out.
    """
    width = HEIGHT * size[1] / size[0]
    view = state.view.centered(width)
    people = person_items(state, view, width)
    if not people:
        return NO_BOXES
    spans = [(*(item.points.min(0) - EDGE), *(item.points.max(0) + EDGE)) for item in people]
    hiding = prop_items(state, view, width, max(item.depth for item in people))
    canvas = np.zeros((HEIGHT, int(np.ceil(width))), np.uint8)
    for item in sorted(people + hiding, key=lambda item: -item.depth):
        _silhouette(canvas, item, item.person + 1)
    found = []
    for item, (l0, t0, r0, b0) in zip(people, spans, strict=True):
        left, top = max(0.0, l0), max(0.0, t0)
        right, bottom = min(width, r0), min(float(HEIGHT), b0)
        if right - left < 1 or bottom - top < 1:
            continue
        x0, y0 = int(left), int(top)
        patch = canvas[y0 : int(np.ceil(bottom)) + 1, x0 : int(np.ceil(right)) + 1]
        mine = cv2.inRange(patch, item.person + 1, item.person + 1)
        seen = cv2.countNonZero(mine)
        if seen == 0:
            continue
        alone = np.zeros((int(b0 - t0) + 3, int(r0 - l0) + 3), np.uint8)
        _silhouette(alone, item, 1, int(np.floor(l0)), int(np.floor(t0)))
        x, y, w, h = cv2.boundingRect(mine)
        # a side that nothing hides keeps the outline's exact position
        v_left, v_top = max(left, x0 + x - EDGE), max(top, y0 + y - EDGE)
        v_right, v_bottom = min(right, x0 + x + w + EDGE), min(bottom, y0 + y + h + EDGE)
        full = left, top, right - left, bottom - top
        visible = v_left, v_top, v_right - v_left, v_bottom - v_top
        ignore = seen < HIDDEN * cv2.countNonZero(alone)
        found.append((full, visible, ignore, state.people[item.person].person.identity))
    if not found:
        return NO_BOXES
    full, visible, ignore, identities = zip(*found, strict=True)
    drawn = Boxes(full, ["pedestrian"] * len(full), ignore, visible, identities)
    return drawn.scaled(size[0] / HEIGHT)
