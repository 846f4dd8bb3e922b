"""Data sets beside each other: their counts in columns, and whether they are as expected.

What they share is in `alkit.studies.overlap`.
"""

import fnmatch

import numpy as np

from alkit.catalog import CatalogError, Entry
from alkit.studies import survey
from alkit.studies.survey import Ceiling, Survey
from alkit.text import sentence

COUNTED = {  # rows of a table of counts
    "images": "images",
    "sequences": "sequences",
    "images_with_pedestrians": "images with pedestrians",
    "instances": "instances",
    "ignored": "ignored",
    "boxes": "boxes",
    "median_height": "median height (px)",
}


def counts(surveys: list[Survey], ceilings: list[Ceiling | None], profile: str) -> str:
    """The counts of some data sets as text, a column for each, with the decoder ceiling under the
    profile of this name; "–" for what a data set has not."""
    rows = {"": [found.name for found in surveys]}
    for key, label in COUNTED.items():
        rows[label] = [number(found.counts[key]) for found in surveys]
    rows["image size, height × width"] = [size(found.counts["image_size"]) for found in surveys]
    rows["tracks"] = [tracks(found) for found in surveys]
    rows[f"decoder ceiling, {profile}"] = [
        "–" if c is None or np.isnan(c.miss_rate) else f"{c.miss_rate:.3f}" for c in ceilings
    ]
    wide = max(map(len, rows))
    widths = [max(len(cells[k]) for cells in rows.values()) for k in range(len(surveys))]
    lines = [
        "  ".join([f"{label:{wide}}", *(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))])
        for label, cells in rows.items()
    ]
    for found, c in zip(surveys, ceilings, strict=True):
        if found.counts["labels"]:
            labels = ", ".join(f"{name} {n}" for name, n in found.counts["labels"].items())
            lines.append(f"{found.name}: labels in the files: {labels}")
        if c is not None and c.decoded < len(found.frames):
            of = f"{c.decoded} of {len(found.frames)} frames, evenly chosen"
            lines.append(f"{found.name}: decoder ceiling of {of}")
    return "\n".join(lines)


def number(value) -> str:
    """A count or a measure; "–" for None."""
    return "–" if value is None else f"{round(value, 2):.10g}"


def size(value) -> str:
    """An image size; None is that of images that differ."""
    return "various" if value is None else " × ".join(map(str, value))


def tracks(found: Survey) -> str:
    """Different objects among the positives; "–" where the data does not say who is who."""
    people = found.counts["identities"]
    return "–" if not people and found.counts["instances"] else number(people)


# --- the notebook -----------------------------------------------------------------------------


def matching(catalog, names: str) -> list[Entry]:
    """The entries of a catalog that a text names, with commas or blanks between; in a name `*`
    stands for anything. Raises UnknownDataSet for a name or a pattern that matches none."""
    found = {}
    for name in names.replace(",", " ").split():
        for one in fnmatch.filter(catalog, name) or [name]:
            found[one] = catalog[one]
    return list(found.values())


def survey_present(entries: list[Entry]) -> tuple[list[Survey], dict]:
    """Survey the data sets that are there; of the others, by name, why they cannot be read."""
    surveys, absent = [], {}
    for entry in entries:
        try:
            surveys.append(survey.survey(entry))
        except (CatalogError, FileNotFoundError) as error:
            absent[entry.name] = str(error)
    return surveys, absent


def check(surveys: list[Survey]) -> str:
    """The checked line: the counts are those that the catalog expects, and every pedestrian is
    within the limits of its data set's filter."""
    problems = []
    for found in surveys:
        problems += [
            f"{found.name}: {line.what}: {line.found}, {line.expected} expected"
            for line in survey.compare_counts(found)
            if not line.ok
        ]
        rule = found.entry.filter
        height, width = found.sizes[found.kept].T
        if (height * rule.scale < rule.min_height - 1e-6).any():
            problems.append(f"{found.name}: a pedestrian is too small")
        if rule.aspect is not None:
            low, high = rule.aspect
            if ((width < (low - 1e-6) * height) | (width > (high + 1e-6) * height)).any():
                problems.append(f"{found.name}: a pedestrian is too wide or too narrow")
    claim = "data sets: counts as the catalog expects, pedestrians within their filter's limits"
    return sentence(claim, problems[:5])
