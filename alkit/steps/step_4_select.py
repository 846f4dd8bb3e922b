"""Step 4: the frames to label."""

import warnings

import numpy as np

from alkit.jsonfile import write_json
from alkit.runs import Run
from alkit.selection import Reason, random_scores, select, smooth
from alkit.stepping import Job, Step, data_key, key_of, labels_keys
from alkit.steps.shared import frame_table


def _select(job: Job):
    run, numbers, strategy = job.run, job.numbers, job.run.strategy
    pool = run.frames("pool").unlabeled()
    labeled = run.labeled_positions(job.cycle)
    if strategy.score is None:
        z = random_scores(len(pool), np.random.default_rng(job.seed("selection")))
        ranked = z
    else:
        table = run.image_scores(job.cycle)
        z = np.full(len(pool), np.nan)
        z[table["position"]] = table["z"]
        ranked = z
        if strategy.smoothing:
            ranked = smoothed(z, pool, numbers)
    rules = strategy.rules and pool.sequence is not None
    chosen = select(
        ranked,
        run.experiment.budget,
        sequence=pool.sequence if rules else None,
        frame=pool.frame if rules else None,
        labeled=labeled,
        exclude_now=numbers.exclude_now,
        exclude_later=numbers.exclude_later,
        fill=numbers.fill,
    )
    near = (chosen.reason == Reason.EXCLUDED_NOW) | (chosen.reason == Reason.EXCLUDED_LATER)
    if rules and not near.any():
        warnings.warn(
            "the temporal rules exclude no frame of this pool: its frames are further apart than "
            f"exclude_now = {numbers.exclude_now}. `frame` counts steps of the pool's grid; see "
            "`step` of its catalog entry",
            stacklevel=2,
        )
    table = frame_table(pool, chosen.indices).assign(
        z=z[chosen.indices], ranked_by=ranked[chosen.indices]
    )
    counts = {reason.name: int((chosen.reason == reason).sum()) for reason in Reason}
    write_json(
        job.folder / "selection.json",
        {
            "budget": run.experiment.budget,
            "rules": rules,
            "without_rule_1": chosen.relaxed,
            "chosen": table.astype(object).where(table.notna(), None).to_dict("records"),
            "counts": counts,
            "reason_names": {reason.name: int(reason) for reason in Reason},
            "reason": chosen.reason.tolist(),
            "ranked_by": [None if np.isnan(v) else v for v in ranked.tolist()],
        },
    )


def smoothed(z, pool, numbers):
    """ẑ of Eq. (6); across videos it takes the pool for one video, in its order (released)."""
    sequence, frame = pool.sequence, pool.frame
    if numbers.smooth_across_videos and sequence is not None:
        sequence, frame = np.zeros(len(z)), np.arange(len(z))
    return smooth(z, sequence, frame, numbers.half_width, numbers.sigma)


def _select_inputs(run: Run, cycle: int) -> dict:
    strategy = run.strategy
    inputs = {
        "input_X_u": data_key(run, "pool"),
        **labels_keys(run, range(1, cycle)),
        "smoothing": strategy.smoothing,
        "rules": strategy.rules,
        "budget": run.experiment.budget,
    }
    if strategy.score is None:
        return inputs | {"seed": run.seed, "cycle": cycle}
    return inputs | {"input_image scores": key_of(run, cycle, "3_aggregate")}


choose = Step(
    "4_select",
    _select,
    artefacts=("selection.json",),
    inputs=_select_inputs,
    parameters=(
        "half_width",
        "sigma",
        "smooth_across_videos",
        "exclude_now",
        "exclude_later",
        "fill",
    ),
    code=("arrays", "selection"),
)
