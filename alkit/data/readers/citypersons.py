"""CityPersons: boxes of persons in Cityscapes images, as anno_*.mat of 2017 or as the later folder
of json files, gtBboxCityPersons."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, validate_call

from alkit.data.imagefile import files_of, labeled_images
from alkit.data.matfile import read_mat, single
from alkit.data.records import LTWH, Box, Pixels, Record, check, unique
from alkit.frames import Boxes, FrameSet

# Class numbers of the .mat (its README), by the names that the json files use.
LABELS = ("ignore", "pedestrian", "rider", "sitting person", "person (other)", "person group")
IMAGE_SIZE = (1024, 2048)  # (height, width), all of Cityscapes; the .mat does not say it
JSON = "_gtBboxCityPersons.json"
PNG = "_leftImg8bit.png"


class Object(Record):
    label: Literal[LABELS]
    bbox: Box
    bboxVis: Box


class Annotation(Record):
    imgHeight: Pixels
    imgWidth: Pixels
    objects: list[Object]


# Class, box, number within the image (not read), visible box.
Row = tuple[Annotated[int, Field(ge=0, lt=len(LABELS))], *LTWH, float, *LTWH]


class Cell(BaseModel):  # an image in a .mat
    im_name: str = Field(pattern=r"^[\w-][\w.-]*$")
    bbs: Annotated[list[Row], BeforeValidator(lambda rows: getattr(rows, "tolist", str)())]


@validate_call
def read(root: Path, *, annotations: str, images: str) -> FrameSet:
    """The annotated images at native pixels, with all their boxes.

    `annotations` is an anno_*.mat, in whose order the images come, or a folder <city>/<image>
    _gtBboxCityPersons.json, in the order of the names; `images` is the folder that has
    <city>/<image>_leftImg8bit.png. All are under `root`. Names are "CITY/FILE" in both.

    Labels are those of `LABELS`; class 0, people on posters and in reflections, are ignore boxes.
    `visible` is the file's visible box for pedestrians and riders, and the full box for all others,
    whose boxes are drawn around what is visible (those of groups have zeros in its place).
    Coordinates count from 0 and are taken as they are; boxes may reach over the image's border.
    Identities are −1: the files' instance ids count within one image, which shows everybody once.

    Images may be missing, for Cityscapes needs a registration. Those without an annotation are no
    part of the set.

    Raises as all readers do, also for boxes that lie far outside of any image.
    """
    path = root / annotations
    names, sizes, tables = map(list, zip(*_records(path), strict=True))
    unique(path, "image", names)
    table = np.array([row for rows in tables for row in rows], np.float64).reshape(-1, 9)
    label = np.array(LABELS)[table[:, 0].astype(np.int64)]
    full_body = np.isin(label, ("pedestrian", "rider"))[:, None]
    visible = np.where(full_body, table[:, 5:], table[:, 1:5])
    boxes = Boxes(table[:, 1:5], label, label == "ignore", visible)
    image = np.repeat(np.arange(len(names)), [len(rows) for rows in tables])
    return labeled_images(path.stem, root / images, names, sizes, image, boxes)


def sources(root: Path, *, annotations: str, images: str) -> tuple[list, list]:
    """The annotations, and the images that are there."""
    path, folder = root / annotations, root / images
    files = (folder / name for name, _, _ in _records(path))
    return files_of(path, "*/*" + JSON), [f for f in files if f.is_file()]


def _records(path: Path):
    """(name, (height, width), boxes) of each image; a box is (class, *ltwh, *visible part)."""
    if path.is_dir():
        for file in files_of(path, "*/*" + JSON):
            found = check(Annotation, file.read_bytes(), file)
            rows = [(LABELS.index(own.label), *own.bbox, *own.bboxVis) for own in found.objects]
            name = f"{file.parent.name}/{file.name.removesuffix(JSON)}{PNG}"
            yield name, (found.imgHeight, found.imgWidth), rows
        return
    variables = read_mat(path)
    cells = [value for key, value in variables.items() if key.startswith("anno")]
    if len(cells) != 1:
        expected = "expected one cell array anno_… with a cell for each image"
        raise ValueError(f"{path}: {expected}; its variables are {sorted(variables)}")
    model = Annotated[list[Annotated[Cell, BeforeValidator(single)]], Field(min_length=1)]
    for cell in check(model, cells[0], path):
        # Cityscapes' folder is the file's name up to the first "_".
        name = f"{cell.im_name.split('_')[0]}/{cell.im_name}"
        yield name, IMAGE_SIZE, [row[:5] + row[6:] for row in cell.bbs]
