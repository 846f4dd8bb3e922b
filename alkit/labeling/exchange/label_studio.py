"""Label Studio's JSON: proposals are `predictions`, answers are `annotations`.

A task without annotations, or whose only ones were cancelled (skipped), was not yet looked at; an
annotation without regions says that there is nothing. `lead_time` is the time spent.
"""

from xml.sax.saxutils import quoteattr

from alkit.labeling.exchange.bundle import Bundle, number, size_of
from alkit.loop.answers import Answer
from alkit.loop.jsonfile import write_json
from alkit.loop.task import Task

IMAGES = "images"
FILE, CONFIG = "tasks.json", "label_config.xml"
LABEL, IMAGE = "label", "image"  # names of the control and of what it labels


def write(task: Task, names: dict, folder):
    """Write `tasks.json` and `label_config.xml`. Images are addressed as files of Label Studio's
    local storage whose root is the folder above this one."""
    home = folder.name.removesuffix(".partial")
    tasks = []
    for rank, frame in enumerate(task.chosen, 1):
        position = frame["position"]
        size = task.size(position)
        proposals = task.proposals[position]
        regions = [_region(k, box, size) for k, box in enumerate(proposals)]
        mean = sum(b["score"] for b in proposals) / len(proposals) if proposals else 0.0
        tasks.append(
            {
                "data": {
                    IMAGE: f"/data/local-files/?d={home}/{IMAGES}/{names[position]}",
                    "file": names[position],
                    "rank": rank,
                    "z": frame["z"],
                    "ranked_by": frame["ranked_by"],
                },
                "predictions": [{"model_version": "alkit", "score": mean, "result": regions}],
            }
        )
    write_json(folder / FILE, tasks)
    labels = "".join(f"\n    <Label value={quoteattr(name)}/>" for name in task.classes)
    (folder / CONFIG).write_text(
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}"/>\n'
        f'  <RectangleLabels name="{LABEL}" toName="{IMAGE}">{labels}\n  </RectangleLabels>\n'
        "</View>\n",
        encoding="utf-8",
    )


def _region(k: int, box: dict, size) -> dict:
    """A box in percent of the image's sides."""
    height, width = size
    left, top, w, h = box["bbox"]
    return {
        "id": f"box{k}", "type": "rectanglelabels", "from_name": LABEL, "to_name": IMAGE,
        "original_width": width, "original_height": height, "image_rotation": 0,
        "score": box["score"],
        "value": {
            "x": 100 * left / width, "y": 100 * top / height,
            "width": 100 * w / width, "height": 100 * h / height,
            "rotation": 0, "rectanglelabels": [box["label"]],
        },
    }  # fmt: skip


def is_it(bundle: Bundle) -> bool:
    names = bundle.ending(".json")
    tasks = bundle.json(names[0]) if len(names) == 1 else None
    # a list of records without `data` is that of CVAT's label names
    return isinstance(tasks, list) and all("data" in t for t in tasks if isinstance(t, dict))


def read(bundle: Bundle) -> dict:
    """Answers by file name, from Label Studio's JSON export (not JSON-MIN)."""
    names = bundle.ending(".json")
    if len(names) != 1:
        raise ValueError(f"{bundle.path}: one JSON export is wanted, found {len(names)} files")
    tasks, where = bundle.json(names[0]), f"{bundle.path}: {names[0]}"
    if not isinstance(tasks, list):
        raise ValueError(f"{where}: a list of tasks is wanted, got {type(tasks).__name__}")
    found = {}
    for i, item in enumerate(tasks):
        at = f"{where}: task {i}"
        data = item.get("data") if isinstance(item, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get(IMAGE), str):
            raise ValueError(f"{at}: a record with data.{IMAGE} is wanted, got {str(item)[:120]}")
        name = data.get("file") or data[IMAGE].rpartition("/")[2]
        if not isinstance(name, str) or name in found:
            raise ValueError(f"{at}: image {name!r} is there twice, or its name is no text")
        found[name] = _answer(item, at)
    return found


def _answer(item: dict, at: str) -> Answer:
    given = item.get("annotations", [])
    if not isinstance(given, list) or not all(isinstance(a, dict) for a in given):
        raise ValueError(f"{at}.annotations: a list of records is wanted (export as JSON)")
    done = [a for a in given if not a.get("was_cancelled")]
    if len(done) > 1:
        raise ValueError(f"{at}: {len(done)} annotations; keep one of them for each image")
    if not done:
        return Answer([], looked_at=False)
    (annotation,) = done
    seconds = annotation.get("lead_time")
    answer = Answer([], True, None if seconds is None else number(seconds, f"{at}.lead_time"))
    if answer.seconds is not None and not 0 <= answer.seconds < 1e6:
        raise ValueError(f"{at}.lead_time: seconds are wanted, got {answer.seconds}")
    regions = annotation.get("result") or []
    if not isinstance(regions, list):
        raise ValueError(f"{at}: `result` is a list of regions, got {str(regions)[:60]!r}")
    for k, region in enumerate(regions, 1):
        where = f"{at}, region {k}"
        if not isinstance(region, dict) or region.get("type") != "rectanglelabels":
            raise ValueError(f"{where}: rectangle labels are wanted, got {str(region)[:120]}")
        value = region.get("value")
        labels = value.get("rectanglelabels") if isinstance(value, dict) else None
        if not isinstance(labels, list) or len(labels) != 1:
            raise ValueError(f"{where}: one rectangle label is wanted, got {labels!r}")
        if number(value.get("rotation") or 0, f"{where}.rotation") != 0:
            raise ValueError(f"{where}: the box is rotated; upright boxes are wanted")
        size = size_of(region.get("original_height"), region.get("original_width"), where)
        if size != (answer.size or size):
            raise ValueError(f"{where}: another image size than that of the region before it")
        height, width = answer.size = size
        x, y, w, h = (number(value.get(k), f"{where}.{k}") for k in ("x", "y", "width", "height"))
        bbox = [x * width / 100, y * height / 100, w * width / 100, h * height / 100]
        answer.boxes.append({"bbox": bbox, "label": str(labels[0])})
    return answer
