"""Labels by people: who labels a cycle now, and the formats of other tools.

`alkit.loop.task` says which frames of a cycle are to be labeled and `alkit.loop.answers` keeps
what people say about them. `exchange` writes and reads the files of other tools, `session` lets one
person at a time answer; the page to draw on is `alkit.pages.labeling`.
"""
