"""The check that a notebook makes of its parameters, first thing after their cell.

Papermill only prints a line about a parameter that a notebook does not take, and assigns it.
"""

import re

from alkit.profiles import unknown

PLAIN = (str, int, float, bool)


def check(names: dict):
    """Compare what papermill injected into a notebook, whose globals are `names`, with the
    annotated names of its parameters cell.

    Raises ValueError for a name that the notebook does not take (with the nearest one) and for a
    value of another type than annotated. What a user's startup file defines is no parameter.
    """
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
            raise ValueError(
                f"parameter {name} is {value!r}, {type(value).__name__}; "
                f"{wanted.__name__} is wanted"
            )
