"""Where the Zarr stores of a run lie: in its folder, or under a URL that fsspec knows.

A place is a Path, or a URL such as s3://bucket/prefix; file:///folder is a Path too. Credentials
and endpoints are those of the environment, as fsspec and the package of the protocol read them
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, FSSPEC_S3_…); a URL holds none.
"""

import contextlib
import re
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

Place = Path | str


def checked(url: str) -> str:
    """A URL that stores can lie under, without a slash at its end. What fsspec knows of it is said
    by `check`, when the run starts.

    Raises ValueError for what is no URL, and for one with a password, which would end up in files.
    """
    if urlsplit(url).password is not None:
        raise ValueError("store: a URL with a password; credentials come from the environment")
    if not re.match(r"file:///|(?!file:)[\w+.-]+://.", url):
        raise ValueError(
            f"store: expected a URL as s3://bucket/prefix or file:///folder, got {url!r}"
        )
    return url.rstrip("/")


def under(url: str, relative="") -> Place:
    """The place at a relative path under a URL."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://")) / relative
    return f"{url}/{Path(relative).as_posix()}" if relative else url


def check(place: Place):
    """Write a small file, list it, read it and delete it. Raises OSError where that fails, or
    of a URL RuntimeError that says what to look at."""
    try:
        files, path = _files(place)
        name = f"{path}/alkit-{uuid.uuid4().hex}"
        files.pipe_file(name, b"alkit")
        found, read = files.find(name), files.cat_file(name)
        files.rm(name)
        if len(found) != 1 or read != b"alkit":
            raise OSError(f"what was written came back as {read!r}, listed as {found}")
    except Exception as error:
        if isinstance(place, Path):
            raise
        raise RuntimeError(
            f"{place}: {type(error).__name__}: {error}. Expected a place that can be written, "
            "read, listed and deleted from: look whether it (the bucket) is there, whether the "
            "package of its protocol is installed (s3fs for s3://), and at credentials and "
            "endpoint in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "AWS_ENDPOINT_URL for s3://; FSSPEC_<PROTOCOL>_<OPTION> for all)"
        ) from error


def inside(place: Place, name: str) -> Place:
    """What has a relative name under a place."""
    return place / name if isinstance(place, Path) else f"{place}/{name}"


def sizes(place: Place) -> dict:
    """Bytes of all files under a place by their relative names; {} if there are none."""
    files, path = _files(place)
    found = files.find(path, detail=True)
    return {name.removeprefix(f"{path}/"): file["size"] for name, file in found.items()}


def read(place: Place) -> bytes:
    """The bytes of a file."""
    files, path = _files(place)
    return files.cat_file(path)


def remove(place: Place):
    """Delete all under a place, if it is there; of a store the group's own file first, so that a
    store that is half deleted counts as none."""
    files, path = _files(place)
    for name, recursive in ((f"{path}/zarr.json", False), (path, True)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            files.rm(name, recursive=recursive)


def _files(place: Place):
    """The file system of a place, without what it remembers of earlier listings, and the path."""
    if isinstance(place, Path):
        return LocalFileSystem(auto_mkdir=True), str(place.absolute())
    files, path = fsspec.url_to_fs(place)
    files.invalidate_cache()
    return files, path
