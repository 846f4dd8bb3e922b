"""COCO json: one file of images, annotations and categories.

COCO cannot say whether an image was looked at. Our images carry `looked_at`, which is false in an
export; where a tool drops it, an image with boxes counts as answered.
"""

from alkit.labeling.exchange.bundle import Bundle, key, number, size_of
from alkit.loop.answers import Answer
from alkit.loop.jsonfile import write_json
from alkit.loop.task import IGNORE, Task

IMAGES = "images"
FILE = "annotations/instances_default.json"  # where CVAT and datumaro look for boxes
BOXES = "instances_"  # other files of a COCO data set hold captions, key points and so on


def write(task: Task, names: dict, folder):
    """Write `annotations/instances_default.json`: proposals as annotations with their `score`, and
    of each image its `rank`, `z` and `ranked_by`."""
    category = {name: k for k, name in enumerate(task.classes, 1)}
    images, annotations = [], []
    for rank, frame in enumerate(task.chosen, 1):
        position = frame["position"]
        height, width = task.size(position)
        images.append(
            {
                "id": rank, "file_name": names[position], "height": height, "width": width,
                "looked_at": False, "rank": rank, "z": frame["z"], "ranked_by": frame["ranked_by"],
            }
        )  # fmt: skip
        for box in task.proposals[position]:
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": rank,
                    "category_id": category[box["label"]], "bbox": box["bbox"],
                    "area": round(box["bbox"][2] * box["bbox"][3], 2), "iscrowd": 0,
                    "score": box["score"],
                }
            )  # fmt: skip
    categories = [{"id": k, "name": name, "supercategory": ""} for name, k in category.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / FILE).parent.mkdir()
    write_json(folder / FILE, content)


def is_it(bundle: Bundle) -> bool:
    names = _files(bundle)
    data = bundle.json(names[0]) if len(names) == 1 else None
    # Label Studio puts `notes.json`, a record without images, beside its label files of YOLO
    return isinstance(data, dict) and "images" in data


def read(bundle: Bundle) -> dict:
    """Answers by file name. Annotations with `ignore` or `iscrowd` are boxes to ignore."""
    names = _files(bundle)
    if len(names) != 1:
        raise ValueError(f"{bundle.path}: one COCO json is wanted, found {len(names)} .json files")
    data, where = bundle.json(names[0]), f"{bundle.path}: {names[0]}"
    for part in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(part), list):
            raise ValueError(f"{where}: a COCO json needs the list {part!r} at its top")
        for i, record in enumerate(data[part]):
            if not isinstance(record, dict):
                raise ValueError(f"{where}: {part}[{i}] is {str(record)[:60]!r}; record wanted")
    category, found, of_id = {}, {}, {}
    for i, c in enumerate(data["categories"]):
        at = f"{where}: categories[{i}]"
        if category.setdefault(key(c.get("id"), f"{at}.id"), str(c.get("name"))) != c.get("name"):
            raise ValueError(f"{at}: id {c['id']!r} is there twice, or its name is no text")
    for i, image in enumerate(data["images"]):
        name, at = image.get("file_name"), f"{where}: images[{i}]"
        if not isinstance(name, str) or "id" not in image:
            raise ValueError(f"{at}: `id` and `file_name` are wanted, got {str(image)[:120]}")
        if name in found or key(image["id"], f"{at}.id") in of_id:
            raise ValueError(f"{at}: image {name!r} (id {image['id']!r}) is there twice")
        sides, size = (image.get("height"), image.get("width")), None
        # Label Studio gives null for both where an image has no boxes and cannot be opened
        if sides != (None, None):
            size = size_of(*sides, at)
        looked_at = image.get("looked_at")
        if looked_at is not None and not isinstance(looked_at, bool):
            raise ValueError(f"{at}.looked_at: true or false is wanted, got {looked_at!r}")
        of_id[image["id"]] = found[name] = Answer([], looked_at, size=size)
    for i, a in enumerate(data["annotations"]):
        at = f"{where}: annotations[{i}]"
        if key(a.get("image_id"), f"{at}.image_id") not in of_id:
            raise ValueError(f"{at}: image_id {a.get('image_id')!r} is none of the images")
        if key(a.get("category_id"), f"{at}.category_id") not in category:
            raise ValueError(
                f"{at}: category_id {a.get('category_id')!r} is none of the categories"
            )
        bbox = a.get("bbox")
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise ValueError(f"{at}.bbox: [left, top, width, height] is wanted, got {bbox!r}")
        bbox = [number(v, f"{at}.bbox") for v in bbox]
        marks = [a.get(name) or 0 for name in ("ignore", "iscrowd")]
        if not all(mark in (0, 1) for mark in marks):
            raise ValueError(f"{at}: ignore and iscrowd are 0 or 1, got {marks}")
        label = IGNORE if any(marks) else category[a["category_id"]]
        of_id[a["image_id"]].boxes.append({"bbox": bbox, "label": label})
    return found


def _files(bundle: Bundle) -> list:
    """The JSON files that COCO's layout calls instances; all where none is called so."""
    names = bundle.ending(".json")
    return [name for name in names if name.rpartition("/")[2].startswith(BOXES)] or names
