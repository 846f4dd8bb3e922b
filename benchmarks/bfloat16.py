"""The forward pass in bfloat16 against float32 in channels-last, at full width."""

import numpy as np
import torch

from alkit import training
from alkit.detector import autocast
from alkit.profiles import Profile
from benchmarks.measuring import Options, Row, faster, interleaved

LEAST_GAIN = 1.2  # below it bfloat16 is to be off


def rows(options: Options) -> list[Row]:
    numbers = Profile(**options.pick({}, {"image_size": (96, 128), "width": 0.25}))
    height, width = numbers.image_size
    what = f"forward in bfloat16, width {numbers.width:g}, {height}×{width}"
    detector = training.new_detector(numbers, np.random.SeedSequence(0)).eval()
    detector = detector.to(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (1, 3, height, width), np.uint8))

    def in_float32():
        with torch.inference_mode():
            detector(image)

    def in_bfloat16():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            detector(image)

    taken = interleaved({"ours": in_bfloat16, "float32": in_float32}, options.pick(15, 3))
    against = "float32, channels-last"
    row = faster("bfloat16.forward", what, taken["ours"], against, taken["float32"])
    with autocast(detector):
        used = torch.is_autocast_enabled("cpu")
    gains = row.ratio >= LEAST_GAIN
    note = f"the kit has it {'on' if used else 'off'} here" + (
        "" if used == gains else f", though it gains {row.ratio:.2f}×; {LEAST_GAIN}× is the limit"
    )
    # the goal is for processors with bfloat16 in hardware; on others it has to be off
    able = torch.cpu.get_capabilities()
    goal = 1.6 if able.get("amx_bf16", False) or able.get("avx512_bf16", False) else None
    details = {"used": used}
    more = {"details": details, "note": note}
    return [faster(row.key, what, taken["ours"], against, taken["float32"], goal, **more)]
