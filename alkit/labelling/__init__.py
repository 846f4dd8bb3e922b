"""Labels by people: what is to be labelled, their answers, and the formats of their tools.

`task` says which frames of a cycle are to be labelled, `answers` keeps what people say about them,
`exchange` writes and reads the files of other tools, `session` and `page` are the kit's own page;
`asking` chooses among them for the notebook.
"""

from alkit.labelling.answers import LabelsWanted, answers_digest, labels, progress, wanted
from alkit.labelling.answers import path_of as answers_path
from alkit.labelling.asking import ask
from alkit.labelling.task import IGNORE, Task, task

__all__ = [
    "IGNORE", "LabelsWanted", "Task", "answers_digest", "answers_path", "ask", "labels", "progress",
    "task", "wanted",
]  # fmt: skip
