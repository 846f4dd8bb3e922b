"""Plants the faults of faults.yaml, one after the other, and says which of them no test catches.

    python tests/faults/plant.py [WORD …]     only faults whose name or file has one of the words

Each goes into a copy of the repository, where the tests most likely to notice it run until one
fails. The exit status is 1 if a fault is left that nothing catches.
"""

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
COPIES = 2  # that tests run in side by side
SOME_TEST_FAILED = 1  # of pytest's exit statuses, beside errors of use and of collection


def copy_of_repository(folder: Path) -> Path:
    """What git knows of, and what it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def read_faults() -> list:
    """The list. Raises ValueError where a text to replace is not in its file exactly once."""
    faults = yaml.safe_load((ROOT / "tests/faults/faults.yaml").read_text())
    for fault in faults:
        if (n := (ROOT / fault["file"]).read_text().count(fault["old"])) != 1:
            what = f"{fault['fault']}: {fault['file']}"
            raise ValueError(f"{what} has {fault['old']!r} {n} times; expected it once")
    return faults


def is_caught(fault: dict, copy: Path) -> tuple[bool, str]:
    """Whether a test fails in the copy with the fault in it, and the last line that pytest said."""
    file = copy / fault["file"]
    text = file.read_text()
    file.write_text(text.replace(fault["old"], fault["new"]))
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *fault["tests"].split()],
            cwd=copy, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    finally:
        file.write_text(text)
    said = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode == SOME_TEST_FAILED, (said or done.stdout.splitlines()[-1:] or [""])[0]


def main(words: list) -> int:
    faults = read_faults()
    faults = [f for f in faults if not words or any(w in f["fault"] + f["file"] for w in words)]
    copies, left = queue.Queue(), []
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(COPIES) as threads,
        tqdm(total=len(faults), unit="fault") as bar,
    ):
        for k in range(COPIES):
            copies.put(copy_of_repository(Path(folder) / str(k)))

        def plant(fault):
            copy, start = copies.get(), time.monotonic()
            try:
                caught, said = is_caught(fault, copy)
            finally:
                copies.put(copy)
            word = "caught" if caught else "NOT CAUGHT"
            bar.write(
                f"{word:10} {time.monotonic() - start:4.0f} s  {fault['fault']}  {said[:110]}"
            )
            bar.update()
            if not caught:
                left.append(fault["fault"])

        list(threads.map(plant, faults))
    print(f"{len(faults) - len(left)} of {len(faults)} faults are caught")
    return bool(left)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
