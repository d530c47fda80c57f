"""From a rule about one tree to a rule about a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from penstock.errors import Span
from penstock.plan.nodes import Node, ProgramPlan


class TooDeep(RecursionError):
    """A query is nested deeper than Python's stack allows; `span` is its place."""

    def __init__(self, span: Span | None) -> None:
        super().__init__("nested too deeply")
        self.span = span


def each_view(program: ProgramPlan, rule: Callable[[Node], Node]) -> ProgramPlan:
    """`program` with `rule` applied to the query of every view. Raises TooDeep."""
    views = []
    for view in program.all_views:
        try:
            views.append(replace(view, query=rule(view.query)))
        except RecursionError:
            raise TooDeep(view.query.span) from None
    declared = len(program.views)
    return replace(program, views=tuple(views[:declared]), system_views=tuple(views[declared:]))
