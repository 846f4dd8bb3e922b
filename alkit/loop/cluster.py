"""Steps given to Dask workers: the work on a shard of frames, or a whole step, here or there.

A task is one shard of steps 1 to 3, or the whole of step 0, 6 or 7; `loop.worker` does it. This
process does the same by the same functions when there is no scheduler, so that the results are
equal bit for bit, those of training where a process has as many threads. Records are written by
this side, and their keys know nothing of workers.

`alkit run --scheduler` names the scheduler in the environment variable ALKIT_SCHEDULER, which
kernels inherit.
"""

import contextlib
import itertools
import os
import re
import sys
import time
import uuid
import warnings
from concurrent.futures import CancelledError

import dask

from alkit.loop import records, store
from alkit.loop.runs import Run
from alkit.loop.worker import do_shard, do_step
from alkit.threads import made_ahead

SCHEDULER = "ALKIT_SCHEDULER"
CONNECT_SECONDS = 10
VISIBLE_SECONDS = 90  # a network file system may hide another machine's new files for a minute
IN_FLIGHT = 1000  # shards that the scheduler knows of at a time; a pool may have many more
# Ctrl-C in a terminal reaches all processes there: `alkit run` is the one that ends the others.
NO_INTERRUPT = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # of torch, NumPy
# Dask has its workers give freed memory back at once, and then a forward pass takes twice as long:
# let glibc keep it, as it does in other processes.
_SPAWN = "distributed.nanny.pre-spawn-environ.MALLOC_"
KEEP_MEMORY = {f"{_SPAWN}TRIM_THRESHOLD_": 1 << 30, f"{_SPAWN}MMAP_THRESHOLD_": 1 << 25}  # bytes
FIRST = 1  # priority of a whole step, which takes longest, before shards that wait

_waiting = {}  # clients whose threads wait for workers, with what each has submitted


