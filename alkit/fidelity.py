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

from alkit import checks, prediction, scores, training
from alkit.aggregation import image_score
from alkit.frames import FrameSet
from alkit.profiles import PAPER, RELEASED, Profile
from alkit.runs import Run
from alkit.selection import select, smooth

FIRST = (5, 10, 20, 50, 100, 200)  # N of the agreements
BASE, ALL = "paper", "all of them"
MC_BASE = "MC dropout, paper: 30 passes, ratio 0.5"

# The profile's numbers behind each row that acts after the weights are there.
ROWS = {
    "window 9×9 instead of 19×19": ("radius",),
    "regions: max filter, sampled": ("region_grid",),
    "no double evaluation": ("double_evaluation",),
    "double evaluation of scores": ("double_average",),
    "TensorFlow 1's bilinear resizing": ("half_pixel",),
    "Eq. (6) across videos": ("smooth_across_videos",),
    "rule 1: one frame less after": ("exclude_now",),
    "filled up without rule 1": ("fill",),
}
MC_ROWS = {
    "MC dropout, other random numbers": {},
    "MC dropout, paper: 30 passes, ratio 0.1": {"mc_ratio": 0.1},
    "MC dropout, released: 15 passes, ratio 0.1": {
        "mc_passes": RELEASED.mc_passes, "mc_ratio": RELEASED.mc_ratio,
    },
}  # fmt: skip
# What needs other weights, or acts only on detections, and what it changes.
LISTED = {
    "default_boxes": "which box each map stands for, and the targets: another W_l and other Θ; "
    "the scores of given maps do not depend on it, they are summed over the maps",
    "box_filter": "which labelled boxes are positives (least height and aspect, CityPersons' and "
    "Caltech's rules): another X_l, other labels of the chosen frames",
    "optimiser": "RMSProp or momentum: another W_l and other Θ",
    "learning_rate": "the rate it starts from: another W_l and other Θ",
    "suppression": "detections alone",
    "protocol": "the evaluation alone",
}


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
    paper's, one for each of `ROWS`, and all of them together."""
    after = _sides(numbers.exclude_now)[1]
    released = {"exclude_now": (after, max(0, after - 1))}
    own = {name for names in ROWS.values() for name in names}
    base = numbers.model_copy(update={name: getattr(PAPER, name) for name in own - {*released}})
    changes = {
        row: {name: released.get(name, getattr(RELEASED, name)) for name in names}
        for row, names in ROWS.items()
    }
    together = {name: value for change in changes.values() for name, value in change.items()}
    found = {BASE: base} | {row: base.model_copy(update=c) for row, c in changes.items()}
    return found | {ALL: base.model_copy(update=together)}


def mc_variants(numbers: Profile) -> dict[str, Profile]:
    """The profiles of MC dropout to compare, by name; the first is the paper's."""
    base = numbers.model_copy(update={"mc_passes": PAPER.mc_passes, "mc_ratio": PAPER.mc_ratio})
    return {MC_BASE: base} | {row: base.model_copy(update=c) for row, c in MC_ROWS.items()}


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
    local, dropped = variants(numbers), mc_variants(numbers) if mc else {}
    # One network for each resizing; always both views, of which a variant may use one.
    views = {p.half_pixel: p.model_copy(update={"double_evaluation": True}) for p in local.values()}
    detectors = {half: training.load_weights(weights, p) for half, p in views.items()}
    found = {name: np.zeros(len(frames)) for name in (*local, *dropped)}
    bar = {"desc": "scores of each variant", "leave": False, "mininterval": 1}
    for i in tqdm(range(len(frames)), disable=not progress, **bar):
        image = frames.images(i)
        logits = {half: prediction.predict(detectors[half], image, p) for half, p in views.items()}
        done = {}  # rows that differ only later have the same maps
        for name, p in local.items():
            key = (p.radius, p.double_evaluation, p.double_average, p.half_pixel, p.region_grid)
            if key not in done:
                done[key] = _z(_divergence(logits[p.half_pixel], p), p)
            found[name][i] = done[key]
        for k, (name, p) in enumerate(dropped.items()):
            found[name][i] = _z(_dropout(detectors[p.half_pixel], image, p, i, k), p)
    return found


def _divergence(logits, p: Profile):
    count = 2 if p.double_evaluation else 1
    coarse, fine = logits[prediction.COARSE][:count], logits[prediction.FINE][:count]
    radius = p.pixels(p.radius)
    return prediction.pixel_scores(lambda maps: scores.divergence(maps, radius), coarse, fine, p)


