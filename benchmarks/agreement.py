"""Whether bfloat16 and the maps' quantization change which frames are selected.

By steps 1 to 4 on frames of the pool of `street`: in bfloat16 against float32 from end to end, and
as they are against the same with maps that are not quantized. At the demo's size with its W_l,
where bfloat16 is on here also if steps leave it off because it gains too little; with --long also
at the paper's size and width, with a W_l that is trained first: half an hour on two cores.
"""

import numpy as np
import torch

from alkit import prediction, training
from alkit.aggregation import image_score
from alkit.frames import FrameSet
from alkit.loop import store
from alkit.loop.runs import Run
from alkit.profiles import Profile
from alkit.scores import divergence
from alkit.selection import select, smooth
from alkit.studies import fidelity
from benchmarks import toy
from benchmarks.measuring import Options, Row

REFERENCE_SIZE = Profile().image_size  # the paper's
SHARE = 0.1  # of the frames, the first selected ones that are compared


def rows(options: Options) -> list[Row]:
    run = toy.demo(options)
    numbers = run.experiment.numbers
    detector = training.load_weights(run.weights(0), numbers).eval()
    n = options.pick(1000, 12, 5000)
    found = compared(detector, pool(run, numbers, n), numbers, "")
    if options.long or options.quick:
        full = options.pick({"width": 1.0, "image_size": REFERENCE_SIZE}, {})
        numbers = numbers.model_copy(update=full)
        detector = trained(run, numbers, options)
        found += compared(
            detector, pool(run, numbers, options.pick(1000, 12)), numbers, ".full_width"
        )
    return found


def pool(run: Run, numbers: Profile, n: int) -> FrameSet:
    """The first n frames of the pool of `street`."""
    return run.catalog["street-pool"].open(numbers.image_size, frames=n).unlabeled()


def trained(run: Run, numbers: Profile, options: Options):
    """A detector trained on the stills of `street`, for a part of what `pretrain_epochs` says."""
    stills = run.catalog["street-source"].open(numbers.image_size, frames=options.pick(300, 4))
    detector = training.new_detector(numbers, np.random.SeedSequence(0))
    training.train(detector, stills, numbers, options.pick(5, 1), np.random.SeedSequence(1))
    return detector.eval()


def compared(detector, frames: FrameSet, numbers: Profile, suffix: str) -> list[Row]:
    """The rows of one detector; `suffix` follows their keys."""
    z = image_scores(detector, frames, numbers)
    n = max(1, round(SHARE * len(frames)))
    order = {name: selected(scores, frames, numbers, n) for name, scores in z.items()}
    size = "×".join(map(str, numbers.image_size))
    where = f"width {numbers.width:g}, {size}, {frames.dataset}"
    rows = []
    for key, what, first, second, at_least in (
        ("bfloat16.selection", "bfloat16 against float32", "bfloat16", "float32", 95),
        ("maps.selection", "quantized maps against float32 maps", "ours", "unquantized", 99),
    ):
        both = min(len(order[first]), len(order[second]))
        share = 100 * len({*order[first][:both]} & {*order[second][:both]}) / both
        ranked = 100 * agreement_of_ranks(z[first], z[second], n)
        note = where + ("" if both == n else f"; the rules leave {both} of {n}")
        rows.append(
            Row(
                key + suffix,
                f"first {both} of {len(frames)} selected, {what}, {size}",
                share,
                "%",
                at_least=at_least,
                note=f"{note}; of the {n} highest z {ranked:.1f} % agree",
                details={"ranked_percent": ranked},
            )
        )
    return rows


def image_scores(detector, frames: FrameSet, numbers: Profile) -> dict:
    """z (n,) of step 3 by steps 1 to 3 as they are ("ours"), and with maps that are not quantized:
    by the logits of step 1, in float32 from end to end, and from a network in bfloat16."""
    radius, region = numbers.pixels(numbers.radius), numbers.pixels(numbers.region)
    z = {name: np.zeros(len(frames)) for name in ("ours", "unquantized", "float32", "bfloat16")}
    for i in range(len(frames)):
        image = frames.images(i)
        logits = prediction.predict(detector, image, numbers)
        pairs = {
            "unquantized": (logits[prediction.COARSE], logits[prediction.FINE]),
            "float32": plain_logits(detector, image, numbers.double_evaluation),
            "bfloat16": in_bfloat16(detector, image, numbers.double_evaluation),
        }
        maps = {
            name: prediction.pixel_scores(lambda p: divergence(p, radius), *pair, numbers)
            for name, pair in pairs.items()
        }
        maps["ours"] = store.dequantize(store.quantize(maps["unquantized"]))
        for name, s in maps.items():
            z[name][i] = image_score(s, region, grid=numbers.region_grid)
    return z


def in_bfloat16(detector, image, mirrored: bool) -> tuple:
    """`plain_logits` from a network in bfloat16, stored as step 1 does."""
    with torch.autocast(detector.device.type, torch.bfloat16):
        return tuple(maps.astype(np.float16) for maps in plain_logits(detector, image, mirrored))


def plain_logits(detector, image, mirrored: bool) -> tuple:
    """Logits float32 (view, level, y8, x8) and (view, y4, x4), in the precision that is set."""
    x = torch.from_numpy(image.transpose(2, 0, 1).copy())
    views = [x, x.flip(-1)] if mirrored else [x]
    with torch.inference_mode():
        maps = [[level.float().numpy()[0] for level in detector(v[None])] for v in views]
    return np.stack([levels[:4] for levels in maps]), np.stack([levels[4] for levels in maps])


def selected(z, frames: FrameSet, numbers: Profile, n: int) -> list:
    """The positions that step 4 chooses, in the order chosen."""
    by_time = frames.sequence, frames.frame
    chosen = select(
        smooth(z, *by_time, numbers.half_width, numbers.sigma),
        n,
        sequence=frames.sequence,
        frame=frames.frame,
        exclude_now=numbers.exclude_now,
        exclude_later=numbers.exclude_later,
    )
    return chosen.indices.tolist()


def agreement_of_ranks(first, second, n: int) -> float:
    """The share of the n highest that two scores have in common, no rule applied."""
    orders = (np.argsort(-z, kind="stable") for z in (first, second))
    return fidelity.agreement(*orders, n)