@contextlib.contextmanager
def scheduler(where: str | None):
    """Give the work of all steps inside to Dask workers; None leaves things as they are.

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


@contextlib.contextmanager
def address():
    """The address of the scheduler that the environment names, "" for none. Where it says local:N,
    as for a step on its own with the variable set by hand, the processes last as long as the
    context."""
    where = os.environ.get(SCHEDULER, "")
    with scheduler(where) if where.startswith("local:") else contextlib.nullcontext():
        yield os.environ.get(SCHEDULER, "")


def count_workers(address: str) -> int:
    """How many workers the scheduler has now. Raises RuntimeError if it does not answer."""
    with _client(address) as client:
        return len(client.nthreads())


def perform(step, run: Run, cycle: int, key: str) -> dict:
    """Do a step's work, and give the environment that it was done in. With a scheduler, a step
    that is done whole is one task on a worker.

    Raises as `fill` does.
    """
    with address() as where:
        if not (where and step.whole):
            step.perform(run, cycle, key)
            return records.environment()
        arguments = (step, str(run.folder.absolute()), cycle, key)
        ((environment, said, digests),) = _on_workers(where, step, "task", do_step, [arguments])
    for message in said:
        warnings.warn(message, stacklevel=3)

    def missing():
        return [name for name in digests if _digest(run.cycle(cycle) / name) != digests[name]]

    _wait_to_see(missing, run.cycle(cycle), step, "files")
    return environment


def fill(step, job, group):
    """Write all shards of a step's store that are not done.

    Raises what the work on a shard raises, and RuntimeError where the workers' files do not come
    to be seen here, no scheduler answers, it is lost, or workers die again and again on one shard.
    """
    over_shards(step, job, store.shards(group), group["done"].size)
    _wait_to_see(lambda: store.shards(group), job.folder, step, "shards")
    store.finish(group)


def over_shards(step, job, blocks: list, total: int) -> list:
    """What a step's work gives for each block of frames, in the order of `blocks`; `total` frames
    are in the whole pool, for the progress. Raises as `fill` does."""
    done = total - sum(block.stop - block.start for block in blocks)

    def tick(frames=1):
        nonlocal done
        done += frames
        job.progress(done, total)

    if not blocks:
        return []
    with address() as where:
        if not where:
            # a thread writes a shard while the next one is computed
            return list(made_ahead(lambda finish: finish(), step.open_shards(job)(blocks, tick)))
        # what a worker opened for another call may be out of date
        shared = (step, str(job.run.folder.absolute()), job.cycle, job.key, uuid.uuid4().hex)
        calls = [(*shared, block.start, block.stop) for block in blocks]
        return _on_workers(
            where, step, "shard", do_shard, calls, lambda call: tick(call[-1] - call[-2])
        )


def abandon():
    """Let all threads of this process that wait for workers wait no longer: they raise
    RuntimeError, and the workers drop what was asked of them."""
    for client, submitted in list(_waiting.items()):
        client.cancel(list(submitted))


def _on_workers(address, step, unit, function, calls: list, arrived=lambda call: None) -> list:
    """What a function gives on workers for each tuple of arguments in `calls`, in their order;
    `arrived` hears of each that came back. A `unit` is what one call does: "shard" or "task"."""
    from distributed import KilledWorker, as_completed
    from distributed.client import ClosedClientError

    name, asked = step.name, uuid.uuid4().hex
    waiting, submitted, results = iter(enumerate(calls)), {}, {}

    def submit(i, call):
        key, priority = f"{name}-{i}-{asked}", FIRST if step.whole else 0
        future = client.submit(function, *call, key=key, pure=False, priority=priority)
        submitted[future] = i
        return future

    with _client(address) as client:
        _waiting[client] = submitted
        try:
            if not client.nthreads():
                print(f"{address} has no workers yet; step {name} waits for one", file=sys.stderr)
            first = itertools.starmap(submit, itertools.islice(waiting, IN_FLIGHT))
            coming = as_completed(first, loop=client.loop)
            for future in coming:
                i = submitted.pop(future)
                results[i] = _result(future)
                arrived(calls[i])
                coming.update(itertools.starmap(submit, itertools.islice(waiting, 1)))
        except KilledWorker as error:
            raise RuntimeError(
                f"{error.allowed_failures + 1} workers died one after the other on one {unit} of "
                f"step {name}, the last of them {error.last_worker.address}. Their own output says "
                "why: too little memory, as a rule. `alkit run` again goes on from what is done"
            ) from None
        except (CancelledError, ClosedClientError):
            raise RuntimeError(
                f"the Dask scheduler at {address} was lost in step {name}; {len(results)} of "
                f"{len(calls)} {unit}s came back. Start it again and then `alkit run`, which goes "
                "on from what is done"
            ) from None
        finally:
            del _waiting[client]
    return [results[i] for i in range(len(calls))]


def _result(future):
    """What a task gave. Raises what it raised, CancelledError where the scheduler is lost."""
    try:
        return future.result()
    except OSError:
        if future.status == "error":
            raise  # the task's own, as of a full disk
        raise CancelledError from None


def _wait_to_see(missing, folder, step, what):
    """Wait until nothing is `missing` here of what workers have written."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while left := missing():
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{folder}: the workers are done, but {len(left)} {what} of step {step.name} are "
                "not to be seen here. The run folder has to be on a file system that all machines "
                "share; `alkit run` again then goes on"
            )
        time.sleep(0.5)


def _digest(path):
    """The digest of a worker's file, None while it is not to be seen here."""
    with contextlib.suppress(FileNotFoundError):
        return records.artefact_digest(path)


@contextlib.contextmanager
def _client(address: str):
    client = _connect(address)
    try:
        yield client
    finally:
        with contextlib.suppress(TimeoutError):
            client.close(timeout=CONNECT_SECONDS)


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
    with dask.config.set(KEEP_MEMORY):
        return LocalCluster(
            n_workers=int(count[1]),
            threads_per_worker=1,
            processes=True,
            memory_limit=None,  # Dask would stop workers for memory that a model needs
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            env=dict.fromkeys(ONE_THREAD, "1"),
            preload=NO_INTERRUPT,
        )
