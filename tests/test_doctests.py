"""The examples in the docstrings of the method's functions."""

import doctest
import importlib

import pytest

MODULES = {
    "scores": 2,
    "aggregation": 2,
    "selection": 2,
    "evaluation": 1,
    "boxes": 3,
    "profiles": 1,
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    module = importlib.import_module(f"alkit.{name}")
    found = doctest.testmod(module)
    assert found.failed == 0
    examples = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert len(examples) >= MODULES[name]
