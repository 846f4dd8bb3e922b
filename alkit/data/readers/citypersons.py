"""CityPersons: boxes of persons in Cityscapes images, as anno_*.mat of 2017 or as the later folder
of json files, gtBboxCityPersons."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alkit.data.imagefile import read_image
from alkit.data.matfile import read_mat
from alkit.frames import NO_BOXES, Boxes, FrameSet, LazySequence

# Class numbers of the .mat (its README), by the names that the json files use.
LABELS = ("ignore", "pedestrian", "rider", "sitting person", "person (other)", "person group")
IMAGE_SIZE = (1024, 2048)  # (height, width), all of Cityscapes; the .mat does not say it
JSON = "_gtBboxCityPersons.json"
PNG = "_leftImg8bit.png"

# More than any honest file needs: a side or a coordinate in pixels, bytes of one json file.
MAX_SIDE, MAX_COORDINATE = 2**15, 2**16
MAX_JSON = 2**24


def read(root: Path, *, annotations: str, images: str) -> FrameSet:
    """The annotated images at native pixels, with all their boxes.

    `annotations` is an anno_*.mat, in whose order the images come, or a folder <city>/<image>
    _gtBboxCityPersons.json, in the order of the names; `images` is the folder that has
    <city>/<image>_leftImg8bit.png. All are under `root`. Names are "CITY/FILE" in both.

    Labels are those of `LABELS`; class 0, people on posters and in reflections, are ignore boxes.
    `visible` is the file's visible box for pedestrians and riders, and the full box for all others,
    whose boxes are drawn around what is visible (those of groups have zeros in its place).
    Coordinates count from 0 and are taken as they are; boxes may reach over the image's border.
    Identities are −1: the files' instance ids count within one image, and a still shows everybody
    once.

    The images need not be there, all or some: the annotations say what there is to count, and
    Cityscapes needs a registration. Reading a missing image raises FileNotFoundError with its
    path. An image without an annotation is no part of the set.

    Raises FileNotFoundError without annotations; ValueError that names the file and the cell or
    object for: what is no .mat of version 5 to 7 or no json, or is truncated, or claims more than
    it holds; missing fields; names that lead out of the folder or come twice; unknown classes;
    boxes that are not finite, have a negative size or lie far outside of any image.
    """
    folder = Path(root) / images
    records = _records(Path(root) / annotations)
    sizes = {size for _, size, _ in records}
    return FrameSet(
        dataset=Path(annotations).stem,
        name=[name for name, _, _ in records],
        read=lambda i: read_image(folder / records[i][0], records[i][1]),
        image_size=sizes.pop() if len(sizes) == 1 else None,
        boxes=LazySequence(len(records), lambda i: _boxes(records[i][2])),
    )


def sources(root: Path, *, annotations: str, images: str) -> tuple[list, list]:
    """The files that the data comes from: (annotation files, image files that are there)."""
    path, folder = Path(root) / annotations, Path(root) / images
    files = (folder / name for name, _, _ in _records(path))
    return (_json_files(path) if path.is_dir() else [path]), [f for f in files if f.is_file()]


def _records(path: Path) -> list[tuple[str, tuple, np.ndarray]]:
    """(name, (height, width), table of boxes) of each image."""
    records = list(_from_json(path) if path.is_dir() else _from_mat(path))
    seen = set()
    for name, _, _ in records:
        if name in seen:
            raise ValueError(f"{path}: the image {name!r} comes twice")
        seen.add(name)
    return records


def _boxes(table: np.ndarray) -> Boxes:
    """The boxes of one image from its table, float64 (n, 9): class, ltwh, visible ltwh."""
    if len(table) == 0:
        return NO_BOXES
    label = np.array(LABELS)[table[:, 0].astype(np.int64)]
    full_body = np.isin(label, ("pedestrian", "rider"))[:, None]
    visible = np.where(full_body, table[:, 5:], table[:, 1:5])
    return Boxes(table[:, 1:5], label, label == "ignore", visible)


def _checked(where: str, what: str, table: np.ndarray) -> np.ndarray:
    """The table, whose row k was read from `what` k, from 1; or an error that names the row."""
    good = (np.abs(table) <= MAX_COORDINATE).all(axis=1)  # NaN is not
    good &= np.isin(table[:, 0], range(len(LABELS)))
    good &= (table[:, [3, 4, 7, 8]] >= 0).all(axis=1)
    if not good.all():
        k = int(np.argmin(good))
        raise ValueError(
            f"{where}: {what} {k + 1} has class, box and visible box {table[k].tolist()}; a class "
            f"0 to {len(LABELS) - 1} and two boxes [left, top, width, height] are wanted, finite, "
            f"of no negative size and at most {MAX_COORDINATE} pixels away"
        )
    return table


# ---- json, one file an image ---------------------------------------------------------------------


def _json_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*/*" + JSON))
    if not files:
        raise FileNotFoundError(f"{folder}: there are no files <city>/*{JSON} in this folder")
    return files


def _from_json(folder: Path) -> Iterator[tuple[str, tuple, np.ndarray]]:
    for file in _json_files(folder):
        record = _load_json(file)
        size = (record["imgHeight"], record["imgWidth"])
        if any(type(side) is not int or not 1 <= side <= MAX_SIDE for side in size):
            raise ValueError(
                f"{file}: imgHeight and imgWidth are {size}; integers from 1 to {MAX_SIDE} are "
                f"wanted"
            )
        if not isinstance(record["objects"], list):
            raise ValueError(f"{file}: 'objects' is not a list")
        rows = [_row(file, k, found) for k, found in enumerate(record["objects"], start=1)]
        table = np.array(rows, np.float64).reshape(-1, 9)
        name = f"{file.parent.name}/{file.name.removesuffix(JSON)}{PNG}"
        yield name, size, _checked(str(file), "object", table)


def _load_json(file: Path) -> dict:
    if file.stat().st_size > MAX_JSON:
        raise ValueError(f"{file}: over {MAX_JSON} bytes; the boxes of one image are wanted")
    try:
        record = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not a JSON file, or a truncated one: {error}") from None
    for key in ("imgHeight", "imgWidth", "objects"):
        if not isinstance(record, dict) or key not in record:
            raise ValueError(f"{file}: it lacks {key!r} at its top")
    return record


def _row(file: Path, k: int, found) -> list[float]:
    """One object as [class, left, top, width, height, visible left, top, width, height]."""
    where = f"{file}: object {k}"
    for key in ("label", "bbox", "bboxVis"):
        if not isinstance(found, dict) or key not in found:
            raise ValueError(f"{where} lacks {key!r}")
    if found["label"] not in LABELS:
        raise ValueError(f"{where} has label {str(found['label'])[:100]!r}; {LABELS} are known")
    for key in ("bbox", "bboxVis"):
        box = found[key]
        numbers = isinstance(box, list) and all(type(value) in (int, float) for value in box)
        # Compared here because a whole number may be too large for a float.
        if not numbers or len(box) != 4 or not all(abs(v) <= MAX_COORDINATE for v in box):
            raise ValueError(
                f"{where} has {key} {str(box)[:100]}; [left, top, width, height] are wanted, "
                f"finite and at most {MAX_COORDINATE} pixels away"
            )
    return [LABELS.index(found["label"]), *found["bbox"], *found["bboxVis"]]


# ---- anno_*.mat ----------------------------------------------------------------------------------


def _from_mat(path: Path) -> Iterator[tuple[str, tuple, np.ndarray]]:
    variables = read_mat(path)
    cells = [value for key, value in variables.items() if key.startswith("anno")]
    if len(cells) != 1 or not isinstance(cells[0], list) or not cells[0]:
        raise ValueError(
            f"{path}: its variables are {sorted(variables)}; one cell array anno_… with a cell for "
            f"each image is wanted"
        )
    for i, cell in enumerate(cells[0], start=1):  # MATLAB counts from 1
        where = f"{path}, cell {i}"
        if isinstance(cell, list) and len(cell) == 1:
            (cell,) = cell
        for key in ("im_name", "bbs"):
            if not isinstance(cell, dict) or key not in cell:
                raise ValueError(f"{where}: a structure with the field {key!r} is wanted")
        name, rows = cell["im_name"], cell["bbs"]
        if not isinstance(name, str) or not name or set(name) & set("/\\\0") or ".." in name:
            raise ValueError(f"{where}: im_name is {str(name)[:100]!r}; a file's name is wanted")
        if not isinstance(rows, np.ndarray) or (rows.size and rows.shape[1:] != (10,)):
            shape = getattr(rows, "shape", type(rows).__name__)
            raise ValueError(f"{where}, {name}: bbs is {shape}; numbers (n, 10) are wanted")
        columns = [0, 1, 2, 3, 4, 6, 7, 8, 9]  # without the instance id
        table = rows.reshape(-1, 10)[:, columns].astype(np.float64)
        # Cityscapes' folder is the file's name up to the first "_".
        city = name.split("_")[0]
        yield f"{city}/{name}", IMAGE_SIZE, _checked(f"{where}, {name}", "row", table)
