"""The check that a notebook makes of its parameters, first thing after their cell.

Papermill only prints a line about a parameter that a notebook does not take, and assigns it.
"""

import ast

from alkit.profiles import unknown

PLAIN = (str, int, float, bool)
PATHS = {"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"}  # of its option --inject-paths


def check(names: dict):
    """Compare what papermill injected into a notebook, whose globals are `names`, with the
    annotated names of its parameters cell.

    Raises ValueError for a name that the notebook does not take (with the nearest one) and for a
    value of another type than annotated. Names that came from elsewhere, a startup file of
    IPython's say, are nobody's parameters.
    """
    annotated = {k: v for k, v in names.get("__annotations__", {}).items() if v in PLAIN}
    for name in _injected(names):
        if name not in annotated.keys() | PATHS:
            raise ValueError(f"parameter {unknown(name, annotated)}")
    for name in annotated.keys() & names.keys():
        value, wanted = names[name], annotated[name]
        fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        if not fits and not (wanted is float and type(value) is int):
            raise ValueError(
                f"parameter {name} is {value!r}, {type(value).__name__}; "
                f"{wanted.__name__} is wanted"
            )


def _injected(names: dict) -> list:
    """The names that papermill's cell assigns: it begins with this comment, and is the one that the
    kernel executed before the cell of the check, the last of its inputs `In`."""
    for source in names.get("In", [])[-2:-1]:
        if source.startswith("# Parameters"):
            assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
            return [target.id for node in assigned for target in node.targets]
    return []
