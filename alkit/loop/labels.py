"""Labels of frames as COCO dicts: what the oracle says, and a labeled set to train on."""

from dataclasses import replace

from alkit.frames import Boxes, FrameSet
from alkit.protocols import PERSON

CATEGORY = {"id": 1, "name": "pedestrian"}


def to_coco(frames: FrameSet, positions=None, by_label: bool = False) -> dict:
    """Frames and their boxes as a COCO dict; image ids are positions + 1, null is a still's
    `sequence` and `frame`, −1 an unknown `identity`. All boxes are of the one class pedestrian, as
    a filter leaves them; `by_label` keeps the class names of the data set's files, for boxes that
    no filter has seen, and calls only a person a pedestrian."""
    height, width = frames.image_size
    images, annotations, categories = [], [], {CATEGORY["name"]: CATEGORY["id"]}
    for i in range(len(frames)) if positions is None else map(int, positions):
        images.append(
            {
                "id": i + 1,
                "file_name": str(frames.name[i]),
                "height": height,
                "width": width,
                "position": i,
                "sequence": None if frames.sequence is None else str(frames.sequence[i]),
                "frame": None if frames.frame is None else float(frames.frame[i]),
            }
        )
        boxes = frames.boxes[i]
        for b, bbox in enumerate(boxes.ltwh.tolist()):
            label = str(boxes.label[b])
            label = label if by_label and label.lower() not in PERSON else CATEGORY["name"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": categories.setdefault(label, len(categories) + 1),
                    "bbox": bbox,
                    "vis_bbox": boxes.visible[b].tolist(),
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                    "ignore": int(boxes.ignore[b]),
                    "identity": int(boxes.identity[b]),
                }
            )
    named = [{"id": id_, "name": name} for name, id_ in categories.items()]
    return {"images": images, "annotations": annotations, "categories": named}


def labeled_frames(pool: FrameSet, cycles: list) -> FrameSet:
    """The frames of several cycles' labels (COCO dicts of `to_coco`) with the boxes they state."""
    positions, boxes = [], []
    for labels in cycles:
        of_image = {image["id"]: [] for image in labels["images"]}
        for annotation in labels["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        positions += [image["position"] for image in labels["images"]]
        boxes += [_boxes(own) for own in of_image.values()]
    return replace(pool.unlabeled().take(positions), boxes=boxes)


def _boxes(annotations: list) -> Boxes:
    keys = ("bbox", "ignore", "vis_bbox", "identity")
    ltwh, ignore, visible, identity = ([a[key] for a in annotations] for key in keys)
    return Boxes(ltwh, [CATEGORY["name"]] * len(ltwh), ignore, visible, identity)


def count(labels: dict) -> dict:
    """Images and pedestrians (ignored boxes left out) of a COCO dict."""
    pedestrians = sum(not a["ignore"] for a in labels["annotations"])
    return {"images": len(labels["images"]), "pedestrians": pedestrians}
