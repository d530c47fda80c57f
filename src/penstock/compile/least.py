"""Cycles of views that show the least (greatest) value of a key, where better means better.

    near(n, MIN(d))  ◄──  start(n, 0)  ∪  near ⋈ edge: (t, d + w)

A shorter way to one node never makes the way to another longer: of all that is derived only the
best of each key matters, and one state does for all rounds (`penstock.circuit.best`). It is seen in
the plan (`penstock.compile.deep`).

Views of the cycle that are no aggregates are put in where they are read, and are computed from the
others; each cycle has to go through an aggregate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.circuit.best import BestOf
from penstock.compile.deep import Depths, IsNot
from penstock.compile.recursion import columns, scanned
from penstock.plan.expressions import InputRef
from penstock.plan.nodes import Aggregate, Node, Project, Scan, ViewPlan
from penstock.plan.rewrite import inputs, with_inputs


@dataclass(frozen=True, slots=True)
class Least:
    """`members`: the aggregates, whose queries give the rows among which the best is looked for,
    with their depth; `best` says of each what that is. `others`: the views that are computed from
    them, each behind those it reads."""

    members: tuple[ViewPlan, ...]
    best: Mapping[str, BestOf]
    others: tuple[ViewPlan, ...]


def least(component: Sequence[ViewPlan]) -> Least | None:
    """What a cycle of views is for `penstock.circuit.best`, None if it is not for it."""
    try:
        return _least(component)
    except IsNot:
        return None


def _least(component: Sequence[ViewPlan]) -> Least:
    tops = {v.name: _top(v) for v in component}
    plain = {v.name: v for v in component if tops[v.name] is None}
    found = {name: top for name, top in tops.items() if top is not None}
    best = {name: top.best for name, top in found.items()}
    depths = Depths(found, best)
    members = []
    for view in component:
        top = found.get(view.name)
        if top is not None:
            rows = _inlined(top.aggregate.input, plain, ())
            (call,), keys = top.aggregate.calls, top.aggregate.keys
            members.append(depths.candidates(view, rows, keys, call.args[0], top.places))
    others = [plain[name] for name in _in_order(plain)]
    return Least(tuple(members), best, tuple(others))


@dataclass(frozen=True, slots=True)
class _Top:
    """`aggregate` with one call; where each column of the view comes from in the aggregate."""

    aggregate: Aggregate
    places: tuple[int, ...]

    @property
    def best(self) -> BestOf:
        most = self.aggregate.calls[0].function.kind == "MAX"
        return BestOf(self.places.index(len(self.aggregate.keys)), most)


def _top(view: ViewPlan) -> _Top | None:
    """The aggregate that a view shows, each of its columns once; None for any other view."""
    query, places = view.query, tuple(range(len(view.schema)))
    if isinstance(query, Project):
        picked = [e.index for e in query.exprs if isinstance(e, InputRef)]
        if len(picked) != len(query.exprs):
            return None
        query, places = query.input, tuple(picked)
    if not isinstance(query, Aggregate) or not query.keys or len(query.calls) != 1:
        return None
    call = query.calls[0]
    is_least = call.function.kind in ("MIN", "MAX") and call.filter is None and not call.within
    if not is_least or sorted(places) != list(range(len(query.keys) + 1)):
        return None
    return _Top(query, places)


def _inlined(node: Node, plain: Mapping[str, ViewPlan], within: tuple[str, ...]) -> Node:
    """`node` over the queries of `plain` views in place of them. A row that is there twice is as
    good as one."""
    if isinstance(node, Scan) and node.relation in plain:
        if node.relation in within:
            raise IsNot  # a cycle without an aggregate
        query = _inlined(plain[node.relation].query, plain, (*within, node.relation))
        return Project(node.schema, query, columns(query))
    return with_inputs(node, [_inlined(n, plain, within) for n in inputs(node)])


def _in_order(plain: Mapping[str, ViewPlan]) -> list[str]:
    """The views, each behind those it reads."""
    found: list[str] = []

    def visit(name: str, within: tuple[str, ...]) -> None:
        if name in within:
            raise IsNot
        for other in scanned(plain[name].query):
            if other in plain and other not in found:
                visit(other, (*within, name))
        if name not in found:
            found.append(name)

    for name in plain:
        visit(name, ())
    return found
