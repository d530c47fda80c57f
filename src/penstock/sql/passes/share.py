"""Make equal sub-plans the same object, across all views of the program.

    view a: Filter(Scan t, p)  ┐                     a ─► Filter ─► Scan t
    view b: Filter(Scan t, p)  ┘   becomes           b ─► Filter ┘

The compiler of plans builds one operator per object, so that shared work is done once.

Cost: each node is hashed once; children are already interned and compare by identity.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields

from penstock.plan.nodes import Node, ProgramPlan
from penstock.plan.rewrite import inputs, with_inputs
from penstock.sql.passes.each_view import each_view


def share(program: ProgramPlan) -> ProgramPlan:
    known: dict[Hashable, Node] = {}
    done: dict[int, Node] = {}
    keep: list[Node] = []  # ids in `done` stay taken as long as their objects live

    def intern(node: Node) -> Node:
        if id(node) in done:
            return done[id(node)]
        same = with_inputs(node, [intern(child) for child in inputs(node)])
        same = known.setdefault(_identity(same), same)
        done[id(node)] = same
        keep.append(node)
        return same

    return each_view(program, intern)


def _identity(node: Node) -> Hashable:
    """A node's own fields, its (interned) inputs by identity."""
    own: list[Hashable] = [type(node).__name__]
    for f in fields(node):
        if not f.compare:
            continue
        value = getattr(node, f.name)
        if isinstance(value, Node):
            value = id(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Node):
            value = tuple(id(child) for child in value)
        own.append(value)
    return tuple(own)
