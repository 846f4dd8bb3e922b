"""A project: the folder with the catalog, notebooks and experiments that one works in."""

import os
import shutil
from pathlib import Path

import alkit

CATALOG = "data_catalog.yaml"
# What `init` writes; in a checkout, links to what lies at its root.
OWN = Path(alkit.__file__).parent / "project"


def project_root(*starts) -> Path:
    """The nearest folder that holds a `data_catalog.yaml`, at or above the first of `starts`, files
    or folders, then of the working directory; this one itself where there is none."""
    here = os.getcwd()
    for start in (*starts, here):
        path = Path(os.path.abspath(start))
        for folder in (path, *path.parents):
            if os.path.isfile(folder / CATALOG):
                return folder
    return Path(here)


def portable(out: Path, path) -> str:
    """A path as seen from an experiment's folder where both lie in one project, which may be moved
    and copied as a whole; elsewhere an absolute one."""
    root = project_root(out)
    inside = out.is_relative_to(root) and Path(path).is_relative_to(root)
    return os.path.relpath(path, out) if inside else str(path)


def located(out: Path, path: str) -> str:
    """The absolute path that `portable` gave. Where nothing is there, since the experiment's folder
    was moved alone, or the path is an absolute one of a project that is gone: what lies under the
    project's root by the same names."""
    own, names = Path(os.path.abspath(out / path)), Path(path).parts
    below = (project_root(out).joinpath(*names[k:]) for k in range(1, len(names)))
    return str(next((p for p in (own, *below) if p.exists() and ".." not in p.parts), own))


def notebook(name: str, root: Path) -> Path:
    """A notebook of the project, or alkit's own where the project has none of this name."""
    own = root / "notebooks" / name
    return own if own.is_file() else OWN / "notebooks" / name


def init(folder) -> str:
    """Write a project to work in, and say how to go on. Raises ValueError for a folder that is not
    empty."""
    folder = Path(folder).expanduser()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ValueError(f"{folder}: not an empty folder; name a new one for the project")
    hidden = shutil.ignore_patterns(".*")  # JupyterLab's checkpoints, in a checkout
    shutil.copytree(OWN, folder, ignore=hidden, dirs_exist_ok=True)
    return (
        f"{folder}: {CATALOG}, experiments and notebooks. Go on with\n"
        f"  cd {folder}\n  alkit run experiments/demo.yaml\n  jupyter lab notebooks"
    )
