"""Targets and decoding, against hand-worked numbers and each other."""

import numpy as np
import pytest
import torch

from alkit.boxes import (
    at_cells,
    centered_iou,
    decode,
    default_boxes,
    iou,
    patch,
    suppress,
)
from alkit.boxes import targets as labels_of_pixels
from alkit.data.augmentation import mirrored
from alkit.detector import to_probabilities
from alkit.frames import NO_BOXES, Boxes
from alkit.profiles import DEMO, PAPER, RELEASED, profile

RELEASED_BOXES = ((271, 159), (223, 127), (143, 79), (79, 47), (55, 31))


def boxes(*ltwh, ignore=None):
    return Boxes(np.array(ltwh, float), ["pedestrian"] * len(ltwh), ignore)


def targets(boxes, numbers):
    """The label maps at the logits' own sizes."""
    return at_cells(labels_of_pixels(boxes, numbers), numbers.half_pixel)


def test_iou_by_hand():
    assert iou([[0, 0, 2, 2]], [[1, 0, 2, 2], [5, 5, 1, 1], [0, 0, 2, 2]]).tolist() == [
        [pytest.approx(1 / 3), 0, 1]
    ]
    assert iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)
    assert iou([[0, 0, 0, 0]], [[0, 0, 0, 0]]).tolist() == [[0]]


def test_centered_iou_by_hand():
    assert centered_iou([[10, 5]], [[10, 10], [5, 5]]).tolist() == [[0.5, 0.5]]


