"""Random changes of training images, against plain NumPy and by hand."""

import colorsys
from collections import Counter

import numpy as np
import pytest

from alkit.data import augmentation
from alkit.data.augmentation import PHOTOMETRIC, augmented, cropped
from alkit.frames import NO_BOXES, Boxes

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (24, 32, 3), np.uint8)
BOXES = Boxes([[4, 6, 5, 12]], ["pedestrian"])


def people(*ltwh, ignore=None):
    return Boxes(np.array(ltwh, float), ["pedestrian"] * len(ltwh), ignore)


def test_sixty_percent_get_one_of_twelve_operations_four_of_them_flips():
    found = Counter()
    for seed in range(4000):
        image, boxes = augmented(IMAGE, BOXES, "twelve", np.random.default_rng(seed))
        moved = boxes.ltwh[0, 0] != 4
        assert image.dtype == np.uint8
        assert image.shape == IMAGE.shape
        if moved:
            assert np.array_equal(image, IMAGE[:, ::-1])
            assert boxes.ltwh.tolist() == [[32 - 4 - 5, 6, 5, 12]]
        found["flip" if moved else "same" if np.array_equal(image, IMAGE) else "changed"] += 1
    shares = {name: n / 4000 for name, n in found.items()}
    # within five standard deviations
    assert shares == {
        "flip": pytest.approx(0.2, abs=0.032),
        "changed": pytest.approx(0.4, abs=0.039),
        "same": pytest.approx(0.4, abs=0.039),
    }


def test_half_are_mirrored_or_none():
    flips = sum(
        not np.array_equal(augmented(IMAGE, BOXES, "flip", np.random.default_rng(s))[0], IMAGE)
        for s in range(1000)
    )
    assert 420 < flips < 580
    assert augmented(IMAGE, BOXES, "none", None) == (IMAGE, BOXES)


def test_a_varied_image_keeps_its_boxes_on_what_they_show():
    """A white rectangle in a black image is where its box says, at whatever scale and place."""
    factors = []
    for seed in range(200):
        image = np.zeros((60, 80, 3), np.uint8)
        image[20:44, 30:42] = 255
        box, other = [30, 20, 12, 24], [0, 0, 2, 2]
        changed, boxes = augmented(image, people(box, other), "varied", np.random.default_rng(seed))
        left, top, width, height = boxes.ltwh[0]
        assert height / width == pytest.approx(2)
        factors.append(height / 24)
        if not (left >= 0 and top >= 0 and left + width <= 80 and top + height <= 60):
            continue
        # columns and rows of the rectangle, the border's by the share that is covered
        bright = changed[..., 1].astype(float)
        lines = bright[round(top) + 2 : round(top + height) - 2, round(left) + 2]
        assert lines.std() < 2  # inside all is alike
        level, low = lines.mean(), bright.min()
        row = (bright[round(top + height / 2)] - low) / (level - low)
        column = (bright[:, round(left + width / 2)] - low) / (level - low)
        for line, start, length in ((row, left, width), (column, top, height)):
            inside = np.arange(round(start) - 2, round(start + length) + 2).clip(0, len(line) - 1)
            where = np.unique(inside)
            near = line[where]
            assert near.sum() == pytest.approx(length, abs=0.7)
            middle = ((where + 0.5) * near).sum() / near.sum()
            assert middle == pytest.approx(start + length / 2, abs=0.15)
    assert min(factors) > 0.79
    assert max(factors) < 1.26
    assert np.median(factors) == pytest.approx(1, abs=0.05)


def test_a_varied_image_ignores_who_is_mostly_outside():
    kinds = Counter()
    for seed in range(300):
        corner = people([0, 0, 8, 16])
        boxes = augmented(
            np.zeros((60, 80, 3), np.uint8), corner, "varied", np.random.default_rng(seed)
        )[1]
        for (left, top, width, height), ignore in zip(boxes.ltwh, boxes.ignore, strict=True):
            inside = max(0, min(80, left + width) - max(0, left)) * max(
                0, min(60, top + height) - max(0, top)
            )
            assert ignore == (inside < 0.5 * width * height)
            kinds[bool(ignore)] += 1
        kinds["gone"] += len(boxes) == 0
    assert min(kinds.values()) > 0
    assert len(kinds) == 3


def test_a_generator_reproduces_every_operation():
    for change in PHOTOMETRIC:
        one, again = (change(IMAGE, np.random.default_rng(5)) for _ in range(2))
        assert np.array_equal(one, again), change.__name__


def slow_blur(image):
    """A 3×3 Gaussian of σ 1/3 with reflected borders."""
    side = np.exp(-0.5 / (1 / 3) ** 2)
    kernel = np.array([side, 1, side]) / (1 + 2 * side)
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), "reflect")
    rows = sum(k * padded[i : i + image.shape[0]] for i, k in enumerate(kernel))
    return sum(k * rows[:, i : i + image.shape[1]] for i, k in enumerate(kernel))


