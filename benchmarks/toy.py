"""Small but real experiments to measure steps on, in a folder that goes away."""

import math
import os
import shutil
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from alkit import runs, training
from alkit.frames import FrameSet
from alkit.jsonfile import write_json
from alkit.profiles import Profile
from alkit.readers import street
from alkit.runs import Run
from alkit.settings import Experiment
from benchmarks.measuring import Missing, Options

POOL = "benchmark-pool"
DIFFERENT = 32  # images; a longer pool shows them again and again
SPREAD, OVER = 2.0, 0.002  # of an untrained detector's logits; of its pixels over the threshold


def demo(options: Options) -> Run:
    """The run `divergence`, seed 0, of a complete demo. Raises Missing."""
    folder = Path(options.run) / "divergence" / "seed_0"
    try:
        run = runs.open_run(folder)
        run.weights(0)
    except (ValueError, FileNotFoundError) as error:
        raise Missing(f"{error}. `make demo` makes runs/demo; --run names another") from None
    return run


def pictures(image_size, n: int) -> list:
    """n frames of the pool of `street`, uint8 (y, x, 3)."""
    frames = street.read(domain="pool", frames=max(n, DIFFERENT), image_size=image_size)
    return [frames.images(i) for i in range(n)]


def untrained(numbers: Profile, image: np.ndarray):
    """A detector with random weights whose maps are as lively as a trained one's on `image`:
    otherwise it would find nothing, or a pedestrian at every pixel."""
    detector = training.new_detector(numbers, np.random.SeedSequence(0)).eval()
    with torch.no_grad():
        maps = detector(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])
        logits = np.concatenate([x.numpy().ravel() for x in maps])
        factor = SPREAD / logits.std()
        threshold = math.log(numbers.decode_threshold / (1 - numbers.decode_threshold))
        detector.logits.weight.mul_(float(factor))
        detector.logits.bias.fill_(float(threshold - np.quantile(factor * logits, 1 - OVER)))
    return detector


def experiment(folder: Path, profile: str, overrides: dict, images, n: int, detector) -> Run:
    """An experiment with `detector` for W_l and a pool of n JPEG files, the images again and
    again; its steps 1 to 3 can be done."""
    pool = folder / "images"
    pool.mkdir(parents=True)
    for i in range(n):
        file = pool / f"{i:06d}.jpg"
        if i < len(images):
            Image.fromarray(images[i]).save(file, quality=90)
        else:
            os.link(pool / f"{i % len(images):06d}.jpg", file)
    entry = {
        "title": "Images of a benchmark", "reader": "mot", "root": str(pool), "kind": "video",
        "image_size": list(images[0].shape[:2]), "license": "–", "citation": "–", "homepage": "–",
    }  # fmt: skip
    catalog = yaml.safe_load((runs.ROOT / "data_catalog.yaml").read_text())
    catalog["datasets"][POOL] = entry
    (folder / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    settings = Experiment(
        name="benchmark", labeled="street-source", pool=POOL, test="street-test",
        profile=profile, set=overrides, cycles=1, budget=1,
    )  # fmt: skip
    out = runs.create(folder / "run", settings, folder / "catalog.yaml")
    run = Run(out / "divergence" / "seed_0")
    run.cycle(0).mkdir(parents=True)
    training.save_weights(detector, run.cycle(0) / "weights.safetensors")
    write_json(run.cycle(0) / "0_pretrain.json", {"key": "weights of a benchmark"})
    return run


def clear(run: Run):
    """Make the cycle's steps undone."""
    shutil.rmtree(run.cycle(1), ignore_errors=True)


def in_memory(images: list) -> FrameSet:
    """Images as a FrameSet."""
    names = [str(i) for i in range(len(images))]
    return FrameSet("pictures", names, lambda i: images[i], images[0].shape[:2])
