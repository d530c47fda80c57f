"""Every operator and every aggregate says what it means, how it follows changes, what it keeps and
what that costs."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys

import pytest

from penstock.circuit import ops
from penstock.circuit.node import Node
from penstock.circuit.ops.accumulate import Accumulator

WORDS = ["Reference", "Incremental", "State", "Cost"]


def operators() -> list[type]:
    found = []
    for module in pkgutil.iter_modules(ops.__path__):
        there = importlib.import_module(f"{ops.__name__}.{module.name}")
        found += [
            c
            for _, c in inspect.getmembers(there, inspect.isclass)
            if issubclass(c, Node | Accumulator) and c.__module__ == there.__name__
        ]
    return [c for c in found if c is not Accumulator]


@pytest.mark.parametrize("operator", operators(), ids=lambda c: c.__name__)
def test_an_operator_says_what_it_means_how_it_follows_what_it_keeps_and_what_that_costs(
    operator: type,
) -> None:
    own = operator.__doc__ or ""
    # several of one kind say it once, in their module
    said = own if "Reference:" in own else sys.modules[operator.__module__].__doc__ or ""
    found = re.findall(r"^ *(Reference|Incremental|State|Cost):", said, re.MULTILINE)
    assert found == WORDS
