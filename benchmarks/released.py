"""What the differences between paper and authors' code do that no other weights need.

    ALKIT_DATA=… python -m benchmarks.released [RUN …]

On CityPersons' training annotations: how many of the first 300 images with a pedestrian have the
same targets in whole pixels. For each run folder: the miss rate at FPPI 1 of its last test
detections by the protocols "caltech" and "released".
"""

import sys

import numpy as np

from alkit import catalog, profiles
from alkit.boxes import at_cells, targets
from alkit.catalog import CatalogError
from alkit.evaluation import evaluate
from alkit.loop.labels import to_coco
from alkit.loop.runs import open_run

IMAGES = 300


def main():
    try:
        print(whole_pixels())
    except (CatalogError, OSError) as error:
        print(f"left out: {error}")
    for folder in sys.argv[1:]:
        run = open_run(folder)
        last = max(k for k in range(run.settings["cycles"] + 1) if evaluated(run, k))
        truth, found = to_coco(run.frames("test")), run.detections(last, "test")
        rates = {p: evaluate(truth, found, p).miss_rate_at(1.0) for p in ("caltech", "released")}
        print(f"{folder}, cycle {last}:", ", ".join(f"{p} {rate:.3f}" for p, rate in rates.items()))


def evaluated(run, cycle: int) -> bool:
    try:
        return bool(run.detections(cycle, "test"))
    except FileNotFoundError:
        return False


def whole_pixels() -> str:
    numbers = profiles.RELEASED.at((480, 960))
    plain = numbers.model_copy(update={"whole_pixels": False})
    frames = catalog.load()["citypersons-train"].open((480, 960))
    looked = frames.with_pedestrians()[:IMAGES].tolist()
    equal = 0
    for i in looked:
        pairs = zip(
            *(at_cells(targets(frames.boxes[i], p), False) for p in (numbers, plain)), strict=True
        )
        equal += all(np.array_equal(own, other) for own, other in pairs)
    return f"whole pixels: the targets of {equal} of {len(looked)} CityPersons images stay the same"


if __name__ == "__main__":
    main()
