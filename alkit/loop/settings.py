"""Experiment files: their settings, checked down to the names of profile numbers and strategies."""

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from alkit import profiles
from alkit.data.yamlfile import read_yaml
from alkit.loop import storage
from alkit.loop.plugins import load_strategies
from alkit.profiles import unknown
from alkit.text import problems

Count = Annotated[int, Field(ge=1, strict=True)]  # no true or false
PRETRAIN = "pretrain"  # the folder of W_l; no strategy may have this name


class Experiment(BaseModel):
    """The settings of an experiment file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w.-]+$")
    labeled: str  # X_l
    pool: str  # X_u
    test: str | None = None  # None: frames are chosen, and nothing is measured
    held_out: str | None = None  # frames of X_l's own domain, to show what W_l learnt
    weights: str | None = None  # a safetensors file as W_l, which is then not trained
    data: dict[str, dict] = {}  # reader arguments that differ from the catalog's, by data set
    profile: str = "paper"
    set: dict = {}  # numbers of the profile that differ
    strategies: list[str] = Field(["divergence"], min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    plugins: list[str] = []  # Python files with scores or strategies of your own
    cycles: int = Field(ge=1)
    budget: int = Field(ge=1)  # b, images a cycle
    # Frames that cycle 1 labels in place of a choice: a number, drawn at random, or their names
    start: Count | Annotated[list[str], Field(min_length=1)] | None = None
    labels: Literal["oracle", "import", "interactive"] = "oracle"  # who labels; see alkit.labeling
    store: str | None = None  # URL for logits and score maps, s3://bucket/prefix; None: run folder

    @field_validator("strategies", "seeds", "plugins", "start")
    @classmethod
    def _once(cls, given):
        counted = Counter(given if isinstance(given, list) else ())
        if twice := [value for value, times in counted.items() if times > 1]:
            raise ValueError(f"{twice[0]!r} is given more than once")
        return given

    @cached_property
    def numbers(self) -> profiles.Profile:
        """The profile with this experiment's own numbers."""
        return profiles.profile(self.profile, self.set)


def read_experiment(path) -> Experiment:
    """Read and check an experiment file without folds; see `read_folds`."""
    (experiment,) = read_folds(path).values()
    return experiment


def read_folds(path) -> dict:
    """Read and check an experiment file: the experiment of each fold by the fold's name, of a file
    without folds one under the name "". `folds:` maps names to the settings that a fold changes."""
    path = Path(path)
    settings = read_yaml(path)
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected a mapping of settings, got {type(settings).__name__}")
    folds = settings.pop("folds", None)
    if folds is not None:
        if not folds or not isinstance(folds, dict) or {*map(type, folds.values())} != {dict}:
            raise ValueError(f"{path}: folds: expected a mapping of names to changed settings")
    for own in (settings, *(folds or {}).values()):
        if isinstance(own.get("plugins"), list):
            own["plugins"] = [str((path.parent / f).resolve()) for f in own["plugins"]]
        if isinstance(own.get("weights"), str):
            own["weights"] = str((path.parent / own["weights"]).resolve())
    if folds is None:
        return {"": checked(settings, path)}
    if len({str(fold).casefold() for fold in folds}) < len(folds):
        raise ValueError(
            f"{path}: folds {', '.join(map(str, folds))}: two names differ only in case, and are "
            "one folder on some file systems; rename one of them"
        )
    name = settings.get("name")
    return {
        str(fold): checked(settings | {"name": f"{name}-{fold}"} | changes, f"{path}, fold {fold}")
        for fold, changes in folds.items()
    }


def checked(settings: dict, where) -> Experiment:
    """Validate settings, down to the names of profile numbers, strategies and their scores."""
    try:
        experiment = Experiment.model_validate(settings)
        _ = experiment.numbers
        if experiment.store is not None:
            storage.checked(experiment.store)
        known = load_strategies(experiment.plugins)
        for name in experiment.strategies:
            if name == PRETRAIN or name not in known:
                raise ValueError(f"strategies: {unknown(name, known)}")
            if "truth" in known[name].reads and experiment.labels != "oracle":
                raise ValueError(f"strategies: {name} sees hidden boxes: for `labels: oracle` only")
            if "limit" in known[name].reads and experiment.held_out is None:
                raise ValueError(
                    f"strategies: {name} takes detections from W_l's score at FPPI 1 on, measured "
                    "on frames of X_l's domain; name a data set of them as `held_out`"
                )
        if experiment.start is not None and experiment.cycles < 2:
            raise ValueError("cycles is 1, which is that of `start`; expected 2 or more with it")
        used = {experiment.labeled, experiment.pool, experiment.test, experiment.held_out}
        if other := {*experiment.data} - used:
            raise ValueError(
                f"data: {min(other)!r} is none of this experiment's data sets, which are "
                f"{', '.join(sorted(filter(None, used)))}; correct the one or the other"
            )
        return experiment
    except ValueError as error:
        fields = Experiment.model_fields
        said = problems(error, known=fields) if isinstance(error, ValidationError) else error
        raise ValueError(f"{where}: {said}") from None
