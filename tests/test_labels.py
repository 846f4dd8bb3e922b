"""Labels as COCO dicts: what goes in comes out."""

import numpy as np
import pytest

from alkit.frames import NO_BOXES, Boxes, FrameSet
from alkit.loop import labels

BOXES = Boxes(
    [[1, 2, 10, 20], [5, 5, 8, 16], [30, 4, 4, 10]],
    ["pedestrian", "rider", "pedestrian"],
    ignore=[False, True, False],
    visible=[[1, 2, 10, 12], [5, 5, 8, 16], [30, 4, 4, 10]],
    identity=[7, -1, 9],
)


@pytest.fixture
def frames():
    image = np.zeros((48, 64, 3), np.uint8)
    return FrameSet("made up", ["a", "b", "c"], lambda i: image, (48, 64), [BOXES, NO_BOXES, BOXES])


def test_filtered_boxes_are_of_one_class_and_keep_everything_else(frames):
    given = labels.to_coco(frames, [2, 1])
    assert [image["id"] for image in given["images"]] == [3, 2]
    assert given["categories"] == [{"id": 1, "name": "pedestrian"}]
    assert {a["category_id"] for a in given["annotations"]} == {1}
    again = labels.labeled_frames(frames.unlabeled(), [given])
    assert again.name == ["c", "b"]
    for name in ("ltwh", "visible", "ignore", "identity"):
        np.testing.assert_array_equal(getattr(again.boxes[0], name), getattr(BOXES, name))
    assert len(again.boxes[1]) == 0
    assert labels.count(given) == {"images": 2, "pedestrians": 2}


def test_by_label_keeps_the_class_names(frames):
    truth = labels.to_coco(frames, by_label=True)
    names = {c["id"]: c["name"] for c in truth["categories"]}
    first = [a for a in truth["annotations"] if a["image_id"] == 1]
    assert [names[a["category_id"]] for a in first] == ["pedestrian", "rider", "pedestrian"]
    assert first[0]["vis_bbox"] == [1, 2, 10, 12]
