"""COCO json: one file of images, annotations and categories.

COCO cannot say whether an image was looked at. Our images carry `looked_at`; where a tool drops it,
an image with boxes counts as answered.
"""

from alkit.data.readers import coco
from alkit.labeling.exchange.bundle import Bundle
from alkit.loop.answers import Answer
from alkit.loop.jsonfile import write_json
from alkit.loop.task import IGNORE

IMAGES = "images"
SAYS = '`"looked_at": true` in the record of its image'
FILE = "annotations/instances_default.json"  # where CVAT and datumaro look for boxes
BOXES = "instances_"  # other files of a COCO data set hold captions, key points and so on


def write(frames: list, classes: tuple, folder):
    """Write `annotations/instances_default.json`: boxes as annotations, the detector's with their
    `score`, and of each image its `rank`, `z`, `ranked_by` and `looked_at`."""
    category = {name: k for k, name in enumerate(classes, 1)}
    images, annotations = [], []
    for frame in frames:
        about = ("looked_at", "height", "width", "rank", "z", "ranked_by")
        image = {"id": frame["rank"], "file_name": frame["file"]}
        images.append(image | {k: frame[k] for k in about})
        for box in frame["boxes"]:
            own = {"id": len(annotations) + 1, "image_id": frame["rank"], "bbox": box["bbox"]}
            area = round(box["bbox"][2] * box["bbox"][3], 2)
            own |= {"category_id": category[box["label"]], "area": area, "iscrowd": 0}
            annotations.append(own | {k: box[k] for k in ("score",) if k in box})
    categories = [{"id": k, "name": name, "supercategory": ""} for name, k in category.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(folder / FILE, content)


def read(bundle: Bundle) -> list:
    """(names, answer) of each image; `ignore` or `iscrowd` is a box to ignore."""
    data = coco.load(*bundle.one(files(bundle), "one COCO json"), coco.Coco)
    label = {category.id: category.name for category in data.categories}
    found = {}
    for image in data.images:
        # Label Studio gives null for both sides where an image has no boxes and cannot be opened
        size = (image.height, image.width) if image.height and image.width else None
        found[image.id] = Answer([], image.looked_at, size=size)
    for a in data.annotations:
        name = IGNORE if a.ignore or a.iscrowd else label[a.category_id]
        found[a.image_id].boxes.append({"bbox": a.bbox, "label": name})
    named = ([n for n in (i.file_name, i.original) if isinstance(n, str)] for i in data.images)
    return [(names, found[image.id]) for names, image in zip(named, data.images, strict=True)]


def files(bundle: Bundle) -> list:
    """The JSON files that COCO's layout calls instances; all where none is called so."""
    names = bundle.ending(".json")
    return [name for name in names if name.rpartition("/")[2].startswith(BOXES)] or names
