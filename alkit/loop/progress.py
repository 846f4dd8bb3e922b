"""Progress of a running step: a bar for people, and a log that `alkit status` follows."""

import contextlib
import json
import threading
import time
from pathlib import Path

from tqdm import tqdm

LOG_SECONDS = 1.0  # between two lines of the log


@contextlib.contextmanager
def follow(folder: Path, step: str):
    """A function `report(done, total, loss=None)` that moves a bar and writes `<step>.log`. Other
    threads than the main one have no bar: several of them would write over each other."""
    folder.mkdir(parents=True, exist_ok=True)
    last = 0.0
    hidden = {}  # TQDM_DISABLE has the word
    if threading.current_thread() is not threading.main_thread():
        hidden = {"disable": True}
    with (
        open(folder / f"{step}.log", "a") as log,
        tqdm(desc=step, leave=False, mininterval=0.5, **hidden) as bar,
    ):

        def report(done: int, total: int, loss: float | None = None):
            nonlocal last
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


def latest(folder: Path, step: str) -> dict | None:
    """The last line of a step's log, or None."""
    path = folder / f"{step}.log"
    lines = path.read_text().splitlines() if path.exists() else []
    for line in reversed(lines):
        with contextlib.suppress(ValueError):  # a line cut off by a kill
            return json.loads(line)
    return None
