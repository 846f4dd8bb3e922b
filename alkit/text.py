"""What is said in words: checked claims and errors; and which of many are looked at."""

import reprlib

import numpy as np


def sentence(claim: str, problems) -> str:
    """The claim, or what is wrong with it."""
    problems = [str(problem) for problem in problems]
    return claim if not problems else f"{claim.split(':')[0]}: wrong: " + "; ".join(problems)


def problems(error, most: int = 5) -> str:
    """What a pydantic ValidationError says, as `place: what is wrong (got …)`, the first of it."""
    said = []
    for problem in error.errors(include_url=False)[:most]:
        place = ".".join(map(str, problem["loc"]))
        got = "" if problem["type"] == "missing" else f" (got {reprlib.repr(problem['input'])})"
        message = problem["msg"].removeprefix("Value error, ")
        said.append((f"{place}: " if place else "") + message + got)
    return "; ".join(said)


def evenly(n: int, count: int) -> list:
    """At most `count` positions spread evenly over n."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int)).tolist() if n else []
