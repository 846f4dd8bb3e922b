"""Labels by people: who labels a cycle now, and the formats of other tools.

`alkit.loop.task` says which frames are to be labeled, `alkit.loop.answers` keeps what people say
about them, and `alkit.pages.labeling` is the page to draw on.
"""
