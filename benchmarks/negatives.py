"""What the loss draws: positive and negative cells an image, and the share of weight on positives.

    ALKIT_DATA=… python -m benchmarks.negatives

Every profile on `street`, on CityPersons and on CamVid, beside the authors' rule done literally: a
draw of pixels at image resolution, each channel's weights divided by their sum, both then
downsampled. Data that is not there is left out. The table goes to results/negatives.csv.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from alkit import catalog, profiles, training
from alkit.boxes import at_cells, targets
from alkit.catalog import CatalogError

RESULTS = Path("results/negatives.csv")
# (name, reader arguments, images): CityPersons' images need not be there, all boxes are
DATA = {
    "street-source": ({"frames": 100}, 100),
    "street-pool": ({"frames": 100}, 100),
    "citypersons-train": ({}, 8),
    "camvid-all": ({}, 100),
}
DRAWS = 5  # of each image


def main():
    rows = []
    for name in profiles.PROFILES:
        for dataset, (arguments, most) in DATA.items():
            try:
                frames = opened(dataset, profiles.profile(name), arguments, most)
            except (CatalogError, OSError) as error:
                print(f"left out: {dataset}: {error}")
                continue
            rows.append((name, dataset, len(frames), *compared(frames, profiles.profile(name))))
    columns = "profile,data,images,positives,negatives,share,code negatives,code share".split(",")
    table = pd.DataFrame(rows, columns=columns)
    print(table.round(4).to_string(index=False))
    RESULTS.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(RESULTS, index=False)


def opened(dataset: str, numbers, arguments: dict, most: int):
    """Frames at the profile's height and their own aspect, as W_l's are; of CityPersons the first
    with a pedestrian."""
    entry = catalog.load()[dataset].under(numbers.box_filter)
    height, width = entry.image_size
    size = numbers.image_size[0], round(width * numbers.image_size[0] / height)
    frames = entry.open(size, **arguments)
    if dataset == "citypersons-train":
        frames = frames.take(frames.with_pedestrians()[:most])
    return frames.take(range(min(most, len(frames))))


def compared(frames, numbers) -> np.ndarray:
    """Means over images and draws: positive and negative cells, the share of the whole weight that
    is on positives; negative cells and share by the authors' rule."""
    numbers = numbers.at(frames.image_size)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    counts = []
    for i in tqdm(range(len(frames)), desc=frames.dataset, leave=False):
        maps = targets(frames.boxes[i], numbers)
        labels = [torch.from_numpy(m)[None] for m in at_cells(maps, numbers.half_pixel)]
        pixels = [[np.count_nonzero(m == v) for v in (-1, 0, 1)] for m in maps]
        for _ in range(DRAWS):
            own = training.cell_weights(labels, torch.tensor([pixels]), numbers, generator)
            own = [w[0].numpy() for w in own]
            code = at_cells(literal_weights(maps, numbers, rng), numbers.half_pixel)
            cells = [label[0].numpy() for label in labels]
            counts.append([*tally(own, cells), *tally(code, cells)])
    positives, negatives, on_positives, total, _, code_negatives, code_on, code_total = np.array(
        counts
    ).T
    shares = on_positives.sum() / total.sum(), code_on.sum() / code_total.sum()
    return positives.mean(), negatives.mean(), shares[0], code_negatives.mean(), shares[1]


def literal_weights(maps, numbers, rng):
    """The authors' weights of pixels, (level, y, x)."""
    positive = maps == 1
    chance = numbers.n2p * max(numbers.min_positives * numbers.scale**2, positive.sum()) / maps.size
    mask = positive | ((rng.random(maps.shape) < chance) & (maps == 0))
    return mask / np.maximum(mask.sum((1, 2), keepdims=True), 1)


def tally(weights, labels):
    """Positive and negative cells that count, the weight on the former, and all weight."""
    pairs = list(zip(weights, labels, strict=True))
    return (
        sum(((w > 0) & (label == 1)).sum() for w, label in pairs),
        sum(((w > 0) & (label == 0)).sum() for w, label in pairs),
        sum(w[label == 1].sum() for w, label in pairs),
        sum(w.sum() for w in weights),
    )


if __name__ == "__main__":
    main()