def _dropout(detector, image, p: Profile, frame: int, variant: int):
    # The control alone has random numbers of its own.
    stream = np.random.SeedSequence(frame, spawn_key=(int(variant == 1),))
    generator = torch.Generator().manual_seed(int(stream.generate_state(1, np.uint32)[0]))
    passes = prediction.dropout_probabilities(detector, image, p, generator)
    return scores.mutual_information(passes)


def _z(s, p: Profile) -> float:
    return float(image_score(s, p.pixels(p.region), grid=p.region_grid))


def rankings(z: dict, frames: FrameSet, numbers: Profile, budget: int = FIRST[-1]) -> dict:
    """Step 4: the `Ranking` of every variant in `z`, with up to `budget` frames chosen."""
    profiles = variants(numbers) | mc_variants(numbers)
    return {name: _ranking(scores, frames, profiles[name], budget) for name, scores in z.items()}


def _ranking(z, frames, p: Profile, budget: int) -> Ranking:
    sequence, frame = frames.sequence, frames.frame
    ranked_by = z
    if sequence is not None:
        one_video = np.zeros(len(z)), np.arange(len(z))
        places = one_video if p.smooth_across_videos else (sequence, frame)
        ranked_by = smooth(z, *places, p.half_width, p.sigma)
    chosen = select(
        ranked_by,
        min(budget, len(z)),
        sequence=sequence,
        frame=frame,
        exclude_now=p.exclude_now,
        exclude_later=p.exclude_later,
        fill=p.fill,
    )
    return Ranking(z, ranked_by, chosen.indices)


def agreement(first, second, n: int) -> float:
    """The share of the first n positions of one order that are among the first n of another; NaN
    where either has fewer."""
    if min(len(first), len(second)) < n:
        return np.nan
    return len(set(first[:n].tolist()) & set(second[:n].tolist())) / n


def table(found: dict) -> pd.DataFrame:
    """One row for each variant, against the paper's (MC dropout's against the paper's MC dropout).

    Columns (what, N): `ranked` is the agreement of the N highest ẑ, before any rule; `chosen` that
    of the first N chosen under the rules, NaN where the rules leave fewer than N; `tau` is
    Kendall's rank correlation τ_b of ẑ over the pool.
    """
    rows = {}
    for name, own in found.items():
        base = found[MC_BASE if name in (MC_BASE, *MC_ROWS) else BASE]
        row = {("tau", ""): float(kendalltau(base.ranked_by, own.ranked_by).statistic)}
        row |= {("ranked", n): agreement(base.order, own.order, n) for n in FIRST}
        row |= {("chosen", n): agreement(base.chosen, own.chosen, n) for n in FIRST}
        rows[name] = row
    result = pd.DataFrame.from_dict(rows, orient="index")
    result.columns = pd.MultiIndex.from_tuples(result.columns)
    return result


def changes(found: dict, name: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The images that a variant changes among the first n chosen: positions that only the paper
    chooses, and those that only the variant chooses, each in the order chosen."""
    base, own = found[BASE].chosen[:n], found[name].chosen[:n]
    return base[~np.isin(base, own)], own[~np.isin(own, base)]


def listed() -> pd.DataFrame:
    """The differences that need other weights or act only on detections: number, paper, released
    code, what it changes."""
    rows = [
        (name, getattr(PAPER, name), getattr(RELEASED, name), what) for name, what in LISTED.items()
    ]
    return pd.DataFrame(rows, columns=["number", "paper", "released", "what it changes"])


def check(found: dict) -> str:
    """The checked line of the notebook."""
    problems = []
    for name, ranking in found.items():
        if not np.isfinite(ranking.z).all() or (ranking.z < 0).any():
            problems.append(f"{name}: an image score is not a finite number ≥ 0")
        if len(set(ranking.chosen.tolist())) < len(ranking.chosen):
            problems.append(f"{name}: a frame is chosen twice")
    if not table(found).loc[BASE].dropna().eq(1).all():
        problems.append("the paper does not agree with itself")
    claim = "fidelity: every variant scores every frame, and the paper agrees with itself"
    return checks.sentence(claim, problems)


def _sides(exclusion):
    return tuple(exclusion) if np.ndim(exclusion) else (exclusion, exclusion)
