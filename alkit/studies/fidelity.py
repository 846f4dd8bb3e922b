"""How far each difference between the paper and its authors' code moves the choice of images.

One detector predicts one pool; steps 1 to 4 are then done with the paper's numbers, with one of
them replaced by the released code's, and with all of them replaced. What acts before, in training,
would need other weights and is only listed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau
from tqdm import tqdm

from alkit import prediction, scores, training
from alkit.aggregation import image_score
from alkit.frames import FrameSet
from alkit.loop.runs import Run
from alkit.pages import drawing
from alkit.profiles import PAPER, RELEASED, Profile
from alkit.strategies import ranked_by, selected
from alkit.text import sentence

FIRST = (5, 10, 20, 50, 100, 200)  # N of the agreements
BASE, ALL = "paper", "all of them"
SIDE = 6  # images shown that only one of two variants chooses

# The profile's numbers behind each row that acts after the weights are there.
ROWS = {
    "window 9×9 instead of 19×19": ("radius",),
    "regions: max filter, sampled": ("region_grid",),
    "no double evaluation": ("double_evaluation",),
    "double evaluation of scores": ("double_average",),
    "TensorFlow 1's bilinear resizing": ("half_pixel",),
    "Eq. (6) and rules across videos": ("one_video",),
    "Eq. (6): zeros beyond the ends": ("zero_padding",),
    "rule 1: one frame less after": ("exclude_now",),
    "filled up in three passes": ("fill",),
}
# What the code does, or offers, and the profile `released` leaves out.
OPTIONS = {
    "each frame with the next one's score": {"score_of_next": True},
    "sum over all pixels": {"aggregation": "sum"},
    "90th percentile of the pixels": {"aggregation": "percentile"},
    "mean of the highest 90 % of the pixels": {"aggregation": "top_mean"},
}
# A second cycle, after the paper's first `LABELED` frames, by the same detector.
LABELED = 50
SECOND = "second cycle, paper"
SECOND_ROWS = {SECOND: (), "second cycle: labeled frames scored": ("score_labeled",)}
MC, MC_CONTROL = "MC dropout, paper: 30 passes, ratio 0.5", "MC dropout, other random numbers"
MC_ROWS = {
    MC: (),
    MC_CONTROL: (),
    "MC dropout, paper: 30 passes, ratio 0.1": ("mc_ratio",),
    "MC dropout, released: 15 passes, ratio 0.1": ("mc_passes", "mc_ratio"),
}
STEP_4 = {"one_video", "zero_padding", "exclude_now", "fill", "score_of_next", "score_labeled"}
SHOWN = {name for rows in (ROWS, SECOND_ROWS, MC_ROWS) for names in rows.values() for name in names}


@dataclass(frozen=True)
class Ranking:
    """One variant's result on a pool of n frames: `z` (n,) of step 3, `ranked_by` (n,), which is z
    or, on video, ẑ of Eq. (6), and `chosen`, positions in the order chosen under the rules."""

    z: np.ndarray
    ranked_by: np.ndarray
    chosen: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """All positions, highest first, ties to the lower position; no rule applied."""
        return np.argsort(-self.ranked_by, kind="stable")


def variants(numbers: Profile) -> dict[str, Profile]:
    """The profiles to compare, by name, at the size, and with the exclusion, of `numbers`: the
    paper's, one for each of `ROWS`, all of them together, one for each of `OPTIONS`, those of a
    second cycle and those of MC dropout."""
    after = numbers.exclude_now[1] if np.ndim(numbers.exclude_now) else numbers.exclude_now
    code = {name: getattr(RELEASED, name) for name in SHOWN}
    code["exclude_now"] = (after, max(0, after - 1))
    kept = {name: getattr(PAPER, name) for name in SHOWN - {"exclude_now"}}
    rows = {BASE: (), **ROWS, ALL: sum(ROWS.values(), ()), **SECOND_ROWS, **MC_ROWS}
    changes = {row: {name: code[name] for name in names} for row, names in rows.items()} | OPTIONS
    return {row: numbers.model_copy(update=kept | change) for row, change in changes.items()}


def base_of(name: str) -> str:
    """The variant that one is compared with."""
    return MC if name in MC_ROWS else SECOND if name in SECOND_ROWS else BASE


def open_pool(run: Run, name: str, frames: int) -> FrameSet:
    """The first `frames` frames of a data set, all that it has if it has fewer, at the size of the
    run's profile; `street` draws a pool of that many."""
    entry = run.catalog[name]
    own = {"frames": frames} if entry.reader == "street" else {}
    pool = entry.open(run.experiment.numbers.image_size, **own).unlabeled()
    return pool.take(range(min(frames, len(pool))))


