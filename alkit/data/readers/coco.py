"""COCO json: images with boxes in one file. This is how researchers bring their own data.

An image record may carry `sequence` (the video's name) and `frame` (the raw frame number in it).
The ids 1, 1.0 and "1" are the same, annotations need none; an image's sides may be missing, null or
−1, for unknown; an annotation without a box has that around its polygons.
"""

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AliasChoices, AliasPath, BeforeValidator, Field, PositiveFloat, validate_call

from alkit.data import records
from alkit.data.imagefile import Orientation, check_present, files_of, labeled_images, size_of
from alkit.data.records import Box, FileName, Many, Mark, Pixels, Record, Upright
from alkit.frames import Boxes, FrameSet


def _one_id(value):
    """A whole number in all its spellings as an int; "01" is a text of its own."""
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9]\d{0,17}", value, re.ASCII):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


Id = Annotated[int | str, BeforeValidator(_one_id)]
Size = Annotated[Pixels | None, BeforeValidator(lambda side: None if side == -1 else side)]


def _given(box):
    if box in (None, [], {}, ""):
        raise ValueError("there is no box, and no polygon to take one from; give the box")
    return box


ANGLES = AliasChoices(
    *(AliasPath(*at, name) for at in ((), ("attributes",)) for name in ("rotation", "angle"))
)


class Image(Record):
    """An image, as other tools write it too: some do not know its size."""

    id: Id
    file_name: str = Field(min_length=1)
    width: Size = None
    height: Size = None
    looked_at: bool | None = None  # our own: whether somebody labeled it; see `alkit.labeling`
    original: Any = Field(None, validation_alias=AliasPath("extra", "name"))  # Roboflow's


class Annotation(Record):
    id: Id | None = None
    image_id: Id
    category_id: Id
    bbox: Annotated[Box, BeforeValidator(_given)]
    iscrowd: Mark | None = None
    ignore: Mark | None = None
    rotation: Upright | None = Field(None, validation_alias=ANGLES)


class Category(Record):
    id: Id
    name: str


class Coco(Record):
    """The content of a COCO json. Segmentations and other keys are passed over."""

    images: Annotated[list[Image], Many, Field(min_length=1)]
    annotations: Annotated[list[Annotation], Many] = Field([])
    categories: Annotated[list[Category], Many] = Field([])


class OwnImage(Image):
    file_name: FileName
    sequence: Id | None = None
    frame: float | None = None


class DataSet(Coco):
    images: Annotated[list[OwnImage], Many, Field(min_length=1)]


def load(text: bytes, where, model=DataSet):
    """The content of a COCO json as `DataSet` or `Coco`. All ids are known, and come once, boxes
    are upright and in pixels; else a ValueError that begins with `where` and names the record."""
    data = records.check(model, records.read_json(text, where, "segmentation", _outlined), where)
    known = {}
    for name in ("images", "categories", "annotations"):
        ids = [record.id for record in getattr(data, name) if record.id is not None]
        records.unique(where, f"id in {name}", ids)
        known[name] = {*ids}
    records.unique(where, "file name", [image.file_name for image in data.images])
    for i, a in enumerate(data.annotations):
        for kind, id_ in (("images", a.image_id), ("categories", a.category_id)):
            if id_ not in known[kind]:
                raise ValueError(f"{where}: annotations.{i}: none of the {kind} has the id {id_!r}")
    records.check_pixels(where, [a.bbox for a in data.annotations], lambda i: f"annotations.{i}")
    return data


def _outlined(record: dict, outline):
    """Give a record without a box that around its polygons x, y, x, y, …, a list of them or one."""
    if not outline or record.get("bbox") not in (None, [], [0, 0, 0, 0]):
        return
    one = isinstance(outline, list) and not isinstance(outline[0], list)
    with contextlib.suppress(TypeError, ValueError):  # RLE, say
        points = [np.reshape(polygon, (-1, 2)) for polygon in ([outline] if one else outline)]
        points = np.concatenate(points).astype(np.float64)
        if len(points) > 2 and np.isfinite(points).all():
            record["bbox"] = [*points.min(0).tolist(), *np.ptp(points, 0).tolist()]


