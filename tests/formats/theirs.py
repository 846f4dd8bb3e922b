"""The labeling tools' own code reads and writes, in an environment of its own (.venv-formats).

    python theirs.py COMMAND [ARGUMENT ...] < INPUT.json > OUTPUT.json

What goes in and comes out are frames in plain JSON, {name: {"size": [height, width], "boxes":
[[left, top, width, height, label], ...]}}. Nothing of alkit is imported here.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np

SPLIT = ("train", "val")  # the two subsets that datumaro's Ultralytics layout has to have


def datumaro_read(format_: str, folder: str) -> dict:
    """What datumaro sees in a folder."""
    from datumaro import Bbox, Dataset

    dataset = Dataset.import_from(folder, format_)
    classes = _classes(dataset)
    frames = {}
    for item in dataset:
        name = Path(item.media.path).name
        assert name not in frames, f"{name} is there twice"
        assert item.media.data.shape[:2] == tuple(item.media.size)  # the image itself is found
        boxes = [a for a in item.annotations if isinstance(a, Bbox)]
        frames[name] = {
            "size": list(item.media.size),
            "boxes": [[*a.get_bbox(), classes[a.label]] for a in boxes],
            "scores": [a.attributes.get("score") for a in boxes],
        }
    return {"frames": frames, "classes": classes}


def datumaro_write(format_: str, folder: str, given: dict) -> None:
    """Have datumaro write frames, which may have `tags`, labels of the whole image."""
    from datumaro import Bbox, Dataset, DatasetItem, Image, Label

    classes = given["classes"]
    items = []
    for k, (name, frame) in enumerate(given["frames"].items()):
        annotations = [Bbox(*bbox, label=classes.index(label)) for *bbox, label in frame["boxes"]]
        annotations += [Label(classes.index(tag)) for tag in frame["tags"]]
        image = Image.from_numpy(np.zeros((*frame["size"], 3), np.uint8))
        subset = SPLIT[k % 2] if format_ == "yolo_ultralytics" else None
        stem = Path(name).stem
        items.append(DatasetItem(stem, media=image, annotations=annotations, subset=subset))
    dataset = Dataset.from_iterable(items, categories=classes)
    dataset.export(folder, format_, save_media=True, image_ext=".png")


def label_studio_read(folder: str) -> dict:
    """What Label Studio's SDK sees in a task file and its label configuration, and what it finds
    wrong with them."""
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((Path(folder) / "label_config.xml").read_text(encoding="utf-8"))
    interface.validate()
    (control,) = interface.controls
    (image,) = interface.objects
    problems, frames = [], {}
    for task in json.loads((Path(folder) / "tasks.json").read_text(encoding="utf-8")):
        if not interface.validate_task({"data": task["data"]}):
            problems.append(f"data: {task['data']}")
        (prediction,) = task["predictions"]
        problems += interface.validate_prediction(prediction, return_errors=True)
        frames[task["data"][image.value_name]] = [r["value"] for r in prediction["result"]]
    return {"frames": frames, "classes": list(control.labels), "problems": problems}


def label_studio_export(format_: str, config: str, tasks: str, folder: str) -> None:
    """Label Studio's export of finished tasks: JSON, COCO or YOLO."""
    from label_studio_sdk.converter import Converter

    converter = Converter(config, project_dir=None, download_resources=False)
    assert format_ in converter.supported_formats
    converter.convert(tasks, folder, format_, is_dir=False)


def label_studio_import(format_: str, source: str, tasks: str) -> None:
    """Label Studio's converter makes tasks of a COCO file or of a YOLO folder."""
    from label_studio_sdk.converter.imports import coco, yolo

    convert = {"coco": coco.convert_coco_to_ls, "yolo": yolo.convert_yolo_to_ls}[format_]
    convert(source, tasks)


def _classes(dataset) -> list:
    from datumaro import AnnotationType

    return [label.name for label in dataset.categories()[AnnotationType.label]]


def main(command: str, *arguments: str):
    # what the packages print must not get between the JSON
    given = [json.load(sys.stdin)] if command == "datumaro_write" else []
    with contextlib.redirect_stdout(sys.stderr):
        answer = globals()[command](*arguments, *given)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"
    main(*sys.argv[1:])
