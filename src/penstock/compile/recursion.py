"""Views that read each other: one fixpoint for every cycle.

    views a ─► r ⇄ s ─► b        [a]  [r, s]  [b]

What a cycle's queries read from outside is computed outside, once; only the nodes that depend on
a member are in the fixpoint's body.

The fixpoint counts derivations, so nothing in a monotone body may hide that one of several is
lost: DISTINCT is left to the members, which are sets, and a semi join becomes an inner one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from penstock.circuit.graph import Circuit, Stream
from penstock.data.types import Schema
from penstock.plan.expressions import InputRef
from penstock.plan.nodes import (
    Distinct,
    Filter,
    Hop,
    Join,
    JoinKind,
    Node,
    Project,
    Scan,
    UnionAll,
    Unnest,
    ViewPlan,
)
from penstock.plan.rewrite import inputs, with_inputs

#: nodes that give more rows for more rows of every input
_MONOTONE = (Scan, Filter, Project, UnionAll, Distinct, Hop, Unnest, Join)


def components(views: Sequence[ViewPlan]) -> list[tuple[ViewPlan, ...]]:
    """The views in an order in which each is behind what it reads, those of a cycle together
    (Tarjan's algorithm)."""
    by_name = {v.name: v for v in views}
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[ViewPlan, ...]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in _scanned(by_name[name].query):
            if other not in by_name:
                continue
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            at = stack.index(name)
            members = set(stack[at:])
            del stack[at:]
            found.append(tuple(v for v in views if v.name in members))

    for view in views:
        if view.name not in number:
            visit(view.name)
    return found


def is_recursive(component: Sequence[ViewPlan]) -> bool:
    return len(component) > 1 or component[0].name in _scanned(component[0].query)


def _scanned(query: Node) -> dict[str, None]:
    """The relations that `query` reads, in order."""
    found: dict[str, None] = {}
    seen: set[int] = set()
    stack = [query]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Scan):
            found.setdefault(node.relation)
        stack += reversed(inputs(node))
    return found


class Body:
    """The circuit of one cycle under construction."""

    def __init__(self, component: Sequence[ViewPlan], outside: Callable[[Node], Stream]) -> None:
        """`outside` is the stream of a node that reads no member."""
        self.circuit = Circuit()
        self.sources: dict[str, Stream] = {}
        self._outside = outside
        self._members = {v.name: v for v in component}
        self.relations = {v.name: self.circuit.inlet(v.name, v.schema) for v in component}
        #: by identity; the compiler of the body asks for interned nodes
        self._inlets: dict[int, Stream] = {}
        self._reads: dict[int, bool] = {}

    def inlet(self, node: Node) -> Stream | None:
        """The stream of `node` in the body if it comes from outside."""
        if self._depends(node):
            return None
        if id(node) not in self._inlets:
            name = f"outer {len(self._inlets)}"
            self.sources[name] = self._outside(node)
            self._inlets[id(node)] = self.circuit.inlet(name, node.schema)
        return self._inlets[id(node)]

    @property
    def is_monotone(self) -> bool:
        return all(self._monotone(v.query) for v in self._members.values())

    def query(self, view: ViewPlan) -> Node:
        """The query of a member as the body computes it."""
        return self._counted(view.query) if self.is_monotone else view.query

    def _counted(self, node: Node) -> Node:
        if not self._depends(node):
            return node
        node = with_inputs(node, [self._counted(n) for n in inputs(node)])
        match node:
            case Distinct(input=below):
                columns = tuple(InputRef(t, i) for i, t in enumerate(below.schema.types))
                return Project(node.schema, below, columns)
            case Join(kind=JoinKind.SEMI, left=left, right=right):
                both = Schema((*left.schema.fields, *right.schema.fields))
                columns = tuple(InputRef(t, i) for i, t in enumerate(left.schema.types))
                return Project(
                    node.schema, replace(node, kind=JoinKind.INNER, schema=both), columns
                )
        return node

    def _monotone(self, node: Node) -> bool:
        if not self._depends(node):
            return True
        if isinstance(node, Join) and node.kind not in (JoinKind.INNER, JoinKind.SEMI):
            return False
        return isinstance(node, _MONOTONE) and all(self._monotone(n) for n in inputs(node))

    def _depends(self, node: Node) -> bool:
        known = self._reads.get(id(node))
        if known is None:
            if isinstance(node, Scan):
                known = node.relation in self._members
            else:
                known = any(self._depends(n) for n in inputs(node))
            self._reads[id(node)] = known
        return known

    def finish(
        self, circuit: Circuit, queries: Mapping[str, Stream], rounds: int
    ) -> dict[str, Stream]:
        """The members' streams in `circuit`; `queries` are those of their queries in the body,
        `rounds`: after how many it is taken for endless."""
        for name, stream in queries.items():
            self.circuit.sink(name, stream)
        schemas = {v.name: v.schema for v in self._members.values()}
        return circuit.fixpoint(
            self.sources, schemas, self.circuit, monotone=self.is_monotone, rounds=rounds
        )
