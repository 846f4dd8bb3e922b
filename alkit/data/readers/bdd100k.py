"""BDD100K: boxes in 100,000 driving stills, in any of the label formats that were released."""

import json
import re
from array import array
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from alkit.data import filters
from alkit.data.imagefile import SUFFIXES, read_image
from alkit.frames import NO_BOXES, Boxes, FrameSet, LazySequence

IMAGE_SIZE = (720, 1280)  # (height, width) of all images; the labels do not say it

# A list of frames is read piece by piece: the training labels of 2018 are over a gigabyte, most of
# it lanes and drivable areas. Sizes in characters; a frame takes some ten thousand.
CHUNK, MAX_FRAME = 2**22, 2**24
SPACE = re.compile(r"[ \t\r\n]*")
# More than any honest label has: characters of a category's name, pixels of a coordinate.
MAX_CATEGORY, MAX_COORDINATE = 100, 2**16


def read(
    root: Path, *, annotations: str, images: str, with_positives: str | None = None
) -> FrameSet:
    """The labelled images at native pixels, with all their boxes, in the order of the file.

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
    corners are fractions of pixels and neighbouring boxes share theirs, so that x2 is an edge.
    Scalabel's converter of 2021 takes x2 as the last pixel inside and adds 1 to both sides.

    `with_positives` names a rule of `data.filters.RULES`: images without a positive under it are
    left out, as of the authors' test set.

    A frame whose `labels` are null or absent has no boxes: the labels of 2020 leave them out where
    there is nothing. An image without a frame is no part of the set; 137 of the 70,000 training
    images have none. The images need not be there, all or some, since the labels say what there is
    to count; reading a missing one raises FileNotFoundError with its path.

    Raises FileNotFoundError without labels; ValueError that names the file and the record for text
    that is not JSON or is truncated, missing keys, names that lead out of the folder or come twice,
    boxes that are not four finite numbers or whose second corner is left of or above the first.
    """
    path, folder = Path(root) / annotations, Path(root) / images
    names, boxes_of = _parse(path)
    if with_positives is not None:
        names, boxes_of = _with_positives(path, with_positives, names, boxes_of)
    return FrameSet(
        dataset=path.stem,
        name=names,
        read=lambda i: read_image(folder / names[i], IMAGE_SIZE),
        image_size=IMAGE_SIZE,
        boxes=LazySequence(len(names), boxes_of),
    )


def _with_positives(path: Path, name: str, names: list, boxes_of):
    """The names and boxes of the images with a positive under a named rule."""
    if name not in filters.RULES:
        known = sorted(filters.RULES)
        raise ValueError(f"{path}: with_positives is {name!r}; one of {known} is wanted, or null")
    rule = filters.RULES[name]
    every = range(len(names))
    kept = [i for i in every if not filters.apply(rule, boxes_of(i)).ignore.all()]
    if not kept:
        raise ValueError(f"{path}: no image has a positive under the rule {name!r}")
    return [names[i] for i in kept], lambda i: boxes_of(kept[i])


def sources(root: Path, *, annotations: str, images: str, **_) -> tuple[list, list]:
    """The files that the data comes from: (annotation files, image files). The latter are all in
    the image folder: to know which have labels takes as long as reading the labels."""
    folder = Path(root) / images
    found = folder.iterdir() if folder.is_dir() else ()
    media = sorted(file for file in found if file.suffix.lower() in SUFFIXES)
    return _json_files(Path(root) / annotations), media


def _json_files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise FileNotFoundError(f"{path}: there is no such label file, or no json in this folder")
    return files


def _parse(path: Path):
    """The names of the images, and a function from an image's position to its `Boxes`. The boxes
    of all images lie in a few flat arrays: there are over a million."""
    names, known, number_of = [], set(), {}
    ltwh, category, ignore, start = array("d"), array("i"), array("b"), array("q", [0])
    for where, record in _records(path):
        name = _name(where, record)
        if name in known:
            raise ValueError(f"{where}: the name {name!r} comes twice")
        known.add(name)
        names.append(name)
        labels = record.get("labels")
        if labels is not None and not isinstance(labels, list):
            raise ValueError(f"{where}, {name}: 'labels' is {_short(labels)}; a list is wanted")
        for k, label in enumerate(labels or ()):
            try:
                found = _box(label)
            except ValueError as error:
                raise ValueError(f"{where}, {name}, labels[{k}]: {error}") from None
            if found is not None:
                ltwh.extend(found[0])
                category.append(number_of.setdefault(found[1], len(number_of)))
                ignore.append(found[2])
        start.append(len(category))
    if not names:
        raise ValueError(f"{path}: no frames in it")

    ltwh = np.array(ltwh).reshape(-1, 4)
    category, ignore = np.array(category), np.array(ignore, bool)
    words = np.array(list(number_of) or [""])

    def boxes_of(i):
        of = slice(start[i], start[i + 1])
        return Boxes(ltwh[of], words[category[of]], ignore[of]) if of.stop > of.start else NO_BOXES

    return names, boxes_of


