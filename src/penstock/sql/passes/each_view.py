"""From a rule about one tree to a rule about a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from penstock.errors import Span
from penstock.plan.nodes import Node, ProgramPlan
from penstock.plan.rewrite import inputs, with_inputs


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
            raise TooDeep(_place(view.query)) from None
    declared = len(program.views)
    return replace(program, views=tuple(views[:declared]), system_views=tuple(views[declared:]))


def _place(node: Node) -> Span | None:
    """Where the query stands that `node` came from: the first place on the way down."""
    while node.span is None and inputs(node):
        node = inputs(node)[0]
    return node.span


def bottom_up(program: ProgramPlan, rule: Callable[[Node], Node]) -> ProgramPlan:
    """`program` with `rule` applied to every node, its inputs first. A node that is read twice is
    rewritten once, so the cost is that of the DAG, not of the tree it stands for."""
    done: dict[int, Node] = {}
    keep: list[Node] = []  # ids in `done` stay taken as long as their objects live

    def visit(node: Node) -> Node:
        if id(node) not in done:
            keep.append(node)
            done[id(node)] = rule(with_inputs(node, [visit(child) for child in inputs(node)]))
        return done[id(node)]

    return each_view(program, visit)