@validate_call
def read(
    root: Path,
    *,
    annotations: str | None = None,
    images: str = ".",
    sequences: list[Id] | Id | None = None,
    frames: tuple[int, int] | None = None,
    step: PositiveFloat = 1,
    orientation: Orientation | None = None,
) -> FrameSet:
    """The frames of a COCO json at native pixels, with all its boxes; labels are category names.

    `annotations` is the json, by default the only one in `root`, and `images` the folder that its
    file names start from, both under `root`. `sequences` takes only these values of `sequence`;
    `frames` = [first, last] then takes only the frames at these positions (from 0, both included).
    `step` is the distance of the pool's frames in raw frame numbers: `.frame` = raw number / step.

    Stills keep the file's order. Video frames are in order of time within a sequence, sequences
    in the order in which the file first names them. Boxes keep the file's order within an image.
    `iscrowd: 1` and `ignore: 1` are ignore boxes; boxes may reach over the image's border. A file
    without a list of annotations has no boxes.

    Raises as all readers do: ids, file names and a sequence's frame numbers come once, and all
    images are there on opening.
    """
    path = _json_in(root, annotations)
    data = load(path.read_bytes(), path)
    labeled = "annotations" in data.model_fields_set  # else as COCO's test images
    orientation = orientation or (None if labeled else "upright")
    chosen = data.images
    timed = any(image.sequence is not None for image in chosen)
    if timed:
        if bare := [r.id for r in chosen if r.sequence is None or r.frame is None]:
            lack = f"image {bare[0]!r} has no sequence or no frame number, which others have"
            raise ValueError(f"{path}: {lack}; expected all or none")
        records.unique(path, "frame", [(str(r.sequence), r.frame) for r in chosen])
        names = dict.fromkeys(str(r.sequence) for r in chosen)
        rank = {name: k for k, name in enumerate(names)}
        chosen = sorted(chosen, key=lambda r: (rank[str(r.sequence)], r.frame))
    if sequences is not None:
        wanted = [str(name) for name in (sequences if isinstance(sequences, list) else [sequences])]
        known = sorted(rank) if timed else []
        if not wanted or not set(wanted) <= set(known):
            raise ValueError(f"{path}: expected sequences of {known}, got {wanted}")
        chosen = [image for image in chosen if str(image.sequence) in wanted]
    if frames is not None:
        if not 0 <= frames[0] <= frames[1] < len(chosen):
            raise ValueError(
                f"{path}: expected frames [first, last] of 0 to {len(chosen) - 1}, got {frames}"
            )
        chosen = chosen[frames[0] : frames[1] + 1]

    position = {image.id: i for i, image in enumerate(chosen)}
    label = {category.id: category.name for category in data.categories}
    found = [a for a in data.annotations if a.image_id in position]
    boxes = Boxes(
        np.array([a.bbox for a in found]).reshape(-1, 4),
        [label[a.category_id] for a in found],
        [bool(a.iscrowd or a.ignore) for a in found],
    )
    names = [image.file_name for image in chosen]
    files = [root / images / name for name in names]
    check_present(path, files)
    sizes = [(image.height, image.width) for image in chosen]
    for i, (height, width) in enumerate(sizes):
        if None in (height, width):
            header = size_of(files[i], orientation == "upright")
            sizes[i] = height or header[0], width or header[1]
    image_of = [position[a.image_id] for a in found]
    opened = labeled_images(path.stem, root / images, names, sizes, image_of, boxes, orientation)
    opened = opened if labeled else opened.unlabeled()
    if not timed:
        return opened
    number = np.array([r.frame for r in chosen]) / step
    return replace(opened, sequence=np.array([str(r.sequence) for r in chosen]), frame=number)


def _json_in(root: Path, annotations: str | None) -> Path:
    if annotations is not None:
        return root / annotations
    found = files_of(root, "*.json")
    if len(found) > 1:
        raise ValueError(f"{root}: expected args: {{annotations: …}}, one of {[*map(str, found)]}")
    return found[0]


def sources(
    root: Path, *, annotations: str | None = None, images: str = ".", **_
) -> tuple[list, list]:
    """The json and its images."""
    path = _json_in(root, annotations)
    data = load(path.read_bytes(), path)
    return [path], [root / images / image.file_name for image in data.images]
