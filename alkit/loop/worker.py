"""What a Dask worker does: the work on a shard of frames, or a whole step.

A task travels as a step, by reference to its code, a run folder, a cycle and what is to be done
of it. The worker opens the run, makes sure that it would do the same step as whoever asked,
computes, and writes to the run folder itself. Whoever asked writes the record.
"""

import contextlib
import functools
import socket
import threading
import warnings

import dask

from alkit.loop import records, store
from alkit.loop.runs import open_run

_busy = threading.Lock()


@contextlib.contextmanager
def _alone():
    """One task at a time in a process, however many threads Dask gave it: the model is there once,
    and has the processor's threads to itself. Lazy arrays are computed here too; Dask would make
    tasks of them, for workers that are busy with such as this."""
    with _busy, dask.config.set(scheduler="synchronous"):
        yield


def do_shard(step, folder: str, cycle: int, key: str, call: str, start: int, stop: int):
    """The work of a step on the frames start … stop. The model is loaded once for a `call`."""
    with _alone():
        written_to, work = _opened(step, folder, cycle, key, call)
        block = slice(start, stop)
        # a shard is asked for again where its answer got lost
        if written_to and store.is_done(store.reopen(written_to, key), block):
            return None
        (finish,) = work([block], _nothing)
        return finish()


def do_step(step, folder: str, cycle: int, key: str) -> tuple[dict, list, dict]:
    """All of a step but its record: work, artefacts and log. Gives the environment that it was
    done in, the warnings that it made, and digests of the artefacts."""
    with _alone(), warnings.catch_warnings(record=True) as caught:
        run = _checked(step, folder, cycle, key)
        step.perform(run, cycle, key, _stop_if_dropped())
        artefacts = {name: run.cycle(cycle) / name for name in step.artefacts}
        digests = {name: records.artefact_digest(path) for name, path in artefacts.items()}
        return records.environment(), [str(warning.message) for warning in caught], digests


def _stop_if_dropped():
    """A function that raises RuntimeError once nobody waits for this task any longer, `alkit run`
    being stopped, killed or cut off. Dask lets its thread go on, which would train beside whoever
    is given the step next."""
    from distributed import get_worker

    worker = get_worker()
    key, tasks = worker.get_current_task(), worker.state.tasks

    def check():
        task = tasks.get(key)
        if task is None or task.state != "executing":
            raise RuntimeError(f"{key}: nobody waits for this task any longer; it stops")

    return check


@functools.lru_cache(maxsize=4)  # shards of several runs may come by turns
def _opened(step, folder: str, cycle: int, key: str, call: str):
    """Where a step's shards are written to, None if nowhere, and the work on them."""
    run = _checked(step, folder, cycle, key)
    job = step.job(run, cycle, key, _nothing)
    return step.store and job.place(step.store), step.open_shards(job)


def _checked(step, folder: str, cycle: int, key: str):
    """The run, if the step's key is that of whoever asked for it."""
    host = socket.gethostname()
    try:
        run = open_run(folder)
    except ValueError as error:
        raise RuntimeError(
            f"the worker on {host} does not find the run folder, which has to be on a file system "
            f"that all machines share, under the same path: {error}"
        ) from None
    if step.plan(run, cycle).key != key:
        raise RuntimeError(
            f"the worker on {host} would make step {step.name} of {run.cycle(cycle)} from "
            "something else: its alkit, plugins, catalog or data are not those of `alkit run`. "
            "Give all machines the same, and restart the workers, which keep the code that they "
            "have read"
        )
    return run


def _nothing(*_):
    """The progress of a worker: whoever gave out the shards counts them."""
