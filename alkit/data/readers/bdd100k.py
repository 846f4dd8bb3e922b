"""BDD100K: boxes in 100,000 driving stills, in any of the label formats that were released."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, validate_call

from alkit.data import filters, records
from alkit.data.imagefile import SUFFIXES, files_of, labeled_images
from alkit.data.records import Coordinate, FileName, Mark, Record, check, read_json, unique
from alkit.frames import Boxes, FrameSet

IMAGE_SIZE = (720, 1280)  # (height, width) of all images; the labels do not say it


class Box2d(Record):
    x1: Coordinate
    y1: Coordinate
    x2: Coordinate
    y2: Coordinate


class Attributes(Record):
    """What is said about a label; only what makes it an ignore box is read."""

    crowd: Mark | None = None
    ignored: Mark | None = None


class Label(Record):
    """An object. Lanes and areas have no `box2d`, and none of their fields is read."""

    category: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    box2d: Box2d | None = None
    attributes: Attributes | None = None


class Frame(Record):
    name: FileName
    labels: list[Label] | None = None


class Old(Record):
    """The one frame in a file from before August 2018."""

    objects: list[dict]


@validate_call
def read(
    root: Path, *, annotations: str, images: str, with_positives: filters.RuleName | None = None
) -> FrameSet:
    """The labeled images at native pixels, with all their boxes, in the order of the file.

    `annotations` is one json or a folder of them, read in the order of their names, and `images`
    the folder that the frames' names start from, both under `root`. The formats:

    - a list of frames (`name`, `labels`), as bdd100k_labels_images_train.json of 2018 and
      det_20/det_train.json of 2020; or the same list under `frames` of an object, as Scalabel
      writes it;
    - one object for each image (`name` without suffix, `frames` with one entry of `objects`), the
      labels before August 2018.

    A label is the file's own category: a person on foot is "person" in 2018 and "pedestrian" in
    2020, which has "other person" beside it. Labels without `box2d` (lanes, areas) are passed
    over. `crowd` or `ignored` among a label's attributes makes an ignore box. `visible` is the
    full box: `occluded` and `truncated` say no place.

    A box is x1, y1, x2 − x1, y2 − y1, as in the converter that came with the labels of 2018:
    corners are fractions of pixels and neighboring boxes share theirs, so that x2 is an edge.
    Scalabel's converter of 2021 takes x2 as the last pixel inside and adds 1 to both sides.

    `with_positives` names a rule of `data.filters.RULES`: images without a positive under it are
    left out, as of the authors' test set.

    A frame whose `labels` are null or absent has no boxes: the labels of 2020 leave them out where
    there is nothing. An image without a frame is no part of the set; 137 of the 70,000 training
    images have none. The images need not be there, all or some.

    Raises as all readers do, also for a box whose second corner is left of or above the first.
    """
    path = root / annotations
    names, image, ltwh, label, ignore = [], [], [], [], []
    for file in files_of(path, "*.json"):
        for where, frame in _frames(file):
            for k, found in enumerate(frame.labels or ()):
                if (box := found.box2d) is None:
                    continue
                if box.x2 < box.x1 or box.y2 < box.y1 or found.category is None:
                    expected = "expected a category and x1 ≤ x2, y1 ≤ y2"
                    raise ValueError(f"{where}, labels.{k}: {expected}, got {found}")
                image.append(len(names))
                ltwh.append((box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1))
                label.append(found.category)
                marks = found.attributes or Attributes()
                ignore.append(bool(marks.crowd or marks.ignored))
            names.append(frame.name)
    if not names:
        raise ValueError(f"{path}: expected frames, there are none")
    unique(path, "name", names)
    records.check_pixels(path, ltwh, lambda i: f"a label of {names[image[i]]}")
    boxes = Boxes(np.array(ltwh).reshape(-1, 4), label, ignore)
    sizes = [IMAGE_SIZE] * len(names)
    frames = labeled_images(path.stem, root / images, names, sizes, image, boxes)
    return filters.with_positives(frames, with_positives) if with_positives else frames


def sources(root: Path, *, annotations: str, images: str, **_) -> tuple[list, list]:
    """The labels, and all images there: to know which have labels takes as long as reading."""
    media = sorted(f for f in (root / images).glob("*") if f.suffix.lower() in SUFFIXES)
    return files_of(root / annotations, "*.json"), media


def _frames(file: Path):
    """(where it stands, frame) of each frame of a file, whatever the format."""
    whole = read_json(file.read_bytes(), file, without="poly2d")
    frames = whole.get("frames") if isinstance(whole, dict) else whole
    if isinstance(whole, dict) and "name" in whole:
        (old,) = check(tuple[Old], frames, f"{file}: frames")
        frames = [{"name": f"{whole['name']}.jpg", "labels": old.objects}]
    for i, frame in enumerate(check(list, frames, f"{file}: list of frames")):
        where = f"{file}: frame {i}"
        yield where, check(Frame, frame, where)
