"""FrameSet and Boxes: lazy, in step with each other, and loud when an image is wrong."""

import numpy as np
import pytest

from alkit.frames import NO_BOXES, PAD_GRAY, Boxes, FrameSet, fit, fit_factor


def frame_set(images, boxes=None, **fields):
    sizes = {image.shape[:2] for image in images}
    return FrameSet(
        dataset="toy",
        name=[f"f{i}" for i in range(len(images))],
        read=lambda i: images[i],
        boxes=boxes,
        **{"image_size": sizes.pop() if len(sizes) == 1 else None, **fields},
    )


def plain(value, size=(6, 8)):
    return np.full((*size, 3), value, np.uint8)


def test_boxes_fill_in_defaults():
    boxes = Boxes([[1, 2, 3, 4]], ["pedestrian"])
    assert boxes.ltwh.dtype == np.float64
    assert boxes.visible.tolist() == [[1, 2, 3, 4]]
    assert boxes.ignore.tolist() == [False]
    assert boxes.identity.tolist() == [-1]
    assert len(NO_BOXES) == 0
    assert NO_BOXES.label.dtype.kind == "U"


def test_boxes_take_and_scale_every_field():
    boxes = Boxes(
        [[1, 2, 3, 4], [5, 6, 7, 8]],
        ["a", "b"],
        [True, False],
        [[1, 2, 1, 1], [5, 6, 2, 2]],
        [7, 9],
    )
    second = boxes.take([1]).scaled(0.5)
    assert second.ltwh.tolist() == [[2.5, 3, 3.5, 4]]
    assert second.visible.tolist() == [[2.5, 3, 1, 1]]
    assert second.label.tolist() == ["b"]
    assert second.ignore.tolist() == [False]
    assert second.identity.tolist() == [9]
    assert boxes.take(np.array([True, False])).label.tolist() == ["a"]


def test_images_are_read_only_when_asked_for():
    asked = []

    def read(i):
        asked.append(i)
        return plain(i)

    frames = FrameSet("toy", ["a", "b", "c"], read, (6, 8))
    later = frames.take([2, 0]).resized((3, 4)).with_boxes(lambda boxes, _: boxes)
    assert asked == []
    assert later.images(0).max() == 2
    assert asked == [2]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((6, 8), np.uint8), r"expected an image uint8 \(y, x, 3\) .*got uint8 \(6, 8\)"),
        (np.zeros((6, 8, 3)), "float64"),
        (plain(0, (6, 9)), r"of shape \(6, 8, 3\), got uint8 \(6, 9, 3\)"),
    ],
)
def test_a_wrong_image_names_itself(image, said):
    with pytest.raises(ValueError, match=f"toy, frame f0: .*{said}"):
        frame_set([image], image_size=(6, 8)).images(0)


def test_take_keeps_names_boxes_sequence_and_frame_together():
    boxes = [Boxes([[i, 0, 1, 1]], ["p"]) for i in range(4)]
    frames = frame_set(
        [plain(i) for i in range(4)],
        boxes,
        sequence=np.array(["u", "u", "v", "v"]),
        frame=np.array([0.0, 1.0, 0.0, 1.0]),
    )
    twice = frames.take([3, 1, 0]).take([1, 2])  # f1, f0
    assert list(twice.name) == ["f1", "f0"]
    assert [int(b.ltwh[0, 0]) for b in twice.boxes] == [1, 0]
    assert [int(twice.images(i).max()) for i in range(2)] == [1, 0]
    assert twice.frame.tolist() == [1, 0]
    assert twice.sequence.tolist() == ["u", "u"]
    with pytest.raises(IndexError):
        twice.boxes[2]
    assert frames.unlabeled().boxes is None


def test_resized_scales_images_and_boxes_alike():
    image = plain(0, (40, 60))
    image[10:30, 20:40] = 255
    boxes = Boxes([[20, 10, 20, 20]], ["p"])
    small = frame_set([image], [boxes]).resized((20, 30))
    assert small.image_size == (20, 30)
    left, top, width, height = small.boxes[0].ltwh[0].astype(int)
    inside = small.images(0)[top : top + height, left : left + width]
    assert inside.shape == (10, 10, 3)
    assert inside.min() == 255
    assert small.images(0).sum() == inside.sum()


def test_resized_keeps_the_aspect_and_pads_with_gray():
    wide = frame_set([plain(200, (10, 40))], [Boxes([[20, 5, 10, 5]], ["p"])]).resized((20, 20))
    image = wide.images(0)
    assert (image[:5] == 200).all()
    assert (image[5:] == PAD_GRAY).all()
    assert wide.boxes[0].ltwh.tolist() == [[10, 2.5, 5, 2.5]]


def test_resized_images_of_different_sizes_each_have_their_own_factor():
    boxes = [Boxes([[4, 4, 4, 4]], ["p"]), Boxes([[4, 4, 4, 4]], ["p"]), NO_BOXES]
    mixed = frame_set([plain(0, (8, 8)), plain(0, (16, 8)), plain(0, (4, 4))], boxes)
    assert mixed.image_size is None
    same = mixed.resized((8, 8))
    assert same.boxes[0].ltwh.tolist() == [[4, 4, 4, 4]]
    assert same.boxes[1].ltwh.tolist() == [[2, 2, 2, 2]]
    assert len(same.boxes[2]) == 0
    assert {same.images(i).shape for i in range(3)} == {(8, 8, 3)}


def test_resized_to_the_same_size_changes_nothing():
    frames = frame_set([plain(0)])
    assert frames.resized((6, 8)) is frames


@pytest.mark.parametrize(
    ("shape", "size"), [((5, 7), (9, 4)), ((1, 100), (10, 10)), ((9, 9), (9, 9))]
)
def test_fit_never_exceeds_the_size(shape, size):
    image, factor = fit(plain(1, shape), size)
    assert image.shape == (*size, 3)
    assert factor == fit_factor(shape, size) == min(size[0] / shape[0], size[1] / shape[1])


def test_images_are_made_smaller_by_area_or_bilinearly():
    image = np.zeros((4, 4, 3), np.uint8)
    image[0, 0] = 160
    frames = frame_set([image])
    # A pixel of the small image covers 4×4; bilinearly it lies between the middle four.
    assert frames.resized((1, 1)).images(0).tolist() == [[[10] * 3]]
    assert frames.resized((1, 1), "bilinear").images(0).tolist() == [[[0] * 3]]
    image[1, 1] = 80
    assert frames.resized((1, 1), "bilinear").images(0).tolist() == [[[20] * 3]]


def test_frames_with_pedestrians_are_those_with_a_box_that_is_not_ignored():
    one = Boxes([[1, 1, 2, 4], [3, 1, 2, 4]], ["pedestrian"] * 2, ignore=[True, False])
    none = Boxes([[1, 1, 2, 4]], ["pedestrian"], ignore=[True])
    image = np.zeros((8, 8, 3), np.uint8)
    found = FrameSet("toy", list("abcd"), lambda i: image, (8, 8), [none, one, NO_BOXES, one])
    assert found.with_pedestrians().tolist() == [1, 3]
    assert found.unlabeled().with_pedestrians().tolist() == []
