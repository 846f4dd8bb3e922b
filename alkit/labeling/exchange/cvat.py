"""CVAT for images 1.1: one XML file, read by the standard library, which resolves no external
entities. Of an image without boxes an image-level tag `looked_at` says that it was looked at.
"""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from pydantic import BaseModel

from alkit.data.records import Coordinate, Pixels, Upright, check
from alkit.labeling.exchange.bundle import Bundle
from alkit.loop.answers import Answer
from alkit.loop.jsonfile import write_json

IMAGES = "images"
FILE, LABELS = "annotations.xml", "labels.json"
LOOKED_AT = "looked_at"  # the tag of a finished image
SAYS = f"the image's tag `{LOOKED_AT}`"
SCORE = {"name": "score", "mutable": False, "input_type": "text", "default_value": ""}


class Image(BaseModel):
    """The attributes of an image, which are texts."""

    name: str
    height: Pixels
    width: Pixels


class Shape(BaseModel):
    """The attributes of a box."""

    label: str
    xtl: Coordinate
    ytl: Coordinate
    xbr: Coordinate
    ybr: Coordinate
    rotation: Upright = 0


def write(frames: list, classes: tuple, folder):
    """Write `annotations.xml` to upload to a CVAT task, and `labels.json` for its label
    constructor's raw view. Scores are a text attribute of each box."""
    attributes = [SCORE | {"values": [""]}]
    labels = [{"name": n, "type": "rectangle", "attributes": attributes} for n in classes]
    labels.append({"name": LOOKED_AT, "type": "tag", "attributes": []})
    write_json(folder / LABELS, labels)
    root = Element("annotations")
    _add(root, "version", "1.1")
    meta = _add(_add(_add(root, "meta"), "task"), "labels")
    for label in labels:
        own = _add(meta, "label")
        _add(own, "name", label["name"])
        _add(own, "type", label["type"])
        attributes = _add(own, "attributes")
        for attribute in label["attributes"]:
            about = _add(attributes, "attribute")
            for name, text in (attribute | {"mutable": "False", "values": ""}).items():
                _add(about, name, text)
    for k, frame in enumerate(frames):
        size = {side: frame[side] for side in ("width", "height")}
        image = _add(root, "image", id=k, name=frame["file"], **size)
        for box in frame["boxes"]:
            left, top, w, h = box["bbox"]
            sides = {"xtl": left, "ytl": top, "xbr": left + w, "ybr": top + h}
            sides = {side: f"{value:.2f}" for side, value in sides.items()}
            about = {"label": box["label"], "source": "auto", "occluded": 0, "z_order": 0}
            own = _add(image, "box", **about, **sides)
            if "score" in box:
                _add(own, "attribute", f"{box['score']:.4f}", name="score")
        if frame["looked_at"]:
            _add(image, "tag", label=LOOKED_AT, source="manual")
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(folder / FILE, encoding="utf-8", xml_declaration=True)


def _add(parent: Element, tag: str, text: str | None = None, **attributes) -> Element:
    child = SubElement(parent, tag, {name: str(value) for name, value in attributes.items()})
    child.text = text
    return child


class _Plain(ElementTree.TreeBuilder):
    def doctype(self, *_):  # before any entity is declared, in whatever encoding
        raise ValueError("it has a document type, which CVAT's files have not")


def read(bundle: Bundle) -> list:
    """(names, answer) of each image."""
    data, where = bundle.one(bundle.ending(".xml"), "one XML file")
    try:
        root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_Plain()))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{where}: not XML as CVAT writes it, or cut off: {error}") from None
    if root.tag != "annotations" or root.find("track") is not None:
        raise ValueError(
            f"{where}: expected <annotations> of images, not of tracks, at the top, got "
            f"<{root.tag}>; export as `CVAT for images 1.1`"
        )
    return [_answer(image, f"{where}: image {image.get('name')!r}") for image in root.iter("image")]


def _answer(image: Element, where: str) -> tuple[list, Answer]:
    own, boxes = check(Image, image.attrib, where), []
    for shape in image:
        if shape.tag == "tag":
            continue
        if shape.tag != "box":
            raise ValueError(f"{where}: expected boxes, got <{shape.tag}>")
        box = check(Shape, shape.attrib, where)
        bbox = [box.xtl, box.ytl, box.xbr - box.xtl, box.ybr - box.ytl]
        boxes.append({"bbox": bbox, "label": box.label})
    looked_at = any(tag.get("label") == LOOKED_AT for tag in image.iter("tag")) or None
    return [own.name], Answer(boxes, looked_at, size=(own.height, own.width))
