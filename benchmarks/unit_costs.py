"""What a frame and an iteration of the paper's protocol cost here: for time to completion."""

from alkit.loop import planning
from alkit.loop.settings import Experiment
from benchmarks.measuring import Options, Row


def rows(options: Options) -> list[Row]:
    overrides = options.pick({}, {"image_size": (96, 128), "width": 0.25})
    settings = Experiment(
        name="paper",
        labeled="street-source",
        pool="street-pool",
        test="street-test",
        profile="paper",
        set=overrides,
        cycles=1,
        budget=1,
    )
    size = settings.numbers.image_size
    found = planning.measure(settings, ["divergence"])
    where = f"width {settings.numbers.width:g}, {size[0]}×{size[1]}"
    return [
        Row(f"costs.{key}", f"unit cost: {what}, {where}", 1e3 * value, "ms")
        for key, what, value in (
            ("predict", "prediction of a frame, both views, and its boxes", found["predict"]),
            ("score", "its score map", found["score"]["divergence"]),
            ("aggregate", "its image score", found["aggregate"]),
            ("train", "one training iteration", found["train"]),
        )
    ]
