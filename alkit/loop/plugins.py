"""Your own scores and strategies, from Python files named in an experiment.

A plugin file may define `scores = {"name": function}` and `strategies = {"name": Strategy(...)}`.
A score's function takes probabilities, NumPy float32 (level, y, x) in [0, 1], and gives a score map
(y, x) in nats, in [0, 5·ln 2] and without NaN, the higher the more a frame is wanted. It depends on
its argument alone. `notebooks/your_own_score.ipynb` writes one.
"""

import runpy

from alkit import scores
from alkit.aggregation import HOW
from alkit.arrays import to_numpy
from alkit.profiles import unknown
from alkit.strategies import STRATEGIES, Strategy

SCORES = {"divergence", "entropy", "mutual_information"}  # step 2 knows what each of them needs


def _load(files) -> tuple[dict, dict]:
    """The scores and the strategies of plugin files. Their names are their own: a record of a step
    names the plugin only where its score is not alkit's. Raises ValueError naming the file."""
    found = {"scores": {}, "strategies": {}}
    for file in files:
        try:
            defined = runpy.run_path(file)
            for what, taken in (("scores", SCORES), ("strategies", STRATEGIES)):
                own = dict(defined.get(what, {}))
                if twice := {*own} & {*taken}:
                    name = f"{what}[{min(twice)!r}]"
                    raise ValueError(f"{name} has the name of alkit's own; choose another")
                found[what] |= own
        except Exception as error:
            raise ValueError(f"plugins: {file}: {type(error).__name__}: {error}") from error
    return found["scores"], found["strategies"]


def load_strategies(files) -> dict:
    """All strategies by name: alkit's, and those of the plugin files.

    Raises ValueError for one that is no `Strategy`, for a score or an aggregation that nobody
    defines, and for a name that alkit has.
    """
    own_scores, own = _load(files)
    known = [*SCORES, *own_scores]
    for name, strategy in own.items():
        what = f"plugins: strategies[{name!r}]"
        if not isinstance(strategy, Strategy) or strategy.aggregation not in HOW:
            raise ValueError(
                f"{what} is {strategy!r}; expected a Strategy(score=…) with an aggregation of "
                f"{', '.join(HOW)}"
            )
        if strategy.score is not None and strategy.score not in known:
            raise ValueError(f"{what}: score: {unknown(strategy.score, known)}")
    return STRATEGIES | own


def load_score(name: str, files, radius: int):
    """The function that step 2 applies to the probabilities (level, y, x) of each frame, a torch
    tensor; a plugin's gets them as a NumPy array."""
    if name == "divergence":
        return lambda p: scores.divergence(p, radius)
    if name in SCORES:
        return getattr(scores, name)
    own = _load(files)[0][name]
    return lambda p: own(to_numpy(p))
