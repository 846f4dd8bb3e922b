"""COCO json: images with boxes in one file. This is how researchers bring their own data.

An image record may carry `sequence` (the video's name) and `frame` (the raw frame number in it).
"""

import json
import math
from pathlib import Path, PurePosixPath

import numpy as np

from alkit.data.imagefile import read_image
from alkit.frames import NO_BOXES, Boxes, FrameSet, LazySequence


def read(
    root: Path,
    *,
    annotations: str,
    images: str = ".",
    sequences: list[str] | None = None,
    frames: list[int] | None = None,
    step: float = 1,
) -> FrameSet:
    """The frames of a COCO json at native pixels, with all its boxes; labels are category names.

    `annotations` is the json and `images` the folder that its file names start from, both under
    `root`. `sequences` takes only these values of `sequence`; `frames` = [first, last] then takes
    only the frames at these positions (from 0, both included). `step` is the distance of the
    pool's frames in raw frame numbers: `.frame` = raw number / step.

    Stills keep the file's order. Video frames are in order of time within a sequence, sequences
    in the order in which the file first names them. Boxes keep the file's order within an image.
    `iscrowd: 1` and `ignore: 1` are ignore boxes; boxes may reach over the image's border.

    Raises ValueError that names the file and the record for: text that is not JSON, missing keys,
    duplicate image ids, annotation ids, category ids, file names or frame numbers, unknown image
    or category ids, boxes that are not four finite numbers or have a negative size, file names
    that lead out of the folder; FileNotFoundError for missing files. An image whose size differs
    from its record, or that is truncated, raises when it is read.
    """
    path = Path(root) / annotations
    folder = Path(root) / images
    data = _load(path)
    images_, number_of = _image_records(path, data["images"])
    boxes_of = _boxes(path, data, number_of)
    del data

    order = np.arange(len(images_))
    sequence = frame = None
    if images_ and "sequence" in images_[0]:
        sequence = np.array([str(image["sequence"]) for image in images_])
        frame = np.array([image["frame"] for image in images_], np.float64)
        first_seen = {name: rank for rank, name in enumerate(dict.fromkeys(sequence.tolist()))}
        rank = np.array([first_seen[name] for name in sequence.tolist()])
        order = np.lexsort((frame, rank))
        _unique(
            path, "sequence and frame", list(zip(sequence.tolist(), frame.tolist(), strict=True))
        )
    if sequences is not None:
        order = order[_in_sequences(path, sequence, sequences)[order]]
    order = order[_span(path, frames, len(order))]
    if not step > 0:
        raise ValueError(f"{path}: step is {step}; a positive number is wanted")

    images_ = [images_[i] for i in order]
    files = _image_files(path, folder, images_)
    sizes = [(image["height"], image["width"]) for image in images_]
    return FrameSet(
        dataset=path.stem,
        name=[image["file_name"] for image in images_],
        read=lambda i: read_image(files[i], sizes[i]),
        image_size=sizes[0] if len(set(sizes)) == 1 else None,
        boxes=LazySequence(len(order), lambda i: boxes_of(order[i])),
        sequence=None if sequence is None else sequence[order],
        frame=None if frame is None else frame[order] / step,
    )


def sources(root: Path, *, annotations: str, images: str = ".", **_) -> tuple[list, list]:
    """The files that the data comes from: (annotation files, image files)."""
    path = Path(root) / annotations
    names = [image["file_name"] for image in _image_records(path, _load(path)["images"])[0]]
    return [path], [Path(root) / images / name for name in names]


def _load(path: Path) -> dict:
    """The json without what is not used here: segmentations are most of a large file."""

    def lean(record):
        record.pop("segmentation", None)
        return record

    try:
        data = json.loads(path.read_bytes(), object_hook=lean)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such annotation file") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file, or a truncated one: {error}") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise ValueError(f"{path}: a COCO json needs the list {key!r} at its top")
        for i, record in enumerate(data[key]):
            if not isinstance(record, dict):
                raise ValueError(f"{path}: {key}[{i}] is {record!r}; a record is wanted")
    return data


def _need(path, what, record, keys):
    for key in keys:
        if key not in record:
            raise ValueError(f"{path}: {what} lacks {key!r}: {_short(record)}")


def _short(record) -> str:
    text = str(record)
    return text if len(text) <= 200 else text[:200] + " …"


def _is_number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _unique(path, what, values):
    if len(set(values)) < len(values):
        seen = set()
        twice = next(value for value in values if value in seen or seen.add(value))
        raise ValueError(f"{path}: duplicate {what} {twice!r}")


def _ids(path, what, records):
    """The records' ids, checked: integers or strings, each once."""
    for i, record in enumerate(records):
        if type(record.get("id")) not in (int, str):
            raise ValueError(
                f"{path}: {what}[{i}] has id {record.get('id')!r}; an integer or a string is wanted"
            )
    ids = [record["id"] for record in records]
    _unique(path, f"id in {what}:", ids)
    return ids


