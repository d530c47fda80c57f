"""Cycles of views that show the least (greatest) value of a key, where better means better.

    near(n, MIN(d))  ◄──  start(n, 0)  ∪  near ⋈ edge: (t, d + w)

A shorter way to one node never makes the way to another longer: of all that is derived only the
best of each key matters, and one state does for all rounds (`penstock.circuit.best`). It is seen in
the plan: columns that hold such a value, or a sum with one, are followed from the views to where
they are aggregated, and may only be used in ways in which a better value stays a better one.

    kept      a column, column + x, column - x, a cast to a wider integer (more for more)
    tested    column < x under MIN, column > x under MAX, column IS NOT NULL
    not       a key of a join or of a group, what NOT EXISTS looks at, any other function

A value is made of all rows of the cycle that its row is made of, and in ways that do not lose a
step in between (x + 1 < y + 1 where x < y). Otherwise a row could be worth the same when one that
it is derived from has become better, and deeper, which might support nothing but itself then.

Rows carry how deep they are, one more than the deepest row of a view that they are made of. Views
of the cycle that are no aggregates are put in where they are read, and are computed from the
others; each cycle has to go through an aggregate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from penstock.circuit.best import BestOf
from penstock.compile.recursion import columns, scanned, without_left_joins
from penstock.data.types import BIGINT, INTEGERS, NUMBERS, Field, Schema
from penstock.functions.casts import cast_can_fail
from penstock.functions.registry import resolve
from penstock.plan.expressions import Call, Cast, Expr, InputRef, IsNull, Literal
from penstock.plan.nodes import (
    Aggregate,
    Distinct,
    Filter,
    Join,
    JoinKind,
    Node,
    Project,
    Scan,
    UnionAll,
    ViewPlan,
)
from penstock.plan.rewrite import columns_of, conjuncts, inputs, remap, with_inputs

#: what no column is called
_DEPTH = Field("\0depth", BIGINT.with_nullable(False))
#: under MIN: what a better value on the left keeps true
_BELOW, _ABOVE = frozenset(("<", "<=")), frozenset((">", ">="))

#: whether greater is better, and the scans of the cycle whose values it is made of
Value = tuple[bool, frozenset[int]]
#: columns that hold a value that gets better
Better = Mapping[int, Value]


class _IsNot(Exception):
    """The cycle is none of these."""


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
    except _IsNot:
        return None


def _least(component: Sequence[ViewPlan]) -> Least:
    tops = {v.name: _top(v) for v in component}
    plain = {v.name: v for v in component if tops[v.name] is None}
    found = {name: top for name, top in tops.items() if top is not None}
    depths = _Depths({v.name: v for v in component if v.name in found}, found)
    members = []
    for view in component:
        top = found.get(view.name)
        if top is not None:
            query = depths.candidates(view, top, _inlined(top.aggregate.input, plain, ()))
            members.append(replace(view, schema=_deep(view.schema), query=query))
    others = [plain[name] for name in _in_order(plain)]
    return Least(tuple(members), {n: t.best for n, t in found.items()}, tuple(others))


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
            raise _IsNot  # a cycle without an aggregate
        query = _inlined(plain[node.relation].query, plain, (*within, node.relation))
        return Project(node.schema, query, columns(query))
    return with_inputs(node, [_inlined(n, plain, within) for n in inputs(node)])


def _in_order(plain: Mapping[str, ViewPlan]) -> list[str]:
    """The views, each behind those it reads."""
    found: list[str] = []

    def visit(name: str, within: tuple[str, ...]) -> None:
        if name in within:
            raise _IsNot
        for other in scanned(plain[name].query):
            if other in plain and other not in found:
                visit(other, (*within, name))
        if name not in found:
            found.append(name)

    for name in plain:
        visit(name, ())
    return found


class _Depths:
    """Rewrites what depends on a member so that it carries the depth, as its last column."""

    def __init__(self, members: Mapping[str, ViewPlan], tops: Mapping[str, _Top]) -> None:
        self._members = members
        self._best = {name: top.best for name, top in tops.items()}
        #: how many scans of members were met, each of which has a number
        self._scans = 0

    def candidates(self, view: ViewPlan, top: _Top, input: Node) -> Node:
        """The rows among which `view` looks for the best."""
        first = self._scans
        rows, better = self._deep(input)
        (call,), keys = top.aggregate.calls, top.aggregate.keys
        (value,) = call.args
        whole = self._best[view.name].most, frozenset(range(first, self._scans))
        if better.keys() & set(keys) or better.get(value) != whole:
            raise _IsNot
        sources = (*keys, value)
        types = input.schema.types
        shown = [InputRef(types[sources[p]], sources[p]) for p in top.places]
        one = Literal(_DEPTH.type, 1)
        deeper = _call("+", InputRef(_DEPTH.type, len(input.schema)), one)
        return Project(_deep(view.schema), rows, (*shown, deeper))

    def _depends(self, node: Node) -> bool:
        return bool(self._members.keys() & scanned(node).keys())

    def _deep(self, node: Node) -> tuple[Node, Better]:
        """`node` with the depth of its rows, and its columns that get better."""
        schema = _deep(node.schema)
        if not self._depends(node):
            return Project(schema, node, (*columns(node), Literal(_DEPTH.type, 0))), {}
        match node:
            case Scan(relation=name):
                best = self._best[name]
                self._scans += 1
                return Scan(schema, name), {best.value: (best.most, frozenset((self._scans - 1,)))}
            case Filter(input=below, predicate=test):
                rows, better = self._deep(below)
                self._check(test, better)
                return Filter(schema, rows, test), better
            case Project(input=below, exprs=exprs):
                rows, better = self._deep(below)
                values = {i: _better(e, better) for i, e in enumerate(exprs)}
                found = {i: value for i, value in values.items() if value is not None}
                depth = InputRef(_DEPTH.type, len(below.schema))
                return Project(schema, rows, (*exprs, depth)), found
            case Distinct(input=below):
                return self._deep(below)
            case UnionAll(inputs=parts):
                deep = [self._deep(p) for p in parts]
                both: dict[int, Value] = {}
                for _, better in deep:
                    both |= {i: _of_both(both.get(i, value), value) for i, value in better.items()}
                return UnionAll(schema, tuple(rows for rows, _ in deep)), both
            case Join(kind=JoinKind.LEFT):
                if self._depends(node.right) or not node.right.schema.fields:
                    raise _IsNot
                return self._deep(without_left_joins(node))
            case Join(kind=JoinKind.ANTI):
                return self._anti(node)
            case Join(kind=JoinKind.INNER | JoinKind.SEMI):
                return self._pairs(node)
        raise _IsNot

    def _anti(self, node: Join) -> tuple[Node, Better]:
        if self._depends(node.right) or not node.right.schema.fields:
            raise _IsNot
        left, better = self._deep(node.left)
        width = len(node.left.schema)
        residual = node.residual
        if residual is not None:
            if better.keys() & columns_of(residual):
                raise _IsNot
            residual = remap(residual, lambda i: i if i < width else i + 1)
        if better.keys() & {a for a, _ in node.keys}:
            raise _IsNot
        return replace(node, schema=left.schema, left=left, residual=residual), better

    def _pairs(self, node: Join) -> tuple[Node, Better]:
        """An inner join, or a semi join as one: whatever a row is found by."""
        width = len(node.left.schema)
        left, better_left = self._deep(node.left) if self._depends(node.left) else (node.left, {})
        right, better_right = (
            self._deep(node.right) if self._depends(node.right) else (node.right, {})
        )
        if better_left.keys() & {a for a, _ in node.keys}:
            raise _IsNot
        if better_right.keys() & {b for _, b in node.keys}:
            raise _IsNot
        better = {**better_left, **{width + i: value for i, value in better_right.items()}}
        if node.residual is not None:
            self._check(node.residual, better)
        shift = len(left.schema) - width
        place = {i: i if i < width else i + shift for i in range(width + len(node.right.schema))}
        residual = None if node.residual is None else remap(node.residual, place)
        both = Schema((*left.schema.fields, *right.schema.fields))
        joined = replace(
            node, kind=JoinKind.INNER, schema=both, left=left, right=right, residual=residual
        )
        depths = [
            InputRef(_DEPTH.type, i)
            for i in (width, len(both) - 1)
            if both.fields[i].name == _DEPTH.name
        ]
        depth = depths[0] if len(depths) == 1 else _call("GREATEST", *depths)
        kept = len(node.schema)
        shown = [InputRef(node.schema.types[i], place[i]) for i in range(kept)]
        better = {i: value for i, value in better.items() if i < kept}
        return Project(_deep(node.schema), joined, (*shown, depth)), better

    def _check(self, test: Expr, better: Better) -> None:
        """Raises unless what passes `test` still does with better values."""
        for condition in conjuncts(test):
            if not _still_holds(condition, better):
                raise _IsNot


def _of_both(a: Value, b: Value) -> Value:
    if a[0] != b[0]:
        raise _IsNot
    return a[0], a[1] | b[1]


def _better(e: Expr, better: Better) -> Value | None:
    """What `e` is as a value that gets better as one of `better` does; None if it is made of none.
    Raises if a better one may make it worse, or leave it as it is."""
    if not better.keys() & columns_of(e):
        return None
    match e:
        case InputRef(index=i):
            return better[i]
        case Call(function=f, args=(a, b)) if f.name in ("+", "-") and e.type.kind in NUMBERS:
            first, second = _better(a, better), _better(b, better)
            if first is None or second is None:
                found = second if first is None else first
                if f.name == "+" or first is not None:
                    return found
            elif f.name == "+":
                return _of_both(first, second)
        case Cast(operand=a, type=t) if {a.type.kind, t.kind} <= INTEGERS:
            if not cast_can_fail(a.type, t, e.safe):
                return _better(a, better)
    raise _IsNot


def _still_holds(e: Expr, better: Better) -> bool:
    if not better.keys() & columns_of(e):
        return True
    match e:
        case IsNull(operand=a, negated=True):
            return _better(a, better) is not None
        case Call(function=f, args=(a, b)) if f.name in _BELOW | _ABOVE:
            first, second = _better(a, better), _better(b, better)
            if first is not None and second is not None:
                return False
            found = first or second
            assert found is not None
            return found[0] == ((f.name in _ABOVE) == (first is not None))
    return False


def _deep(schema: Schema) -> Schema:
    return Schema((*schema.fields, _DEPTH))


def _call(name: str, *args: Expr) -> Expr:
    made = resolve(name, [a.type for a in args])
    return Call(made.result, made, args)