def _name(where: str, record) -> str:
    name = record.get("name") if isinstance(record, dict) else None
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}: a frame with a 'name' is wanted, not {_short(record)}")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(
            f"{where}: the name {_short(name)!r} leads out of the image folder; a relative path "
            f"without '..' is wanted"
        )
    return name


def _box(label) -> tuple[list[float], str, bool] | None:
    """A label's box as ([left, top, width, height], category, ignore); None where it has none."""
    if not isinstance(label, dict):
        raise ValueError(f"a record is wanted, not {_short(label)}")
    box = label.get("box2d")
    if box is None:
        return None
    x1, y1, x2, y2 = corners = [
        box.get(key) if isinstance(box, dict) else None for key in ("x1", "y1", "x2", "y2")
    ]
    # NaN fails the comparison.
    if not all(type(v) in (int, float) and abs(v) <= MAX_COORDINATE for v in corners):
        raise ValueError(
            f"box2d is {_short(box)}; the numbers x1, y1, x2, y2 are wanted, finite and at most "
            f"{MAX_COORDINATE} pixels away"
        )
    if x2 < x1 or y2 < y1:
        raise ValueError(f"box2d is {_short(box)}; x1 ≤ x2 and y1 ≤ y2 are wanted")
    category = label.get("category")
    if not isinstance(category, str) or not 0 < len(category) <= MAX_CATEGORY:
        raise ValueError(f"category is {_short(category)!r}; a name is wanted")
    attributes = label.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise ValueError(f"attributes is {_short(attributes)}; a record is wanted")
    ignore = False
    for key in ("crowd", "ignored"):
        value = attributes.get(key) or False
        if value not in (True, False):
            raise ValueError(f"{key} is {_short(value)!r}; true or false is wanted")
        ignore |= bool(value)
    return [x1, y1, x2 - x1, y2 - y1], category, ignore


def _short(value) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + " …"


# ---- the frames of a file ------------------------------------------------------------------------


def _records(path: Path) -> Iterator[tuple[str, dict]]:
    """(where it stands, frame) of each frame, the same whatever the format."""
    for file in _json_files(path):
        i = 0
        try:
            with open(file, encoding="utf-8") as text:
                for frame in _frames(text):
                    yield f"{file}: frame {i}", frame
                    i += 1
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{file}: frame {i}: not JSON, truncated, or not of a known format: {error}"
            ) from None


def _frames(text) -> Iterator[dict]:
    head = text.read(CHUNK).lstrip()
    if head.startswith("["):
        yield from _elements(text, head)
        return
    head += text.read(MAX_FRAME)
    if len(head) > MAX_FRAME:
        raise ValueError(f"an object of over {MAX_FRAME} characters; only a list may be larger")
    whole = json.loads(head)
    frames = whole.get("frames") if isinstance(whole, dict) else None
    if not isinstance(frames, list):
        raise ValueError("a list of frames, or an object with the list 'frames', is wanted")
    if "name" not in whole:
        yield from frames
        return
    objects = frames[0].get("objects") if len(frames) == 1 and isinstance(frames[0], dict) else None
    if not isinstance(objects, list) or not isinstance(whole["name"], str):
        raise ValueError("one image's 'name' and one entry in 'frames' with 'objects' are wanted")
    yield {"name": whole["name"] + ".jpg", "labels": objects}


def _elements(text, head: str) -> Iterator:
    """The elements of the JSON list that a file holds, one after the other; `head` is the file's
    beginning. Little more than a chunk of the text is in memory at a time."""
    decoder = json.JSONDecoder()
    start, first = 1, True
    while True:
        try:
            at = SPACE.match(head, start).end()
            if head[at] == "]":
                break
            if not first:
                if head[at] != ",":
                    raise json.JSONDecodeError("a comma or the end of the list is wanted", head, at)
                at = SPACE.match(head, at + 1).end()
            element, at = decoder.raw_decode(head, at)
        except (IndexError, json.JSONDecodeError) as error:
            # Most likely the text goes on. A wrong text is wrong again with more of it.
            more = text.read(CHUNK)
            if not more or len(head) - start > MAX_FRAME:
                raise ValueError(getattr(error, "msg", "the text ends")) from None
            head, start = head[start:] + more, 0
            continue
        yield element
        start, first = at, False
    if (head[at + 1 :] + text.read(CHUNK)).strip():
        raise ValueError("there is more after the end of the list")
