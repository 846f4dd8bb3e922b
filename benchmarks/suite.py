"""Runs modules of rows, writes them to one JSON file a machine kind, prints them as a table."""

import importlib
import os
import platform
import re
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from alkit.loop.jsonfile import read_json, write_json
from benchmarks.measuring import Missing, Options, Row, pin

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "zarr",
    "xarray",
    "dask",
    "papermill",
)
BUSY = 0.5  # load of other processes above which a table says so


def run(names, options: Options, out: Path | None) -> int:
    """Run the modules of these names; 1 if some rows could not be measured, else 0."""
    pin(options.threads)
    found, missing = [], []
    file = None if out is None else Path(out) / f"{machine_kind()}.json"
    for name in names:
        load = os.getloadavg()[0]
        when = datetime.now(UTC).isoformat(timespec="seconds")
        print(f"{name} …", flush=True)
        try:
            rows = importlib.import_module(f"benchmarks.{name}").rows(options)
        except Missing as error:
            missing.append(f"{name}: not measured: {error}")
            continue
        found += [as_dict(row, name, when, load, options) for row in rows]
        if file is not None:  # now: what comes next may be interrupted
            write(file, found, options.threads)
    print(f"\n{in_words(machine(options.threads))}\n\n{table(found)}")
    written = [f"Written to {file}"] if file and found else []
    print("\n".join(["", *notes(found), *missing, *written]))
    return 1 if missing else 0


def as_dict(row: Row, module: str, when: str, load: float, options: Options) -> dict:
    """A row as JSON has it. `load` is the machine's before its module ran, over one minute."""
    met = None if options.quick else row.met
    more = {"met": met, "module": module, "measured": when, "load": round(load, 2)}
    return asdict(row) | more | {"threads": options.threads, "quick": options.quick}


def write(file: Path, rows: list, threads: int):
    """Write the rows; those of other modules that the file has already stay."""
    old = read_json(file)["rows"] if file.exists() else []
    modules = {row["module"] for row in rows}
    kept = [row for row in old if row["module"] not in modules]
    write_json(file, {"kind": file.stem, "machine": machine(threads), "rows": kept + rows})


def machine(threads: int) -> dict:
    """What the figures depend on beside the code: processor, cores, versions. No names of hosts
    and no paths."""
    processor = processor_facts()
    flags = processor.get("flags", "").split()
    return {
        "processor": processor.get("model name", platform.machine()),
        "family, model, stepping": [
            processor.get(key, "") for key in ("cpu family", "model", "stepping")
        ],
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "memory_GB": round(os.sysconf("SC_PAGESIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "avx512": "avx512f" in flags,
        "bfloat16": "avx512_bf16" in flags or "amx_bf16" in flags,
        "amx": "amx_bf16" in flags,
        "system": platform.system(),
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in PACKAGES},
    }


def processor_facts() -> dict:
    """The first processor's lines of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def machine_kind() -> str:
    """The name of the results file: processor, AMX, cores."""
    facts = machine(0)
    name = re.sub(r"\((R|TM)\)|@.*| CPU| Processor", "", facts["processor"])
    parts = [name, "amx" if facts["amx"] else "", f"{facts['cores']} cores"]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def in_words(facts: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    kind = "bfloat16 in hardware" if facts["bfloat16"] else "no bfloat16"
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads, {kind}"
        f"{' (AMX)' if facts['amx'] else ''}, {facts['memory_GB']} GB; {versions}"
    )


def table(rows: list) -> str:
    """The rows as text: what, ours, reference, ratio, goal, met or not."""
    cells = [("what", "against", "ours", "reference", "ratio", "goal", "")]
    for row in rows:
        cells.append(
            (
                row["what"],
                row["against"] or "–",
                amount(row["ours"], row["unit"]),
                amount(row["reference"], row["unit"]),
                amount(row["ratio"]),
                goal(row),
                {True: "met", False: "NOT MET", None: ""}[row["met"]],
            )
        )
    widths = [max(len(line[k]) for line in cells) for k in range(7)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * (sum(widths) + 12), *lines[1:]])


def amount(value, unit="") -> str:
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:.{digits}f} {unit}".strip()


def goal(row: dict) -> str:
    """The goal in words; that of a ratio has no unit."""
    sign, limit = ("≥", row["at_least"]) if row["at_most"] is None else ("≤", row["at_most"])
    if limit is None:
        return "–"
    return f"{sign} {limit:g} {row['unit'] if row['judged'] == 'ours' else '×'}"


def notes(rows: list) -> list:
    """One line for each note, and one where the machine had other work."""
    lines = [f"{row['what']}: {row['note']}" for row in rows if row["note"]]
    first = {row["module"]: row["load"] for row in reversed(rows)}
    # one module's threads are in the next one's load, so only the first tells of others
    if rows and first[rows[0]["module"]] > BUSY:
        lines.append(
            f"The load was {first[rows[0]['module']]} before anything ran: other processes were at "
            "work, and ratios of times are less certain."
        )
    if any(row["quick"] for row in rows):
        lines.append("Tiny sizes: no figure means anything, and none is judged.")
    return lines
