"""Correlated sub-queries without correlation: from plans with `Outer` references to joins.

Two shapes are recognised, because they need no copy of the outer rows:

    selection     Filter b.k = Outer(a.k) ─ B            semi or anti join of a and B on k
    grouped       Aggregate ─ Filter b.k = Outer(a.k)    B aggregated by k, joined on k

Everything else is *lifted* (Neumann, Kemper: Unnesting Arbitrary Queries, BTW 2015). The domain D
holds the distinct combinations of outer values that the sub-query reads; lifted over D, a node
answers for all of them at once, with D's columns first:

    lift(Filter p)        Filter p, Outer references read D's columns
    lift(Aggregate by k)  Aggregate by D, k (keyless: outer joined to D, for the empty groups)
    lift(TopK)            TopK partitioned by D as well
    lift(leaf)            D x leaf, which a Filter above turns into an equi-join

Not here: how the result is joined to the outer rows (`frame`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from penstock.data.types import BIGINT, Field, Kind, Schema
from penstock.plan.expressions import Call, Expr, InputRef, Literal, conjunction
from penstock.plan.nodes import (
    Aggregate,
    AsofJoin,
    Difference,
    Distinct,
    Filter,
    Frontier,
    Hop,
    Join,
    JoinKind,
    Node,
    Project,
    Session,
    TopK,
    UnionAll,
    Unnest,
    Values,
    Window,
)
from penstock.plan.rewrite import conjuncts, is_risky, parts
from penstock.sql.bind import build
from penstock.sql.bind.forms import Outer, descend, has, outers
from penstock.sql.bind.report import unsupported
from penstock.sql.passes.join_keys import joined_fields, pick, references

_HALF = (JoinKind.SEMI, JoinKind.ANTI)


def same(a: Expr, b: Expr) -> Expr:
    """`a` and `b` are equal or both NULL; rows have no other equality."""
    plain = not (a.type.nullable or b.type.nullable or a.type.kind is Kind.ROW)
    return build.call("=" if plain else "is_not_distinct", [a, b], None)


# shapes


@dataclass(frozen=True, slots=True)
class Selection:
    """`outputs` over the rows of `rows` for which `on` holds; only these read the outer row."""

    rows: Node
    outputs: tuple[Expr, ...]
    on: tuple[Expr, ...]


def selection(query: Node, *, counts: bool = False) -> Selection | None:
    """`query` as a Selection; up to duplicates, unless somebody `counts` them."""
    outputs = references(query.schema)
    on: list[Expr] = []
    plain: list[Expr] = []
    node = query
    while outers(node):
        match node:
            case Project(exprs=exprs):
                outputs = tuple(substituted(e, exprs) for e in outputs)
                on = [substituted(p, exprs) for p in on]
                plain = [substituted(p, exprs) for p in plain]
                node = node.input
            case Filter(predicate=predicate):
                terms = conjuncts(predicate)
                own, joining = apart(terms)
                on, plain = joining + on, own + plain
                node = node.input
            case Distinct() if not counts:
                node = node.input
            case _:
                return None
    condition = conjunction(plain)
    if condition is not None:
        node = Filter(node.schema, node, condition)
    return Selection(node, outputs, tuple(on))


def apart(terms: Sequence[Expr]) -> tuple[list[Expr], list[Expr]]:
    """(what the rows of a sub-query are; what says which of them belong to an outer row). What can
    fail behind one of the latter is among them: it is asked of rows that belong to one."""
    own: list[Expr] = []
    joining: list[Expr] = []
    for p in terms:
        is_joining = has(p, Outer) or (joining and is_risky(p))
        (joining if is_joining else own).append(p)
    return own, joining


def substituted(e: Expr, columns: Sequence[Expr]) -> Expr:
    """`e` over the input of a Project that computes `columns`; Outer references stay."""
    return descend(e, lambda x: columns[x.index] if isinstance(x, InputRef) else None)


@dataclass(frozen=True, slots=True)
class Grouped:
    """An Aggregate whose first columns equal the outer expressions `keys`; the sub-query is `value`
    over its columns, and `empty` where there is no group."""

    query: Aggregate
    keys: tuple[Expr, ...]
    value: Expr
    empty: Expr


def grouped(query: Node) -> Grouped | None:
    """`query`, one aggregate over a selection by equalities, as a Grouped."""
    value: Expr = references(query.schema)[0]
    node = query
    while isinstance(node, Project):
        value = substituted(value, node.exprs)
        node = node.input
    if not isinstance(node, Aggregate) or node.keys or has(value, Outer):
        return None
    found = selection(node.input, counts=True)
    if found is None or any(has(e, Outer) for e in found.outputs):
        return None
    pairs = [equated(p) for p in found.on]
    if not all(pairs):
        return None
    equal = [p for p in pairs if p is not None]
    inner = list(dict.fromkeys(b for _, b in equal))
    outer = [next(a for a, b in equal if b == key) for key in inner]
    if len(inner) != len(set(equal)):
        return None  # one column equals two outer expressions
    exprs = (*inner, *found.outputs)
    fields = tuple(Field(f"$k{i}", e.type) for i, e in enumerate(inner))
    feed = Project(Schema((*fields, *node.input.schema.fields)), found.rows, exprs)
    n = len(inner)
    by_key = replace(
        node,
        schema=Schema((*fields, *node.schema.fields)),
        input=feed,
        keys=tuple(range(n)),
        calls=tuple(c.moved(lambda i: i + n) for c in node.calls),
    )
    result = substituted(value, references(by_key.schema)[n:])
    return Grouped(by_key, tuple(outer), result, substituted(value, _empties(node)))


def equated(p: Expr) -> tuple[Expr, Expr] | None:
    """(outer expression, inner expression) of an equality between the two."""
    if isinstance(p, Call) and p.function.name == "=":
        for a, b in (p.args, p.args[::-1]):
            outer = _only_outer(a)
            if outer is not None and not has(b, Outer):
                return outer, b
    return None


def _only_outer(e: Expr) -> Expr | None:
    """`e` as an expression over the outer row, if it reads nothing else."""
    if not has(e, Outer) or _reads_inner(e):
        return None
    return descend(e, lambda x: x.expr if isinstance(x, Outer) else None)


def _reads_inner(e: Expr) -> bool:
    return isinstance(e, InputRef) or any(_reads_inner(x) for x in parts(e))


def _empties(node: Aggregate) -> list[Expr]:
    """What the columns of a keyless Aggregate hold over no rows."""
    return [
        Literal(BIGINT.with_nullable(False), 0)
        if c.function.is_count
        else Literal(t.with_nullable(True), None)
        for t, c in zip(node.schema.types, node.calls, strict=True)
    ]


def is_one_row(node: Node) -> bool:
    """Whether `node` has exactly one row, whatever its input."""
    while isinstance(node, Project):
        node = node.input
    if isinstance(node, Aggregate):
        return not node.keys
    return isinstance(node, Values) and len(node.rows) == 1


def is_at_most_one_row(node: Node) -> bool:
    while isinstance(node, Project | Filter):
        node = node.input
    if isinstance(node, TopK):
        return not node.partition and node.limit is not None and node.limit <= 1
    return is_one_row(node)


# lifting


def lift(query: Node, domain: Node, refs: Sequence[Outer]) -> Node:
    """`query` for every row of `domain`, whose columns stand for `refs` and come first."""
    return _Lift(domain, {o: i for i, o in enumerate(refs)}).node(query)


class _Lift:
    def __init__(self, domain: Node, at: dict[Outer, int]) -> None:
        self.domain = domain
        self.at = at
        self.width = len(domain.schema)
        self._done: dict[int, Node] = {}

    def node(self, node: Node) -> Node:
        if id(node) not in self._done:
            self._done[id(node)] = self._node(node)
        return self._done[id(node)]

    def _node(self, node: Node) -> Node:
        if isinstance(node, Values) and outers(node):
            return self._values(node)
        if not outers(node):
            return Join(self._schema(node), JoinKind.INNER, self.domain, node, (), (), None)
        match node:
            case Filter(input=below, predicate=predicate):
                return Filter(self._schema(node), self.node(below), self._expr(predicate))
            case Project(input=below, exprs=exprs):
                source = self.node(below)
                keys = references(source.schema)[: self.width]
                moved = (*keys, *(self._expr(e) for e in exprs))
                return Project(self._schema(node), source, moved)
            case Distinct(input=below):
                return Distinct(self._schema(node), self.node(below))
            case UnionAll(inputs=branches):
                return UnionAll(self._schema(node), tuple(self.node(b) for b in branches))
            case TopK() | Window():
                lifted = replace(
                    node,
                    schema=self._schema(node),
                    input=self.node(node.input),
                    partition=(*range(self.width), *self._moved(node.partition)),
                    order=tuple(replace(k, column=k.column + self.width) for k in node.order),
                )
                if isinstance(lifted, Window):
                    calls = (replace(c, args=self._moved(c.args)) for c in lifted.calls)
                    return replace(lifted, calls=tuple(calls))
                return lifted
            case Difference(left=left, right=right):
                return Difference(self._schema(node), self.node(left), self.node(right))
            case Frontier(input=below) if not outers(node.bound):
                predicate = self._expr(node.predicate)
                return replace(
                    node, schema=self._schema(node), input=self.node(below),
                    column=node.column + self.width, predicate=predicate,
                )  # fmt: skip
            case Hop(input=below):
                column = node.column + self.width
                return replace(
                    node, schema=self._schema(node), input=self.node(below), column=column
                )
            case Session(input=below):
                return replace(
                    node, schema=self._schema(node), input=self.node(below),
                    partition=(*range(self.width), *self._moved(node.partition)),
                    time=node.time + self.width,
                )  # fmt: skip
            case Unnest(input=below, column=column, keep=keep):
                return replace(
                    node,
                    schema=self._schema(node),
                    input=self.node(below),
                    column=column + self.width,
                    keep=(*range(self.width), *self._moved(keep)),
                )
            case Aggregate():
                return self._aggregate(node)
            case AsofJoin(left=left, right=right) if not outers(right):
                return replace(
                    node,
                    schema=self._schema(node),
                    left=self.node(left),
                    keys=tuple((a + self.width, b) for a, b in node.keys),
                    times=(node.times[0] + self.width, node.times[1]),
                )
            case Join():
                return self._join(node)
        raise unsupported(node.span, f"a correlated sub-query over {type(node).__name__}")

    def _schema(self, node: Node) -> Schema:
        return Schema((*self.domain.schema.fields, *node.schema.fields))

    def _moved(self, columns: Sequence[int]) -> tuple[int, ...]:
        return tuple(c + self.width for c in columns)

    def _expr(self, e: Expr, column: Callable[[int], int] | None = None) -> Expr:
        """`e` over the lifted input; `column` says where its columns went."""
        move = column or (lambda i: i + self.width)

        def rule(x: Expr) -> Expr | None:
            if isinstance(x, Outer):
                return InputRef(x.type, self.at[x], span=x.span)
            return replace(x, index=move(x.index)) if isinstance(x, InputRef) else None

        return descend(e, rule)

    def _values(self, node: Values) -> Node:
        keys = references(self.domain.schema)
        schema = self._schema(node)
        rows = [
            Project(schema, self.domain, (*keys, *(self._expr(e) for e in row)))
            for row in node.rows
        ]
        return rows[0] if len(rows) == 1 else UnionAll(schema, tuple(rows))

    def _aggregate(self, node: Aggregate) -> Node:
        d = self.width
        lifted = replace(
            node,
            schema=self._schema(node),
            input=self.node(node.input),
            keys=(*range(d), *self._moved(node.keys)),
            calls=tuple(c.moved(lambda i: i + d) for c in node.calls),
        )
        if node.keys:
            return lifted
        # a group for every row of the domain, also where there are no rows
        fields = joined_fields(JoinKind.LEFT, self.domain.schema, lifted.schema)
        joined = Join(
            Schema(fields), JoinKind.LEFT, self.domain, lifted, (), (), self._same_domain(d)
        )
        columns = references(joined.schema)
        values = [
            c if e.type.nullable else build.coalesce([c, e], None)
            for c, e in zip(columns[2 * d :], _empties(node), strict=True)
        ]
        return Project(lifted.schema, joined, (*columns[:d], *values))

    def _same_domain(self, at: int) -> Expr:
        """The first columns and those from `at` on belong to the same row of the domain."""
        columns = references(self.domain.schema)
        pairs = ((c, replace(c, index=c.index + at)) for c in columns if isinstance(c, InputRef))
        return build.and_([same(a, b) for a, b in pairs])

    def _join(self, node: Join) -> Node:
        d, n, m = self.width, len(node.left.schema), len(node.right.schema)
        residual = conjuncts(node.residual)
        for (a, b), safe in zip(
            node.keys, node.null_safe or (False,) * len(node.keys), strict=True
        ):
            key = references(node.left.schema)[a]
            equal: Expr = InputRef(node.right.schema.types[b], n + b)
            residual.append(same(key, equal) if safe else build.call("=", [key, equal], None))
        lifts_right = bool(outers(node.right)) or node.kind in (JoinKind.RIGHT, JoinKind.FULL)
        lifts_left = (
            bool(outers(node.left)) or not lifts_right or node.kind not in (
                JoinKind.INNER, JoinKind.RIGHT)
        )  # fmt: skip
        left = self.node(node.left) if lifts_left else node.left
        right = self.node(node.right) if lifts_right else node.right
        before = d if lifts_left else 0
        after = len(left.schema) + (d if lifts_right else 0)

        def column(i: int) -> int:
            return i + before if i < n else i - n + after

        key_at = 0 if lifts_left else len(left.schema)
        on = [self._residual(p, column, key_at) for p in residual]
        if lifts_left and lifts_right:
            on.append(self._same_domain(len(left.schema)))
        fields = joined_fields(node.kind, left.schema, right.schema)
        joined = Join(
            Schema(fields), node.kind, left, right, (), (), conjunction(on), span=node.span
        )
        if node.kind in _HALF:
            return joined
        data = [column(i) for i in range(n + m)]
        if node.kind is JoinKind.FULL or (node.kind is JoinKind.RIGHT and lifts_left):
            return self._either_domain(node, joined, len(left.schema), data)
        return pick(joined, [*range(key_at, key_at + d), *data])

    def _residual(self, p: Expr, column: Callable[[int], int], key_at: int) -> Expr:
        def rule(x: Expr) -> Expr | None:
            if isinstance(x, Outer):
                return InputRef(x.type, key_at + self.at[x], span=x.span)
            return replace(x, index=column(x.index)) if isinstance(x, InputRef) else None

        return descend(p, rule)

    def _either_domain(self, node: Join, joined: Join, right_at: int, data: list[int]) -> Node:
        """After a join that pads the left side: the domain's columns from whichever side has
        them. A padded side is NULL in all of them, so the first that is not NULL is right."""
        columns = references(joined.schema)
        keys = []
        for i, f in enumerate(self.domain.schema.fields):
            either = build.coalesce([columns[i], columns[right_at + i]], None)
            keys.append(replace(either, type=f.type))
        exprs = (*keys, *(columns[i] for i in data))
        schema = Schema((*self.domain.schema.fields, *(joined.schema.fields[i] for i in data)))
        return Project(schema, joined, exprs, span=node.span)
