"""CVAT for images 1.1: one XML file. It is read by the standard library, which resolves no external
entities, and a document type is refused.

CVAT cannot say of an image without boxes whether it was looked at; an image-level tag `looked_at`
says so.
"""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from alkit.labeling.exchange.bundle import Bundle, number, size_of
from alkit.loop.answers import Answer
from alkit.loop.jsonfile import write_json
from alkit.loop.task import Task

IMAGES = "images"
FILE, LABELS = "annotations.xml", "labels.json"
LOOKED_AT = "looked_at"  # the tag of a finished image
COLOURS = ("#2bd99a", "#ffb000", "#56b4e9", "#cc79a7", "#d55e00")


def write(task: Task, names: dict, folder):
    """Write `annotations.xml` to upload to a CVAT task, and `labels.json` for its label
    constructor's raw view. Scores are a text attribute of each box."""
    labels = [
        {
            "name": name, "color": COLOURS[k % len(COLOURS)], "type": "rectangle",
            "attributes": [
                {"name": "score", "mutable": False, "input_type": "text", "default_value": "",
                 "values": [""]}
            ],
        }
        for k, name in enumerate(task.classes)
    ] + [{"name": LOOKED_AT, "color": "#999999", "type": "tag", "attributes": []}]  # fmt: skip
    write_json(folder / LABELS, labels)
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    meta = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for label in labels:
        own = SubElement(meta, "label")
        SubElement(own, "name").text = label["name"]
        SubElement(own, "type").text = label["type"]
        attributes = SubElement(own, "attributes")
        for attribute in label["attributes"]:
            one = SubElement(attributes, "attribute")
            SubElement(one, "name").text = attribute["name"]
            SubElement(one, "mutable").text = "False"
            SubElement(one, "input_type").text = attribute["input_type"]
            SubElement(one, "default_value").text = ""
            SubElement(one, "values").text = ""
    for k, position in enumerate(task.positions):
        height, width = task.size(position)
        given = {"id": str(k), "name": names[position], "width": str(width), "height": str(height)}
        image = SubElement(root, "image", given)
        for box in task.proposals[position]:
            left, top, w, h = box["bbox"]
            sides = {"xtl": left, "ytl": top, "xbr": left + w, "ybr": top + h}
            own = {"label": box["label"], "source": "auto", "occluded": "0", "z_order": "0"}
            own |= {side: f"{value:.2f}" for side, value in sides.items()}
            attribute = SubElement(SubElement(image, "box", own), "attribute", {"name": "score"})
            attribute.text = f"{box['score']:.4f}"
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(folder / FILE, encoding="utf-8", xml_declaration=True)


class _Plain(ElementTree.TreeBuilder):
    def doctype(self, *_):  # before any entity is declared, in whatever encoding
        raise ValueError("it has a document type, which CVAT's files have not")


def is_it(bundle: Bundle) -> bool:
    return len(bundle.ending(".xml")) == 1


def read(bundle: Bundle) -> dict:
    """Answers by image name."""
    names = bundle.ending(".xml")
    if len(names) != 1:
        raise ValueError(f"{bundle.path}: one XML file is wanted, found {len(names)}")
    text, where = bundle.read(names[0]), f"{bundle.path}: {names[0]}"
    try:
        root = ElementTree.fromstring(text, ElementTree.XMLParser(target=_Plain()))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{where}: not XML as CVAT writes it, or cut off: {error}") from None
    if root.tag != "annotations":
        raise ValueError(f"{where}: <annotations> is wanted at the top, got <{root.tag}>")
    if root.find("track") is not None:
        raise ValueError(f"{where}: has tracks; export as `CVAT for images 1.1`")
    found = {}
    for image in root.iter("image"):
        name = image.get("name")
        at = f"{where}: image {name!r}"
        if name is None or name in found:
            raise ValueError(f"{at}: has no name, or is there twice")
        size = size_of(image.get("height"), image.get("width"), at)
        looked_at = any(tag.get("label") == LOOKED_AT for tag in image.iter("tag")) or None
        boxes = []
        for shape in image:
            if shape.tag == "tag":
                continue
            if shape.tag != "box":
                raise ValueError(f"{at}: boxes are wanted, got <{shape.tag}>")
            if number(shape.get("rotation") or 0, f"{at}, rotation") != 0:
                raise ValueError(f"{at}: a box is rotated; upright boxes are wanted")
            sides = ("xtl", "ytl", "xbr", "ybr")
            left, top, right, bottom = (number(shape.get(k), f"{at}, {k}") for k in sides)
            bbox = [left, top, right - left, bottom - top]
            boxes.append({"bbox": bbox, "label": str(shape.get("label"))})
        found[name] = Answer(boxes, looked_at, size=size)
    return found
