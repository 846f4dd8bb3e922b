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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import Lock

import torch

import alkit
from alkit.data.remembered import remembered
from alkit.loop import storage, store
from alkit.loop.jsonfile import read_json, write_json

# What a record has to hold.
RECORD = "step", "inputs", "parameters", "code", "key", "artifacts", "seconds", "warnings"
PACKAGE = Path(alkit.__file__).parent
CODE = "code-1"  # the cache of its digests: another number where `_code` gives something else
PARSING = Lock()  # two threads that parse at a time can fail with a SystemError (CPython gh-106905)
BFLOAT16 = ("amx_bf16", "avx512_bf16")  # abilities of a processor
# Commands and pages show results. A drawn data set's fingerprint holds the VERSION of `street`.
NO_RESULT = {"cli", "__main__", "labeling", "pages", "studies", "street"}
TRACKED_PACKAGES = ("torch", "numpy", "opencv-python-headless", "zarr", "xarray", "dask", "scipy")


class StaleStep(RuntimeError):
    """A completed step whose inputs, parameters or code are no longer those of its record."""


class DamagedStep(RuntimeError):
    """A complete step whose artifacts are not what it wrote: (the step, what is wrong)."""

    def __str__(self):
        return (
            f"{self.args[0]} is damaged: {self.args[1]}. It is not used; `alkit run --redo` makes "
            "it again, and what follows from it where it comes out otherwise"
        )


def unusable(what: str, kind: str, why: str, states=()) -> RuntimeError:
    """The error of a stale or damaged step; `states` are those of `made_again`."""
    if kind == "damaged":
        return DamagedStep(what, why)
    return StaleStep(
        f"{what} is stale: {why}. It is neither reused nor overwritten: choose another --out, "
        "`alkit branch`, or `alkit run --redo`, which makes it and all that follows from it again"
        + f": {made_again(states)}" * bool(states)
        + ". A pool stays as it was if its new images get an entry of their own" * ("X_u" in why)
    )


def made_again(states) -> str:
    """What `alkit run --redo` makes again of finished steps, and what stays: folders with the
    numbers of their steps. `states` are pairs of a task and the kind of its state, in order."""
    parts, lost = ({}, {}), set()
    for task, kind in states:
        if kind != "damaged" and (record := read(task.run, task.cycle, task.step.name)):
            stays = kind != "stale" and lost.isdisjoint(record["inputs"].values())
            if not stays:  # others know it by its key or, of weights, by `step.weights_key`
                weights = record["artifacts"].get("weights.safetensors")
                lost |= {record["key"], digest([record["key"], weights])}
            folder = task.run.cycle(task.cycle).relative_to(task.run.out)
            parts[stays].setdefault(folder, []).append(task.step.name[0])
    again, kept = (", ".join(f"{k} ({' '.join(v)})" for k, v in part.items()) for part in parts)
    return f"{again}; what stays is {kept or 'nothing'}, and what people answered"


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
    return {name: digest(remembered(CODE, own, code_digest)) for name, own in files.items() if own}


def code_digest(file: Path) -> str:
    """Of a Python file's syntax tree without docstrings, the same in all versions of Python."""
    with PARSING:
        tree = ast.parse(file.read_bytes())
    return digest(_code(tree))


def _code(node):
    match node:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return ""  # does nothing: a docstring, or as good as one
        case ast.Constant(value=value):
            return [type(value).__name__, ascii(value)]
        case ast.JoinedStr(values=values):  # some versions have empty texts between
            return ["JoinedStr", [_code(v) for v in values if getattr(v, "value", v) != ""]]
        case ast.AST():
            fields = {name: _code(value) for name, value in ast.iter_fields(node)}
            return [type(node).__name__, {k: v for k, v in fields.items() if v not in (None, [])}]
        case list():
            return [code for code in map(_code, node) if code != ""]
    return node


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
    file = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", file.read_text("utf-8")) if file.exists() else None
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


def record_path(run, cycle: int, step: str) -> Path:
    return run.cycle(cycle) / f"{step}.json"


def read(run, cycle: int, step: str) -> dict | None:
    """The record of a step, or None if it is not complete. Raises DamagedStep."""
    return _read(record_path(run, cycle, step))


def _read(path: Path) -> dict | None:
    try:
        record = read_json(path) if path.exists() else None
        if record is not None and not (isinstance(record, dict) and {*RECORD} <= {*record}):
            raise ValueError(f"{path} is not the record of a step")
    except ValueError as error:
        raise DamagedStep(f"{path.parent}: step {path.stem}", error) from None
    return record


def all_records(out: Path):
    """(path, record) of every completed step of an experiment, but for damaged records."""
    for pattern in ("*/seed_*/[0-9]_*.json", "*/seed_*/cycle_*/[0-9]_*.json"):
        for path in sorted(out.glob(pattern)):
            with contextlib.suppress(DamagedStep):
                if record := _read(path):
                    yield path, record


def holder(folder: Path, record: dict | None) -> Path:
    """The folder of a step's artifacts: its own, or the one that its record refers to."""
    reused = record and record.get("reused")
    return (folder / reused).resolve() if reused else folder


def place_of(folder: Path, name: str) -> storage.Place:
    """Where an artifact of a cycle's folder lies: in it, or under the URL of the stores."""
    if name.endswith(".zarr"):
        out = folder.parents[2]
        if url := read_json(out / "experiment.json").get("stores_at"):
            return storage.under(url, (folder / name).relative_to(out))
    return folder / name


def digest_of(file: Path) -> str:
    """sha256 of a file."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def damage(folder: Path, name: str, record: dict, digest: Callable = digest_of) -> str | None:
    """What is wrong with an artifact that a record says is in a folder; "" if it is as it was
    written, None for a store that is not there, or was made from something else."""
    place = place_of(folder, name)
    if name.endswith(".zarr"):
        return store.damage(place, record["key"])
    if not place.exists():
        return f"{place} is gone"
    found, wanted = digest(place), record["artifacts"].get(name)
    return "" if found == wanted else f"{place} is not what the step wrote: sha256 {found:.12}…"


def find_equal(run, plan: Plan, artifacts) -> Path | None:
    """A folder, in this experiment or one related to it, that holds the same step."""
    for out in [run.out, *(run.out / other for other in run.settings["related"])]:
        for path, record in all_records(out):
            complete = record["key"] == plan.key and not record.get("reused")
            if complete and all(damage(path.parent, name, record) == "" for name in artifacts):
                return path.parent
    return None


def write(run, cycle, plan: Plan, artifacts, seconds: float, reused=None, warnings=()):
    """Write a record, which completes its step."""
    folder = run.cycle(cycle)
    lies_in = reused or folder
    record = {
        **asdict(plan),
        "key": plan.key,
        # a Zarr store, large and rebuilt from the rest, knows itself whether it is whole
        "artifacts": {
            name: "store" if name.endswith(".zarr") else digest_of(lies_in / name)
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
