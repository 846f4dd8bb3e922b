"""A project: the folder with a catalog, notebooks and experiments that one works in."""

import os
from pathlib import Path

import alkit

CATALOG = "data_catalog.yaml"
OWN = Path(alkit.__file__).parent / "project"  # for `alkit init`; in a checkout, links to its own


def project_root(*starts) -> Path:
    """The nearest folder that holds a `data_catalog.yaml`, at or above the first of `starts`, files
    or folders, then of the working directory; this one itself where there is none."""
    here = Path.cwd()
    paths = [Path(os.path.abspath(start)) for start in (*starts, here)]
    folders = (folder for path in paths for folder in (path, *path.parents))
    return next((folder for folder in folders if os.path.isfile(folder / CATALOG)), here)


def portable(out: Path, path) -> str:
    """A path as an experiment's folder notes it: relative to the folder where both lie in one
    project, which may then be moved or copied as a whole, else absolute."""
    root = project_root(out)
    inside = out.is_relative_to(root) and Path(path).is_relative_to(root)
    return os.path.relpath(path, out) if inside else str(path)


def located(out: Path, path: str) -> str:
    """The absolute path that `portable` noted. Where nothing is there, as when the folder was moved
    alone or the project's old place is gone, what lies under its root by the same names."""
    own, names = Path(os.path.abspath(out / path)), Path(path).parts
    below = (project_root(out).joinpath(*names[k:]) for k in range(1, len(names)))
    return str(next((p for p in (own, *below) if p.exists() and ".." not in p.parts), own))


def notebook(name: str, root: Path) -> Path:
    """A notebook of the project, or alkit's own where the project has none of this name."""
    own = root / "notebooks" / name
    return own if own.is_file() else OWN / "notebooks" / name
