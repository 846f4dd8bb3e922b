"""What a Dask worker does of a single run: the work on a shard of frames.

A task travels as a step, by reference to its code, a run folder, a cycle and what is to be done
of it. The worker opens the run, makes sure that it would do the same step as whoever asked,
computes, and writes to the run folder itself. Whoever asked writes the record.
"""

import contextlib
import functools
import socket
import threading

import dask

from alkit.loop import store
from alkit.loop.runs import Run, open_run

_busy = threading.Lock()


@contextlib.contextmanager
def alone():
    """One task at a time in a process, however many threads Dask gave it: the model is there once,
    and has the processor's threads to itself. Lazy arrays are computed here too; Dask would make
    tasks of them, for workers that are busy with such as this."""
    with _busy, dask.config.set(scheduler="synchronous"):
        yield


def do_shard(step, folder: str, cycle: int, key: str, call: str, start: int, stop: int):
    """The work of a step on the frames start … stop. The model is loaded once for a `call`."""
    with alone():
        written_to, work = _opened(step, folder, cycle, key, call)
        block = slice(start, stop)
        # a shard is asked for again where its answer got lost
        if written_to and store.is_done(store.reopen(written_to, key), block):
            return None
        (finish,) = work([block], _nothing)
        return finish()


@functools.lru_cache(maxsize=1)
def _opened(step, folder: str, cycle: int, key: str, call: str):
    """Where a step's shards are written to, None if nowhere, and the work on them."""
    run = find_run(folder)
    check_same(key, step.plan(run, cycle).key, f"step {step.name} of {run.cycle(cycle)}")
    job = step.job(run, cycle, key, _nothing)
    return step.store and job.place(step.store), step.open_shards(job)


def find_run(folder: str) -> Run:
    """The run, on a worker. Raises RuntimeError where its folder is not to be seen."""
    try:
        return open_run(folder)
    except ValueError as error:
        raise RuntimeError(
            f"the worker on {socket.gethostname()} does not find the run folder, which has to be "
            f"on a file system that all machines share, under the same path: {error}"
        ) from None


def check_same(asked: str, own: str, what: str):
    """Raise RuntimeError if whoever asked would make something from other code or data."""
    if asked != own:
        raise RuntimeError(
            f"the worker on {socket.gethostname()} would make {what} from something else: its "
            "alkit, plugins, catalog or data are not those of `alkit run`. Give all machines the "
            "same, and restart the workers, which keep the code that they have read"
        )


def _nothing(*_):
    """The progress of a worker: whoever gave out the shards counts them."""