def test_patch_sizes_of_the_released_code():
    numbers = profile("paper", {"default_boxes": RELEASED_BOXES})

    def halves(level, factor):
        sides = patch(numbers, level, factor, (100, 200))
        assert [s.start + s.stop - 1 for s in sides] == [200, 400]  # around (100, 200)
        return tuple((s.stop - s.start) // 2 for s in sides)

    assert halves(4, numbers.clear_patch) == (15, 12)
    assert halves(4, numbers.positive_patch) == (8, 7)
    assert halves(0, numbers.clear_patch) == (28, 22)
    assert halves(0, numbers.positive_patch) == (12, 10)


def test_default_boxes_scale_with_the_image():
    assert default_boxes(PAPER)[4].tolist() == [55, 31]
    assert default_boxes(DEMO)[4].tolist() == [27.5, 15.5]


def test_cells_take_the_nearest_pixel():
    columns = np.tile(np.arange(16), (5, 16, 1))
    assert at_cells(columns, half_pixel=True)[0].tolist() == [[4, 12]] * 2
    assert at_cells(columns, half_pixel=False)[0].tolist() == [[0, 8]] * 2


def test_a_box_of_a_default_size_is_positive_in_its_channel_alone():
    left, top = 300 - 40, 200 - 72.5
    maps = targets(boxes([left, top, 80, 145]), PAPER)
    assert [int((m == 1).sum() > 0) for m in maps] == [0, 0, 1, 0, 0]
    rows, columns = np.nonzero(maps[2] == 1)
    # half-size 5 + ⌊√29⌋ = 10 rows and 5 + ⌊√16⌋ = 9 columns around (200, 300); cell i takes its
    # label from pixel 8 i + 4
    assert sorted(set((8 * rows + 4).tolist())) == [196, 204]  # of 190 … 210
    assert sorted(set((8 * columns + 4).tolist())) == [292, 300, 308]  # of 291 … 309


def test_a_box_between_two_sizes_ends_positive_in_the_best_channel():
    # 248×145 overlaps both 225×130 and 270×160 by more than 0.7; the best is written last and
    # clears the other
    overlap = centered_iou([[248, 145]], default_boxes(PAPER))[0]
    assert (overlap > 0.7).sum() == 2
    maps = targets(boxes([200, 100, 145, 248]), PAPER)
    assert [int((m == 1).any()) for m in maps] == [int(k == overlap.argmax()) for k in range(5)]


def test_a_far_too_large_box_still_goes_to_the_best_channel():
    maps = targets(boxes([100, 10, 300, 460]), PAPER)
    assert [int((m == 1).any()) for m in maps] == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("numbers", [PAPER, DEMO], ids=["paper", "demo"])
def test_every_box_has_a_positive_cell_wherever_it_stands(numbers):
    rng = np.random.default_rng(0)
    height, width = numbers.image_size
    for _ in range(200):
        h = rng.uniform(50, 300) * numbers.scale
        w = h * rng.uniform(0.2, 0.65)
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        maps = targets(boxes([cx - w / 2, cy - h / 2, w, h]), numbers)
        assert sum(int((m == 1).sum()) for m in maps) >= 1


def test_ignored_boxes_are_neither_or_dropped():
    ignored = boxes([100, 100, 50, 120], ignore=[True])
    numbers = profile("paper", {"filtered_boxes": "ignore"})
    for m in targets(ignored, numbers):
        assert (m == -1).any()
        assert not (m == 1).any()
    assert all((m == 0).all() for m in targets(ignored, PAPER))
    assert all((m == 0).all() for m in targets(NO_BOXES, PAPER))


def test_mirroring_twice_gives_the_same_and_moves_boxes():
    one = boxes([10, 20, 30, 40])
    assert mirrored(one, 100).ltwh.tolist() == [[60, 20, 30, 40]]
    assert mirrored(mirrored(one, 100), 100).ltwh.tolist() == one.ltwh.tolist()


@pytest.mark.parametrize("numbers", [PAPER, DEMO], ids=["paper", "demo"])
def test_decoding_the_targets_gives_the_boxes_back(numbers):
    """The decoder ceiling of two people far apart is perfect."""
    scale = numbers.scale
    real = np.array([[60, 100, 47, 79], [300, 120, 80, 145]]) * scale
    maps = targets(boxes(*real), numbers)
    logits = [torch.from_numpy(np.where(m == 1, 20.0, -20.0))[None] for m in maps]
    p = to_probabilities(logits, numbers.image_size)[0].numpy()
    found, scores = decode(p, numbers)
    assert len(found) == 2
    assert iou(real, found).max(axis=1).min() > 0.6
    assert (np.diff(scores) <= 0).all()


def peak(numbers, level, y, x, value=0.9, reach=12):
    p = np.zeros((5, *numbers.image_size), np.float32)
    yy, xx = np.mgrid[: p.shape[1], : p.shape[2]]
    p[level] = value * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * reach**2))
    return p


def test_a_single_peak_is_one_centered_default_box():
    found, scores = decode(peak(PAPER, 3, 200, 300), PAPER)
    assert found.tolist() == [[300.5 - 25, 200.5 - 40, 50, 80]]
    assert scores[0] == pytest.approx(0.9, abs=0.01)


def test_a_small_spot_has_too_few_pixels_over_the_threshold():
    p = np.zeros((5, *PAPER.image_size), np.float32)
    p[0, 100:109, 100:109] = 1  # 81 pixels, fewer than 100
    assert len(decode(p, PAPER)[0]) == 0
    p[0, 100:111, 100:111] = 1  # 121 pixels
    assert len(decode(p, PAPER)[0]) == 1


def test_suppression_across_levels_is_the_profiles():
    p = np.maximum(peak(PAPER, 3, 200, 300, 0.9), peak(PAPER, 4, 200, 300, 0.8))
    assert len(decode(p, profile("paper", {"suppression": None}))[0]) == 2
    kept, scores = decode(p, profile("paper", {"suppression": 0.4}))
    assert len(kept) == 1
    assert scores[0] == pytest.approx(0.9, abs=0.01)


def test_a_flat_map_is_one_plateau():
    p = np.full((5, *DEMO.image_size), 0.5, np.float32)
    numbers = profile("demo", {"suppression": None})
    assert len(decode(p, numbers)[0]) == 5


