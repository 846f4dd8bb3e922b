"""Memory of steps 1 to 3: the peak of a process of their own, for a short pool and a long one.

    python -m benchmarks.memory RUN THREADS

is that process: it does the steps of the run's cycle 1 and prints its peak in bytes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from alkit import training
from alkit.loop import runs
from benchmarks import toy
from benchmarks.measuring import ROOT, Options, Row, peak_memory, pin


def rows(options: Options) -> list[Row]:
    demo = toy.demo(options)
    numbers = demo.experiment.numbers
    detector = training.load_weights(demo.weights(0), numbers)
    images = toy.pictures(numbers.image_size, options.pick(toy.DIFFERENT, 4))
    profile, overrides = demo.experiment.profile, demo.experiment.set
    peaks = {}
    for n in options.pick((500, 2000), (4, 8), (1000, 10_000)):
        with tempfile.TemporaryDirectory() as folder:
            run = toy.experiment(Path(folder), profile, overrides, images, n, detector)
            peaks[n] = peak_of_steps(run.folder, options.threads)
    (few, least), (many, most) = peaks.items()
    size = "×".join(map(str, numbers.image_size))
    note = "" if options.long else "--long measures 1,000 and 10,000"
    what = f"memory of steps 1 to 3, {size}"
    return [
        Row("memory.peak", f"{what}, {many} frames", most / 1e9, "GB", at_most=2, note=note),
        Row(
            "memory.growth",
            f"{what}, from {few} to {many} frames",
            most / 1e6,
            "MB",
            f"{few} frames",
            least / 1e6,
            most / least,
            "ratio",
            at_most=1.1,
            note="flat is taken to mean: a tenth more at most",
        ),
    ]


def peak_of_steps(folder: Path, threads: int) -> int:
    command = [sys.executable, "-m", "benchmarks.memory", str(folder), str(threads)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"steps 1 to 3 failed:\n{done.stderr}")
    return int(done.stdout.split()[-1])


def main(folder: str, threads: str):
    from alkit.loop import steps

    pin(int(threads))
    run = runs.open_run(folder)
    for step in (steps.predict, steps.score, steps.aggregate):
        step(run, 1)
    print(peak_memory())


if __name__ == "__main__":
    main(*sys.argv[1:])
