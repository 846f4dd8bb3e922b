"""Steps 1 to 3 on one and on two Dask workers, against bare forward passes in as many processes.

What counts is how much faster two are than one. That of plain processes which do forward passes
and nothing else is all that the machine gives. Every worker and process has one thread, is started
before, and has done the same on other frames before.

    python -m benchmarks.scaling RUN

is such a process: for each number that it reads it does the passes of so many frames of the run's
pool, again and again those of the same few, and answers.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import dask
import numpy as np
import torch
from distributed import Client

from alkit import training
from alkit.loop import cluster, runs
from alkit.loop.store import SHARD_FRAMES
from alkit.profiles import Profile
from benchmarks import THREAD_SETTINGS, toy
from benchmarks.measuring import ROOT, Options, Row, pin, rounded, seconds
from benchmarks.steps import PARTS, batches, forward, size_of

SECONDS = 15  # that two processes are to have enough passes for
COUNTS = (1, 2)


def rows(options: Options) -> list[Row]:
    overrides = options.pick({}, {"image_size": (96, 128), "width": 0.25})
    numbers = Profile(**overrides)
    images = toy.pictures(numbers.image_size, options.pick(16, 4))
    detector = toy.untrained(numbers, images[0])
    with tempfile.TemporaryDirectory() as folder, one_thread(), contextlib.ExitStack() as stack:

        def experiment(name, n):
            return toy.experiment(Path(folder, name), "paper", overrides, images[:n], n, detector)

        processes = start(stack, experiment("bare", len(images)).folder)
        n = options.pick(pool_size(processes[0]), SHARD_FRAMES + 2)
        pool = Path(folder, "pool")
        run = toy.experiment(pool, "paper", overrides, images, n, detector)
        calls, threads = {}, []
        for count in COUNTS:
            name = f"{count} process{'es' if count > 1 else ''}"
            calls[name] = lambda count=count: passes(processes[:count], n)
        for count in COUNTS:
            stack.enter_context(cluster.scheduler(f"local:{count}"))
            address = os.environ[cluster.SCHEDULER]
            tiny = [experiment(f"{count} workers, {k}", 1).folder for k in range(count)]
            threads += warm(address, tiny)
            name = f"{count} worker{'s' if count > 1 else ''}"
            calls[name] = lambda address=address: on_workers(address, run)
        taken = {name: [] for name in calls}
        for _ in range(options.pick(2, 1)):
            for name, call in calls.items():
                toy.clear(run)
                taken[name].append(seconds(call))
    return [row(taken, n, size_of(numbers), threads)]


@contextlib.contextmanager
def one_thread():
    """All processes that are started inside have one thread."""
    before = {name: os.environ.get(name) for name in THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def row(taken: dict, n: int, size: str, threads: list) -> Row:
    """`taken` are seconds (repeats,) for n frames, of 1 and 2 processes and 1 and 2 workers."""
    one, two, worker, workers = (float(np.median(times)) for times in taken.values())
    rates = {name: n / float(np.median(times)) for name, times in taken.items()}
    in_words = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
    ours, reference = worker / workers, one / two
    return Row(
        "scaling.workers",
        f"steps 1 + 2 + 3 on 2 workers against 1, {size}",
        ours,
        "×",
        "bare forward passes, 2 processes against 1",
        reference,
        ours / reference,
        "ratio",
        at_least=0.95,
        note=f"frames/s, one thread each: {in_words}; {n} frames",
        details={
            "frames": n,
            "frames_per_second": {name: rounded([rate])[0] for name, rate in rates.items()},
            "seconds": {name: rounded(times) for name, times in taken.items()},
            "threads_of_workers": threads,
        },
    )


# ---- workers -------------------------------------------------------------------------------------


def warm(address: str, folders: list) -> list:
    """Have each worker do the steps of a run of its own; the threads that torch has in each."""
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(len(folders))
        workers = client.scheduler_info(n_workers=-1)["workers"]
        done = [
            client.submit(do_steps, str(folder), workers=[worker], pure=False)
            for folder, worker in zip(folders, workers, strict=True)
        ]
        return client.gather(done)


def do_steps(folder: str) -> int:
    """Steps 1 to 3 in this process alone; the threads that torch has in it."""
    os.environ.pop(cluster.SCHEDULER, None)  # of another cluster, when this process was started
    with dask.config.set(scheduler="synchronous"):
        for step in PARTS:
            step(runs.open_run(folder), 1)
    return torch.get_num_threads()


def on_workers(address: str, run: runs.Run):
    with cluster.scheduler(address):
        for step in PARTS:
            step(run, 1)


# ---- plain processes -----------------------------------------------------------------------------


def start(stack: contextlib.ExitStack, folder: Path) -> list:
    """Processes that wait for numbers of frames, and end with the stack."""
    command = [sys.executable, "-m", "benchmarks.scaling", str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [
        stack.enter_context(subprocess.Popen(command, cwd=ROOT, **pipes))
        for _ in range(max(COUNTS))
    ]
    passes(processes, len(processes))
    return processes


def passes(processes: list, n: int):
    """The passes of n frames, divided among the processes."""
    for process in processes:
        print(n // len(processes), file=process.stdin, flush=True)
    for process in processes:
        if not process.stdout.readline():
            raise RuntimeError("a process of bare forward passes ended; its own output says why")


def pool_size(process) -> int:
    """As many frames as two processes pass in about SECONDS, in whole shards for each."""
    few = 4
    a_frame = seconds(lambda: passes([process], few)) / few
    return 2 * SHARD_FRAMES * max(1, round(SECONDS / a_frame / SHARD_FRAMES))


def main(folder: str):
    pin(1)
    run = runs.open_run(folder)
    frames, numbers = run.frames("pool").unlabeled(), run.experiment.numbers
    views = batches(frames, numbers.double_evaluation)
    detector = training.load_weights(run.weights(0), numbers).eval()
    for line in sys.stdin:
        for i in range(int(line)):
            forward(detector, views[i % len(views)].split(1))  # each view alone
        print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