def image_scores(weights: Path, frames: FrameSet, numbers: Profile, mc=True, progress=True) -> dict:
    """Steps 1 to 3: z float64 (n,) of every variant, by name.

    `frames` are at the size of `numbers`; `weights` is W_l. Without `mc` the variants of MC
    dropout, which take most of the time, are left out.
    """
    wanted = {name: p for name, p in variants(numbers).items() if mc or name not in MC_ROWS}
    # One network for each resizing; always both views, of which a variant may use one.
    views = {
        p.half_pixel: p.model_copy(update={"double_evaluation": True}) for p in wanted.values()
    }
    detectors = {half: training.load_weights(weights, p) for half, p in views.items()}
    found = {name: np.zeros(len(frames)) for name in wanted}
    bar = {"desc": "scores of each variant", "leave": False, "mininterval": 1}
    for i in tqdm(range(len(frames)), disable=not progress, **bar):
        image = frames.images(i)
        logits = {half: prediction.predict(detectors[half], image, p) for half, p in views.items()}
        done = {}  # rows that differ only in step 4 have the same maps
        for name, p in wanted.items():
            key = p.model_dump_json(exclude=STEP_4), name if name in MC_ROWS else ""
            if key not in done:
                if name in MC_ROWS:
                    s = _dropout(detectors[p.half_pixel], image, p, i, name == MC_CONTROL)
                else:
                    s = _divergence(logits[p.half_pixel], p)
                done[key] = image_score(s, p.pixels(p.region), p.aggregation, p.region_grid)
            found[name][i] = done[key]
    return found


def _divergence(logits, p: Profile):
    count = 2 if p.double_evaluation else 1
    coarse, fine = logits[prediction.COARSE][:count], logits[prediction.FINE][:count]
    radius = p.pixels(p.radius)
    return prediction.pixel_scores(lambda maps: scores.divergence(maps, radius), coarse, fine, p)


def _dropout(detector, image, p: Profile, frame: int, control: bool):
    stream = np.random.SeedSequence(frame, spawn_key=(int(control),))
    generator = torch.Generator().manual_seed(int(stream.generate_state(1, np.uint32)[0]))
    passes = prediction.dropout_probabilities(detector, image, p, generator)
    return scores.mutual_information(passes)


def rankings(z: dict, frames: FrameSet, numbers: Profile, budget: int = FIRST[-1]) -> dict:
    """Step 4: the `Ranking` of every variant in `z`, with up to `budget` frames chosen."""
    profiles, found = variants(numbers), {}
    for name, own in z.items():
        p, own = profiles[name], own.copy()
        labeled = found[BASE].chosen[:LABELED] if name in SECOND_ROWS else []
        if not p.score_labeled:
            own[labeled] = np.nan
        ranked = ranked_by(own, frames, p)
        chosen = selected(ranked, min(budget, len(own)), frames, p, labeled)
        found[name] = Ranking(own, ranked, chosen.indices)
    return found


def agreement(first, second, n: int) -> float:
    """The share that the first n of two orders have in common; NaN where either has fewer."""
    if min(len(first), len(second)) < n:
        return np.nan
    return len(set(first[:n].tolist()) & set(second[:n].tolist())) / n


def table(found: dict) -> pd.DataFrame:
    """One row for each variant, against the paper's (MC dropout's against the paper's MC dropout, a
    second cycle's against the paper's second cycle).

    Columns (what, N): `ranked` is the agreement of the N highest ẑ, before any rule; `chosen` that
    of the first N chosen under the rules, NaN where the rules leave fewer than N; `tau` is
    Kendall's rank correlation τ_b of ẑ over the pool.
    """
    columns = {}
    for name, own in found.items():
        base = found[base_of(name)]
        tau = kendalltau(base.ranked_by, own.ranked_by, nan_policy="omit").statistic
        columns[name] = (
            {("tau", ""): float(tau)}
            | {("ranked", n): agreement(base.order, own.order, n) for n in FIRST}
            | {("chosen", n): agreement(base.chosen, own.chosen, n) for n in FIRST}
        )
    return pd.DataFrame(columns).T


def changes(found: dict, name: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The images that a variant changes among the first n chosen: positions that only the paper
    chooses, and those that only the variant chooses, each in the order chosen."""
    base, own = found[BASE].chosen[:n], found[name].chosen[:n]
    return base[~np.isin(base, own)], own[~np.isin(own, base)]


def changed(frames, found: dict, name: str, n: int):
    """Images that only the paper, and that only a variant, has among its first n chosen."""
    only, items = changes(found, name, n), []
    for kind, positions in zip((BASE, name), only, strict=True):
        for p in positions[:SIDE].tolist():
            rank = found[kind].chosen.tolist().index(p) + 1
            items.append((frames.images(p), f"{kind} only, no. {rank}\n{frames.name[p]}"))
    caption = (
        f"Of the first {n} that the paper chooses {len(only[0])} are its own alone, of the "
        f"variant's first {n} {len(only[1])} are. The first {SIDE} of each, with their places."
    )
    title, empty = f"The images that change: {name}", f"The first {n} chosen are the same images."
    return drawing.contact_sheet(items, SIDE, title, caption, empty)


def listed() -> pd.DataFrame:
    """The numbers that differ and have no row: they act in training or on detections alone."""
    pairs = {name: (getattr(PAPER, name), getattr(RELEASED, name)) for name in Profile.model_fields}
    differ = {name: own for name, own in pairs.items() if own[0] != own[1] and name not in SHOWN}
    return pd.DataFrame.from_dict(differ, orient="index", columns=["paper", "released"])


def check(found: dict) -> str:
    """The checked line of the notebook."""
    problems = [
        f"{name}: an image score is no number ≥ 0, or a frame is chosen twice"
        for name, own in found.items()
        if (own.z >= 0).sum() < len(own.z) - LABELED * (base_of(name) == SECOND)
        or len({*own.chosen.tolist()}) < len(own.chosen)
    ]
    if not np.allclose(table(found).loc[BASE].dropna(), 1):
        problems.append("the paper does not agree with itself")
    claim = "fidelity: every variant scores every frame, and the paper agrees with itself"
    return sentence(claim, problems)
