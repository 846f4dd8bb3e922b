"""Label Studio's JSON: what was not looked at is in `predictions`, answers are `annotations`.

A task without annotations, or whose only ones were canceled (skipped), was not yet looked at; an
annotation without regions says that there is nothing. `lead_time` is the time spent.
"""

from typing import Annotated, Literal
from xml.sax.saxutils import quoteattr

from pydantic import AliasPath, Field

from alkit.data.records import Coordinate, Pixels, Record, Upright, check
from alkit.labeling.exchange.bundle import Bundle
from alkit.loop.answers import Answer
from alkit.loop.jsonfile import write_json

IMAGES = "images"
FILE, CONFIG = "tasks.json", "label_config.xml"
SAYS = "a submitted annotation of its task, without regions if it shows nothing"
LABEL, IMAGE = "label", "image"  # names of the control and of what it labels


def _in(*path: str, **field):
    return Field(validation_alias=AliasPath(*path), **field)


class Region(Record):
    """A box that somebody drew, in percent of the image's sides."""

    type: Literal["rectanglelabels"]
    original_width: Pixels
    original_height: Pixels
    x: Coordinate = _in("value", "x")
    y: Coordinate = _in("value", "y")
    width: Coordinate = _in("value", "width")
    height: Coordinate = _in("value", "height")
    rotation: Upright | None = _in("value", "rotation", default=None)
    label: tuple[str] = _in("value", "rectanglelabels", strict=False)


class Annotation(Record):
    """What somebody said about an image."""

    result: list[Region] | None = None
    lead_time: Annotated[float, Field(ge=0, lt=1e6)] | None = None  # seconds
    was_cancelled: bool | None = None


class Item(Record):
    """A task: an image; `file` is our own."""

    image: str = _in("data", "image")
    file: str | None = _in("data", "file", default=None)
    annotations: list[Annotation] = Field([])


def write(frames: list, classes: tuple, folder):
    """Write `tasks.json` and `label_config.xml`. Images are addressed as files of Label Studio's
    local storage whose root is the folder above this one."""
    images, tasks = f"/data/local-files/?d={folder.name.removesuffix('.partial')}/{IMAGES}", []
    for frame in frames:
        boxes = frame["boxes"]
        regions = [_region(k, b, frame["height"], frame["width"]) for k, b in enumerate(boxes)]
        score = sum(box.get("score", 1) for box in boxes) / max(1, len(boxes))
        prediction = {"model_version": "alkit", "score": score, "result": regions}
        data = {IMAGE: f"{images}/{frame['file']}"}
        data |= {key: frame[key] for key in ("file", "rank", "z", "ranked_by")}
        answer = {"result": regions} | ({"lead_time": frame["seconds"]} if frame["seconds"] else {})
        own = {"annotations": [answer]} if frame["looked_at"] else {"predictions": [prediction]}
        tasks.append({"data": data} | own)
    write_json(folder / FILE, tasks)
    labels = "".join(f"\n    <Label value={quoteattr(name)}/>" for name in classes)
    (folder / CONFIG).write_text(
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}"/>\n'
        f'  <RectangleLabels name="{LABEL}" toName="{IMAGE}">{labels}\n  </RectangleLabels>\n'
        "</View>\n",
        encoding="utf-8",
    )


def _region(k: int, box: dict, height: int, width: int) -> dict:
    left, top, w, h = box["bbox"]
    value = {"x": left / width, "y": top / height, "width": w / width, "height": h / height}
    percent = {side: 100 * share for side, share in value.items()}
    return {
        "id": f"box{k}",
        "type": "rectanglelabels",
        "from_name": LABEL,
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        **{key: box[key] for key in ("score",) if key in box},
        "value": percent | {"rotation": 0, "rectanglelabels": [box["label"]]},
    }


def read(bundle: Bundle) -> list:
    """([name or address], answer) of each image, from Label Studio's JSON export (not JSON-MIN)."""
    data, where = bundle.one(bundle.ending(".json"), "one JSON export")
    items = check(list[Item], data, where)
    return [([t.file or t.image], _answer(t, f"{where}: {k}")) for k, t in enumerate(items)]


def _answer(item: Item, where: str) -> Answer:
    done = [a for a in item.annotations if not a.was_cancelled]
    if len(done) > 1:
        raise ValueError(f"{where}: {len(done)} annotations; keep one of them for each image")
    if not done:
        return Answer([], looked_at=False)
    regions, boxes = done[0].result or [], []
    for at in regions:
        shares = [v / 100 for v in (at.x, at.y, at.width, at.height)]
        boxes.append({"shares": shares, "label": at.label[0]})
    size = (regions[0].original_height, regions[0].original_width) if regions else None
    return Answer(boxes, True, done[0].lead_time, size)
