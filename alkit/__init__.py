"""Active learning for object detectors, reproducible, in Jupyter.

A cycle of active learning is a line of seven notebooks; each calls one function of
`alkit.loop.steps`. The method itself is in `alkit.scores`, `alkit.aggregation` and
`alkit.selection`.
"""

__version__ = "0.1.0"
