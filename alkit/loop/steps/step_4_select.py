"""Step 4: the frames to label."""

import warnings
from dataclasses import replace

import numpy as np

from alkit.loop.jsonfile import write_json
from alkit.loop.labels import to_coco
from alkit.loop.runs import Run
from alkit.loop.step import Job, Step, data_key, key_of, labels_keys, weights_key
from alkit.loop.steps.shared import frame_table
from alkit.selection import Reason, Selection
from alkit.strategies import ranked_by, selected, timeline

# What a strategy's `rank` may take, of the job and the pool.
READS = {
    "n": lambda job, pool: len(pool),
    "sequence": lambda job, pool: _timeline(job, pool)[0],
    "frame": lambda job, pool: _timeline(job, pool)[1],
    "labeled": lambda job, pool: job.run.labeled_positions(job.cycle),
    # random numbers, other ones in each cycle, or the same in all of a run
    "rng": lambda job, pool: np.random.default_rng(job.seed("selection")),
    "run_rng": lambda job, pool: np.random.default_rng(replace(job, cycle=0).seed("selection")),
    # of step 1, as COCO results; image ids are positions + 1
    "detections": lambda job, pool: job.run.detections(job.cycle, "pool"),
    # the score from which on W_l has FPPI 1 on `held_out`; without any detection there, infinite
    "limit": lambda job, pool: job.run.held_out()["score_at_1"] or np.inf,
    "features": lambda job, pool: job.run.logits(job.cycle)["features"].values,  # of all frames
    "truth": lambda job, pool: to_coco(job.run.frames("pool")),  # for references alone
    "budget": lambda job, pool: min(job.run.budget(job.cycle), len(pool)),
    "start": lambda job, pool: job.run.experiment.start,
    "name": lambda job, pool: pool.name,
}


def _timeline(job: Job, pool):
    sequence, frame = timeline(pool, job.numbers)
    return (np.zeros(len(pool)), np.arange(len(pool))) if sequence is None else (sequence, frame)


def lack(found: Selection, numbers) -> str:
    """Why no more frames can be chosen than those found: how many have each reason."""
    said = ", ".join(f"{n} {name.lower()}" for name, n in found.counts.items() if n)
    rules = f"exclude_now {numbers.exclude_now}, exclude_later {numbers.exclude_later}"
    return f"of the pool's {len(found.reason)} frames are {said} ({rules})"


def ending(pool, numbers, labeled, rules: bool) -> str:
    """Why no frame can be chosen after those labeled, whatever the scores; "" where one can."""
    found = selected(np.zeros(len(pool)), 1, pool, numbers, labeled, rules)
    return "" if len(found.indices) else f"no frame is left to choose; {lack(found, numbers)}"


def _select(job: Job):
    run, numbers, strategy = job.run, job.numbers, job.run.chooser(job.cycle)
    pool = run.frames("pool").unlabeled()
    labeled = run.labeled_positions(job.cycle)
    if strategy.score is None:
        z = ranked = strategy.rank(**{name: READS[name](job, pool) for name in strategy.reads})
    else:
        table = run.image_scores(job.cycle)
        z = np.full(len(pool), np.nan)
        z[table["position"]] = table["z"]
        ranked = ranked_by(z, pool, numbers, strategy.smoothing)
    rules = strategy.rules and pool.sequence is not None
    budget = run.budget(job.cycle)
    given = min(budget, len(pool)), pool, numbers, labeled, rules, strategy.per_video
    chosen = selected(ranked, *given)
    if not len(chosen.indices):  # else step 6 would train on the same labels again
        raise ValueError(
            f"{run.strategy_name} finds no frame to choose in cycle {job.cycle}; "
            f"{lack(chosen, numbers)}, unscored those that it never takes. Its cycles before hold; "
            "`alkit run --strategies` goes on with other ones"
        )
    near = (chosen.reason == Reason.EXCLUDED_NOW) | (chosen.reason == Reason.EXCLUDED_LATER)
    if rules and not near.any() and np.isfinite(ranked).sum() > len(chosen.indices):
        warnings.warn(
            "the temporal rules exclude no frame of this pool: its frames are further apart than "
            f"exclude_now = {numbers.exclude_now}. `frame` counts steps of the pool's grid; see "
            "`step` of its catalog entry",
            stacklevel=2,
        )
    if len(chosen.indices) < budget:
        found = f"{len(chosen.indices)} of {budget} frames could be chosen"
        warnings.warn(f"{found}; {lack(chosen, numbers)}", stacklevel=2)
    table = frame_table(pool, chosen.indices).assign(
        z=z[chosen.indices], ranked_by=ranked[chosen.indices]
    )
    write_json(
        job.folder / "selection.json",
        {
            "budget": budget,
            "rules": rules,
            "relaxed": chosen.relaxed,
            "chosen": table.astype(object).where(table.notna(), None).to_dict("records"),
            "counts": chosen.counts,
            "ending": ending(
                pool, numbers, [*labeled, *chosen.indices.tolist()], run.strategy.rules
            ),
            "reason_names": {reason.name: int(reason) for reason in Reason},
            "reason": chosen.reason.tolist(),
            "ranked_by": [None if np.isnan(v) else v for v in ranked.tolist()],
        },
    )


def _select_inputs(run: Run, cycle: int) -> dict:
    strategy = run.chooser(cycle)
    inputs = {
        "input_X_u": data_key(run, "pool"),
        **labels_keys(run, range(1, cycle)),
        "smoothing": strategy.smoothing,
        "rules": strategy.rules,
        "per_video": strategy.per_video,
        "budget": run.budget(cycle),
    }
    if strategy.score is not None:
        return inputs | {"input_image scores": key_of(run, cycle, "3_aggregate")}
    inputs |= {"rank": strategy.rank.__name__, "seed": run.seed, "cycle": cycle}
    if "start" in strategy.reads:
        inputs["start"] = run.experiment.start
    if "limit" in strategy.reads:
        inputs["input_W_l"] = weights_key(run, 0)
    if "truth" in strategy.reads:  # which boxes are ignored
        numbers = run.numbers(cycle)
        inputs |= {"image_size": numbers.image_size, "length_scale": numbers.length_scale}
    if strategy.predicts:
        inputs["input_predictions"] = key_of(run, cycle, "1_predict")
    return inputs


SMOOTHING = ("half_width", "sigma", "zero_padding", "score_of_next", "one_video")
RULES = ("exclude_now", "exclude_later", "fill")

choose = Step(
    "4_select",
    _select,
    artifacts=("selection.json",),
    inputs=_select_inputs,
    parameters=(*SMOOTHING, *RULES),
)
