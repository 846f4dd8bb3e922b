"""Work given to Dask workers: whole runs side by side, or a single run's shards of frames.

A run is one task, which does its steps in the worker (`loop.experiment`). Where there is a single
run, steps 1 and 2 give its shards to all workers. A process does the same by the same functions
when there is no scheduler, so that the results are equal bit for bit, those of training where it
has as many threads. Keys of records know nothing of workers.

What travels is a step, by reference to its code, a run folder and a cycle. The worker opens the
run, makes sure that it would do the same as whoever asked, and writes to the run folder itself.
Kernels inherit the scheduler's address in the environment variable ALKIT_SCHEDULER.
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
import warnings
from concurrent.futures import CancelledError

import dask
from tqdm import tqdm

from alkit.loop import store
from alkit.loop.progress import heard
from alkit.loop.runs import Run, open_run
from alkit.threads import made_ahead

SCHEDULER = "ALKIT_SCHEDULER"
CONNECT_SECONDS = 10
SAID_SECONDS = 60  # between two lines about workers that are not there
VISIBLE_SECONDS = 90  # a network file system may hide another machine's new files for a minute
# Ctrl-C in a terminal reaches all processes there: `alkit run` is the one that ends the others.
NO_INTERRUPT = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # of torch, NumPy
# Dask has its workers give freed memory back at once, and then a forward pass takes twice as long:
# let glibc keep it, as it does in other processes.
_SPAWN = "distributed.nanny.pre-spawn-environ.MALLOC_"
KEEP_MEMORY = {f"{_SPAWN}TRIM_THRESHOLD_": 1 << 30, f"{_SPAWN}MMAP_THRESHOLD_": 1 << 25}  # bytes

_busy = threading.Lock()


@contextlib.contextmanager
def scheduler(where: str | None = None):
    """Give the work inside to Dask workers; the address of their scheduler, "" for none. `where` is
    an address, or `local:N`: N processes of one thread each on this machine, for as long as the
    context lasts. None: what the environment names."""
    before = os.environ.get(SCHEDULER, "")
    where = where or before
    local = where.startswith("local:")
    with _local_cluster(where) if local else contextlib.nullcontext(where) as address:
        os.environ[SCHEDULER] = address
        try:
            yield address
        finally:
            os.environ[SCHEDULER] = before


def fill(step, job, place):
    """Write all shards of a step's store that are not done, and say that it is whole. Raises what
    the work on a shard and `outcomes` raise, and RuntimeError where shards stay out of sight."""
    group = store.reopen(place, job.key)
    blocks, total = store.shards(group), group["done"].size
    done = total - sum(block.stop - block.start for block in blocks)

    def tick(frames=1):
        nonlocal done
        done += frames
        job.progress(done, total)

    where = os.environ.get(SCHEDULER)
    if blocks and where:
        # what a worker opened for another call may be out of date
        asked = step, str(job.run.folder.absolute()), job.cycle, job.key, uuid.uuid4().hex
        work = functools.partial(do_shard, *asked)

        def submit(client):
            return client.map(work, blocks, key=step.name, pure=False)

        for i, outcome in outcomes(where, f"step {step.name}", submit):
            if isinstance(outcome, Exception):
                raise outcome
            for text in outcome:
                warnings.warn(text, stacklevel=2)
            tick(blocks[i].stop - blocks[i].start)
    elif blocks:
        # a thread writes a shard while the next one is computed
        for _ in made_ahead(lambda write: write(), shards(step.open_shards(job), blocks, tick)):
            pass
    deadline = time.monotonic() + VISIBLE_SECONDS
    while left := store.shards(group):
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{job.folder}: the workers are done, but {len(left)} shards of step {step.name} "
                "are not to be seen here. The run folder has to be on a file system that all "
                "machines share; `alkit run` again then goes on"
            )
        time.sleep(0.5)
    store.finish(place, job.key)


def shards(opened: tuple, blocks: list, tick):
    """Compute one shard after the other; of each, a function that writes it."""
    of_frames, write = opened
    coming = of_frames(blocks)
    for block in blocks:
        made = []
        for of_one in itertools.islice(coming, block.stop - block.start):
            made.append(of_one)
            tick()
        yield functools.partial(write, block, made)


def outcomes(address: str, what: str, submit):
    """The futures that `submit(client)` gives, as they are done: (which of them, what it gave or
    the exception that it raised). Waits, and says so, while there is no worker. Raises RuntimeError
    where no scheduler answers or it is lost, or a worker cannot import this alkit. Who stops taking
    outcomes drops the tasks that are left: workers do not begin them, and those that look stop
    (`progress`)."""
    from distributed import as_completed
    from distributed.client import ClosedClientError

    client, done, futures, over = _connect(address), 0, [], threading.Event()
    threading.Thread(target=_watch, args=(client, address, what, over), daemon=True).start()
    try:
        client.wait_for_workers(1)
        # as text: a worker without alkit ends when it is sent a function of alkit's
        tried = client.run(exec, "import alkit.loop.experiment", on_error="return").items()
        if wrong := {k: v for k, v in tried if v and not isinstance(v, OSError)}:  # not just gone
            raise RuntimeError(
                f"workers cannot import alkit: {wrong}. Install it, with all that it needs, in the "
                "environment of their `dask worker`, and start them again"
            )
        futures = submit(client)
        position = {future: i for i, future in enumerate(futures)}
        for future in as_completed(futures, loop=client.loop):
            yield position[future], _outcome(future)
            done += 1
    except (CancelledError, ClosedClientError, OSError):
        raise RuntimeError(
            f"the Dask scheduler at {address} was lost in {what}; {done} of {len(futures)} tasks "
            "came back. Start it again and then `alkit run`, which goes on from what is done"
        ) from None
    finally:
        over.set()
        with contextlib.suppress(TimeoutError):
            client.close(timeout=CONNECT_SECONDS)


def _watch(client, address: str, what: str, over: threading.Event):
    """Say again and again that there is no worker which takes tasks, until it is `over`."""
    with contextlib.suppress(Exception):  # the scheduler is lost, which who waits will say
        while not over.is_set():
            workers = client.scheduler_info()["workers"].values()
            if "running" not in [worker["status"] for worker in workers]:
                start = f"Start one where alkit is installed: `dask worker {address} --nthreads 1`"
                ended = "The log of one that ended or pauses says why, often too little memory"
                tqdm.write(f"{what} waits for a worker. {start}. {ended}", sys.stderr)
            over.wait(SAID_SECONDS)


def _outcome(future):
    """What a task gave or raised. Raises CancelledError where the scheduler is lost."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        return RuntimeError(f"{error} `alkit run` again goes on from what is done")
    except Exception as error:
        if future.status != "error":
            raise CancelledError from None
        return error


