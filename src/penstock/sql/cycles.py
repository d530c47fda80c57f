"""Views that read each other, and what they may not contain (sql-reference 5.7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from penstock.errors import Span
from penstock.plan.nodes import Node, Scan, ViewPlan, Window
from penstock.plan.rewrite import inputs


def windows_in_cycles(views: Mapping[str, ViewPlan]) -> Iterator[Span | None]:
    """The places of window functions in views of a cycle."""
    reads = {name: _scanned(view.query) for name, view in views.items()}
    for name, view in views.items():
        if name not in _reached(name, reads):
            continue
        for node in _nodes(view.query):
            if isinstance(node, Window):
                yield node.span or view.query.span


def _nodes(query: Node) -> Iterator[Node]:
    seen: set[int] = set()
    stack = [query]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            stack += inputs(node)
            yield node


def _scanned(query: Node) -> set[str]:
    return {n.relation for n in _nodes(query) if isinstance(n, Scan)}


def _reached(name: str, reads: Mapping[str, set[str]]) -> set[str]:
    """The relations that view `name` reads, directly or by way of others."""
    found: set[str] = set()
    stack = [*reads[name]]
    while stack:
        other = stack.pop()
        if other not in found:
            found.add(other)
            stack += reads.get(other, ())
    return found
