"""YOLO: a text file for each image, with class number, center and size in shares of the image.

An empty text file says that there is nothing, a missing one that nobody looked: an export has none
where the detector found nothing. Text files that are all exactly as they were exported say neither.
"""

import yaml

from alkit.data.records import Coordinate, check
from alkit.labeling.exchange.bundle import Bundle
from alkit.loop.answers import Answer

IMAGES = "images/train"
SAYS = "an empty text file of its name (with --looked-at-all: no file)"
LABELS, DATA = "labels/train", "data.yaml"
OTHERS = (  # text files that are no labels: lists of the images of a subset, and what tools add
    *("train.txt", "val.txt", "valid.txt", "test.txt", "classes.txt"),
    *("readme.txt", "notes.txt", "requirements.txt", "frames.txt"),
)
Line = tuple[int, Coordinate, Coordinate, Coordinate, Coordinate]  # class, x, y, width, height


def write(frames: list, classes: tuple, folder):
    """Write `labels/train/*.txt` of the frames with boxes or looked at, and `data.yaml`
    (Ultralytics' layout). A line of YOLO has no place for a score."""
    (folder / LABELS).mkdir(parents=True)
    for frame in frames:
        height, width, lines = frame["height"], frame["width"], []
        for box in frame["boxes"]:
            left, top, w, h = box["bbox"]
            shares = (left + w / 2) / width, (top + h / 2) / height, w / width, h / height
            number = classes.index(box["label"])
            lines.append(" ".join([str(number), *(f"{v:.7f}" for v in shares)]) + "\n")
        if lines or frame["looked_at"]:
            file = (folder / LABELS / frame["file"]).with_suffix(".txt")
            file.write_text("".join(lines), encoding="utf-8")
    data = {"path": ".", "train": IMAGES, "val": IMAGES, "names": dict(enumerate(classes))}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    (folder / DATA).write_text(text, encoding="utf-8")


def read(bundle: Bundle) -> list:
    """([name of the text file without `.txt`], answer) of each image; a ValueError in the answer's
    place says what is wrong in a text file, which may be none of labels. Boxes come back as shares,
    for whoever knows the image's size."""
    classes, found = _classes(bundle), []
    for name in bundle.ending(".txt"):
        if name.rpartition("/")[2].lower() not in OTHERS:
            try:
                answer = _answer(bundle, name, classes)
            except ValueError as error:
                answer = error
            found.append(([name[: -len(".txt")]], answer))
    return found


def _answer(bundle: Bundle, name: str, classes: dict) -> Answer:
    boxes = []
    for k, line in enumerate(bundle.text(name).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{bundle.path}: {name}, line {k}"
        number, x, y, w, h = check(Line, line.split(), where)
        if number not in classes:
            raise ValueError(f"{where}: class {number} has no name in {sorted(classes)}")
        boxes.append({"shares": [x - w / 2, y - h / 2, w, h], "label": classes[number]})
    return Answer(boxes, True if not boxes else None)


def _classes(bundle: Bundle) -> dict:
    for name in bundle.ending("data.yaml", "data.yml"):
        where = f"{bundle.path}: {name}"
        try:
            names = yaml.safe_load(bundle.text(name))["names"]
        except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{where} is not as YOLO's: {error}") from None
        names = dict(enumerate(names)) if isinstance(names, list) else names
        return {k: str(v) for k, v in check(dict[int, str | int], names, f"{where}: names").items()}
    for name in bundle.ending("classes.txt", "obj.names"):
        return {k: v.strip() for k, v in enumerate(bundle.text(name).splitlines())}
    expected = "data.yaml or classes.txt with the names of the classes beside the label files"
    raise ValueError(f"{bundle.path}: expected {expected}")
