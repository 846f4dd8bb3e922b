"""Records of completed steps: what a step was made from, and whether that still holds.

A step is complete when its record `<step>.json` is in the cycle's folder; it is written last and
atomically. Its `key` is a digest of the inputs' keys, the parameters and the code, so that two
steps with the same key have the same result: a record may refer to another cycle's artifacts
(`reused`) instead of holding its own.
"""

import ast
import contextlib
import hashlib
import json
import os
import platform
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

import alkit
from alkit.loop import runs
from alkit.loop.jsonfile import write_json
from alkit.loop.runs import Run

PACKAGE = Path(alkit.__file__).parent
BFLOAT16 = ("amx_bf16", "avx512_bf16")  # abilities of a processor
# Commands and pages show results. A drawn data set's fingerprint holds the VERSION of `street`.
NO_RESULT = {"cli", "__main__", "labeling", "pages", "studies", "street"}
TRACKED_PACKAGES = ("torch", "numpy", "opencv-python-headless", "zarr", "xarray", "dask", "scipy")


class StaleStep(RuntimeError):
    """A completed step whose inputs, parameters or code are no longer those of its record."""


def stale(what: str, why: str) -> StaleStep:
    """The error of a stale step."""
    return StaleStep(
        f"{what} is stale: {why}. It is neither reused nor overwritten: choose another --out, "
        "`alkit branch`, or `alkit run --redo`, which makes it and all that follows from it again"
    )


def digest(value) -> str:
    """sha256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def code_digests() -> dict:
    """Digests of alkit's code by the names right under the package, without comments and
    docstrings. All of it may change a result but for `NO_RESULT`."""
    parts = {path.stem: path for path in sorted(PACKAGE.iterdir()) if path.stem not in NO_RESULT}
    files = {
        name: [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
        for name, path in parts.items()
    }
    return {name: digest([*map(code_of, own)]) for name, own in files.items() if own}


def code_of(file: Path) -> str:
    """What a Python file says to the machine: its syntax tree without docstrings."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        match node:
            case ast.AST(body=[ast.Expr(value=ast.Constant()), *_]):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def environment() -> dict:
    """Versions, machine and threads, which change the order of sums and so the last digits, for a
    reader of the record; not part of the key."""
    return {
        "alkit": alkit.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "bfloat16": ", ".join(k for k in BFLOAT16 if torch.cpu.get_capabilities().get(k)),
        **{package: metadata.version(package) for package in TRACKED_PACKAGES},
    }


@cache
def _processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return name[1] if name else platform.processor()


@dataclass(frozen=True)
class Plan:
    """What a step would be made from, now."""

    step: str
    inputs: dict
    parameters: dict
    code: dict

    @property
    def key(self) -> str:
        return digest([*asdict(self).values()])

    def differences(self, record: dict) -> list:
        """What differs from a record, in words."""
        words = {
            "inputs": "input {} changed",
            "parameters": "{} was {!r}, is {!r}",
            "code": "code of {} changed",
        }
        found = []
        for part, said in words.items():
            old, new = record.get(part, {}), json.loads(json.dumps(getattr(self, part)))
            differing = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
            found += [said.format(name, old.get(name), new.get(name)) for name in differing]
        return found


def record_path(run: Run, cycle: int, step: str) -> Path:
    return run.cycle(cycle) / f"{step}.json"


def read(run: Run, cycle: int, step: str) -> dict | None:
    """The record of a step, or None if it is not complete. Raises DamagedStep."""
    return runs.read_record(run.cycle(cycle), step)


def all_records(out: Path):
    """(path, record) of every completed step of an experiment, but for damaged records."""
    for pattern in ("*/seed_*/[0-9]_*.json", "*/seed_*/cycle_*/[0-9]_*.json"):
        for path in sorted(out.glob(pattern)):
            with contextlib.suppress(runs.DamagedStep):
                if record := runs.read_record(path.parent, path.stem):
                    yield path, record


def find_equal(run: Run, plan: Plan, artifacts) -> Path | None:
    """A folder, in this experiment or one related to it, that holds the same step."""
    for out in [run.out, *(run.out / other for other in run.settings["related"])]:
        for path, record in all_records(out):
            complete = record["key"] == plan.key and not record.get("reused")
            if complete and not any(
                runs.damage(path.parent, name, record) != "" for name in artifacts
            ):
                return path.parent
    return None


def write(run, cycle, plan: Plan, artifacts, seconds: float, reused=None, warnings=()):
    """Write a record, which completes its step."""
    folder = run.cycle(cycle)
    folder.mkdir(parents=True, exist_ok=True)
    holder = reused or folder
    record = {
        **asdict(plan),
        "key": plan.key,
        # a Zarr store, large and rebuilt from the rest, knows itself whether it is whole
        "artifacts": {
            name: "store" if name.endswith(".zarr") else runs.digest_of(holder / name)
            for name in artifacts
        },
        "environment": environment(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "warnings": [*warnings],
    }
    if reused:
        # relative, so that an experiment folder can be moved as a whole
        record["reused"] = os.path.relpath(reused.resolve(), folder.resolve())
    write_json(record_path(run, cycle, plan.step), record)
