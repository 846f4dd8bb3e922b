"""COCO json: one file of images, annotations and categories.

COCO cannot say whether an image was looked at. Our images carry `looked_at`, which is false in an
export; where a tool drops it, an image with boxes counts as answered.
"""

from alkit.jsonfile import write_json
from alkit.labelling.answers import Answer
from alkit.labelling.exchange.bundle import Bundle, number
from alkit.labelling.task import IGNORE, Task

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
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise ValueError(f"{where}: a COCO json needs the list {key!r} at its top")
        for i, record in enumerate(data[key]):
            if not isinstance(record, dict):
                raise ValueError(f"{where}: {key}[{i}] is {str(record)[:60]!r}; a record is wanted")
    category = {c.get("id"): str(c.get("name")) for c in data["categories"]}
    found, of_id = {}, {}
    for i, image in enumerate(data["images"]):
        name, at = image.get("file_name"), f"{where}: images[{i}]"
        if not isinstance(name, str) or "id" not in image:
            raise ValueError(f"{at}: `id` and `file_name` are wanted, got {str(image)[:120]}")
        if name in found or image["id"] in of_id:
            raise ValueError(f"{at}: image {name!r} (id {image['id']!r}) is there twice")
        sides, size = {k: image.get(k) for k in ("height", "width")}, None
        # Label Studio gives null for both where an image has no boxes and cannot be opened
        if any(v is not None for v in sides.values()):
            size = tuple(int(number(v, f"{at}.{k}")) for k, v in sides.items())
        looked_at = image.get("looked_at")
        if looked_at not in (None, True, False):
            raise ValueError(f"{at}.looked_at: true or false is wanted, got {looked_at!r}")
        of_id[image["id"]] = found[name] = Answer([], looked_at, size=size)
    for i, a in enumerate(data["annotations"]):
        at = f"{where}: annotations[{i}]"
        if a.get("image_id") not in of_id:
            raise ValueError(f"{at}: image_id {a.get('image_id')!r} is none of the images")
        if a.get("category_id") not in category:
            raise ValueError(
                f"{at}: category_id {a.get('category_id')!r} is none of the categories"
            )
        bbox = a.get("bbox")
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise ValueError(f"{at}.bbox: [left, top, width, height] is wanted, got {bbox!r}")
        bbox = [number(v, f"{at}.bbox") for v in bbox]
        ignored = a.get("ignore") or a.get("iscrowd")
        label = IGNORE if ignored else category[a["category_id"]]
        of_id[a["image_id"]].boxes.append({"bbox": bbox, "label": label})
    return found


def _files(bundle: Bundle) -> list:
    """The JSON files that COCO's layout calls instances; all where none is called so."""
    names = bundle.ending(".json")
    return [name for name in names if name.rpartition("/")[2].startswith(BOXES)] or names
