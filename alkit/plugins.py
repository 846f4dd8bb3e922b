"""Your own scores and strategies, from Python files named in an experiment.

A plugin file may define `scores = {"name": function}`, where the function turns probabilities
(level, y, x) into a score map (y, x) in nats, and `strategies = {"name": Strategy(...)}`.
"""

import importlib.util
from pathlib import Path

from alkit import scores
from alkit.profiles import unknown
from alkit.selection import STRATEGIES

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
    """All strategies by name: alkit's, and those of the plugin files."""
    found = dict(STRATEGIES)
    for file in files:
        found |= getattr(load(file), "strategies", {})
    return found


def load_score(name: str, files, radius: int):
    """The function that step 2 applies to the probabilities (level, y, x) of each frame."""
    own = {}
    for file in files:
        own |= getattr(load(file), "scores", {})
    if name in own:
        return own[name]
    if name == "divergence":
        return lambda p: scores.divergence(p, radius)
    if name == "entropy":
        return scores.entropy
    if name == "mutual_information":
        return scores.mutual_information
    raise ValueError(f"score {unknown(name, [*SCORES, *own])}")
