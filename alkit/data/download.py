"""Files of a data set that can be downloaded."""

from pathlib import Path

import requests
from pydantic import BaseModel, ConfigDict, Field, model_validator

from alkit.data.records import FileName


class DataFile(BaseModel):
    """One file of a data set: `path` under its folder. Where it may be downloaded without
    registration, `url` and the `sha256` of what lies there; else `note` says how to get it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: FileName
    url: str | None = None
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    note: str = ""

    @model_validator(mode="after")
    def _verifiable(self):
        if self.url is not None and self.sha256 is None:
            raise ValueError(f"{self.path!r} has a url but no sha256 to verify the download")
        return self


def fetch(files, folder: Path, homepage: str, progress: bool = True) -> list[Path]:
    """Download files to a folder and verify them; the paths of all come back.

    A file that is there is not downloaded again; one with another checksum is left as it is. Raises
    ValueError for such a file, for a download that fails or has a wrong checksum, and at the end,
    with the homepage, for missing files that cannot be downloaded without registration.
    """
    import pooch  # here: in a notebook it warns of missing widgets

    if not files and not folder.exists():
        raise ValueError(f"no files are listed; get them from {homepage} to {folder}")
    paths, missing = [folder / file.path for file in files], []
    for file, path in zip(files, paths, strict=True):
        if path.is_file() and file.sha256 and (own := pooch.file_hash(path)) != file.sha256:
            raise ValueError(
                f"{path} has the checksum {own}, the catalog says {file.sha256}. Delete it to "
                "download it again, or correct the catalog"
            )
        if file.url is None:
            missing += [] if path.exists() else [f"{path} ({file.note})"]
            continue
        known = f"sha256:{file.sha256}"
        try:
            pooch.retrieve(file.url, known, path.name, path.parent, progressbar=progress)
        except (requests.RequestException, OSError, ValueError) as error:
            raise ValueError(f"the download of {file.url} failed: {error}") from error
    if missing:
        said = f"these files cannot be downloaded without asking. Get them from {homepage}"
        raise ValueError(f"{said} and put them at: {'; '.join(missing)}")
    return paths
