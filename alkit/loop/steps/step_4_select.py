"""Step 4: the frames to label."""

import warnings
from dataclasses import replace

import numpy as np

from alkit.loop.jsonfile import write_json
from alkit.loop.runs import Run
from alkit.loop.step import Job, Step, data_key, key_of, labels_keys
from alkit.loop.steps.shared import frame_table
from alkit.selection import Reason, Selection
from alkit.strategies import ranked_by, selected, timeline


def lack(found: Selection, numbers) -> str:
    """Why no more frames can be chosen than those found: how many have each reason."""
    said = ", ".join(f"{n} {name.lower()}" for name, n in found.counts.items() if n)
    rules = f"exclude_now {numbers.exclude_now}, exclude_later {numbers.exclude_later}"
    return f"of the pool's {len(found.reason)} frames are {said} ({rules})"


def ending(pool, numbers, labeled, rules: bool) -> str:
    """Why no frame can be chosen after those labeled, whatever the scores; "" where one can."""
    found = selected(np.zeros(len(pool)), 1, pool, numbers, labeled, rules)
    return "" if len(found.indices) else f"no frame is left to choose; {lack(found, numbers)}"


def _read(job: Job, pool, labeled: list, name: str):
    """What a strategy's `rank` takes under this name of `alkit.strategies.READS`."""
    sequence, frame = timeline(pool, job.numbers)
    match name:
        case "sequence":
            return np.zeros(len(pool), np.int64) if sequence is None else sequence
        case "frame":
            return np.arange(len(pool)) if frame is None else frame
        case "labeled":
            return labeled
        case "run_rng":
            return np.random.default_rng(replace(job, cycle=0).seed("selection"))


def _select(job: Job):
    run, numbers, strategy = job.run, job.numbers, job.run.strategy
    pool = run.frames("pool").unlabeled()
    labeled = run.labeled_positions(job.cycle)
    if strategy.rank:
        z = ranked = strategy.rank(*(_read(job, pool, labeled, name) for name in strategy.reads))
    elif strategy.score is None:
        z = np.random.default_rng(job.seed("selection")).random(len(pool))
        ranked = z
    else:
        table = run.image_scores(job.cycle)
        z = np.full(len(pool), np.nan)
        z[table["position"]] = table["z"]
        ranked = ranked_by(z, pool, numbers, strategy.smoothing)
    rules = strategy.rules and pool.sequence is not None
    budget = min(run.experiment.budget, len(pool))
    chosen = selected(ranked, budget, pool, numbers, labeled, rules)
    near = (chosen.reason == Reason.EXCLUDED_NOW) | (chosen.reason == Reason.EXCLUDED_LATER)
    if rules and not near.any():
        warnings.warn(
            "the temporal rules exclude no frame of this pool: its frames are further apart than "
            f"exclude_now = {numbers.exclude_now}. `frame` counts steps of the pool's grid; see "
            "`step` of its catalog entry",
            stacklevel=2,
        )
    if len(chosen.indices) < run.experiment.budget:
        found = f"{len(chosen.indices)} of {run.experiment.budget} frames could be chosen"
        warnings.warn(f"{found}; {lack(chosen, numbers)}", stacklevel=2)
    table = frame_table(pool, chosen.indices).assign(
        z=z[chosen.indices], ranked_by=ranked[chosen.indices]
    )
    write_json(
        job.folder / "selection.json",
        {
            "budget": run.experiment.budget,
            "rules": rules,
            "relaxed": chosen.relaxed,
            "chosen": table.astype(object).where(table.notna(), None).to_dict("records"),
            "counts": chosen.counts,
            "ending": ending(pool, numbers, [*labeled, *chosen.indices.tolist()], strategy.rules),
            "reason_names": {reason.name: int(reason) for reason in Reason},
            "reason": chosen.reason.tolist(),
            "ranked_by": [None if np.isnan(v) else v for v in ranked.tolist()],
        },
    )


def _select_inputs(run: Run, cycle: int) -> dict:
    strategy = run.strategy
    inputs = {
        "input_X_u": data_key(run, "pool"),
        **labels_keys(run, range(1, cycle)),
        "smoothing": strategy.smoothing,
        "rules": strategy.rules,
        "budget": run.experiment.budget,
    }
    if strategy.rank:
        return inputs | {"rank": strategy.rank.__name__, "seed": run.seed}
    if strategy.score is None:
        return inputs | {"seed": run.seed, "cycle": cycle}
    return inputs | {"input_image scores": key_of(run, cycle, "3_aggregate")}


SMOOTHING = ("half_width", "sigma", "zero_padding", "score_of_next", "one_video")
RULES = ("exclude_now", "exclude_later", "fill")

choose = Step(
    "4_select",
    _select,
    artifacts=("selection.json",),
    inputs=_select_inputs,
    parameters=(*SMOOTHING, *RULES),
)