def _connect(address: str):
    from distributed import Client

    try:
        # not the default client: arrays that this process computes stay in it
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"no Dask scheduler answers at {address!r} ({error}). Start one (`dask scheduler`) and "
            "workers (`dask worker ADDRESS --nthreads 1`), or give --scheduler local:N"
        ) from None


@contextlib.contextmanager
def _local_cluster(where: str):
    from distributed import LocalCluster

    count = re.fullmatch(r"local:([1-9]\d*)", where)
    if not count:
        raise ValueError(f"scheduler is {where!r}; local:N with N processes, 1 or more, is wanted")
    with (
        dask.config.set(KEEP_MEMORY),
        LocalCluster(
            n_workers=int(count[1]),
            threads_per_worker=1,
            processes=True,
            memory_limit=None,  # Dask would stop workers for memory that a model needs
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            env=dict.fromkeys(ONE_THREAD, "1"),
            preload=NO_INTERRUPT,
        ) as cluster,
    ):
        yield cluster.scheduler_address


# ---- in a worker ---------------------------------------------------------------------------------


@contextlib.contextmanager
def alone():
    """One task at a time in a process, whatever its threads: the model is there once, and has the
    processor to itself. Lazy arrays are computed here too, not by workers as busy as this one."""
    with _busy, dask.config.set(scheduler="synchronous"):
        yield


def do_shard(step, folder: str, cycle: int, key: str, call: str, block: slice):
    """The work of a step on a block of frames; what it warns of comes back."""
    with alone(), heard() as said:
        place, opened = _opened(step, folder, cycle, key, call)
        # a shard is asked for again where its answer got lost
        if not store.reopen(place, key)["done"][block].all():
            (write,) = shards(opened, [block], lambda: None)  # whoever gave it out counts
            write()
    return said


@functools.lru_cache(maxsize=1)
def _opened(step, folder: str, cycle: int, key: str, call: str):
    """The store that a step's shards are written to, and the work on them: once for a `call`."""
    run = find_run(folder)
    check_same(key, step.plan(run, cycle).key, f"step {step.name} of {run.cycle(cycle)}")
    job = step.job(run, cycle, key, progress=lambda *_: None)
    (place,) = [job.place(name) for name in step.artifacts if name.endswith(".zarr")]
    return place, step.open_shards(job)


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
