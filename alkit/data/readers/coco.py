"""COCO json: images with boxes in one file. This is how researchers bring their own data.

An image record may carry `sequence` (the video's name) and `frame` (the raw frame number in it).
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AliasPath, Field, PositiveFloat, validate_call

from alkit.data.imagefile import Orientation, check_present, labeled_images
from alkit.data.records import Box, FileName, Many, Mark, Pixels, Record, check, read_json, unique
from alkit.frames import Boxes, FrameSet

Id = int | str


class Image(Record):
    """An image, as other tools write it too: some do not know its size."""

    id: Id
    file_name: str = Field(min_length=1)
    width: Pixels | None = None
    height: Pixels | None = None
    looked_at: bool | None = None  # our own: whether somebody labeled it; see `alkit.labeling`
    original: Any = Field(None, validation_alias=AliasPath("extra", "name"))  # Roboflow's


class Annotation(Record):
    """A box of an image."""

    id: Id | None = None
    image_id: Id
    category_id: Id
    bbox: Box
    iscrowd: Mark | None = None
    ignore: Mark | None = None


class Category(Record):
    """A class of objects."""

    id: Id
    name: str


class Coco(Record):
    """The content of a COCO json. Segmentations and other keys are passed over."""

    images: Annotated[list[Image], Many, Field(min_length=1)]
    annotations: Annotated[list[Annotation], Many]
    categories: Annotated[list[Category], Many]


class OwnImage(Image):
    """An image of a data set."""

    file_name: FileName
    width: Pixels
    height: Pixels
    sequence: Id | None = None
    frame: float | None = None


class DataSet(Coco):
    """The content of a data set's file."""

    images: Annotated[list[OwnImage], Many, Field(min_length=1)]


def load(text: bytes, where, model=DataSet):
    """The content of a COCO json as `DataSet` or `Coco`; all ids are known, and come once.

    Raises ValueError that begins with `where` and names the record.
    """
    data = check(model, read_json(text, where, without="segmentation"), where)
    known = {}
    for name in ("images", "categories", "annotations"):
        ids = [record.id for record in getattr(data, name) if record.id is not None]
        unique(where, f"id in {name}", ids)
        known[name] = {*ids}
    unique(where, "file name", [image.file_name for image in data.images])
    for i, a in enumerate(data.annotations):
        for kind, id_ in (("images", a.image_id), ("categories", a.category_id)):
            if id_ not in known[kind]:
                raise ValueError(f"{where}: annotations.{i}: none of the {kind} has the id {id_!r}")
    return data


@validate_call
def read(
    root: Path,
    *,
    annotations: str,
    images: str = ".",
    sequences: list[Id] | Id | None = None,
    frames: tuple[int, int] | None = None,
    step: PositiveFloat = 1,
    orientation: Orientation | None = None,
) -> FrameSet:
    """The frames of a COCO json at native pixels, with all its boxes; labels are category names.

    `annotations` is the json and `images` the folder that its file names start from, both under
    `root`. `sequences` takes only these values of `sequence`; `frames` = [first, last] then takes
    only the frames at these positions (from 0, both included). `step` is the distance of the
    pool's frames in raw frame numbers: `.frame` = raw number / step.

    Stills keep the file's order. Video frames are in order of time within a sequence, sequences
    in the order in which the file first names them. Boxes keep the file's order within an image.
    `iscrowd: 1` and `ignore: 1` are ignore boxes; boxes may reach over the image's border.

    Raises as all readers do: ids, file names and frame numbers of a sequence come once, and all
    images are there on opening.
    """
    path = root / annotations
    data = load(path.read_bytes(), path)
    records = data.images
    timed = any(image.sequence is not None for image in records)
    if timed:
        bare = [image.id for image in records if image.sequence is None or image.frame is None]
        if bare:
            raise ValueError(
                f"{path}: image {bare[0]!r} has no sequence or no frame number, which others have; "
                "expected all or none"
            )
        unique(path, "frame", [(str(image.sequence), image.frame) for image in records])
        names = dict.fromkeys(str(image.sequence) for image in records)
        rank = {name: k for k, name in enumerate(names)}
        records = sorted(records, key=lambda image: (rank[str(image.sequence)], image.frame))
    if sequences is not None:
        wanted = [str(name) for name in (sequences if isinstance(sequences, list) else [sequences])]
        known = sorted(rank) if timed else []
        if not wanted or not set(wanted) <= set(known):
            raise ValueError(f"{path}: expected sequences of {known}, got {wanted}")
        records = [image for image in records if str(image.sequence) in wanted]
    if frames is not None:
        if not 0 <= frames[0] <= frames[1] < len(records):
            raise ValueError(
                f"{path}: expected frames [first, last] of 0 to {len(records) - 1}, got {frames}"
            )
        records = records[frames[0] : frames[1] + 1]

    position = {image.id: i for i, image in enumerate(records)}
    label = {category.id: category.name for category in data.categories}
    found = [a for a in data.annotations if a.image_id in position]
    boxes = Boxes(
        np.array([a.bbox for a in found]).reshape(-1, 4),
        [label[a.category_id] for a in found],
        [bool(a.iscrowd or a.ignore) for a in found],
    )
    names = [image.file_name for image in records]
    check_present(path, [root / images / name for name in names])
    sizes = [(image.height, image.width) for image in records]
    image_of = [position[a.image_id] for a in found]
    opened = labeled_images(path.stem, root / images, names, sizes, image_of, boxes, orientation)
    if not timed:
        return opened
    number = np.array([image.frame for image in records]) / step
    return replace(opened, sequence=np.array([str(r.sequence) for r in records]), frame=number)


def sources(root: Path, *, annotations: str, images: str = ".", **_) -> tuple[list, list]:
    """The json and its images."""
    path = root / annotations
    data = load(path.read_bytes(), path)
    return [path], [root / images / image.file_name for image in data.images]