def test_suppression_is_greedy():
    # b overlaps a and is dropped; c overlaps b alone and stays
    three = np.array([[0, 0, 10, 10], [4, 0, 10, 10], [8, 0, 10, 10]], float)
    assert suppress(three, 0.3).tolist() == [0, 2]
    assert suppress(three, 0.9).tolist() == [0, 1, 2]


def test_a_plateau_is_one_detection_at_its_middle():
    p = np.zeros((5, *PAPER.image_size), np.float32)
    p[4, 100:121, 200:221] = 0.9
    found, _ = decode(p, PAPER)
    assert found.tolist() == [[210.5 - 31 / 2, 110.5 - 55 / 2, 31, 55]]


@pytest.mark.parametrize("center", [100.0, 100.25, 100.5, 100.999])
def test_a_patch_has_the_released_codes_pixels_wherever_its_center_lies(center):
    rows, columns = patch(PAPER, 4, PAPER.positive_patch, (center, center))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (17, 15)


def test_in_tiny_images_every_box_still_has_a_positive_cell():
    numbers = profile("demo", {"image_size": (96, 128)})
    for y in np.arange(10, 86, 0.7):
        maps = targets(boxes([60, y - 6, 5, 12]), numbers)
        assert sum(int((m == 1).sum()) for m in maps) >= 1


