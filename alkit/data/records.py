"""Records of annotation files, which come from anywhere: pydantic models say what they hold, and an
error says in which file and where in it something else stands."""

import json
from collections import Counter
from pathlib import PurePosixPath
from typing import Annotated

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
)

from alkit.text import problems

MAX_COORDINATE = 2**16  # pixels, more than any honest label has


class Record(BaseModel):
    """An object of a file. What its model does not name is passed over; "1" is no number."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


def _inside(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError("it leads out of the folder; expected a relative path without '..'")
    return name


def _upright(angle: float) -> float:
    if angle % 360:
        raise ValueError("the box is rotated; expected the upright box around it")
    return angle


FileName = Annotated[str, AfterValidator(_inside)]
Pixels = Annotated[int, Field(gt=0, strict=False)]  # also 640.0
Mark = Annotated[bool, Field(strict=False)]  # true, false, 1 or 0
Coordinate = Annotated[float, Field(ge=-MAX_COORDINATE, le=MAX_COORDINATE, allow_inf_nan=False)]
Side = Annotated[Coordinate, Field(ge=0)]
LTWH = (Coordinate, Coordinate, Side, Side)  # left, top, width, height
Box = Annotated[tuple[*LTWH], Strict(False)]
Upright = Annotated[float, Strict(False), AfterValidator(_upright)]  # an angle in degrees
Many = FailFast()  # of a list: a damaged one of a million records is told by its first error


def read_json(text: bytes, where, without: str, use=lambda record, value: None):
    """The content of a JSON text, objects without one key: polygons are most of a large file.
    Before one goes, `use(object, its value)` may take from it what it needs.

    Raises ValueError that begins with `where`.
    """

    def lean(record: dict) -> dict:
        use(record, record.pop(without, None))
        return record

    try:
        return json.loads(text, object_hook=lean)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON, or truncated: {error}") from None


def check(model, value, where):
    """A value, or the JSON in bytes, as `model`. Raises ValueError that begins with `where`."""
    adapter = TypeAdapter(model)
    validate = adapter.validate_json if isinstance(value, bytes) else adapter.validate_python
    try:
        return validate(value)
    except ValidationError as error:
        raise ValueError(f"{where}: {problems(error)}") from None


def unique(where, what: str, values):
    """Raise ValueError that names a value which comes twice."""
    twice = [value for value, times in Counter(values).items() if times > 1]
    if twice:
        raise ValueError(f"{where}: the {what} {twice[0]!r} comes twice")


def check_pixels(where, ltwh, name):
    """Raise ValueError where boxes [left, top, width, height] look like shares of an image's sides,
    no number over 1: all with an area, or one under a pixel; `name(i)` names the i-th."""
    ltwh = np.reshape(ltwh, (-1, 4))
    real = (ltwh[:, 2:] > 0).all(1)
    shares = real & (np.abs(ltwh) <= 1).all(1)
    if (real != shares).any():
        shares &= (ltwh[:, 2:] < 1).any(1)
    if len(shares := np.flatnonzero(shares)):
        box = f"{name(shares[0])}: the box {ltwh[shares[0]].tolist()}"
        few = f"{len(shares)} of {len(ltwh)} boxes are as small"
        raise ValueError(f"{where}: {box}: in pixels? {few}; expected no shares of the sides")
