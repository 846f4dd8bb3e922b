"""Your own scores and strategies, from Python files named in an experiment.

A plugin file may define `scores = {"name": function}` and `strategies = {"name": Strategy(...)}`.
A score's function takes probabilities, NumPy float32 (level, y, x) in [0, 1], and gives a score map
(y, x) of finite numbers ≥ 0, of any magnitude, the higher the more a frame is wanted. It depends on
its argument alone. `notebooks/your_own_score.ipynb` writes one.
"""

import runpy
import traceback
from functools import partial
from pathlib import Path

import numpy as np

from alkit import scores
from alkit.aggregation import HOW
from alkit.arrays import to_numpy
from alkit.loop.references import REFERENCES
from alkit.profiles import unknown
from alkit.strategies import STRATEGIES, Strategy

KNOWN = STRATEGIES | REFERENCES
SCORES = {"divergence", "entropy", "mutual_information"}  # step 2 knows what each of them needs


def _load(files) -> tuple[dict, dict]:
    """The scores and the strategies of plugin files. Their names are their own: a record of a step
    names the plugin only where its score is not alkit's. Raises ValueError naming the file."""
    found = {"scores": {}, "strategies": {}}
    for file in files:
        try:
            defined = runpy.run_path(file)
            for what, taken in (("scores", SCORES), ("strategies", KNOWN)):
                own = dict(defined.get(what, {}))
                if twice := {*own} & {*taken}:
                    name = f"{what}[{min(twice)!r}]"
                    raise ValueError(f"{name} has the name of alkit's own; choose another")
                if what == "scores":
                    own = {name: partial(_map, file, name, score) for name, score in own.items()}
                found[what] |= own
        except Exception as error:
            raise ValueError(_said(file, error)) from error
    return found["scores"], found["strategies"]


def _map(file, name: str, score, p: np.ndarray) -> np.ndarray:
    """What a plugin's score gives, float32 (y, x). Raises ValueError with the file and the line."""
    try:
        s = np.asarray(to_numpy(score(p)), np.float32)
    except Exception as error:
        raise ValueError(_said(file, error)) from error
    low, high = s.min(initial=np.inf), s.max(initial=-np.inf)
    if s.shape != p.shape[1:] or not (low >= 0 and high < np.inf):  # NaN fails the first
        raise ValueError(
            f"plugins: {file}: scores[{name!r}]: expected a map (y, x) of {p.shape[1:]} finite "
            f"numbers ≥ 0; got {s.shape}, from {low} to {high}"
        )
    return s


def _said(file, error: Exception) -> str:
    """An error in a plugin, with the last line of its file that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f", line {frame.lineno}" for frame in frames if frame.filename == str(file)]
    return f"plugins: {file}{lines[-1] if lines else ''}: {type(error).__name__}: {error}"


def load_strategies(files) -> dict:
    """All strategies by name: alkit's, and those of the plugin files. Raises ValueError for one
    that is no `Strategy`, or of a score or an aggregation that nobody defines."""
    own_scores, own = _load(files)
    known = [*SCORES, *own_scores]
    for name, strategy in own.items():
        what = f"plugins: strategies[{name!r}]"
        plain = isinstance(strategy, Strategy) and strategy.rank is Strategy.rank
        if not plain or strategy.aggregation not in HOW:
            expected = f"a Strategy(score=…) with an aggregation of {', '.join(HOW)}"
            raise ValueError(f"{what} is {strategy!r}; expected {expected}")
        if strategy.score is not None and strategy.score not in known:
            raise ValueError(f"{what}: score: {unknown(strategy.score, known)}")
    return KNOWN | own


def plugin_of(score: str, files) -> Path:
    """The file of those that defines a score."""
    return Path(_load(files)[0][score].args[0])


def load_score(name: str, files, radius: int):
    """The function that step 2 applies to the probabilities (level, y, x) of each frame, a torch
    tensor; a plugin's gets them as a NumPy array."""
    if name == "divergence":
        return lambda p: scores.divergence(p, radius)
    if name in SCORES:
        return getattr(scores, name)
    own = _load(files)[0][name]
    return lambda p: own(to_numpy(p))
