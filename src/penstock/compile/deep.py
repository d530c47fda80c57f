"""Plans of views that read each other, whose rows carry how deep they are.

    reached(n)  ◄──  start(n)  ∪  reached ⋈ edge: t
    with depth       (n, 1)       (t, depth + 1)

A row is one deeper than the deepest row of the cycle that it is made of. So what is derived from
less deep rows cannot be derived from itself, and a deletion need not withdraw it
(`penstock.circuit.grounded`, `penstock.circuit.best`). Nothing in a query may hide that one of
several derivations is lost: DISTINCT is left to the views, which are sets, and a semi join becomes
an inner one.

More rows of the cycle may never mean fewer: there are no aggregates within, and only what is known
from outside takes away (NOT EXISTS, EXCEPT, a left join's NULLs); that comes in by an inlet of its
own (`absent`), of which more rows mean less.

Columns that hold a value that only gets better, or a sum with one, are followed from the views that
show the best of each key (`penstock.compile.least`), and may only be used in ways in which a better
value stays a better one.

    kept      a column, column + x, column - x, a cast to a wider integer (more for more)
    tested    column < x under MIN, column > x under MAX, column IS NOT NULL
    not       a key of a join or of a group, what NOT EXISTS looks at, any other function

A value is made of all rows of the cycle that its row is made of, and in ways that do not lose a
step in between (x + 1 < y + 1 where x < y). Otherwise a row could be worth the same when one that
it is derived from has become better, and deeper, which might support nothing but itself then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from penstock.circuit.best import BestOf
from penstock.compile.recursion import absent, columns, scanned
from penstock.data.types import BIGINT, INTEGERS, NUMBERS, Field, Schema
from penstock.functions.casts import cast_can_fail
from penstock.functions.registry import resolve
from penstock.plan.expressions import Call, Cast, Expr, InputRef, IsNull, Literal
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
from penstock.plan.rewrite import columns_of, conjuncts, remap

#: what no column is called
_DEPTH = Field("\0depth", BIGINT.with_nullable(False))
#: under MIN: what a better value on the left keeps true
_BELOW, _ABOVE = frozenset(("<", "<=")), frozenset((">", ">="))

#: whether greater is better, and the scans of the cycle whose values it is made of
Value = tuple[bool, frozenset[int]]
#: columns that hold a value that gets better
Better = Mapping[int, Value]


class IsNot(Exception):
    """More may mean less in this cycle."""


def sets(component: Sequence[ViewPlan]) -> tuple[tuple[ViewPlan, ...], Mapping[int, Node]] | None:
    """The views of a cycle as `penstock.circuit.grounded` has them, and its joins by the identity
    of those that they come from; None if more may mean less in it."""
    depths = Depths({v.name for v in component}, {})
    try:
        return tuple(depths.rows(view) for view in component), depths.joins
    except IsNot:
        return None


class Depths:
    """Rewrites what depends on a member so that it carries the depth, as its last column."""

    def __init__(self, members: Collection[str], best: Mapping[str, BestOf]) -> None:
        """`best`: of the members that show the best of each key, which that is."""
        self._members = frozenset(members)
        self._best = best
        #: how many scans of members were met, each of which has a number
        self._scans = 0
        #: joins by the identity of those that they come from
        self.joins: dict[int, Node] = {}

    def rows(self, view: ViewPlan) -> ViewPlan:
        """A member that is a set, over a query that gives the rows that are derived."""
        deep, _ = self._deep(view.query)
        return _deeper(view, deep, columns(view.query))

    def candidates(
        self, view: ViewPlan, input: Node, keys: Sequence[int], value: int, places: Sequence[int]
    ) -> ViewPlan:
        """A member that shows the best `value` of each of the `keys`, columns of `input`, over the
        rows among which that is; at which of `keys` and `value` each of its columns is."""
        first = self._scans
        rows, better = self._deep(input)
        whole = self._best[view.name].most, frozenset(range(first, self._scans))
        if better.keys() & set(keys) or better.get(value) != whole:
            raise IsNot
        sources = (*keys, value)
        types = input.schema.types
        shown = tuple(InputRef(types[sources[p]], sources[p]) for p in places)
        return _deeper(view, rows, shown)

    def _depends(self, node: Node) -> bool:
        return not self._members.isdisjoint(scanned(node))

    def _deep(self, node: Node) -> tuple[Node, Better]:
        """`node` with the depth of its rows, and its columns that get better."""
        schema = _deep(node.schema)
        if not self._depends(node):
            return Project(schema, node, (*columns(node), Literal(_DEPTH.type, 0))), {}
        match node:
            case Scan(relation=name):
                self._scans += 1
                best = self._best.get(name)
                if best is None:
                    return Scan(schema, name), {}
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
            case Hop(input=below, column=column):
                rows, better = self._deep(below)
                if column in better:
                    raise IsNot
                width = len(below.schema)
                hop = replace(node, schema=_inserted(node.schema, width), input=rows)
                return _last(hop, schema, width), better
            case Unnest(input=below, column=column, keep=keep):
                rows, better = self._deep(below)
                if column in better:
                    raise IsNot
                unnest = replace(
                    node, schema=_inserted(node.schema, len(keep)), input=rows,
                    keep=(*keep, len(below.schema)),
                )  # fmt: skip
                kept = {i: better[k] for i, k in enumerate(keep) if k in better}
                return _last(unnest, schema, len(keep)), kept
            case Join(kind=JoinKind.LEFT):
                if self._depends(node.right) or not node.right.schema.fields:
                    raise IsNot
                return self._deep(_without_left_joins(node))
            case Join(kind=JoinKind.ANTI):
                return self._anti(node)
            case Join(kind=JoinKind.INNER | JoinKind.SEMI):
                return self._pairs(node)
        raise IsNot

    def _anti(self, node: Join) -> tuple[Node, Better]:
        if self._depends(node.right) or not node.right.schema.fields:
            raise IsNot
        left, better = self._deep(node.left)
        width = len(node.left.schema)
        residual = node.residual
        if residual is not None:
            if better.keys() & columns_of(residual):
                raise IsNot
            residual = remap(residual, lambda i: i if i < width else i + 1)
        if better.keys() & {a for a, _ in node.keys}:
            raise IsNot
        right = absent(node.right)
        anti = replace(node, schema=left.schema, left=left, right=right, residual=residual)
        self.joins[id(node)] = anti
        return anti, better

    def _pairs(self, of: Join) -> tuple[Node, Better]:
        """An inner join, or a semi join as one: whatever a row is found by."""
        node = of
        if node.kind is JoinKind.SEMI and not self._depends(node.right):
            node = _to_each_once(node)
        width = len(node.left.schema)
        left, better_left = self._deep(node.left) if self._depends(node.left) else (node.left, {})
        right, better_right = (
            self._deep(node.right) if self._depends(node.right) else (node.right, {})
        )
        if better_left.keys() & {a for a, _ in node.keys}:
            raise IsNot
        if better_right.keys() & {b for _, b in node.keys}:
            raise IsNot
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
        self.joins[id(of)] = joined
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
                raise IsNot


def _of_both(a: Value, b: Value) -> Value:
    if a[0] != b[0]:
        raise IsNot
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
    raise IsNot


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


def _inserted(schema: Schema, at: int) -> Schema:
    return Schema((*schema.fields[:at], _DEPTH, *schema.fields[at:]))


def _last(node: Node, schema: Schema, at: int) -> Node:
    """`node` with its depth, which is the column `at`, behind the others."""
    places = (*(i for i in range(len(schema)) if i != at), at)
    return Project(schema, node, tuple(InputRef(node.schema.types[i], i) for i in places))


def _deeper(view: ViewPlan, rows: Node, shown: Sequence[Expr]) -> ViewPlan:
    """`view` over `shown` of `rows`, one deeper than they are."""
    at = len(rows.schema) - 1
    depth = _call("+", InputRef(_DEPTH.type, at), Literal(_DEPTH.type, 1))
    schema = _deep(view.schema)
    return replace(view, schema=schema, query=Project(schema, rows, (*shown, depth)))


def _to_each_once(node: Join) -> Join:
    """A semi join to each combination of the right columns that it looks at once, so that as few
    pairs as can be are made of it."""
    width, right = len(node.left.schema), node.right
    of_residual = () if node.residual is None else columns_of(node.residual)
    looked_at = sorted({b for _, b in node.keys} | {c - width for c in of_residual if c >= width})
    place = {column: i for i, column in enumerate(looked_at)}
    schema = Schema(tuple(right.schema.fields[i] for i in looked_at))
    shown = Project(schema, right, tuple(InputRef(right.schema.types[i], i) for i in looked_at))
    residual = node.residual
    if residual is not None:
        residual = remap(residual, lambda i: i if i < width else width + place[i - width])
    keys = tuple((a, place[b]) for a, b in node.keys)
    return replace(node, right=Distinct(schema, shown), keys=keys, residual=residual)


def _without_left_joins(node: Join) -> UnionAll:
    """A left join as its pairs and the rows that have none."""
    left = node.left
    both = Schema((*left.schema.fields, *node.right.schema.fields))
    pairs = replace(node, kind=JoinKind.INNER, schema=both)
    alone = replace(node, kind=JoinKind.ANTI, schema=left.schema)
    nulls = tuple(Literal(f.type, None) for f in node.schema.fields[len(left.schema) :])
    padded = Project(node.schema, alone, (*columns(left), *nulls))
    return UnionAll(node.schema, (Project(node.schema, pairs, columns(pairs)), padded))


def _call(name: str, *args: Expr) -> Expr:
    made = resolve(name, [a.type for a in args])
    return Call(made.result, made, args)
