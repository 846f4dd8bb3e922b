"""The explorer of a run of many frames, in a real browser: opening it, changing the frame, memory
and bytes read.

The page is that of `alkit explore`, in a process of its own; Chromium draws it without a screen or
a GPU. Needs what `make test-browser` installs. The pool has no labeled boxes.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from alkit import training
from alkit.loop import steps
from benchmarks import toy
from benchmarks.measuring import ROOT, Missing, Options, Row, rounded

KEYS = 30  # frames stepped through
# Presses an arrow key, and answers with the milliseconds until the frame's new image was drawn.
STEP = """
const [key, done] = arguments;
const models = Bokeh.documents.flatMap((d) => [...d._all_models.values()]);
const source = models.find((m) => m.get_column && m.get_column("image")?.length);
const start = performance.now();
const changed = () => {
  source.disconnect ? source.disconnect(source.properties.data.change, changed) : null;
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
};
source.connect(source.properties.data.change, changed);
window.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
"""


def rows(options: Options) -> list[Row]:
    driving = _driving()
    demo = toy.demo(options)
    numbers = demo.experiment.numbers
    detector = training.load_weights(demo.weights(0), numbers)
    images = toy.pictures(numbers.image_size, options.pick(toy.DIFFERENT, 4))
    n = options.pick(1000, 24, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        run = toy.experiment(
            Path(folder), demo.experiment.profile, demo.experiment.set, images, n, detector
        )
        for step in (steps.predict, steps.score, steps.aggregate, steps.choose):
            step(run, 1)
        with (
            tempfile.TemporaryDirectory() as profile,
            driving.chromium(Path(profile)) as browser,
            driving.serving("explore", run.folder, "--port", 0) as (process, address),
        ):
            # from the middle of the pool, where every key has a frame to go to
            middle = urlencode({"frame": run.frames("pool").name[n // 2]})
            link = f"{address}?{middle}"
            opened = [_open(driving, browser, link) for _ in range(options.pick(3, 1))]
            before = _read(process.pid)
            keys = ["ArrowRight" if k % 3 else "ArrowLeft" for k in range(options.pick(KEYS, 3))]
            changed = []
            for key in keys:
                changed.append(browser.execute_async_script(STEP, key))
                time.sleep(0.2)
            read = (_read(process.pid) - before) / len(changed)
            memory = _memory(process.pid)
    size = "×".join(map(str, numbers.image_size))
    note = "" if options.long else "--long measures 10,000"
    what = f"the explorer of {n} frames, {size}"
    slowest = f"the slowest {max(changed):.0f} ms"
    return [
        Row(
            "explorer.open",
            f"{what}: opened",
            float(np.median(opened)),
            "s",
            at_most=3,
            note=note,
            details={"seconds": rounded(opened)},
        ),
        Row(
            "explorer.frame",
            f"{what}: frame changed",
            float(np.median(changed)),
            "ms",
            at_most=150,
            note=slowest,
            details={"milliseconds": rounded(changed)},
        ),
        Row(
            "explorer.read",
            f"{what}: read for a frame",
            read / 1e6,
            "MB",
            note="files, messages and pipes",
        ),
        Row("explorer.memory", f"{what}: memory of its server", memory / 1e9, "GB"),
    ]


def _driving():
    """The tests' helpers to drive a browser. Raises Missing where there is none."""
    sys.path.append(str(ROOT / "tests" / "browser"))
    try:
        import driving
    except ImportError as error:
        raise Missing(f"{error}; `make test-browser` installs what drives a browser") from None
    finally:
        sys.path.pop()
    return driving


def _open(driving, browser, address) -> float:
    """Seconds until a page shows its first frame, from an empty tab."""
    browser.get("about:blank")
    start = time.perf_counter()
    browser.get(address)
    driving.until(lambda: driving.text(browser, ".alkit-words"))
    drawn = "return Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle"
    driving.until(lambda: browser.execute_script(drawn))
    return time.perf_counter() - start


def _read(pid: int) -> int:
    """Bytes that a process has read so far, from the cache of the system too."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def _memory(pid: int) -> int:
    """Bytes of memory that a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
