"""An experiment that waits for people's labels, what they answer, and files as their tools write
them, made here without the code that is tested."""

import gzip
import json
import shutil
from xml.etree import ElementTree

import cv2
import numpy as np
import yaml
from firststeps import leave, leave_json

from alkit.loop import answers, experiment, runs
from alkit.loop.jsonfile import read_json
from alkit.loop.settings import read_experiment

FORMATS = ("coco", "label-studio", "cvat", "yolo")
PERSON, RIDER, IGNORE = "person", "rider <script>alert(1)</script>", "ignore"
CLASSES = (PERSON, RIDER, IGNORE)
SIZES = [(120, 160), (192, 256), (100, 200), (120, 160), (120, 160), (192, 256)]  # height, width
FACTORS = [0.8, 0.5, 0.64, 0.8, 0.8, 0.5]  # to the run's 96 × 128
EVERYTHING = [
    (PERSON, [10, 20, 20, 50]),
    (PERSON, [40, 30, 5, 13]),  # 52 pixels high at the paper's scale where the factor is 0.8
    (PERSON, [50, 30, 5, 12]),  # 48
    (RIDER, [60.5, 10.25, 15.25, 40.5]),
    (IGNORE, [110, 40, 20, 50]),  # of a pedestrian's shape
    (PERSON, [100, 10, 45, 50]),  # too wide
]
TRUTH = [EVERYTHING, EVERYTHING, EVERYTHING[:3], EVERYTHING[3:], [], []]
SETTINGS = {
    "name": "asked", "labeled": "street-source", "pool": "crossing", "test": "street-test",
    "data": {"street-source": {"frames": 8}, "street-test": {"frames": 10}},
    "profile": "demo",
    "set": {"image_size": [96, 128], "pretrain_epochs": 2, "epochs": 1, "label_seconds": 45},
    "strategies": ["divergence", "guided-random"], "cycles": 1, "budget": 5, "labels": "import",
}  # fmt: skip
# In the run's pixels. The limit is 0.5.
DETECTIONS = [
    {"image_id": 1, "bbox": [8, 10, 10, 30], "score": 0.6},
    {"image_id": 1, "bbox": [-5, 20, 12, 30], "score": 0.9},  # reaches out
    {"image_id": 1, "bbox": [50, 20, 12, 30], "score": 0.4},
    {"image_id": 2, "bbox": [8, 10, 10, 30], "score": 0.7},
    {"image_id": 3, "bbox": [8, 70, 10, 20], "score": 0.8},  # in the gray below the image
    {"image_id": 4, "bbox": [8, 10, 10, 30], "score": 0.5},
    {"image_id": 6, "bbox": [8, 10, 10, 30], "score": 0.75},
]
PROPOSALS = [
    [[0, 25, 8.75, 37.5], [10, 12.5, 12.5, 37.5]], [[16, 20, 20, 60]], [], [[10, 12.5, 12.5, 37.5]],
    [], [[16, 20, 20, 60]],
]  # fmt: skip


def write_catalog(folder, **entry):
    """The project's catalog with one more data set, `crossing`."""
    catalog = yaml.safe_load((runs.ROOT / "data_catalog.yaml").read_text())
    catalog["datasets"]["crossing"] = {
        "title": "Made by a test", "license": "none", "citation": "nobody", "kind": "stills",
        "homepage": "https://example.org", "root": str(folder / "crossing"),
        "filter": {"rule": "paper", "classes": [PERSON], "ignore_classes": [RIDER]}, **entry,
    }  # fmt: skip
    (folder / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    return folder / "catalog.yaml"


def write_images(folder, sizes):
    """Pictures whose names no page may take for a tag."""
    (folder / "crossing").mkdir(parents=True)
    names = [f"{k} <script>alert(1)&.png" for k in range(len(sizes))]
    for k, (name, size) in enumerate(zip(names, sizes, strict=True)):
        picture = np.random.default_rng(k).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "crossing" / name), picture)
    return names


def write_pool(folder):
    """A COCO data set of `SIZES` with the boxes of `TRUTH`, and cars, and its catalog."""
    names = write_images(folder, SIZES)
    images = [
        {"id": k, "file_name": name, "height": size[0], "width": size[1]}
        for k, (name, size) in enumerate(zip(names, SIZES, strict=True))
    ]
    boxes = [(k, name, bbox) for k, own in enumerate(TRUTH) for name, bbox in own]
    boxes += [(k, "car", [5, 5, 20, 50]) for k in range(len(TRUTH))]
    number = {PERSON: 1, RIDER: 2, "car": 3}
    annotations = [
        {
            "id": i, "image_id": k, "bbox": bbox, "category_id": number.get(name, 1),
            "iscrowd": int(name == IGNORE),
        }
        for i, (k, name, bbox) in enumerate(boxes)
    ]  # fmt: skip
    categories = [{"id": id_, "name": name} for name, id_ in number.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "crossing" / "boxes.json").write_text(json.dumps(content))
    return write_catalog(folder, reader="coco", args={"annotations": "boxes.json"})


