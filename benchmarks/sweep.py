"""A whole sweep, two strategies with two seeds: by two Dask workers, against one process.

What counts is how much faster two are than one. That of two commands side by side, one seed each,
is all that the machine gives where nothing is divided but seeds. Every process has one thread;
imports and the start of the workers count, as they do for whoever waits.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.measuring import ROOT, Options, Row, rounded, seconds
from benchmarks.scaling import one_thread

SEEDS = (0, 1)


def rows(options: Options) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, one_thread():

        def command(name: str, seeds, *more):
            """`alkit run` of a new experiment with these seeds."""
            file = Path(folder, f"{name}.yaml")
            file.write_text(yaml.safe_dump(settings(options, name, seeds)))
            words = ["run", file, "--out", file.with_suffix(""), "--no-notebooks", *more]
            return [sys.executable, "-m", "alkit.cli", *map(str, words)]

        calls = {
            "1 process": [command("one", SEEDS)],
            "2 processes": [command(f"seed_{seed}", [seed]) for seed in SEEDS],
            "2 workers": [command("workers", SEEDS, "--scheduler", "local:2")],
        }
        taken = {name: seconds(lambda own=own: side_by_side(own)) for name, own in calls.items()}
    one, two, workers = taken.values()
    in_words = ", ".join(f"{name} {time:.0f} s" for name, time in taken.items())
    return [
        Row(
            "sweep.workers",
            "a sweep of 2 strategies with 2 seeds on 2 workers against 1 process",
            one / workers,
            "×",
            "2 commands side by side, a seed each",
            one / two,
            two / workers,
            "ratio",
            note=f"{in_words}, one thread each; one run of each",
            details={"seconds": {name: rounded([time])[0] for name, time in taken.items()}},
        )
    ]


def settings(options: Options, name: str, seeds) -> dict:
    """An experiment file of the demo's kind, smaller."""
    tiny = {"image_size": [96, 128], "width": 0.25}
    frames = options.pick(
        {"street-source": 120, "street-pool": 128, "street-test": 64},
        {"street-source": 4, "street-pool": 12, "street-test": 4},
    )
    return {
        "name": name,
        "labeled": "street-source",
        "pool": "street-pool",
        "test": "street-test",
        "data": {name: {"frames": n} for name, n in frames.items()},
        "profile": "demo",
        "set": {"pretrain_epochs": options.pick(3, 1), "epochs": options.pick(20, 1)}
        | options.pick({}, tiny),
        "strategies": ["divergence", "guided-random"],
        "seeds": list(seeds),
        "cycles": 1,
        "budget": options.pick(16, 2),
    }


def side_by_side(commands: list):
    """Run the commands at the same time. Raises RuntimeError if one fails."""
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, cwd=ROOT, **quiet) for command in commands]
    for process in processes:
        said, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{process.args}: exit status {process.returncode}\n{said}")
