"""Views that read each other: one fixpoint for every cycle.

    views a ─► r ⇄ s ─► b        [a]  [r, s]  [b]

What a cycle's queries read from outside is computed outside, once; only the nodes that depend on
a member are in the fixpoint's body.

Cycles in which more never means less are rewritten first (`penstock.compile.deep`, `least`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from penstock.circuit.best import BestOf
from penstock.circuit.graph import Circuit, Stream
from penstock.circuit.unrolled import Round, Streams, Unrolled
from penstock.data.types import Field, Schema
from penstock.plan.expressions import InputRef
from penstock.plan.nodes import Node, Project, Scan, ViewPlan
from penstock.plan.rewrite import inputs

#: what no column is called
_ABSENT = "\0absent "


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
        for other in scanned(by_name[name].query):
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
    return len(component) > 1 or component[0].name in scanned(component[0].query)


def scanned(query: Node) -> dict[str, None]:
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
        self._inlets: dict[int, str] = {}
        self._streams: dict[str, Stream] = {}
        #: inlets of which more rows mean less
        self._taking: set[str] = set()
        self._reads: dict[int, bool] = {}

    def inlet(self, node: Node, streams: Streams | None = None) -> Stream | None:
        """The stream of `node` if it comes from outside: in the body, or that of the same name
        among `streams`."""
        if self._depends(node):
            return None
        if id(node) not in self._inlets:
            name = self._inlets[id(node)] = f"outer {len(self._inlets)}"
            self.sources[name] = self._outside(node)
            if any(f.name.startswith(_ABSENT) for f in node.schema.fields):
                self._taking.add(name)
            self._streams[name] = self.circuit.inlet(name, node.schema)
        return (self._streams if streams is None else streams)[self._inlets[id(node)]]

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
        self,
        circuit: Circuit,
        queries: Streams,
        again: Round,
        rounds: int,
        rows: int,
        monotone: bool,
        best: Mapping[str, BestOf],
    ) -> dict[str, Stream]:
        """The members' streams in `circuit`; `queries` are those of their queries in the body,
        `again` adds the same to another circuit. `rounds`: after how many it is taken for endless;
        `rows`: how many may be kept to spare rounds; `monotone`: whether they carry depths;
        `best`: see `penstock.compile.least`."""
        for name, stream in queries.items():
            self.circuit.sink(name, stream)
        schemas = {v.name: v.schema for v in self._members.values()}
        outer = {name: stream.schema for name, stream in self._streams.items()}
        return circuit.fixpoint(
            self.sources, schemas, self.circuit, monotone=monotone,
            taking=frozenset(self._taking), rounds=rounds,
            unroll=partial(Unrolled, again, outer, schemas), most_rows=rows, best=best,
        )  # fmt: skip


def columns(node: Node) -> tuple[InputRef, ...]:
    return tuple(InputRef(t, i) for i, t in enumerate(node.schema.types))


def absent(node: Node) -> Project:
    """The rows of `node`, which comes from outside, told from those that somebody reads for what is
    there: more of them mean less."""
    fields = tuple(Field(_ABSENT + f.name, f.type) for f in node.schema.fields)
    return Project(Schema(fields), node, columns(node))
