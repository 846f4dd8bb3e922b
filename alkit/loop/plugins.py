"""Your own scores and strategies, from Python files named in an experiment.

A plugin file may define `scores = {"name": function}` and `strategies = {"name": Strategy(...)}`.
A score's function takes probabilities, NumPy float32 (level, y, x) in [0, 1], and gives a score map
(y, x) in nats, in [0, 5·ln 2] and without NaN, the higher the more a frame is wanted. It depends on
its argument alone. `notebooks/your_own_score.ipynb` writes one.
"""

import importlib.util
from pathlib import Path

from alkit import scores
from alkit.aggregation import HOW
from alkit.arrays import to_numpy
from alkit.profiles import unknown
from alkit.strategies import STRATEGIES, Strategy

SCORES = {"divergence", "entropy", "mutual_information"}  # step 2 knows what each of them needs


class PluginError(ValueError):
    """A plugin file that is not there or cannot be executed."""


def load(file: str):
    """Execute a plugin file and give its module. Raises PluginError naming the file."""
    path = Path(file)
    if not path.is_file():
        raise PluginError(f"plugins: {file}: no such file")
    spec = importlib.util.spec_from_file_location(f"alkit_plugin_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise PluginError(f"plugins: {file}: {type(error).__name__}: {error}") from error
    return module


def load_strategies(files) -> dict:
    """All strategies by name: alkit's, and those of the plugin files. Raises PluginError for one
    that is no `Strategy`, and for a name that alkit has."""
    found = dict(STRATEGIES)
    for file in files:
        _defined(file, "scores", SCORES)  # a wrong one is better known before the first step
        for name, strategy in _defined(file, "strategies", STRATEGIES).items():
            if not isinstance(strategy, Strategy) or strategy.aggregation not in HOW:
                raise PluginError(
                    f"plugins: {file}: strategies[{name!r}] is {strategy!r}; a Strategy(score=…) "
                    f"with an aggregation of {', '.join(HOW)} is wanted"
                )
            found[name] = strategy
    return found


def _defined(file, what: str, taken) -> dict:
    """The dict `what` of a plugin file, whose names are its own: a record of a step names the
    plugin only where its score is not alkit's."""
    found = getattr(load(file), what, {})
    if not isinstance(found, dict):
        raise PluginError(f"plugins: {file}: {what} is {found!r}; a dict of names is wanted")
    for name in found:
        if name in taken:
            raise PluginError(
                f"plugins: {file}: {what}[{name!r}] has the name of alkit's own; choose another"
            )
    return found


def load_score(name: str, files, radius: int):
    """The function that step 2 applies to the probabilities (level, y, x) of each frame, a torch
    tensor; a plugin's gets them as a NumPy array."""
    own = {}
    for file in files:
        own |= _defined(file, "scores", SCORES)
    if name in own:
        return lambda p: own[name](to_numpy(p))
    if name == "divergence":
        return lambda p: scores.divergence(p, radius)
    if name in SCORES:
        return getattr(scores, name)
    raise ValueError(f"score {unknown(name, [*SCORES, *own])}")
