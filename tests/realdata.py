"""Tiny CityPersons, Caltech and BDD100K, in the files that the real ones come in.

Written from the formats' descriptions, with SciPy, OpenCV and struct, never with alkit. `people`
says who stands where: (label, [left, top, width, height], visible part or None), pixels from 0.
"""

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import scipy.io

CITYPERSONS = {"train": 4, "val": 2}  # images
BDD100K = {"train": 8, "val": 3}
CALTECH_POOL = {f"set{k:02d}": 8 for k in range(1, 6)}  # frames of the one video of each set
CALTECH_TEST = {f"set{k:02d}": 30 for k in range(6, 11)}  # so that frame 29 is the one to test on


def people(k: int, height: int, width: int) -> list:
    """Who is in image k: one who counts under any rule, moving with k, and those who test one."""
    unit = height / 480  # pixels per pixel of the paper's images

    def box(left, top, w, h):
        return [left * unit, top * unit, w * unit, h * unit]

    right = width / unit
    found = [("person", box(40 + (17 * k) % 500, 120 + 9 * (k % 7), 48, 120), None)]
    if k % 2:
        found += [
            ("person", box(right - 60, 200, 16, 40), None),  # too small
            ("person", box(right - 140, 220, 40, 100), box(right - 140, 220, 40, 50)),  # half seen
            ("people", box(right - 320, 150, 60, 120), None),
            ("person", box(2, 200, 40, 100), None),  # cut by the border, for Reasonable
        ]
    return found


def picture(k: int, height: int, width: int) -> np.ndarray:
    """Image k, uint8 BGR: the people as dark rectangles on a bright ground of its own."""
    ground = np.linspace(120 + 11 * k % 60, 250, width).astype(np.uint8)
    image = np.repeat(np.tile(ground, (height, 1))[..., None], 3, axis=2)
    for _, (left, top, w, h), _ in people(k, height, width):
        image[round(top) : round(top + h), round(left) : round(left + w)] = 30 + 5 * (k % 9)
    return image


# ---- CityPersons: anno_*.mat and leftImg8bit -----------------------------------------------------


def write_citypersons(root: Path):
    for split, n in CITYPERSONS.items():
        cells = np.empty((1, n), object)
        for k in range(n):
            city = ("aachen", "ulm")[k % 2]
            name = f"{city}_{k:06d}_000019_leftImg8bit.png"
            rows = []
            for label, box, visible in people(k, 1024, 2048):
                kind = {"person": 1, "people": 5}[label]
                rows.append([kind, *box, 24000 + len(rows), *(visible or box)])
            cells[0, k] = {"cityname": city, "im_name": name, "bbs": np.round(rows).astype(float)}
            _write_image(root / "leftImg8bit" / split / city / name, picture(k, 1024, 2048))
        path = root / "annotations" / f"anno_{split}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, {f"anno_{split}_aligned": cells})


# ---- Caltech: .seq and .vbb ----------------------------------------------------------------------


def caltech_number(name: str, frame: int) -> int:
    """The k of `picture` in a frame of a video."""
    return 7 * int(name.removeprefix("set")) + frame


def write_caltech(root: Path):
    for name, n in (CALTECH_POOL | CALTECH_TEST).items():
        numbers = [caltech_number(name, f) for f in range(n)]
        _write_seq(root / name / "V000.seq", [picture(k, 480, 640) for k in numbers])
        _write_vbb(root / "annotations" / name / "V000.vbb", [people(k, 480, 640) for k in numbers])


def _write_seq(path: Path, images: list):
    height, width = images[0].shape[:2]
    text = struct.pack("<I", 0xFEED) + "Norpix seq\0\0".encode("utf-16-le")
    text = (text + struct.pack("<iI", 3, 1024)).ljust(548, b"\0")
    text += struct.pack("<9I", width, height, 24, 8, width * height * 3, 201, len(images), 0, 0)
    parts = [(text + struct.pack("<d", 30.0)).ljust(1024, b"\0")]
    for k, image in enumerate(images):
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        parts.append(struct.pack("<I", 4 + len(jpeg)) + jpeg + struct.pack("<IHxx8x", k // 30, 33))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(parts))


def _write_vbb(path: Path, frames: list):
    """Each person of a frame is an object of its own video-wide number."""
    most = max(map(len, frames))
    labels = [None] * most
    lists = np.empty((1, len(frames)), object)
    for f, found in enumerate(frames):
        objects = np.empty((1, len(found)), [(x, object) for x in ("id", "pos", "occl", "posv")])
        for i, (label, box, visible) in enumerate(found):
            labels[i] = label
            from_one = np.array([[1.0, 1, 0, 0]])  # the file counts pixels from 1
            posv = np.zeros((1, 4)) if visible is None else np.array([visible]) + from_one
            objects[0, i] = (i + 1.0, np.array([box]) + from_one, float(visible is not None), posv)
        lists[0, f] = objects
    names = np.empty((1, most), object)
    names[0, :] = labels
    ones, ends = np.ones((1, most)), np.full((1, most), len(frames))
    a = {"nFrame": float(len(frames)), "objLists": lists, "maxObj": float(most), "objInit": ones,
         "objLbl": names, "objStr": ones, "objEnd": ends, "objHide": 0 * ones, "altered": 0.0,
         "log": 0.0, "logLen": 0.0}  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        scipy.io.savemat(file, {"A": a, "vers": 1.4})


# ---- BDD100K: the json of 2018 -------------------------------------------------------------------


def write_bdd100k(root: Path):
    for split, n in BDD100K.items():
        frames = []
        for k in range(n):
            name = f"{k:08x}-{split}.jpg"
            labels = [{"category": "lane", "poly2d": [{"vertices": [[0, 0], [9, 9]]}], "id": 0}]
            for label, (left, top, w, h), _ in people(k, 720, 1280):
                box = {"x1": left, "y1": top, "x2": left + w, "y2": top + h}
                kind = {"person": "person", "people": "rider"}[label]
                labels.append({"category": kind, "box2d": box, "id": len(labels)})
            frames.append({"name": name, "timestamp": 10000, "labels": labels})
            _write_image(root / "images/100k" / split / name, picture(k, 720, 1280))
        path = root / "labels" / f"bdd100k_labels_images_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(frames))


def _write_image(path: Path, image: np.ndarray):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
