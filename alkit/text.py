"""What is said in words: checked claims and errors; and which of many are looked at."""

import difflib
import re
import reprlib

import numpy as np

OF_UNION = re.compile(r"constrained-|\w+\[")  # pydantic's name of one of several types in a place


def sentence(claim: str, problems) -> str:
    """The claim, or what is wrong with it."""
    problems = [str(problem) for problem in problems]
    return claim if not problems else f"{claim.split(':')[0]}: wrong: " + "; ".join(problems)


def problems(error, most: int = 5, known=()) -> str:
    """What a pydantic ValidationError says, as `place: what is wrong (got …)`, the first of it; and
    of the `known` names the one that a wrong name is nearest to."""
    said = []
    for problem in error.errors(include_url=False)[:most]:
        place = ".".join(str(k) for k in problem["loc"] if not OF_UNION.match(str(k)))
        silent = problem["type"].startswith("missing")
        silent |= problem["type"] == "value_error" and not place
        got = "" if silent else f" (got {reprlib.repr(problem['input'])[:100]})"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, 1)
            got += f"; did you mean {near[0]}?" if near else ""
        said.append((f"{place}: " if place else "") + message + got)
    return "; ".join(dict.fromkeys(said))


def number(value) -> str:
    """A number for people, by three significant digits; "undefined" for None and NaN."""
    if value is None or np.isnan(value):
        return "undefined"
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")


def evenly(n: int, count: int) -> list:
    """At most `count` positions spread evenly over n."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int)).tolist() if n else []
