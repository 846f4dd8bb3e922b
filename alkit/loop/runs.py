"""The run folders that a cycle's steps read and write.

`OUT` is an experiment: `OUT/experiment.json` holds its settings. `OUT/<strategy>/seed_0` is a run,
`OUT/<strategy>/seed_0/cycle_01` one of its cycles. `OUT/pretrain/seed_0` holds W_l, which all
strategies share, and stands for cycle 0 of each of them. The Zarr stores lie in the cycle's folder
too, or under the URL `stores_at` of `experiment.json`, at the same relative path.
"""

import contextlib
import os
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from filelock import FileLock, Timeout

from alkit import catalog, profiles
from alkit.catalog import Entry
from alkit.data.project import located, portable, project_root
from alkit.frames import FrameSet
from alkit.loop import records, storage, store
from alkit.loop.jsonfile import read_json, write_json
from alkit.loop.plugins import load_strategies
from alkit.loop.references import START
from alkit.loop.settings import PRETRAIN, Experiment, checked
from alkit.profiles import unknown
from alkit.strategies import Strategy

ROOT = Path(__file__).resolve().parents[2]  # where alkit is imported from

# Settings that may differ between two starts of one experiment; of the catalog, keys hold the data.
GROWING = ("strategies", "seeds", "cycles", "plugins", "related", "catalog")


def create(out, experiment: Experiment, catalog_path, related=()) -> Path:
    """Make or grow an experiment's folder; the steps of `related` experiments may be shared. Raises
    ValueError if the folder is another experiment's, or has a complete step of other settings."""
    out, catalog_path = Path(out).resolve(), Path(catalog_path)
    file = out / "experiment.json"
    old = settings_of(out) if file.exists() else {}
    if not old and out.is_dir() and any(out.iterdir()) and not (out / PRETRAIN).is_dir():
        raise ValueError(f"{out}: the folder is not empty and no experiment of alkit's")
    new = {
        "catalog": str(catalog_path.parent.resolve() / catalog_path.name),
        "related": [os.path.relpath(other, out) for other in related],
        **experiment.model_dump(mode="json"),
    }
    if old and old["name"] != new["name"]:
        said = f"the run folder of experiment {old['name']!r}, not of {new['name']!r}"
        raise ValueError(f"{out}: this is {said}; choose another --out")
    new["related"] = _united(old.get("related", []), new["related"])
    growing = (*GROWING, *(["test"] if old and old["test"] is None else []))
    differing = [k for k in new if k not in growing and old.get(k) != new[k]]
    if old and differing and any(out.glob("*/seed_*/**/[0-7]_*.json")):
        lines = [f"  {k}: {old.get(k)!r} there, {new[k]!r} now" for k in differing]
        raise ValueError(
            f"{out}: experiment {old['name']!r} was started with other settings:\n"
            + "\n".join(lines)
            + "\nChoose another --out, or `alkit branch` to reuse what the change does not touch"
        )
    if not differing:
        new["cycles"] = max(old["cycles"], new["cycles"])
        old["plugins"] = [file for file in old["plugins"] if Path(file).is_file()]  # or moved
        grown = ("strategies", "seeds", "plugins")
        new = old | new | {key: _united(old[key], new[key]) for key in grown}
    elif experiment.store is not None:
        # drawn: two run folders of one experiment, or of two with one name, never share a URL
        url = storage.checked(experiment.store)
        new["stores_at"] = f"{url}/{experiment.name}-{uuid.uuid4().hex[:8]}"
    own = {k: new[k] and portable(out, new[k]) for k in ("catalog", "weights")}
    own["plugins"] = [portable(out, plugin) for plugin in new["plugins"]]
    try:
        write_json(file, new | own)
    except OSError as error:
        raise ValueError(f"{error}; choose another folder with --out") from None
    return out


def settings_of(out: Path) -> dict:
    """What `OUT/experiment.json` holds, the paths of catalog and plugins as they are now."""
    found = read_json(out / "experiment.json")
    if not isinstance(found, dict) or not {"catalog", "name", "strategies", "seeds", "plugins"} <= {
        *found
    }:
        raise ValueError(
            f"{out / 'experiment.json'}: damaged, not an experiment's settings. Delete it, and "
            "`alkit run` with the experiment's file and this --out writes it again"
        )
    found |= {key: _united(found[key], []) for key in ("strategies", "seeds", "plugins")}  # old
    plugins = [located(out, plugin) for plugin in found["plugins"]]
    own = {k: located(out, found[k]) for k in ("catalog", "weights") if found.get(k)}
    return found | own | {"plugins": plugins}


def _united(first: list, second: list) -> list:
    return list(dict.fromkeys([*first, *second]))


def experiments(out: Path) -> list:
    """The experiment folders at `out`: itself, or its folds in the file's order."""
    out = Path(out).resolve()
    if (out / "experiment.json").is_file():
        return [out]
    if (out / "folds.json").is_file():
        return [out / fold for fold in read_json(out / "folds.json")]
    said = "no experiment: there is no experiment.json in it"
    raise ValueError(f"{out}: {said}. Give the --out folder of an `alkit run`")


