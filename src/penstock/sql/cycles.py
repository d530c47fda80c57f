"""Views that read each other, and what they may not contain (sql-reference 5.7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from penstock.errors import Span
from penstock.plan.nodes import Node, Scan, ViewPlan
from penstock.plan.rewrite import inputs
from penstock.sql import ast


def windows_in_cycles(
    views: Mapping[str, ViewPlan], written: Mapping[str, ast.CreateView]
) -> Iterator[Span]:
    """The places of window functions in views of a cycle. They are looked for in the text: a plan
    may compute them otherwise, and what that is grows no less wrongly."""
    for name in views_in_cycles(views.values()):
        yield from _windows(written[name].query)


def views_in_cycles(views: Iterable[ViewPlan]) -> list[str]:
    """The names of the views that read themselves, directly or by way of others."""
    reads = {view.name: _scanned(view.query) for view in views}
    return [name for name in reads if name in _reached(name, reads)]


def _windows(node: object) -> Iterator[Span]:
    """Calls with OVER anywhere in a syntax tree."""
    if isinstance(node, tuple):
        for item in node:
            yield from _windows(item)
    elif isinstance(node, ast.Node):
        if isinstance(node, ast.FunctionCall) and node.over is not None:
            yield node.span
        for f in dataclasses.fields(node):
            yield from _windows(getattr(node, f.name))


def _scanned(query: Node) -> set[str]:
    seen: set[int] = set()
    found: set[str] = set()
    stack = [query]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            stack += inputs(node)
            if isinstance(node, Scan):
                found.add(node.relation)
    return found


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
