"""pyproject.toml, requirements.lock and environment.yml name the same packages."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"pytorch": "torch"}
ONLY_CONDA = {"python", "pip", "make"}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(lines):
    found = [Requirement(line) for line in lines]
    return {normal(r.name): r.specifier for r in found}


def wanted():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return requirements([*project["dependencies"], *project["optional-dependencies"]["dev"]])


def locked():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return requirements([line for line in lines if line and not line.startswith("#")])


def test_lock_pins_everything_exactly_and_fits_the_project():
    lock = locked()
    assert all(re.fullmatch(r"==[\w.!]+", str(specifier)) for specifier in lock.values())
    for name, specifier in wanted().items():
        assert name in lock, f"{name} is not in requirements.lock"
        assert specifier.contains(str(lock[name])[2:]), f"{name}: {lock[name]} not in {specifier}"
    assert str(lock["torch"]) == "==2.13.0"


def test_conda_environment_has_the_same_packages_and_compatible_versions():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    names = requirements(
        [e for e in entries if isinstance(e, str)] + [e for e in pip if not e.startswith("-")]
    )
    conda = {CONDA_NAMES.get(name, name): specifier for name, specifier in names.items()}
    assert {k: str(v) for k, v in conda.items() if k not in ONLY_CONDA} == {
        k: str(v) for k, v in wanted().items()
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert str(conda["python"]) == project["requires-python"]
    assert "--editable ." in pip


def test_the_installed_versions_are_the_locked_ones():
    from importlib.metadata import version

    installed = {name: version(name).split("+")[0] for name in wanted()}
    assert installed == {name: str(locked()[name])[2:] for name in wanted()}
