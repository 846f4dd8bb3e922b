"""Labels by people: who draws them, and the formats of their tools.

`alkit.loop.task` says which frames of a cycle are to be labelled and `alkit.loop.answers` keeps
what people say about them. `exchange` writes and reads the files of other tools, `session` and
`page` are the kit's own page; `asking` chooses among them for the notebook.
"""

from alkit.labelling.asking import ask

__all__ = ["ask"]
