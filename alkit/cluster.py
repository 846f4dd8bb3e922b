"""Steps 1 to 3 on Dask workers: the work on a shard of frames, in this process or in others.

A task is one shard. It travels as a step's name, a run folder and the shard's limits; the worker
opens the run, loads the model once for the step, computes, and writes to the store itself. This
process does the same by the same function when there is no scheduler, so that the results are
equal bit for bit where a process has as many threads. A record knows nothing of workers.

`alkit run --scheduler` names the scheduler in the environment variable ALKIT_SCHEDULER, which
kernels inherit.
"""

import contextlib
import functools
import itertools
import os
import re
import socket
import sys
import threading
import time
import uuid
from concurrent.futures import CancelledError

import dask

from alkit import store
from alkit.runs import open_run

SCHEDULER = "ALKIT_SCHEDULER"
CONNECT_SECONDS = 10
VISIBLE_SECONDS = 90  # a network file system may hide another machine's new files for a minute
IN_FLIGHT = 1000  # shards that the scheduler knows of at a time; a pool may have many more

_busy = threading.Lock()


@contextlib.contextmanager
def scheduler(where: str | None):
    """Give the shards of all steps inside to Dask workers; None leaves things as they are.

    `where` is a scheduler's address, or `local:N`: N processes of one thread each on this machine,
    for as long as the context lasts. Raises ValueError for another word after `local:`, and
    RuntimeError if no scheduler answers.
    """
    if not where:
        yield
        return
    with contextlib.ExitStack() as stack:
        address = where
        if where.startswith("local:"):
            address = stack.enter_context(_local_cluster(where)).scheduler_address
        else:
            _connect(address).close()
        before = os.environ.get(SCHEDULER)
        os.environ[SCHEDULER] = address
        try:
            yield
        finally:
            del os.environ[SCHEDULER]
            if before is not None:
                os.environ[SCHEDULER] = before


def fill(step, job, group):
    """Write all shards of a step's store that are not done.

    Raises what the work on a shard raises, and RuntimeError where the workers' files do not come
    to be seen here, no scheduler answers, it is lost, or workers die again and again on one shard.
    """
    over_shards(step, job, store.shards(group), group["done"].size)
    deadline = time.monotonic() + VISIBLE_SECONDS
    while missing := store.shards(group):
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{job.folder}: the workers are done, but {len(missing)} shards of step "
                f"{step.name} are not to be seen here. The run folder has to be on a file system "
                "that all machines share; `alkit run` again then goes on"
            )
        time.sleep(0.5)
    store.finish(group)


def over_shards(step, job, blocks: list, total: int) -> list:
    """What a step's work gives for each block of frames, in the order of `blocks`; `total` frames
    are in the whole pool, for the progress. Raises as `fill` does."""
    where = os.environ.get(SCHEDULER, "")
    if where.startswith("local:"):  # a step on its own, with the variable set by hand
        with scheduler(where):
            return over_shards(step, job, blocks, total)
    done = total - sum(block.stop - block.start for block in blocks)

    def tick(frames=1):
        nonlocal done
        done += frames
        job.progress(done, total)

    if not blocks:
        return []
    if not where:
        work = step.open_shards(job)
        return [work(block, tick) for block in blocks]
    return _on_workers(where, step, job, blocks, tick)


# ---- this side -----------------------------------------------------------------------------------


