"""From a rule about one tree to a rule about a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from penstock.plan.nodes import Node, ProgramPlan


def each_view(program: ProgramPlan, rule: Callable[[Node], Node]) -> ProgramPlan:
    """`program` with `rule` applied to the query of every view."""
    views = tuple(replace(view, query=rule(view.query)) for view in program.views)
    return replace(program, views=views)
