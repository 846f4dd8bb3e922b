"""One function for each notebook of a cycle; the paper's Figure 1 from top to bottom.

Every function takes a run folder and a cycle, reads what the steps before wrote, writes its own
artefacts and, last, its record. A complete step is not done again; a stale one is an error.
"""

import warnings

import numpy as np
import pandas as pd
import torch

from alkit import labels, prediction, store, training
from alkit.aggregation import image_score
from alkit.evaluation import evaluate as evaluate_detections
from alkit.plugins import load_score
from alkit.runs import Run, read_json, write_json
from alkit.selection import Reason, random_scores, select, smooth
from alkit.stepping import Job, Step, data_key, key_of, labels_keys, weights_key

# --- 0: W_l from X_l --------------------------------------------------------------------------


def _pretrain(job: Job):
    frames = job.run.frames("labeled")
    if not training.has_pedestrian(frames):
        raise ValueError(
            f"{frames.dataset}: none of the {len(frames)} labelled frames holds a pedestrian that "
            "passes the filter, so there is nothing to learn W_l from. Check the filter and the "
            "class names of the catalog entry (`alkit data stats NAME` counts both)"
        )
    detector = training.new_detector(job.numbers, job.seed("weights"))
    _train(job, detector, frames, job.numbers.pretrain_epochs)
    held_out = {}
    if job.run.experiment.held_out:
        held_out, _ = measure(detector, job.run.frames("held_out"), job)
    write_json(job.folder / "held_out.json", held_out)


def _train(job: Job, detector, frames, epochs: int):
    checkpoint = job.folder / "checkpoint.safetensors"
    losses = training.train(
        detector, frames, job.numbers, epochs, job.seed("training"), checkpoint, job.key,
        job.progress,
    )  # fmt: skip
    write_json(job.folder / "losses.json", losses)
    training.save_weights(detector, job.folder / "weights.safetensors")
    checkpoint.unlink(missing_ok=True)


def measure(detector, frames, job: Job) -> tuple[dict, list]:
    """The evaluation of a detector on labelled frames, and its detections."""
    truth = labels.to_coco(frames)
    found = prediction.detect_all(detector, frames.unlabeled(), job.numbers, job.progress)
    result = evaluate_detections(truth, found, protocol=job.numbers.protocol)
    up_to_1 = result.scores[result.fppi <= 1.0]
    return {
        "dataset": frames.dataset,
        "protocol": job.numbers.protocol,
        "images": result.n_images,
        "boxes": result.n_boxes,
        "fppi": result.fppi.tolist(),
        "miss_rate": result.miss_rate.tolist(),
        "miss_rate_at_1": result.miss_rate_at(1.0),
        "score_at_1": float(up_to_1[-1]) if len(up_to_1) else None,
        "lamr": result.lamr,
    }, found


IMAGES = ("filters", "frames", "imagefile", "readers", "video")  # what images go through
TRAINING = (
    "image_size", "width", "half_pixel", "default_boxes", "assign_iou", "clear_patch",
    "positive_patch", "filtered_boxes", "n2p", "min_positives", "learning_rate",
    "final_learning_rate", "weight_decay", "batch_size", "flip",
)  # fmt: skip
DETECTING = (
    "image_size", "width", "half_pixel", "default_boxes", "double_evaluation", "decode_mean",
    "decode_window", "decode_threshold", "decode_area", "suppression",
)  # fmt: skip

pretrain = Step(
    "0_pretrain",
    _pretrain,
    artefacts=("weights.safetensors", "losses.json", "held_out.json"),
    inputs=lambda run, cycle: {
        "input_X_l": data_key(run, "labeled"),
        "input_held_out": data_key(run, "held_out") if run.experiment.held_out else None,
        "seed": run.seed,
    },
    parameters=tuple(dict.fromkeys((*TRAINING, *DETECTING, "pretrain_epochs", "protocol"))),
    code=(*IMAGES, "boxes", "detector", "evaluation", "labels", "prediction", "steps", "training"),
)


# --- 1: predictions of every unlabelled frame -------------------------------------------------


def unlabeled_positions(run: Run, cycle: int, n: int) -> np.ndarray:
    """Positions of the pool that nobody has labelled before `cycle`."""
    return np.setdiff1d(np.arange(n), run.labeled_positions(cycle))


