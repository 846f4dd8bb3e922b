"""One real cycle of street frames, steps 1 to 6, against its plan from unit costs.

On a GPU at the paper's size, b = 500 and T = 50; elsewhere at the demo's size, with the demo's W_l,
b and T. The frames are drawn before, into JPEG files.
"""

import tempfile
from functools import partial
from pathlib import Path

import torch

from alkit import profiles, training
from alkit.loop import planning, steps
from benchmarks import toy
from benchmarks.gpu import BUDGET
from benchmarks.measuring import Options, Row, seconds
from benchmarks.steps import size_of

PARTS = steps.CYCLE[:-1]  # all but the evaluation


def rows(options: Options) -> list[Row]:
    gpu = torch.cuda.is_available()
    if gpu:
        profile, budget = "paper", options.pick(BUDGET, 2)
        overrides = options.pick({}, {"image_size": (96, 128), "width": 0.25, "epochs": 1})
        numbers = profiles.profile(profile, overrides)
        detector = toy.untrained(numbers, toy.pictures(numbers.image_size, 1)[0])
    else:
        demo = toy.demo(options)
        settings, numbers = demo.experiment, demo.numbers(1)
        profile, overrides, budget = settings.profile, settings.set, settings.budget
        detector = training.load_weights(demo.weights(0), numbers)
    n = options.pick(5000 if gpu else 1000, 2 * budget, 5000)
    with tempfile.TemporaryDirectory() as folder:
        run = toy.street_experiment(Path(folder), profile, overrides, n, budget, detector)
        unit = planning.measure(run.experiment, ["divergence"])
        taken = {step.name: seconds(partial(step, run, 1)) for step in PARTS}
        labeled = len(run.labels(1)["images"])
    iterations = numbers.epochs * -(-labeled // numbers.batch_size)
    planned = {
        "1_predict": n * unit["predict"],
        "2_score": n * unit["score"]["divergence"],
        "3_aggregate": n * unit["aggregate"],
        "6_retrain": iterations * unit["train"],
    }
    whole, plan = sum(taken.values()), sum(planned.values())
    in_words = ", ".join(
        f"{name} {time:.3g} s" + (f" ({planned[name]:.3g})" if name in planned else "")
        for name, time in taken.items()
    )
    where = torch.cuda.get_device_name() if gpu else "processor"
    return [
        Row(
            "cycle.whole",
            f"steps 1 to 6 of {n} street frames, {size_of(numbers)}",
            whole,
            "s",
            "the plan from unit costs",
            plan,
            whole / plan,
            note=f"{where}; {labeled} labeled, {iterations} iterations; {in_words}",
            details={"taken_s": taken, "planned_s": planned},
        )
    ]
