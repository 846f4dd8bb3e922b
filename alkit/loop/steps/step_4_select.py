"""Step 4: the frames to label."""

import warnings

import numpy as np

from alkit.loop.jsonfile import write_json
from alkit.loop.runs import Run
from alkit.loop.step import Job, Step, data_key, key_of, labels_keys
from alkit.loop.steps.shared import frame_table
from alkit.selection import Reason, Selection, random_scores, select, smooth


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
        ranked = ranked_by(z, pool, numbers, strategy.smoothing)
    rules = strategy.rules and pool.sequence is not None
    chosen = selected(ranked, run.experiment.budget, pool, numbers, labeled, rules)
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
            "relaxed": chosen.relaxed,
            "chosen": table.astype(object).where(table.notna(), None).to_dict("records"),
            "counts": counts,
            "reason_names": {reason.name: int(reason) for reason in Reason},
            "reason": chosen.reason.tolist(),
            "ranked_by": [None if np.isnan(v) else v for v in ranked.tolist()],
        },
    )


def selected(ranked, budget: int, pool, numbers, labeled, rules: bool = True) -> Selection:
    """The frames that a profile's numbers choose by what they are ranked by."""
    sequence, frame = timeline(pool, numbers) if rules else (None, None)
    return select(
        ranked,
        budget,
        sequence=sequence,
        frame=frame,
        labeled=labeled,
        exclude_now=numbers.exclude_now,
        exclude_later=numbers.exclude_later,
        fill=numbers.fill,
    )


def timeline(pool, numbers) -> tuple:
    """(sequence, frame) of the pool's frames, as Eq. (6) and the rules take them: with `one_video`
    the pool is one video, whose frames lie one behind the other (released); None for stills."""
    if numbers.one_video and pool.sequence is not None:
        return np.zeros(len(pool), np.int64), np.arange(len(pool))
    return pool.sequence, pool.frame


def ranked_by(z, pool, numbers, smoothing: bool = True) -> np.ndarray:
    """What frames are ranked by: z (n,), NaN where there is none, or with `smoothing` its ẑ of
    Eq. (6). With `score_of_next` z is that of the next frame that has one, and the last frame's is
    the first's."""
    if numbers.score_of_next:
        z, scored = z.copy(), np.flatnonzero(np.isfinite(z))
        z[scored] = np.roll(z[scored], -1)
    if not smoothing:
        return z
    own = numbers.half_width, numbers.sigma, numbers.zero_padding
    return smooth(z, *timeline(pool, numbers), *own)


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


SMOOTHING = ("half_width", "sigma", "zero_padding", "score_of_next", "one_video")
RULES = ("exclude_now", "exclude_later", "fill")

choose = Step(
    "4_select",
    _select,
    artifacts=("selection.json",),
    inputs=_select_inputs,
    parameters=(*SMOOTHING, *RULES),
)