def _image_records(path, images) -> tuple[list[dict], dict]:
    """The image records, checked, and the position of each id."""
    ids = _ids(path, "images", images)
    if not images:
        raise ValueError(f"{path}: the list 'images' is empty")
    in_video = "sequence" in images[0]
    for image in images:
        what = f"image {image['id']!r}"
        _need(path, what, image, ["file_name", "width", "height"])
        for side in ("width", "height"):
            if type(image[side]) is not int or image[side] < 1:
                raise ValueError(
                    f"{path}: {what} has {side} {image[side]!r}; an integer > 0 is wanted"
                )
        if not isinstance(image["file_name"], str) or not image["file_name"]:
            raise ValueError(
                f"{path}: {what} has file_name {image['file_name']!r}; a name is wanted"
            )
        name = PurePosixPath(image["file_name"].replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(
                f"{path}: {what} has file_name {image['file_name']!r}, which leads out of the "
                f"image folder; a relative path without '..' is wanted"
            )
        if ("sequence" in image) != in_video:
            raise ValueError(
                f"{path}: {what} {'lacks' if in_video else 'has'} 'sequence', unlike image "
                f"{images[0]['id']!r}; either all images have one or none"
            )
        if in_video and not _is_number(image.get("frame")):
            raise ValueError(
                f"{path}: {what} has a 'sequence' but its 'frame' is {image.get('frame')!r}; "
                f"the frame's number in the video is wanted"
            )
    _unique(path, "file name", [image["file_name"] for image in images])
    return images, {id_: i for i, id_ in enumerate(ids)}


def _boxes(path, data, number_of):
    """A function from the position of an image in the file to its `Boxes`. The boxes of all images
    lie in a few flat arrays sorted by image, so that a large data set stays small in memory."""
    categories = data["categories"]
    category_ids = _ids(path, "categories", categories)
    for category in categories:
        _need(path, f"category {category['id']!r}", category, ["name"])
    names = np.array([str(category["name"]) for category in categories] or [""])
    category_of = {id_: i for i, id_ in enumerate(category_ids)}

    n = len(data["annotations"])
    _ids(path, "annotations", data["annotations"])
    ltwh = np.zeros((n, 4))
    image, category = np.zeros(n, np.int64), np.zeros(n, np.int64)
    ignore = np.zeros(n, bool)
    for i, record in enumerate(data["annotations"]):
        what = f"annotation {record['id']!r}"
        _need(path, what, record, ["image_id", "category_id", "bbox"])
        for key, known in (("image_id", number_of), ("category_id", category_of)):
            if type(record[key]) not in (int, str) or record[key] not in known:
                kind = "image" if key == "image_id" else "category"
                raise ValueError(
                    f"{path}: {what} has {key} {record[key]!r}, but there is no such {kind}"
                )
        box = record["bbox"]
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise ValueError(
                f"{path}: {what} has bbox {_short(box)}; four finite numbers "
                f"[left, top, width, height] are wanted"
            )
        if box[2] < 0 or box[3] < 0:
            raise ValueError(
                f"{path}: {what} has bbox {box}; its width and height must not be negative"
            )
        ltwh[i] = box
        image[i], category[i] = number_of[record["image_id"]], category_of[record["category_id"]]
        for key in ("iscrowd", "ignore"):
            if record.get(key, 0) not in (0, 1):
                raise ValueError(f"{path}: {what} has {key} {record[key]!r}; 0 or 1 is wanted")
            ignore[i] |= bool(record.get(key, 0))

    order = np.argsort(image, kind="stable")
    ltwh, category, ignore = ltwh[order], category[order], ignore[order]
    start = np.searchsorted(image[order], np.arange(len(number_of) + 1))

    def boxes_of(position):
        of = slice(start[position], start[position + 1])
        if of.start == of.stop:
            return NO_BOXES
        return Boxes(ltwh[of], names[category[of]], ignore[of])

    return boxes_of


def _in_sequences(path, sequence, wanted) -> np.ndarray:
    """Which frames belong to the wanted sequences."""
    if isinstance(wanted, str):
        wanted = [wanted]
    known = [] if sequence is None else sorted(set(sequence.tolist()))
    unknown = sorted(set(map(str, wanted)) - set(known))
    if unknown or not wanted:
        raise ValueError(f"{path}: sequences is {wanted}, but the file has {known}")
    return np.isin(sequence, [str(name) for name in wanted])


def _span(path, span, n) -> slice:
    """The slice for [first, last], positions from 0, both included."""
    if span is None:
        return slice(None)
    if len(span) != 2 or any(type(p) is not int for p in span) or not 0 <= span[0] <= span[1] < n:
        raise ValueError(
            f"{path}: frames is {span}; two positions 0 ≤ first ≤ last < {n} are wanted"
        )
    return slice(span[0], span[1] + 1)


def _image_files(path, folder, images) -> list[str]:
    """The images' paths, all of which exist. One listing per folder: half a million single
    questions take minutes on a network disk."""
    listed, files, missing = {}, [], []
    for image in images:
        file = folder / image["file_name"]
        if file.parent not in listed:
            found = file.parent.iterdir() if file.parent.is_dir() else ()
            listed[file.parent] = {entry.name for entry in found}
        if file.name not in listed[file.parent]:
            missing.append(file)
        files.append(str(file))
    if missing:
        raise FileNotFoundError(
            f"{path}: {len(missing)} of {len(images)} image files are missing, the first is "
            f"{missing[0]}"
        )
    return files
