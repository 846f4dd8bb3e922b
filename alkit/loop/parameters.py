"""The check that a notebook makes of its parameters, first thing after their cell.

Papermill only prints a line about a parameter that a notebook does not take, and assigns it.
"""

import re

from alkit.profiles import unknown

PLAIN = (str, int, float, bool)


def check(names: dict):
    """Raise ValueError for a name that papermill injected into a notebook, whose globals are
    `names`, without its being annotated in the parameters cell, and for a value of another type
    than annotated. What a user's startup file defines is no parameter."""
    annotated = {k: v for k, v in names.get("__annotations__", {}).items() if v in PLAIN}
    # papermill's cell is what the kernel executed before that of the check, its last input
    before = "".join(names.get("In", [])[-2:-1])
    injected = re.findall(r"(?m)^(\w+) = ", before) if before.startswith("# Parameters") else []
    for name in injected:
        if name not in annotated and not name.startswith("PAPERMILL_"):  # its --inject-paths
            raise ValueError(f"parameter {unknown(name, annotated)}")
    for name, wanted in annotated.items():
        value = names.get(name, wanted())
        fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        if not fits and not (wanted is float and type(value) is int):
            given = f"{value!r}, {type(value).__name__}"
            raise ValueError(f"parameter {name} is {given}; {wanted.__name__} is wanted")


def own(run, cycle: int, **given):
    """Say of numbers given to a notebook, those ≥ 0, that a run keeps its own in what it does."""
    for name in [name for name, value in given.items() if value >= 0]:
        kept = getattr(run.numbers(cycle), name)
        print(
            f"{name} = {given[name]} changes what is shown here. The run keeps its own {name}, "
            f"{kept} in the units of its profile: set another by `set: {{{name}: …}}` in a new "
            f"experiment, or by `alkit branch {run.folder} --from-cycle {cycle} --set {name}=…`"
        )
