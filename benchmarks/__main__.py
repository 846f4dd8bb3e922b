"""The command line. Threads are set before any module that reads the setting is imported."""

import argparse
import os
import sys
from pathlib import Path

from benchmarks import THREAD_SETTINGS

MODULES = (
    "divergence",
    "bfloat16",
    "agreement",
    "stored_maps",
    "one_map",
    "evaluation",
    "selection",
    "steps",
    "scaling",
    "sweep",
    "memory",
    "notebook_steps",
    "explorer",
    "unit_costs",
    "cycle",
    "gpu",
)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(MODULES)}; all without any")
    parser.add_argument("--run", type=Path, default="runs/demo", help="a complete demo")
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is judged")
    parser.add_argument(
        "--long", action="store_true", help="longer pools, full width: over an hour"
    )
    given = parser.parse_args(arguments)
    for name in given.rows:
        if name not in MODULES:
            parser.error(f"no rows {name!r}; there are {', '.join(MODULES)}")
    for name in THREAD_SETTINGS:
        os.environ[name] = str(given.threads)
    os.environ["TQDM_DISABLE"] = "1"  # bars of steps, which would come between the rows

    from benchmarks import suite
    from benchmarks.measuring import Options

    options = Options(given.run, given.threads, given.quick, given.long)
    out = given.out or (None if given.quick else Path(__file__).parent / "results")
    return suite.run(given.rows or MODULES, options, out)


if __name__ == "__main__":
    sys.exit(main())
