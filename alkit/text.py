"""What is said in words: checked claims and errors; and which of many are looked at."""

import difflib
import reprlib
from pathlib import Path

import numpy as np
import yaml


def sentence(claim: str, problems) -> str:
    """The claim, or what is wrong with it."""
    problems = [str(problem) for problem in problems]
    return claim if not problems else f"{claim.split(':')[0]}: wrong: " + "; ".join(problems)


class _UniqueKeys(yaml.SafeLoader):
    """YAML that does not let a second entry of the same name replace the first."""

    def construct_mapping(self, node, deep=False):
        lines = {}
        for key in [key for key, _ in node.value if not key.tag.endswith(":merge")]:
            name, line = str(self.construct_object(key, deep=True)), key.start_mark.line + 1
            if name in lines:
                raise yaml.YAMLError(f"line {line}: {name} stands already in line {lines[name]}")
            lines[name] = line
        return super().construct_mapping(node, deep)


def read_yaml(path: Path):
    """What a YAML file says. Raises ValueError that names the file and the line, also where one
    mapping has a name twice."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None


def problems(error, most: int = 5, known=()) -> str:
    """What a pydantic ValidationError says, as `place: what is wrong (got …)`, the first of it; and
    of the `known` names the one that a wrong name is nearest to."""
    said = []
    for problem in error.errors(include_url=False)[:most]:
        place = ".".join(map(str, problem["loc"]))
        silent = problem["type"].startswith("missing")
        silent |= problem["type"] == "value_error" and not place
        got = "" if silent else f" (got {reprlib.repr(problem['input'])[:100]})"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, 1)
            got += f"; did you mean {near[0]}?" if near else ""
        said.append((f"{place}: " if place else "") + message + got)
    return "; ".join(said)


def evenly(n: int, count: int) -> list:
    """At most `count` positions spread evenly over n."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int)).tolist() if n else []