@contextlib.contextmanager
def lock(out: Path):
    """Hold the experiment's folder. Raises RuntimeError where another `alkit run` does."""
    file = out / ".lock"
    try:
        with FileLock(file, timeout=0):
            file.write_text(str(os.getpid()))
            yield
    except Timeout:
        raise RuntimeError(
            f"{out}: another `alkit run` works in this folder (process {file.read_text()})"
        ) from None


def locked(out: Path) -> bool:
    """Whether a run works in the folder right now."""
    if not (out / ".lock").exists():
        return False
    try:
        with FileLock(out / ".lock", timeout=0):
            return False
    except Timeout:
        return True


@dataclass(frozen=True)
class Run:
    """One strategy with one seed: `folder` is OUT/<strategy>/seed_<n>."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder.parent.parent

    @property
    def seed(self) -> int:
        return int(self.folder.name.removeprefix("seed_"))

    @property
    def strategy_name(self) -> str:
        return self.folder.parent.name

    @cached_property
    def settings(self) -> dict:
        return settings_of(self.out)

    @cached_property
    def experiment(self) -> Experiment:
        own = {k: v for k, v in self.settings.items() if k in Experiment.model_fields}
        return checked(own, self.out / "experiment.json")

    @cached_property
    def catalog(self) -> catalog.Catalog:
        return catalog.load(self.settings["catalog"], self.out)

    @property
    def strategy(self) -> Strategy:
        return load_strategies(self.experiment.plugins)[self.strategy_name]

    @property
    def first(self) -> int:
        """The first cycle that is the strategy's."""
        return 1 + (self.experiment.start is not None)

    def chooser(self, cycle: int) -> Strategy:
        """What chooses the frames of a cycle: the strategy, or before it `start`."""
        return START if cycle < self.first else self.strategy

    def chooser_name(self, cycle: int) -> str:
        return "start" if cycle < self.first else self.strategy_name

    def budget(self, cycle: int) -> int:
        """How many frames are wanted in a cycle."""
        wanted = self.experiment.start if cycle < self.first else self.experiment.budget
        return wanted if isinstance(wanted, int) else len(wanted)

    def numbers(self, cycle: int) -> profiles.Profile:
        """The profile's numbers in a cycle, in 0 those of W_l's training, of no epochs where it is
        read. A branch keeps its run's own in the cycles that it took over."""
        numbers = self.experiment.numbers
        for earlier in reversed(self.settings.get("earlier", [])):
            if cycle < earlier["before_cycle"]:
                numbers = profiles.profile(self.experiment.profile, earlier["set"])
        if cycle:
            return numbers
        read = {"epochs": 0, "iterations": None} if self.experiment.weights else {}
        return numbers.pretraining.model_copy(update=read)

    def aggregation(self, cycle: int) -> str:
        """How pixels make z: as the profile says, but for a strategy that is about another way."""
        own = self.strategy.aggregation
        return self.numbers(cycle).aggregation if own == "max" else own

    def entry(self, role: str) -> Entry:
        """The catalog entry of the data set in a role, with the filter that the profile names."""
        name = getattr(self.experiment, role)
        return self.catalog[name].under(self.experiment.numbers.box_filter)

    def image_size(self, role: str) -> tuple[int, int]:
        """(height, width) of the images in a role: the profile's; in X_l's domain its height, or
        `labeled_rows`, at their own aspect, unless they are mixed with the pool's (`replay`)."""
        numbers = self.experiment.numbers
        native = self.entry(role).image_size
        if role not in ("labeled", "held_out") or native is None or numbers.replay:
            return numbers.image_size
        rows = numbers.labeled_rows or numbers.image_size[0]
        return rows, round(native[1] * rows / native[0])

    def frames(self, role: str) -> FrameSet:
        """The data set in the role `labeled`, `pool`, `test` or `held_out`, at `image_size`, with
        its boxes: the oracle's view. Everything else looks at `.unlabeled()`. X_l is without the
        images that show no pedestrian where the profile drops them."""
        entry, numbers, size = self.entry(role), self.experiment.numbers, self.image_size(role)
        scale, given = 1 / numbers.at(size).scale, self.data_arguments(entry.name)
        frames = entry.open(size, scale=scale, resizing=numbers.resizing, **given)
        if role == "labeled" and numbers.empty_labeled == "drop":
            return frames.take(frames.with_pedestrians())
        return frames

    def data_arguments(self, name: str) -> dict:
        """Reader arguments of this experiment; the word `seed` stands for the run's seed."""
        given = self.experiment.data.get(name, {})
        return {key: self.seed if value == "seed" else value for key, value in given.items()}

    def cycle(self, cycle: int) -> Path:
        """The folder of a cycle; cycle 0 is W_l's, which all strategies share."""
        if cycle == 0:
            return self.out / PRETRAIN / self.folder.name
        return self.folder / f"cycle_{cycle:02d}"

    def artifact(self, cycle: int, step: str, name: str) -> storage.Place:
        """Where a step's artifact lies. Raises DamagedStep if it is not what the step wrote, and
        FileNotFoundError if it is not there, or a store is not whole or not of this record."""
        record = records.read(self, cycle, step)
        folder = records.holder(self.cycle(cycle), record)
        place = records.place_of(folder, name)
        wrong = records.damage(folder, name, record) if record else None
        if wrong is None:
            raise FileNotFoundError(
                f"{place}: not there. Step {step} of cycle {cycle} has not run, which `alkit run` "
                f"does, or `alkit clean` deleted it: notebooks/{step}.ipynb makes it again"
            )
        if wrong:
            with contextlib.suppress(OSError):
                os.utime(place)  # what is remembered of it by its time holds no longer
            raise records.DamagedStep(f"{self.cycle(cycle)}: step {step}", wrong)
        return place

    def logits(self, cycle: int) -> xr.Dataset:
        """Step 1: the five logit maps of every unlabeled frame, lazily."""
        return store.open_dataset(self.artifact(cycle, "1_predict", "logits.zarr"))

    def scores(self, cycle: int) -> xr.DataArray:
        """Step 2: dense score maps (frame, y, x) in nats, lazily."""
        return store.open_scores(self.artifact(cycle, "2_score", "scores.zarr"))

    def image_scores(self, cycle: int) -> pd.DataFrame:
        """Step 3: z of every unlabeled frame."""
        return pd.read_csv(
            self.artifact(cycle, "3_aggregate", "image_scores.csv"),
            dtype={"name": str, "sequence": str},
            keep_default_na=False,  # a sequence may be called NA
            na_values={"frame": ""},
            converters={"z": float},  # Python's float gives every digit back
        )

    def region_maxima(self, cycle: int) -> np.ndarray:
        """Step 3: the highest score in each region of every unlabeled frame: float16
        (frame, row, column), of a plugin's score float32, mapped from the file."""
        path = self.artifact(cycle, "3_aggregate", "region_maxima.npy")
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def selection(self, cycle: int) -> dict:
        """Step 4: chosen frames in order, and the reason code of every pool frame."""
        return read_json(self.artifact(cycle, "4_select", "selection.json"))

    def ends_with(self, cycle: int) -> bool:
        """Whether the frames chosen in a cycle leave none to choose, so that it is the last. A
        branch with other numbers from the next cycle on was asked for because it can choose."""
        try:
            ending = self.selection(cycle).get("ending")
        except (OSError, ValueError, records.DamagedStep):  # its step says what is wrong
            return False
        return bool(ending) and self.numbers(cycle) == self.numbers(cycle + 1)

    def labels(self, cycle: int) -> dict:
        """Step 5: the cycle's labeled frames as a COCO dict."""
        return read_json(self.artifact(cycle, "5_label", "labels.json"))

    def weights(self, cycle: int) -> Path:
        """W_l of cycle 0, or Θ after step 6 of a later cycle."""
        step = "0_pretrain" if cycle == 0 else "6_retrain"
        return self.artifact(cycle, step, "weights.safetensors")

    def losses(self, cycle: int) -> list:
        """Mean training loss of each epoch."""
        step = "0_pretrain" if cycle == 0 else "6_retrain"
        return read_json(self.artifact(cycle, step, "losses.json"))

    def held_out(self) -> dict:
        """W_l's curve on held-out frames of X_l's domain; empty if the experiment names none."""
        return read_json(self.artifact(0, "0_pretrain", "held_out.json"))

    def evaluation(self, cycle: int) -> dict:
        """Step 7: the curve and the counts of a cycle."""
        return read_json(self.artifact(cycle, "7_evaluate", "evaluation.json"))

    def detections(self, cycle: int, where: str) -> list:
        """Detections as COCO results on `pool` (step 1) or `test` (step 7)."""
        step = {"pool": "1_predict", "test": "7_evaluate"}[where]
        return read_json(self.artifact(cycle, step, f"{where}_detections.json.gz"))

    def labeled_positions(self, cycle: int) -> list:
        """Positions in the pool that were labeled before `cycle`, in the order chosen."""
        return [image["position"] for k in range(1, cycle) for image in self.labels(k)["images"]]


def open_run(folder) -> Run:
    """A run from its folder, relative to the project's root. Raises ValueError if it is no run."""
    path = project_root() / folder
    run = Run(path)
    if not (path.name.startswith("seed_") and path.name[5:].isdigit()):
        raise ValueError(f"{folder}: a run folder OUT/<strategy>/seed_<n> is wanted")
    if not (run.out / "experiment.json").is_file():
        raise ValueError(
            f"{folder}: no run: {run.out / 'experiment.json'} does not exist. `alkit run "
            "EXPERIMENT.yaml --out DIR` makes one (experiments/demo.yaml makes runs/demo)"
        )
    known = (PRETRAIN, *run.settings["strategies"])
    if run.strategy_name not in known:
        file = run.out / "experiment.json"
        raise ValueError(f"{folder}: strategy {unknown(run.strategy_name, known)} in {file}")
    return run
