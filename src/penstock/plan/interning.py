"""Equal nodes as one object, without walking a DAG as the tree it stands for.

    a = Filter(Scan t, p)                        intern(a) is intern(b)
    b = Filter(Scan t, p)

Cost: each node is hashed once; its inputs are interned already and compare by identity.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields

from penstock.plan.nodes import Node
from penstock.plan.rewrite import inputs, with_inputs


class Interner:
    """Remembers one node of every value that it was shown."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Node] = {}
        self._done: dict[int, Node] = {}
        self._keep: list[Node] = []  # ids in `_done` stay taken as long as their objects live

    def intern(self, node: Node) -> Node:
        """The node that stands for all that are equal to `node`."""
        if id(node) not in self._done:
            same = with_inputs(node, [self.intern(child) for child in inputs(node)])
            self._keep += (node, same)
            same = self._known.setdefault(_identity(same), same)
            self._done[id(node)] = self._done[id(same)] = same
        return self._done[id(node)]


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
