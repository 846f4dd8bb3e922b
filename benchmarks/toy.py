"""Small but real experiments to measure steps on, in a folder that goes away."""

import math
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from alkit import profiles, training
from alkit.data.readers import street
from alkit.frames import FrameSet
from alkit.loop import labels, records, runs
from alkit.loop.jsonfile import write_json
from alkit.loop.runs import Run
from alkit.loop.settings import Experiment
from alkit.profiles import Profile
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
        maps = detector(torch.from_numpy(image.transpose(2, 0, 1).copy())[None].to(detector.device))
        logits = np.concatenate([x.cpu().numpy().ravel() for x in maps])
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
    entry = {"reader": "mot", "root": str(pool)}
    return _experiment(folder, entry, profile, overrides, 1, detector)


def street_experiment(folder: Path, profile: str, overrides: dict, n: int, budget: int, detector):
    """The same with n frames of the pool of `street`, with their boxes, and `budget` frames a
    cycle; its steps 1 to 6 can be done. Processes draw the frames."""
    size = profiles.profile(profile, overrides).image_size
    pool = folder / "images"
    pool.mkdir(parents=True)
    boxes = labels.to_coco(street.read(domain="pool", frames=n, image_size=size))
    for i, image in enumerate(boxes["images"]):
        image["file_name"] = f"{i:06d}.jpg"
    write_json(folder / "boxes.json", boxes)
    parts = [range(n)[start : start + 64] for start in range(0, n, 64)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as processes:
        list(processes.map(partial(_draw, pool, n, size), parts))
    arguments = {"annotations": "boxes.json", "images": "images"}
    entry = {"reader": "coco", "root": str(folder), "args": arguments}
    return _experiment(folder, entry, profile, overrides, budget, detector)


def _draw(folder: Path, n: int, image_size, positions):
    """JPEG files of some of n frames of the pool of `street`."""
    frames = street.read(domain="pool", frames=n, image_size=image_size)
    for i in positions:
        Image.fromarray(frames.images(i)).save(folder / f"{i:06d}.jpg", quality=90)


def _experiment(folder: Path, entry: dict, profile: str, overrides, budget: int, detector) -> Run:
    """An experiment of one cycle with `detector` for W_l and a video for a pool, whose catalog
    entry says how it is read."""
    size = profiles.profile(profile, overrides).image_size
    entry = entry | {
        "title": "Images of a benchmark",
        "kind": "video",
        "image_size": list(size),
        "license": "–",
        "citation": "–",
        "homepage": "–",
    }
    catalog = yaml.safe_load((runs.ROOT / "data_catalog.yaml").read_text())
    catalog["datasets"][POOL] = entry
    (folder / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    settings = Experiment(
        name="benchmark",
        labeled="street-source",
        pool=POOL,
        test="street-test",
        profile=profile,
        set=overrides,
        cycles=1,
        budget=budget,
    )
    out = runs.create(folder / "run", settings, folder / "catalog.yaml")
    run = Run(out / "divergence" / "seed_0")
    run.cycle(0).mkdir(parents=True)
    training.save_weights(detector, run.cycle(0) / "weights.safetensors")
    plan = records.Plan("0_pretrain", {}, {"weights": "of a benchmark"}, {})
    records.write(run, 0, plan, ("weights.safetensors",), 0.0)
    return run


def clear(run: Run):
    """Make the cycle's steps undone."""
    shutil.rmtree(run.cycle(1), ignore_errors=True)


def in_memory(images: list) -> FrameSet:
    """Images as a FrameSet."""
    names = [str(i) for i in range(len(images))]
    return FrameSet("pictures", names, lambda i: images[i], images[0].shape[:2])
