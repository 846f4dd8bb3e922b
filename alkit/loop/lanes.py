"""The tasks of an experiment done: one after the other, or its runs side by side on workers.

Side by side, a lane is the tasks of one run in their order, and a thread of this process does one
lane. The threads only wait: training, evaluation and shards are the workers' (`loop.cluster`);
selection and labels, which take no time, are made here.
"""

import contextlib
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait

from alkit.loop import cluster, steps
from alkit.loop.answers import LabelsWanted
from alkit.loop.kernels import KernelAhead
from alkit.loop.runs import ROOT

NOTEBOOKS = ROOT / "notebooks"
WORKERS_SECONDS = 10  # between two looks at how many workers there are
WAITS = "The steps under way are finished first; Ctrl-C stops them at once."


class StepFailed(RuntimeError):
    """A step ended with an error; the run can go on from there."""


def one_by_one(planned: list, is_done, kernels: KernelAhead | None, bar):
    """Do the tasks in order. `is_done(task, later)` says whether one needs nothing; with `kernels`
    each is a notebook, else a call in this process. A run that waits for labels is left there,
    and the others go on. Raises StepFailed, LabelsWanted, and what `is_done` raises.
    """
    waiting = {}
    for i, task in enumerate(planned):
        if task.run.folder in waiting:
            continue
        bar.set_postfix_str(str(task))
        try:
            if not is_done(task, planned[i + 1 :]):
                _do(task, kernels, last=i + 1 == len(planned))
        except LabelsWanted as wanted:
            waiting[task.run.folder] = wanted
            continue
        bar.update()
    _raise_waiting(waiting)


def side_by_side(planned: list, is_done, kernels: KernelAhead | None, bar, address: str):
    """Do the tasks of each run in order and the runs side by side, as many as the scheduler at
    `address` has workers. A seed's runs begin when its W_l is there.

    Where a task fails, no other is begun, those under way are finished, and its error is raised.
    An interrupt stops them all at once. Either way the next `alkit run` goes on. A run that waits
    for labels ends its lane alone; LabelsWanted is raised when the others are done.
    """
    lanes = {}
    for task in planned:
        lanes.setdefault(task.run.folder, []).append(task)
    ready = deque(lane for lane in lanes.values() if lane[0].step is steps.pretrain)
    behind = [lane for lane in lanes.values() if lane[0].step is not steps.pretrain]
    same, waiting, stopped, changed = {}, {}, threading.Event(), threading.Event()

    def follow(lane):
        try:
            do_in_order(lane)
        except LabelsWanted as wanted:
            waiting[lane[0].run.folder] = wanted

    def do_in_order(lane):
        for i, task in enumerate(lane):
            if stopped.is_set():
                return
            if not is_done(task, lane[i + 1 :]):
                # of steps made from the same, one is done at a time, and the next finds it
                with same.setdefault(_key(task), threading.Lock()):
                    if stopped.is_set():
                        return
                    bar.set_postfix_str(str(task))
                    _do(task, kernels, last=i + 1 == len(lane))
            with bar.get_lock():
                bar.update()
            if task.step is steps.pretrain:
                ready.extend(other for other in behind if other[0].run.seed == task.run.seed)
                changed.set()

    running, failed = set(), None
    with ThreadPoolExecutor(len(lanes)) as threads:
        try:
            while running or (ready and not failed):
                room = _room(address, len(running)) if ready and not failed else 0
                for _ in range(min(room, len(ready))):
                    lane = threads.submit(follow, ready.popleft())
                    lane.add_done_callback(lambda _: changed.set())
                    running.add(lane)
                changed.wait(WORKERS_SECONDS)
                changed.clear()
                ended = {lane for lane in running if lane.done()}
                running -= ended
                for error in filter(None, [lane.exception() for lane in ended]):
                    stopped.set()
                    if failed or running:
                        bar.write(f"{error}\n{WAITS if running else ''}", sys.stderr)
                    failed = failed or error
        except BaseException:
            stopped.set()
            while running := {lane for lane in running if not lane.done()}:
                cluster.abandon()
                if kernels:
                    kernels.kill()
                wait(running, timeout=1)
            raise
    if failed:
        raise failed
    _raise_waiting(waiting)


def _raise_waiting(waiting: dict):
    """Raise LabelsWanted with the words of all runs that wait for labels, if there are any."""
    if waiting:
        raise LabelsWanted("\n".join(map(str, waiting.values())))


def _room(address: str, running: int) -> int:
    """How many lanes there may be beside those that run. One runs before there is a worker."""
    try:
        return max(1, cluster.count_workers(address)) - running
    except RuntimeError:
        if not running:
            raise
        return 0  # whoever waits for workers now will say what is wrong


def _key(task) -> str:
    with _named(task):
        return task.step.plan(task.run, task.cycle).key


def _do(task, kernels: KernelAhead | None, last: bool):
    """Do a task. After the `last` one no kernel is started ahead."""
    if kernels is None:
        with _named(task):
            task.step(task.run, task.cycle)
    else:
        _execute_notebook(task, kernels, last)


@contextlib.contextmanager
def _named(task):
    try:
        yield
    except Exception as error:
        raise StepFailed(f"{task} failed: {type(error).__name__}: {error}") from error


def _execute_notebook(task, kernels: KernelAhead, last: bool):
    import papermill  # here: in a notebook that reads results it would warn of missing widgets
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    folder = task.run.cycle(task.cycle)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{task.step.name}.ipynb"
    kernel = kernels.take()
    if not last:
        kernels.start()
    try:
        papermill.execute_notebook(
            NOTEBOOKS / target.name,
            target,
            {"run": str(task.run.folder), "cycle": task.cycle},
            km=kernel,
            progress_bar=False,
        )
    except PapermillExecutionError as error:
        raise StepFailed(
            f"{task} failed: {error.ename}: {error.evalue}\nOpen {target} to see where; the next "
            "`alkit run` goes on from this step"
        ) from None
    except DeadKernelError:
        raise StepFailed(
            f"{task} failed: its kernel died, too little memory being the usual cause; the next "
            "`alkit run` goes on from this step"
        ) from None
    finally:
        kernels.give_back(kernel)