def patches_of_the_code(left, top, right, bottom, height, width):
    """Which channels of 55×31 … 271×159 the authors' code makes positive for a box, and its patch
    in the best one: (rows, columns) as (first, last). In whole numbers, as that code computes."""
    sizes = [(31, 55), (47, 79), (79, 143), (127, 223), (159, 271)]
    x1, y1, x2, y2 = int(left), int(top), int(right), int(bottom)
    w, h = x2 - x1, y2 - y1
    y, x = y1 + h // 2, x1 + w // 2
    overlaps = []
    for dw, dh in sizes:
        box = (x - dw // 2, y - dh // 2, x + dw // 2, y + dh // 2)
        across = min(x2, box[2]) - max(x1, box[0])
        down = min(y2, box[3]) - max(y1, box[1])
        own = (box[2] - box[0]) * (box[3] - box[1])
        overlaps.append(across * down / (w * h + own - across * down))
    best = max(range(5), key=overlaps.__getitem__)
    dw, dh = sizes[best]
    half = 5 + int((0.2 * dh) ** 0.5), 5 + int((0.2 * dw) ** 0.5)
    return best, {
        (r, c)
        for r in range(max(0, y - half[0]), min(height, y + half[0] + 1))
        for c in range(max(0, x - half[1]), min(width, x + half[1] + 1))
    }


def test_targets_of_the_released_profile_are_the_codes_on_whole_pixels():
    rng = np.random.default_rng(3)
    height, width = RELEASED.image_size
    otherwise = 0
    for _ in range(100):
        h = rng.uniform(40, 300)
        w = h * rng.uniform(0.25, 0.65)
        left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
        box = boxes([left, top, w, h])
        best, pixels = patches_of_the_code(left, top, left + w, top + h, height, width)
        found = labels_of_pixels(box, RELEASED)
        # the best channel is written last, and clears all others
        assert [k for k in range(5) if (found[k] == 1).any()] == [best]
        assert set(zip(*np.nonzero(found[best] == 1), strict=True)) == pixels
        plain = labels_of_pixels(box, RELEASED.model_copy(update={"whole_pixels": False}))
        otherwise += not np.array_equal(plain, found)
    assert otherwise > 20  # the switch matters


# ---- detections as the released code makes them


AREA = profile("paper", {"decode_score": "area", "plateaus": "whole", "suppression": None})


def detections_of_the_code(plane, thresholds):
    """At each threshold the pixels (y, x) that the authors' code detects, by loops over pixels: a
    3×3 mean inside the image, maxima of 19×19, 100 pixels of at least the threshold there."""
    height, width = plane.shape

    def around(a, y, x, reach):
        return a[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]

    smooth = np.zeros_like(plane)
    for y, x in np.ndindex(height, width):
        smooth[y, x] = around(plane, y, x, 1).mean()
    found = {}
    for t in thresholds:
        found[t] = {
            (y, x)
            for y, x in np.argwhere(smooth >= t).tolist()
            if smooth[y, x] >= around(smooth, y, x, 9).max() - 1e-7
            and (around(smooth, y, x, 9) >= t).sum() >= 100
        }
    # the highest threshold that would leave 100 pixels around each of the first's
    highest = {c: np.sort(around(smooth, *c, 9).ravel())[-100] for c in found[thresholds[0]]}
    return found, highest


def test_one_pass_gives_the_codes_detections_at_every_threshold():
    rng = np.random.default_rng(5)
    small = np.zeros((70, 90), np.float32)
    for _ in range(12):  # bumps of many widths, some at the border
        y, x, reach = rng.uniform(0, 70), rng.uniform(0, 90), rng.uniform(2, 14)
        yy, xx = np.mgrid[:70, :90]
        bump = rng.uniform(0.2, 1) * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * reach**2))
        small = np.maximum(small, bump.astype(np.float32))
    numbers = AREA.model_copy(update={"image_size": (70, 90), "length_scale": 1.0})
    p = np.zeros((5, 70, 90), np.float32)
    p[2] = small
    found, scores = decode(p, numbers)
    centers = np.floor(found[:, :2] + found[:, 2:] / 2)[:, ::-1].astype(int)
    thresholds = [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    expected, highest = detections_of_the_code(small, thresholds)
    assert len(expected[0.01]) > len(expected[0.4]) > 0
    for t in thresholds:
        assert {tuple(c) for c in centers[scores >= t].tolist()} == expected[t], t
    np.testing.assert_allclose(scores, [highest[tuple(c)] for c in centers.tolist()], rtol=1e-5)


def test_a_plateau_is_one_detection_or_one_for_each_pixel():
    p = np.zeros((5, *PAPER.image_size), np.float32)
    p[4, 100:121, 200:221] = 0.5
    assert len(decode(p, AREA)[0]) == 19 * 19  # all whose 3×3 mean is 0.5
    assert len(decode(p, AREA.model_copy(update={"plateaus": "middle"}))[0]) == 1


def test_at_the_border_the_mean_is_over_pixels_inside_the_image():
    p = np.zeros((5, *PAPER.image_size), np.float32)
    p[4, :12, :12] = 0.5
    numbers = PAPER.model_copy(update={"plateaus": "whole", "suppression": None})
    found, scores = decode(p, numbers)
    assert (found[:, :2] + found[:, 2:] / 2).min() == 0.5  # the corner is a maximum, too
    assert set(scores) == {0.5}


def test_the_area_scales_with_the_image_and_no_detection_is_below_the_threshold():
    numbers = profile("released", {"image_size": (96, 128)})  # 100 · 0.2² = 4 pixels of 3×3
    p = np.zeros((5, 96, 128), np.float32)
    p[0, 50:52, 60:62] = 0.9
    found, scores = decode(p, numbers)
    assert len(found) == 4
    np.testing.assert_allclose(scores, 0.9)
    p[0, 51, 61] = 0  # three pixels are too few
    assert len(decode(p, numbers)[0]) == 0
    everything = numbers.model_copy(update={"decode_area": 1e4})  # more than a window has
    assert len(decode(np.ones_like(p), everything)[0]) == 0


def test_released_detections_stand_on_whole_pixels():
    p = peak(RELEASED, 0, 200, 300)
    found, _ = decode(p, RELEASED)
    assert found.tolist() == [[300 - 15, 200 - 27, 30, 54]]