def test_blur_and_sharpening_are_each_others_opposite():
    blurred = slow_blur(IMAGE)
    # eight bits are blurred in fixed point
    np.testing.assert_allclose(augmentation.blurred(IMAGE, None), blurred, atol=1.5)
    expected = np.clip(2.0 * IMAGE - blurred, 0, 255)
    np.testing.assert_allclose(augmentation.sharpened(IMAGE, None), expected, atol=1.01)


def test_motion_blur_is_a_mean_along_a_line():
    point = np.zeros((11, 11, 3), np.uint8)
    point[5, 5] = 250
    lines = set()
    for seed in range(100):
        blurred = augmentation.motion_blurred(point, np.random.default_rng(seed))[..., 0]
        y, x = np.nonzero(blurred)
        assert 5 <= len(y) <= 9
        assert int(blurred.sum()) == pytest.approx(250, abs=len(y))
        assert max(np.ptp(y), np.ptp(x)) == 4  # from border to border of 5×5
        assert blurred[5, 5] > 0
        lines.add((tuple(y), tuple(x)))
    assert len(lines) >= 8


def test_dropped_noisy_and_picked_pixels():
    image = np.full((200, 200, 3), 128, np.uint8)
    dropped = augmentation.dropped(image, np.random.default_rng(0))
    black = (dropped == 0).all(2)
    assert black.mean() == pytest.approx(0.07, abs=0.007)
    assert (dropped[~black] == 128).all()

    noise = augmentation.noisy(image, np.random.default_rng(0)).astype(int) - 128
    assert (noise[..., 0] == noise[..., 1]).all()
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert noise.mean() == pytest.approx(0, abs=0.02)

    y, x = np.mgrid[:200, :200]
    places = np.stack([y, x, y], 2).astype(np.uint8)
    picked = augmentation.picked(places, np.random.default_rng(0)).astype(int)
    up, left = y - picked[..., 0], x - picked[..., 1]
    assert set(np.unique(up)) == set(np.unique(left)) == {0, 1}
    assert ((up == 1) | (left == 1)).mean() == pytest.approx(0.1 * 3 / 4, abs=0.007)


def test_value_and_saturation_are_scaled():
    for change, channel, low, high in (
        (augmentation.darker, 2, 0.7, 1.05),
        (augmentation.paler, 1, 0.9, 1.1),
    ):
        image = np.full((1, 1, 3), (60, 120, 180), np.uint8)
        factors = []
        for seed in range(50):
            found = change(image, np.random.default_rng(seed))[0, 0]
            factor = np.random.default_rng(seed).uniform(low, high)
            hsv = list(colorsys.rgb_to_hsv(*(np.array([60, 120, 180]) / 255)))
            hsv[channel] = min(1, hsv[channel] * factor)
            expected = np.array(colorsys.hsv_to_rgb(*hsv)) * 255
            np.testing.assert_allclose(found, expected, atol=1.01)
            factors.append(factor)
        assert min(factors) < low + 0.05
        assert max(factors) > high - 0.05


# ---- crops


def test_a_crop_begins_left_of_and_above_one_pedestrian():
    image = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)
    image = np.stack([image // 256, image % 256, image % 256], 2).astype(np.uint8)
    two = people([30, 20, 6, 14], [60, 40, 5, 12], [2, 2, 3, 3], ignore=[False, False, True])
    starts = set()
    for seed in range(300):
        part, boxes = cropped(image, two, (30, 40), np.random.default_rng(seed))
        assert part.shape == (30, 40, 3)
        y, x = divmod(int(part[0, 0, 0]) * 256 + int(part[0, 0, 1]), 80)
        starts.add((y, x))
        assert (y <= 20 and x <= 30) or (y <= 30 and x <= 40)  # moved inside at the far end
        real = boxes.ltwh[~boxes.ignore]
        assert (real[:, :2] >= 0).all()
        for left, top in real[:, :2].tolist():
            assert (left + x, top + y) in {(30, 20), (60, 40)}
        assert len(real) >= 1
        assert boxes.ignore.sum() == 1  # ignored boxes stay, wherever they are
    assert len(starts) > 100
    assert {0, 30} <= {y for y, _ in starts}
    assert max(x for _, x in starts) == 40


def test_a_crop_without_pedestrians_lies_anywhere_and_a_large_one_is_refused():
    for boxes in (NO_BOXES, people([1, 1, 5, 10], ignore=[True])):
        shapes = {
            cropped(IMAGE, boxes, (8, 8), np.random.default_rng(s))[0].tobytes() for s in range(200)
        }
        assert len(shapes) > 100
    with pytest.raises(
        ValueError, match=r"crop is \(48, 64\), but the image has \(24, 32\) pixels"
    ):
        cropped(IMAGE, BOXES, (48, 64), np.random.default_rng(0))
