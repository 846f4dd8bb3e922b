"""Active learning for object detectors, reproducible, in Jupyter.

A cycle of active learning is a line of seven notebooks; each calls one function of
`alkit.loop.steps`. The method itself is in `alkit.scores`, `alkit.aggregation` and
`alkit.selection`. Six calls lead from images to a ranking:

    open_frames → initial_detector → predict_probabilities → divergence → image_score → select

They and all modules are imported when they are first asked for, so `import alkit` takes no time.
"""

import importlib
import pkgutil

__version__ = "0.1.0"

CALLS = {  # exported by name, and the module that holds each
    "open_frames": "catalog",
    "initial_detector": "training",
    "predict_probabilities": "prediction",
    "divergence": "scores",
    "image_score": "aggregation",
    "select": "selection",
}
__all__ = list(CALLS)


def __getattr__(name: str):
    module = f"alkit.{CALLS.get(name, name)}"
    try:
        if name.startswith("_"):  # asked for by tools; alkit.__main__ would start the program
            raise ModuleNotFoundError(name=module)
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise AttributeError(f"module 'alkit' has no attribute {name!r}") from None
    return getattr(found, name) if name in CALLS else found


def __dir__():
    return sorted({*globals(), *CALLS, *(module.name for module in pkgutil.iter_modules(__path__))})