def _predict(job: Job):
    pool = job.run.frames("pool").unlabeled()
    positions = unlabeled_positions(job.run, job.cycle, len(pool))
    detector = training.load_weights(job.run.weights(job.cycle - 1), job.numbers)
    arrays = prediction.logit_arrays(job.numbers)
    group = store.create(job.folder / "logits.zarr", positions, arrays, job.key)
    parts = job.folder / "pool_detections"
    for block in store.shards(group):
        found, logits = [], []
        for position in positions[block].tolist():
            logits.append(prediction.predict(detector, pool.images(position), job.numbers))
            found += prediction.detect(logits[-1], position + 1, job.numbers)
            job.progress(block.start + len(logits), len(positions))
        write_json(parts / f"{block.start:08d}.json", found)
        store.write_shard(group, block, {k: np.stack([x[k] for x in logits]) for k in arrays})
    found = [d for file in sorted(parts.glob("*.json")) for d in read_json(file)]
    write_json(job.folder / "pool_detections.json.gz", found, compress=True)
    store.remove(parts)


predict = Step(
    "1_predict",
    _predict,
    artefacts=("logits.zarr", "pool_detections.json.gz"),
    inputs=lambda run, cycle: {
        "input_X_u": data_key(run, "pool"),
        "input_weights": weights_key(run, cycle - 1),
        **labels_keys(run, range(1, cycle)),
    },
    parameters=DETECTING,
    code=(*IMAGES, "boxes", "detector", "prediction", "steps", "store"),
)


# --- 2: a score for every pixel ---------------------------------------------------------------


def _score(job: Job):
    logits = job.run.logits(job.cycle)
    positions = logits["position"].values
    name = job.run.strategy.score
    score = load_score(name, job.run.experiment.plugins, job.numbers.pixels(job.numbers.radius))
    if name == "mutual_information":
        of_block = _dropout_blocks(job, positions)
    else:

        def of_block(block):
            part = logits.isel(frame=block).load()
            for coarse, fine in zip(
                part[prediction.COARSE].values, part[prediction.FINE].values, strict=True
            ):
                yield prediction.probabilities(coarse, fine, job.numbers)

    size = job.numbers.image_size
    arrays = {"score_root": (("y", "x"), size, np.uint8)}
    group = store.create(job.folder / "scores.zarr", positions, arrays, job.key)
    for block in store.shards(group):
        maps = np.empty((block.stop - block.start, *size), np.uint8)
        for i, p in enumerate(of_block(block)):
            maps[i] = store.quantise(score(p))
            job.progress(block.start + i + 1, len(positions))
        store.write_shard(group, block, {"score_root": maps})


def _dropout_blocks(job: Job, positions):
    """Probabilities (pass, level, y, x) of frames under MC dropout: passes share the features.

    Each frame has its own random numbers, so that where a run was interrupted does not matter.
    """
    pool = job.run.frames("pool").unlabeled()
    detector = training.load_weights(job.run.weights(job.cycle - 1), job.numbers)
    seeds = job.seed("dropout").generate_state(len(pool), np.uint64) >> np.uint64(1)

    def of_block(block):
        for position in positions[block].tolist():
            image = pool.images(position)
            generator = torch.Generator().manual_seed(int(seeds[position]))
            yield prediction.dropout_probabilities(detector, image, job.numbers, generator)

    return of_block


score = Step(
    "2_score",
    _score,
    artefacts=("scores.zarr",),
    inputs=lambda run, cycle: {
        "input_predictions": key_of(run, cycle, "1_predict"),
        "score": run.strategy.score,
        **({"seed": run.seed} if run.strategy.score == "mutual_information" else {}),
    },
    parameters=("image_size", "width", "half_pixel", "radius", "mc_passes", "mc_ratio"),
    code=(*IMAGES, "detector", "plugins", "prediction", "scores", "steps", "store"),
)


# --- 3: a score for every image ---------------------------------------------------------------


def _aggregate(job: Job):
    maps = job.run.scores(job.cycle)
    region = job.numbers.pixels(job.numbers.region)
    z = image_score(maps.data, region, how=job.run.strategy.aggregation)
    z = np.concatenate(
        [_reported(block, i, z.npartitions, job) for i, block in enumerate(z.partitions)]
    )
    pool = job.run.frames("pool").unlabeled()
    positions = maps["position"].values
    table = frame_table(pool, positions).assign(z=z)
    partial = job.folder / "image_scores.partial"
    table.to_csv(partial, index=False)
    partial.replace(job.folder / "image_scores.csv")


def _reported(block, i: int, total: int, job: Job):
    values = np.asarray(block, np.float64)
    job.progress(i + 1, total)
    return values


def frame_table(frames, positions) -> pd.DataFrame:
    """position, name, sequence and frame of some frames; the last two are empty for stills."""
    return pd.DataFrame(
        {
            "position": positions,
            "name": [frames.name[i] for i in positions],
            "sequence": None if frames.sequence is None else frames.sequence[positions],
            "frame": None if frames.frame is None else frames.frame[positions],
        }
    )


aggregate = Step(
    "3_aggregate",
    _aggregate,
    artefacts=("image_scores.csv",),
    inputs=lambda run, cycle: {
        "input_scores": key_of(run, cycle, "2_score"),
        "aggregation": run.strategy.aggregation,
    },
    parameters=("image_size", "region"),
    code=("aggregation", "steps", "store"),
)