def create(folder, catalog, **changes):
    """An experiment's folder; its file is beside it."""
    settings = SETTINGS | changes
    file = folder / f"{settings['name']}.yaml"
    file.write_text(yaml.safe_dump(settings))
    return runs.create(folder / settings["name"], read_experiment(file), catalog)


def make_asked(folder):
    """An experiment whose two runs wait for labels, with `DETECTIONS` as the detector's boxes."""
    out = create(folder, write_pool(folder))
    try:
        experiment.run(out, notebooks=False)
    except answers.LabelsWanted:
        pass
    else:
        raise AssertionError("it did not wait for labels")
    found = [{**d, "category_id": 1} for d in DETECTIONS]
    file = out / "divergence/seed_0/cycle_01/pool_detections.json.gz"
    leave(file, gzip.compress(json.dumps(found).encode()))
    file = out / "pretrain/seed_0/evaluation.json"
    leave_json(file, read_json(file) | {"score_at_1": 0.5})
    return out


def with_oracle(out, target):
    """A copy of an experiment whose labels are the oracle's."""
    shutil.copytree(out, target)
    settings = read_json(target / "experiment.json")
    (target / "experiment.json").write_text(json.dumps(settings | {"labels": "oracle"}))
    return target


def contents(folder) -> dict:
    """Every file of a folder but locks: whoever looks for answers takes one."""
    files = [f for f in folder.rglob("*") if f.is_file() and f.suffix != ".lock"]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


# ---- what tools write ----------------------------------------------------------------------------


def finish(folder, format_: str, truth: dict) -> None:
    """Turn an export into what its tool gives back. `truth` maps positions to boxes (class, bbox);
    None: nobody looked at the frame."""
    {"coco": _coco, "label-studio": _label_studio, "cvat": _cvat, "yolo": _yolo}[format_](
        folder, truth
    )


def position_of(file: str) -> int:
    """The position that an exported file's name begins with."""
    return int(file[:6])


def edit(file, change):
    """Change a JSON file in place; `change` gets its content."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def _coco(folder, truth):
    def change(data):
        number = {c["name"]: c["id"] for c in data["categories"]}
        data["annotations"] = []
        for image in data["images"]:
            own = truth[position_of(image["file_name"])]
            image["looked_at"] = own is not None
            for name, bbox in own or ():
                data["annotations"].append(
                    {
                        "id": len(data["annotations"]) + 1, "image_id": image["id"],
                        "category_id": number[name], "bbox": bbox, "iscrowd": 0,
                    }
                )  # fmt: skip

    edit(folder / "annotations/instances_default.json", change)


def _label_studio(folder, truth):
    def change(tasks):
        for task in tasks:
            position = position_of(task["data"]["file"])
            height, width = SIZES[position]
            own = truth[position]
            regions = [
                {
                    "type": "rectanglelabels", "original_width": width, "original_height": height,
                    "value": {
                        "x": bbox[0] / width * 100, "y": bbox[1] / height * 100, "rotation": 0,
                        "width": bbox[2] / width * 100, "height": bbox[3] / height * 100,
                        "rectanglelabels": [name],
                    },
                }
                for name, bbox in own or ()
            ]  # fmt: skip
            task["predictions"] = []
            answer = {"result": regions, "lead_time": 12.5, "was_cancelled": own is None}
            task["annotations"] = [answer]

    edit(folder / "tasks.json", change)


def _cvat(folder, truth):
    file = folder / "annotations.xml"
    tree = ElementTree.parse(file)
    for image in tree.iter("image"):
        for child in list(image):
            image.remove(child)
        own = truth[position_of(image.get("name"))]
        if own is not None:
            ElementTree.SubElement(image, "tag", {"label": "looked_at", "source": "manual"})
        for name, (left, top, width, height) in own or ():
            sides = {"xtl": left, "ytl": top, "xbr": left + width, "ybr": top + height}
            sides = {side: f"{value:.2f}" for side, value in sides.items()}
            ElementTree.SubElement(image, "box", {"label": name, "occluded": "0", **sides})
    tree.write(file)


def _yolo(folder, truth):
    for image in (folder / "images/train").iterdir():
        position = position_of(image.name)
        height, width = SIZES[position]
        file = folder / "labels/train" / f"{image.stem}.txt"
        file.unlink(missing_ok=True)
        if truth[position] is None:
            continue
        lines = [
            f"{CLASSES.index(name)} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} "
            f"{w / width:.6f} {h / height:.6f}\n"
            for name, (x, y, w, h) in truth[position]
        ]
        file.write_text("".join(lines))
