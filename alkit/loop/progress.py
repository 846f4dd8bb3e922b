"""Progress of a running step: a bar for people, a log that `alkit status` follows, its warnings."""

import contextlib
import json
import sys
import threading
import time
import warnings
from pathlib import Path

from tqdm import tqdm

told = set()  # texts of warnings
LOG_SECONDS = 1.0  # between two lines of the log


@contextlib.contextmanager
def follow(folder: Path, step: str):
    """A function `report(done, total, loss=None)` that moves a bar and writes `<step>.log`. It
    raises RuntimeError where nobody waits for the step any longer."""
    folder.mkdir(parents=True, exist_ok=True)
    last = 0.0
    # workers have no bar, since they may share a terminal; TQDM_DISABLE has the word elsewhere
    hidden = {} if threading.current_thread() is threading.main_thread() else {"disable": True}
    with (
        open(folder / f"{step}.log", "a", encoding="utf-8") as log,
        tqdm(desc=step, leave=False, mininterval=0.5, **hidden) as bar,
    ):

        def report(done: int, total: int, loss: float | None = None):
            nonlocal last
            if not is_wanted():
                raise RuntimeError(f"{folder}: nobody waits for step {step} any longer; it stops")
            bar.total = total
            bar.update(done - bar.n)
            now = time.time()
            if now - last < LOG_SECONDS and done < total:
                return
            last = now
            line = {"time": round(now, 1), "done": done, "total": total}
            if loss is not None:
                line["loss"] = round(loss, 5)
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            log.write(json.dumps(line) + "\n")
            log.flush()

        yield report


def note_failure(folder: Path, step: str, said: str):
    """Write in a step's log that it ended with an error, for `alkit status`."""
    with contextlib.suppress(OSError), open(folder / f"{step}.log", "a") as log:
        print(json.dumps({"error": said.partition("\n")[0]}), file=log)


def tell(text: str, where: str = ""):
    """Print a warning beside the bars, each text once."""
    if text not in told:
        told.add(text)
        tqdm.write(f"warning: {where}{text}", sys.stderr)


@contextlib.contextmanager
def heard():
    """A list that gets, at the end, what the work inside warned of, in threads too, each text once;
    then the warnings are shown."""
    texts = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield texts
    finally:
        heeded = UserWarning | RuntimeWarning
        once = {str(w.message): w for w in caught if issubclass(w.category, heeded)}
        texts += once
        for w in once.values():
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)


def is_wanted() -> bool:
    """Whether somebody waits for what this thread does: Dask lets the thread of a task go on when
    its `alkit run` was killed, and it would write beside whoever is given the run next."""
    if "distributed" not in sys.modules:
        return True
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:  # this process is no worker
        return True
    key = worker.active_threads.get(threading.get_ident())
    task = worker.state.tasks.get(key)
    return key is None or (task is not None and task.state in ("executing", "long-running"))


def latest(folder: Path, step: str) -> dict | None:
    """The last line of a step's log, or None."""
    path = folder / f"{step}.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in reversed(lines):
        with contextlib.suppress(ValueError):  # a line cut off by a kill
            return json.loads(line)
    return None
