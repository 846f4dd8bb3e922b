"""Work given to Dask workers: whole runs side by side, or a single run's shards of frames.

A run is one task, which does its steps in the worker (`loop.experiment`). Where there is a single
run, steps 1 to 3 give its shards to all workers (`loop.worker`). A process does the same by the
same functions when there is no scheduler, so that the results are equal bit for bit, those of
training where it has as many threads. Keys of records know nothing of workers.

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
from concurrent.futures import CancelledError

import dask

from alkit.loop import store
from alkit.loop.worker import do_shard
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


def fill(step, job, group):
    """Write all shards of a step's store that are not done.

    Raises what the work on a shard raises, and RuntimeError where the workers' files do not come
    to be seen here, no scheduler answers, it is lost, or workers die again and again on one shard.
    """
    over_shards(step, job, store.shards(group), group["done"].size)
    wait_to_see(lambda: store.shards(group), job.folder, f"shards of step {step.name}")
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
        return _on_workers(where, step, calls, lambda call: tick(call[-1] - call[-2]))


def side_by_side(address: str, function, first: dict, then: list, ended):
    """Call a function on the workers for the arguments in `first`, {name: arguments}, and for those
    in `then`, [(name, arguments)], each of which begins when the first call of its name is done.

    `ended` hears of every call what it gave, or the error that it raised; those behind a first call
    that failed raise the same. Raises RuntimeError where the scheduler does not answer or is lost.
    An error or an interrupt here drops all calls: the workers stop.
    """
    from distributed import KilledWorker, as_completed

    asked = uuid.uuid4().hex
    with _connected(address, "the runs", lambda: "") as client:
        futures = {
            name: client.submit(function, *arguments, key=f"shared-{name}-{asked}", pure=False)
            for name, arguments in first.items()
        }
        runs = [
            client.submit(function, *arguments, futures[name], key=f"run-{i}-{asked}", pure=False)
            for i, (name, arguments) in enumerate(then)
        ]
        for future in as_completed([*futures.values(), *runs], loop=client.loop):
            try:
                ended(_result(future))
            except KilledWorker as error:
                ended(RuntimeError(_died(error, "run")))
            except CancelledError:
                raise
            except Exception as error:
                ended(error)


def _on_workers(address: str, step, calls: list, arrived) -> list:
    """What `do_shard` gives on workers for each tuple of arguments in `calls`, in their order;
    `arrived` hears of each that came back."""
    from distributed import KilledWorker, as_completed

    asked = uuid.uuid4().hex
    waiting, submitted, results = iter(enumerate(calls)), {}, {}

    def submit(i, call):
        future = client.submit(do_shard, *call, key=f"{step.name}-{i}-{asked}", pure=False)
        submitted[future] = i
        return future

    def came_back():
        return f"{len(results)} of {len(calls)} shards came back. "

    with _connected(address, f"step {step.name}", came_back) as client:
        coming = as_completed(
            itertools.starmap(submit, itertools.islice(waiting, IN_FLIGHT)), loop=client.loop
        )
        try:
            for future in coming:
                i = submitted.pop(future)
                results[i] = _result(future)
                arrived(calls[i])
                coming.update(itertools.starmap(submit, itertools.islice(waiting, 1)))
        except KilledWorker as error:
            raise RuntimeError(_died(error, f"shard of step {step.name}")) from None
    return [results[i] for i in range(len(calls))]


def _died(error, unit: str) -> str:
    return (
        f"{error.allowed_failures + 1} workers died one after the other on one {unit}, the last of "
        f"them {error.last_worker.address}. Their own output says why: too little memory, as a "
        "rule. `alkit run` again goes on from what is done"
    )


@contextlib.contextmanager
def _connected(address: str, what: str, came_back):
    """A client of the scheduler; a RuntimeError where that is lost amid the work inside."""
    from distributed.client import ClosedClientError

    client = _connect(address)
    try:
        if not client.nthreads():
            print(f"{address} has no workers yet; {what} wait for one", file=sys.stderr)
        yield client
    except (CancelledError, ClosedClientError):
        raise RuntimeError(
            f"the Dask scheduler at {address} was lost in {what}. {came_back()}Start it again and "
            "then `alkit run`, which goes on from what is done"
        ) from None
    finally:
        with contextlib.suppress(TimeoutError):
            client.close(timeout=CONNECT_SECONDS)


def _result(future):
    """What a task gave. Raises what it raised, CancelledError where the scheduler is lost."""
    try:
        return future.result()
    except OSError:
        if future.status == "error":
            raise  # the task's own, as of a full disk
        raise CancelledError from None


def wait_to_see(missing, folder, what: str):
    """Wait until nothing is `missing` here of what workers have written."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while left := missing():
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{folder}: the workers are done, but {len(left)} {what} are not to be seen here. "
                "The run folder has to be on a file system that all machines share; `alkit run` "
                "again then goes on"
            )
        time.sleep(0.5)


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
