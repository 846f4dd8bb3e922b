"""50,000 selected with both rules from 10 million frames, 100,000 labeled; against one sort.

    python -m benchmarks.selection N

is a process of its own that measures the memory for N frames and prints it in bytes.
"""

import math
import subprocess
import sys

import numpy as np

from alkit.selection import select
from benchmarks.measuring import (
    ROOT,
    Options,
    Row,
    interleaved,
    memory,
    peak_memory,
    reset_peak,
    slower,
)

FRAMES = 10_000_000
LENGTH = 1000  # frames of a video
BUDGET, LABELED = 0.005, 0.01  # shares of the frames


def made_pool(n: int, seed=0) -> dict:
    """Scores float64, videos and frame numbers of n frames, and which of them are labeled."""
    rng = np.random.default_rng(seed)
    position = np.arange(n)
    return {
        "score": rng.random(n),
        "sequence": position // LENGTH,
        "frame": (position % LENGTH).astype(np.float64),
        "labeled": rng.choice(n, max(1, round(LABELED * n)), replace=False),
    }


def choose(pool: dict):
    rest = {name: pool[name] for name in ("sequence", "frame", "labeled")}
    n = len(pool["score"])
    return select(pool["score"], max(1, round(BUDGET * n)), **rest)


def sort(pool: dict):
    return np.argsort(-pool["score"], kind="stable")


def rows(options: Options) -> list[Row]:
    n = options.pick(FRAMES, 20_000)
    small, large = made_pool(n // 10), made_pool(n)
    calls = {
        "small": lambda: choose(small),
        "small sort": lambda: sort(small),
        "ours": lambda: choose(large),
        "sort": lambda: sort(large),
    }
    taken = interleaved(calls, options.pick(5, 3), budget=30)
    middle = {name: float(np.median(times)) for name, times in taken.items()}
    count = len(choose(large).indices)
    growth = middle["ours"] / middle["small"]
    ideal = n * math.log(n) / (n // 10 * math.log(n // 10))
    sorts = middle["sort"] / middle["small sort"]
    what = f"{count:,} selected from {n:,} frames"
    peak, inputs, start = memory_of(n)
    return [
        slower(
            "selection.time",
            f"{what}, both rules, {round(LABELED * n):,} labeled",
            taken["ours"],
            "np.argsort, stable",
            taken["sort"],
            3,
        ),
        Row(
            "selection.memory",
            f"{what}, memory of the whole process",
            peak / 1e9,
            "GB",
            at_most=1,
            note=f"{(peak - inputs) / 1e9:.2f} GB beyond the scores, videos and frame numbers, "
            f"which are {(inputs - start) / 1e9:.2f} GB, and Python with its libraries",
            details={"peak": peak, "with_inputs": inputs, "before": start},
        ),
        Row(
            "selection.growth",
            f"{what}, growth of the time from a tenth of it",
            growth,
            "times",
            "n log n",
            ideal,
            growth / ideal,
            "ratio",
            at_most=1.3,
            note=f"the sort's own time grows {sorts:.1f} times",
        ),
    ]


def memory_of(n: int) -> tuple[int, int, int]:
    """Bytes: the peak while selecting, with the inputs before it, before them."""
    command = [sys.executable, "-m", "benchmarks.selection", str(n)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the selection failed:\n{done.stderr}")
    return tuple(map(int, done.stdout.split()))


def main(n: str):
    start = memory()
    pool = made_pool(int(n))
    inputs = memory()
    reset_peak()
    choose(pool)
    print(peak_memory(), inputs, start)


if __name__ == "__main__":
    main(*sys.argv[1:])
