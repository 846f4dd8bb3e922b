"""The check that a notebook makes of its parameters, first thing after their cell.

Papermill only prints a line about a parameter that a notebook does not take, and assigns it.
"""

from alkit.profiles import unknown

IPYTHON = {"In", "Out", "exit", "quit", "get_ipython", "open"}
CHECKED = "__parameters_checked__"


def check(names: dict):
    """Compare a notebook's globals, `names`, with the annotated names of its parameters cell.

    Raises ValueError for a name that the notebook does not take (with the nearest one) and for a
    value of another type than annotated. A notebook calls it before it imports anything else; when
    all cells run again in the same kernel, the types alone are checked.
    """
    annotated = names.get("__annotations__", {})
    for name, value in names.items():
        # A second run in the same kernel finds the notebook's own names, which are no parameters.
        own = name.startswith("_") or name in IPYTHON or value is check or CHECKED in names
        if name not in annotated and not own:
            raise ValueError(f"parameter {unknown(name, annotated)}")
    for name, wanted in annotated.items():
        value = names[name]
        fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        if not fits and not (wanted is float and type(value) is int):
            raise ValueError(
                f"parameter {name} is {value!r}, {type(value).__name__}; "
                f"{wanted.__name__} is wanted"
            )
    names[CHECKED] = True


def own(run, cycle: int, **given):
    """Say of numbers given to a notebook, those ≥ 0, that a run keeps its own in what it does."""
    for name in [name for name, value in given.items() if value >= 0]:
        kept = getattr(run.numbers(cycle), name)
        print(
            f"{name} = {given[name]} changes what is shown here. The run keeps its own {name}, "
            f"{kept} in the units of its profile: set another by `set: {{{name}: …}}` in a new "
            f"experiment, or by `alkit branch {run.folder} --from-cycle {cycle} --set {name}=…`"
        )
