"""Thumbnails of chosen frames for the report, with their boxes and score maps."""

import cv2
import matplotlib
import numpy as np

from alkit.data.imagefile import jpeg
from alkit.frames import fit_factor

THUMBNAIL = 240  # pixels wide
MOST = 48  # frames of a cycle that are read
GREEN, WHITE = (43, 217, 154), (255, 255, 255)
ORANGE, RED, SKY = (255, 176, 0), (255, 45, 96), (86, 180, 233)


def shrunk(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The image at thumbnail size and the factor; smaller images stay."""
    factor = min(1.0, fit_factor(image.shape[:2], (THUMBNAIL * 2, THUMBNAIL)))
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor


def with_boxes(image: np.ndarray, boxes, factor: float, colour) -> np.ndarray:
    """The image with boxes [left, top, width, height], in pixels of the image before `factor`."""
    drawn = np.ascontiguousarray(image)
    for left, top, width, height in np.reshape(boxes, (-1, 4)) * factor:
        corners = (round(left), round(top)), (round(left + width) - 1, round(top + height) - 1)
        cv2.rectangle(drawn, *corners, colour, 1)
    return drawn


def with_scores(image: np.ndarray, scores: np.ndarray, highest: float) -> np.ndarray:
    """The image in grey under its score map: clear at 0, opaque at `highest`."""
    scores = cv2.resize(scores, image.shape[1::-1], interpolation=cv2.INTER_AREA)
    share = np.clip(scores / highest, 0, 1)
    colour = matplotlib.colormaps["inferno"](share)[..., :3] * 255
    grey = (image @ np.array([0.299, 0.587, 0.114]) * 0.75)[..., None]
    opacity = np.clip(np.sqrt(share) * 1.1, 0, 0.85)[..., None]
    return (grey * (1 - opacity) + colour * opacity).astype(np.uint8)


def thumbnail(image: np.ndarray, judged=None, scores=None, highest: float = 1.0) -> str:
    """A small picture of a frame as an address, under its score map and with boxes if given:
    found pedestrians green, missed ones red, those where nobody looked blue, false detections
    orange."""
    small, factor = shrunk(image)
    if scores is not None:
        small = with_scores(small, scores, highest)
    if judged is not None:
        for boxes, kinds, kind, colour in (
            (judged.found, judged.found_kind, "false", ORANGE),
            (judged.truth, judged.truth_kind, "found", GREEN),
            (judged.truth, judged.truth_kind, "missed", RED),
            (judged.truth, judged.truth_kind, "labelled", SKY),
        ):
            small = with_boxes(small, boxes[kinds == kind], factor, colour)
    return jpeg(small)


def crop(image: np.ndarray, rows: tuple, columns: tuple, margin: int) -> str:
    """The picture around a region, whose border is drawn, as an address."""
    (top, bottom), (left, right) = rows, columns
    y, x = max(0, top - margin), max(0, left - margin)
    part = image[y : bottom + margin, x : right + margin]
    box = [[left - x, top - y, right - left, bottom - top]]
    return jpeg(with_boxes(part, box, 1.0, WHITE))


def chosen(run, cycle: int, room: int) -> tuple[list, float | None]:
    """Chosen frames of a cycle in the order chosen, as long as their images take less than `room`
    characters: (frame of the selection, image, image with scores or None), and the highest score
    of the maps, None without maps."""
    frames = run.selection(cycle)["chosen"][:MOST]
    pool = run.frames("pool").unlabeled()
    maps = score_maps(run, cycle, [frame["position"] for frame in frames])
    highest = max([float(m.max()) for m in maps.values()], default=0.0)
    labelled = boxes_of(run, cycle)
    found, used = [], 0
    for frame in frames:
        position = frame["position"]
        image, factor = shrunk(pool.images(position))
        layers = [image]
        if position in maps:
            layers.append(with_scores(image, maps[position], max(highest, 1e-6)))
        real, ignored = labelled.get(position, ([], []))
        for k, layer in enumerate(layers):
            drawn = with_boxes(with_boxes(layer, ignored, factor, WHITE), real, factor, GREEN)
            layers[k] = jpeg(drawn)
        used += sum(map(len, layers))
        if used > room and found:
            break
        pedestrians = len(real) if labelled else None
        scored = layers[1] if position in maps else None
        found.append((frame | {"pedestrians": pedestrians}, layers[0], scored))
    return found, highest if maps else None


def score_maps(run, cycle: int, positions: list) -> dict:
    """Score maps (y, x) by position; empty where the strategy needs none or they were deleted."""
    try:
        scores = run.scores(cycle)
    except FileNotFoundError:
        return {}
    positions = sorted(positions)
    rows = np.searchsorted(scores["position"].values, positions)
    return dict(zip(positions, scores.isel(frame=rows).values, strict=True))


def boxes_of(run, cycle: int) -> dict:
    """Pedestrians and boxes to ignore of the labelled frames, by position; empty before step 5."""
    try:
        given = run.labels(cycle)
    except FileNotFoundError:
        return {}
    found = {image["position"]: ([], []) for image in given["images"]}
    position = {image["id"]: image["position"] for image in given["images"]}
    for a in given["annotations"]:
        found[position[a["image_id"]]][bool(a["ignore"])].append(a["bbox"])
    return found
