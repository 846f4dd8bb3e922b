"""YOLO: a text file for each image, with class number, centre and size in shares of the image.

An empty text file says that there is nothing, a missing one that nobody looked: an export has none
where the detector found nothing. Text files that are all exactly as they were exported say neither.
"""

import yaml

from alkit.labeling.exchange.bundle import Bundle, number
from alkit.loop.answers import Answer
from alkit.loop.task import Task

IMAGES = "images/train"
LABELS, DATA = "labels/train", "data.yaml"
LISTS = ("train.txt", "val.txt", "valid.txt", "test.txt")  # of the images of a subset
OTHERS = (*LISTS, "classes.txt", "readme.txt", "notes.txt", "requirements.txt", "frames.txt")


def write(task: Task, names: dict, folder):
    """Write `labels/train/*.txt` of the frames with proposals, `data.yaml` (Ultralytics' layout)
    and `scores/*.txt`, which hold the scores of the boxes line by line, since a line of YOLO has no
    place for one."""
    number_of = {name: k for k, name in enumerate(task.classes)}
    (folder / LABELS).mkdir(parents=True)
    (folder / "scores").mkdir()
    for position, name in names.items():
        height, width = task.size(position)
        lines = []
        for box in task.proposals[position]:
            left, top, w, h = box["bbox"]
            shares = (left + w / 2) / width, (top + h / 2) / height, w / width, h / height
            lines.append(" ".join([str(number_of[box["label"]]), *(f"{v:.7f}" for v in shares)]))
        stem = name.removesuffix(".png")
        if lines:
            (folder / LABELS / f"{stem}.txt").write_text("".join(f"{line}\n" for line in lines))
        scores = "".join(f"{box['score']:.6f}\n" for box in task.proposals[position])
        (folder / "scores" / f"{stem}.txt").write_text(scores)
    data = {"path": ".", "train": IMAGES, "val": IMAGES, "names": dict(enumerate(task.classes))}
    (folder / DATA).write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def is_it(bundle: Bundle) -> bool:
    return bool(bundle.ending(".txt"))


def read(bundle: Bundle) -> dict:
    """Answers by the stem of the text file. Class names are those of `data.yaml` or `classes.txt`
    (also `obj.names`). Sizes are not in the files; shares are turned into pixels by whoever knows
    the image, so that boxes come back as shares."""
    classes = _classes(bundle)
    found = {}
    for name in bundle.ending(".txt"):
        folder, _, file = name.rpartition("/")
        if file in OTHERS or folder.split("/")[0] == "scores":
            continue
        stem = file.removesuffix(".txt")
        if stem in found:
            raise ValueError(f"{bundle.path}: there are two label files {file}")
        boxes = []
        for k, line in enumerate(bundle.text(name).splitlines(), 1):
            if not line.strip():
                continue
            at, parts = f"{bundle.path}: {name}, line {k}", line.split()
            if len(parts) != 5:
                raise ValueError(f"{at}: class x y width height is wanted, got {line[:80]!r}")
            which = number(parts[0], at)
            if which not in classes:
                raise ValueError(f"{at}: class {parts[0]} has no name in {sorted(classes)}")
            x, y, w, h = (number(v, at) for v in parts[1:])
            boxes.append({"shares": [x - w / 2, y - h / 2, w, h], "label": classes[which]})
        found[stem] = Answer(boxes, True if not boxes else None)
    return found


def _classes(bundle: Bundle) -> dict:
    for name in bundle.ending("data.yaml", "data.yml"):
        try:
            names = yaml.safe_load(bundle.text(name))["names"]
        except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{bundle.path}: {name} is not as YOLO's: {error}") from None
        if isinstance(names, list):
            names = dict(enumerate(names))
        # what else there may be, lists of lists say, could grow without end as text
        if not isinstance(names, dict) or not all(isinstance(v, str | int) for v in names.values()):
            raise ValueError(f"{bundle.path}: {name}: `names` is a list or numbers with names")
        return {number(k, f"{bundle.path}: {name}"): str(v) for k, v in names.items()}
    for name in bundle.ending("classes.txt", "obj.names"):
        return {float(k): v.strip() for k, v in enumerate(bundle.text(name).splitlines())}
    raise ValueError(
        f"{bundle.path}: data.yaml or classes.txt with the names of the classes is wanted beside "
        "the label files"
    )