def _on_workers(address, step, job, blocks, tick) -> list:
    from distributed import KilledWorker, as_completed
    from distributed.client import ClosedClientError

    name, folder = f"{step.name} of {job.folder}", str(job.run.folder.absolute())
    call = uuid.uuid4().hex  # what a worker opened for another call may be out of date
    waiting, submitted, results = iter(blocks), {}, {}

    def submit(block):
        arguments = (step.name, folder, job.cycle, job.key, call, block.start, block.stop)
        key = f"{step.name}-{block.start}-{call}"
        submitted[key] = block
        return client.submit(do_shard, *arguments, key=key, pure=False)

    client = _connect(address)
    try:
        if not client.scheduler_info()["workers"]:
            print(f"{address} has no workers yet; step {name} waits for one", file=sys.stderr)
        coming = as_completed(map(submit, itertools.islice(waiting, IN_FLIGHT)), loop=client.loop)
        for future in coming:
            block = submitted.pop(future.key)
            results[block.start] = _result(future)
            tick(block.stop - block.start)
            coming.update([submit(block) for block in itertools.islice(waiting, 1)])
    except KilledWorker as error:
        raise RuntimeError(
            f"{error.allowed_failures + 1} workers died one after the other on one shard of step "
            f"{name}, the last of them {error.last_worker.address}. Their own output says why: "
            "too little memory, as a rule. `alkit run` again goes on from the shards that are done"
        ) from None
    except (CancelledError, ClosedClientError):
        raise RuntimeError(
            f"the Dask scheduler at {address} was lost in step {name}; {len(results)} of "
            f"{len(blocks)} shards came back. Start it again and then `alkit run`, which goes on "
            "from the shards that are done"
        ) from None
    finally:
        with contextlib.suppress(TimeoutError):
            client.close(timeout=CONNECT_SECONDS)
    return [results[block.start] for block in blocks]


def _result(future):
    """What a task gave. Raises what it raised, CancelledError where the scheduler is lost."""
    try:
        return future.result()
    except OSError:
        if future.status == "error":
            raise  # the task's own, as of a full disk
        raise CancelledError from None


def _connect(address: str):
    from distributed import Client

    try:
        # not the default client: arrays that this process computes stay in it
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"no Dask scheduler answers at {address!r} ({error}). Start one (`dask scheduler`) and "
            "workers (`dask worker ADDRESS --nthreads 1`), give --scheduler local:N for N "
            f"processes on this machine, or leave out --scheduler and unset {SCHEDULER}"
        ) from None


def _local_cluster(where: str):
    from distributed import LocalCluster

    count = re.fullmatch(r"local:([1-9]\d*)", where)
    if not count:
        raise ValueError(f"scheduler is {where!r}; local:N with N processes, 1 or more, is wanted")
    return LocalCluster(
        n_workers=int(count[1]),
        threads_per_worker=1,
        processes=True,
        memory_limit=None,  # Dask would stop workers for memory that a model needs
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        env={"OMP_NUM_THREADS": "1"},
    )


# ---- on a worker ---------------------------------------------------------------------------------


def do_shard(step: str, folder: str, cycle: int, key: str, call: str, start: int, stop: int):
    """The work of a step on the frames start … stop. One shard at a time in a process, however many
    threads Dask gave it: the model is there once, and has the processor's threads to itself.

    Lazy arrays are computed here too. Dask would make tasks of them, for workers that are busy with
    shards.
    """
    with _busy, dask.config.set(scheduler="synchronous"):
        return _opened(step, folder, cycle, key, call)(slice(start, stop), _nothing)


@functools.lru_cache(maxsize=1)
def _opened(name: str, folder: str, cycle: int, key: str, call: str):
    from alkit.steps import STEPS  # here: the steps import this module

    step, host = STEPS[name], socket.gethostname()
    try:
        run = open_run(folder)
    except ValueError as error:
        raise RuntimeError(
            f"the worker on {host} does not find the run folder, which has to be on a file system "
            f"that all machines share, under the same path: {error}"
        ) from None
    if step.plan(run, cycle).key != key:
        raise RuntimeError(
            f"the worker on {host} would make step {name} of {run.cycle(cycle)} from something "
            "else: its alkit, plugins, catalog or data are not those of `alkit run`. Give all "
            "machines the same, and restart the workers, which keep the code that they have read"
        )
    return step.open_shards(step.job(run, cycle, key, _nothing))


def _nothing(*_):
    """The progress of a worker: whoever gave out the shards counts them."""