# --- 4: the frames to label -------------------------------------------------------------------


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
            ranked = smooth(z, pool.sequence, pool.frame, numbers.half_width, numbers.sigma)
    rules = strategy.rules and pool.sequence is not None
    chosen = select(
        ranked,
        run.experiment.budget,
        sequence=pool.sequence if rules else None,
        frame=pool.frame if rules else None,
        labeled=labeled,
        exclude_now=numbers.exclude_now,
        exclude_later=numbers.exclude_later,
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
            "chosen": table.astype(object).where(table.notna(), None).to_dict("records"),
            "counts": counts,
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
    if strategy.score is None:
        return inputs | {"seed": run.seed, "cycle": cycle}
    return inputs | {"input_image scores": key_of(run, cycle, "3_aggregate")}


choose = Step(
    "4_select",
    _select,
    artefacts=("selection.json",),
    inputs=_select_inputs,
    parameters=("half_width", "sigma", "exclude_now", "exclude_later"),
    code=("selection", "steps"),
)


# --- 5: their labels --------------------------------------------------------------------------


def _label(job: Job):
    pool = job.run.frames("pool")  # the oracle alone sees the hidden boxes
    positions = [frame["position"] for frame in job.run.selection(job.cycle)["chosen"]]
    answer = labels.to_coco(pool, positions, job.progress)
    seconds = len(positions) * job.numbers.label_seconds
    info = {"source": "oracle", "labeling_seconds": seconds}
    write_json(job.folder / "labels.json", {"info": info, **answer})


label = Step(
    "5_label",
    _label,
    artefacts=("labels.json",),
    inputs=lambda run, cycle: {
        "input_selection": key_of(run, cycle, "4_select"),
        "input_X_u": data_key(run, "pool"),
    },
    parameters=("image_size", "label_seconds"),
    code=(*IMAGES, "labels", "steps"),
)


# --- 6: Θ from W_l on X_al --------------------------------------------------------------------


def _retrain(job: Job):
    run = job.run
    cycles = [run.labels(k) for k in range(1, job.cycle + 1)]
    frames = labels.labeled_frames(run.frames("pool").unlabeled(), cycles)
    if not training.has_pedestrian(frames):  # chance may choose so: the strategy's own result
        warnings.warn(f"none of the {len(frames)} labelled frames holds a pedestrian", stacklevel=2)
    if job.numbers.replay:
        frames = labels.concatenate(run.frames("labeled"), frames)
    detector = training.load_weights(run.weights(0), job.numbers)
    _train(job, detector, frames, job.numbers.epochs)


retrain = Step(
    "6_retrain",
    _retrain,
    artefacts=("weights.safetensors", "losses.json"),
    inputs=lambda run, cycle: {
        "input_W_l": weights_key(run, 0),
        "input_X_u": data_key(run, "pool"),
        **labels_keys(run, range(1, cycle + 1)),
        **({"input_X_l": data_key(run, "labeled")} if run.numbers(cycle).replay else {}),
        "seed": run.seed,
        "cycle": cycle,
    },
    parameters=(*TRAINING, "epochs", "replay"),
    code=(*IMAGES, "boxes", "detector", "labels", "steps", "training"),
)


# --- 7: miss rate against false positives per image -------------------------------------------


def _evaluate(job: Job):
    run = job.run
    detector = training.load_weights(run.weights(job.cycle), job.numbers)
    result, found = measure(detector, run.frames("test"), job)
    counts = {"images": 0, "pedestrians": 0, "labeling_seconds": 0.0}
    for k in range(1, job.cycle + 1):
        given = run.labels(k)
        own = labels.count(given) | {"labeling_seconds": given["info"]["labeling_seconds"]}
        counts = {name: counts[name] + own[name] for name in counts}
    write_json(job.folder / "evaluation.json", {"labeled": counts, **result})
    write_json(job.folder / "test_detections.json.gz", found, compress=True)


evaluate = Step(
    "7_evaluate",
    _evaluate,
    artefacts=("evaluation.json", "test_detections.json.gz"),
    inputs=lambda run, cycle: {
        "input_test": data_key(run, "test"),
        "input_weights": weights_key(run, cycle),
        **labels_keys(run, range(1, cycle + 1)),
    },
    parameters=(*DETECTING, "protocol"),
    code=(*IMAGES, "boxes", "detector", "evaluation", "labels", "prediction", "steps"),
)

CYCLE = (predict, score, aggregate, choose, label, retrain, evaluate)
STEPS = {step.name: step for step in (pretrain, *CYCLE)}


def of_strategy(strategy) -> tuple:
    """The steps of a cycle: a strategy that needs no prediction skips 1 to 3."""
    return CYCLE if strategy.score is not None else CYCLE[3:]
