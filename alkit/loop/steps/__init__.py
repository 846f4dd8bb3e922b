"""The steps of a cycle, one module and one function for each notebook: the paper's Figure 1.

Every function takes a run folder and a cycle, reads what the steps before wrote, writes its own
artifacts and, last, its record. A complete step is not done again; a stale one is an error.
"""

import contextlib

from alkit.loop.steps.step_0_pretrain import pretrain
from alkit.loop.steps.step_1_predict import predict
from alkit.loop.steps.step_2_score import score
from alkit.loop.steps.step_3_aggregate import aggregate
from alkit.loop.steps.step_4_select import choose
from alkit.loop.steps.step_5_label import label
from alkit.loop.steps.step_6_retrain import retrain
from alkit.loop.steps.step_7_evaluate import evaluate

SCORING = (predict, score, aggregate)
CYCLE = (*SCORING, choose, label, retrain, evaluate)
STEPS = {step.name: step for step in (pretrain, *CYCLE)}


def of_cycle(run, cycle: int) -> tuple:
    """The steps of a run's cycle, of W_l's in cycle 0: a strategy without a pixel score skips 2 and
    3, one that needs no prediction also 1, and without a test set there is no 7."""
    own = CYCLE if cycle else (pretrain, evaluate)
    with contextlib.suppress(ValueError):  # of a plugin that is gone the records can be shown
        if cycle and (strategy := run.chooser(cycle)).score is None:
            own = own[not strategy.predicts : 1] + own[len(SCORING) :]
    return own if run.settings["test"] else own[:-1]
