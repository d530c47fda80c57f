"""A relation under construction: its plan, the names of its columns, and sub-queries joined to it.

    frame R, a > <Scalar: SELECT MAX(x) FROM t>    ──►   frame Join(R, Aggregate(t)), a > $n
    frame R, WHERE k IN <SELECT …>                 ──►   frame Join semi(R, …)

Columns are only ever added at the end, so expressions bound before stay right.

A correlated sub-query becomes a join as well. One that is a selection is joined as it is under
WHERE [NOT] EXISTS and IN; an aggregate over a selection by equalities is grouped by them; any
other is lifted over the domain of the outer values that it reads (`decorrelate`).

Not here: how a sub-query is bound (`select`), the placeholders themselves (`forms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from penstock.data.types import BIGINT, BOOLEAN, Field, Kind, Schema
from penstock.errors import Span
from penstock.functions.aggregates import resolve_aggregate
from penstock.plan.expressions import Call, Expr, InputRef, Literal, Not
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    Distinct,
    Filter,
    Frontier,
    Join,
    JoinKind,
    Node,
    Project,
)
from penstock.plan.rewrite import columns_of, conjuncts, remap
from penstock.sql.bind import build, clock
from penstock.sql.bind.decorrelate import (
    Grouped,
    grouped,
    is_at_most_one_row,
    is_one_row,
    lift,
    same,
    selection,
)
from penstock.sql.bind.forms import (
    JOINED,
    Exists,
    In,
    Now,
    Outer,
    Scalar,
    descend,
    has,
    outers,
)
from penstock.sql.bind.report import unsupported
from penstock.sql.bind.scope import Scope
from penstock.sql.passes.join_keys import references


@dataclass(slots=True)
class Frame:
    """A plan and the names its columns have."""

    node: Node
    scope: Scope
    #: the column of the time, once it is joined, and the node that has it
    _now: tuple[int, Node] | None = None
    #: the joins that brought sub-queries in, by identity
    _joins: dict[int, Node] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return len(self.node.schema)

    def column(self, i: int, span: Span | None = None) -> InputRef:
        f = self.node.schema.fields[i]
        return InputRef(f.type, i, f.name, span=span)

    def add(self, exprs: Sequence[Expr], prefix: str) -> list[int]:
        """Compute `exprs` as columns (columns that exist are not copied); their positions."""
        positions: list[int] = []
        fresh: list[Expr] = []
        for e in exprs:
            if isinstance(e, InputRef):
                positions.append(e.index)
            elif e in fresh:
                positions.append(self.width + fresh.index(e))
            else:
                positions.append(self.width + len(fresh))
                fresh.append(e)
        if fresh:
            fields = self.node.schema.fields + tuple(
                Field(f"{prefix}{self.width + i}", e.type) for i, e in enumerate(fresh)
            )
            refs = tuple(self.column(i) for i in range(self.width))
            self.node = Project(Schema(fields), self.node, (*refs, *fresh))
        return positions

    def keep(self, condition: Expr) -> None:
        """Keep the rows for which `condition` is TRUE; its sub-queries become joins."""
        plain: list[Expr] = []
        tests: list[Expr] = []
        passing: list[tuple[Expr, str, Expr]] = []
        for c in conjuncts(condition):
            found = clock.temporal(c)
            if found is not None:
                passing.append(found)
                continue
            inner = c.operand if isinstance(c, Not) else c
            (tests if isinstance(inner, Exists | In) else plain).append(c)
        for group in (
            [c for c in plain if not has(c, *JOINED)],
            [c for c in plain if has(c, *JOINED)],
        ):
            if group:
                lowered = self.value(build.and_(group))
                self.node = Filter(self.node.schema, self.node, lowered)
        for e, op, limit in passing:
            self._pass(e, op, limit)
        for test in tests:
            if isinstance(test, Not):
                self._keep_not(test.operand)
            else:
                self._keep(test)

    def _pass(self, e: Expr, op: str, limit: Expr) -> None:
        """Keep the rows for which `e op limit`, as the time in `limit` moves on."""
        (column,) = self.add([e], "$time")
        bound = clock.bound(limit)
        value = InputRef(bound.schema.types[0], self.width)
        predicate = build.call(op, [self.column(column), value], e.span)
        rises = clock.rises(limit)
        self.node = Frontier(self.node.schema, self.node, bound, column, op, predicate, rises)

    def _time(self, span: Span | None) -> Expr:
        """The column with the time of day."""
        if self._now is None or not _extends(self.node, self._now[1]):
            at = self._attach(JoinKind.INNER, clock.clock())
            self._now = (at, self.node)
        return replace(self.column(self._now[0]), span=span)

    def _keep(self, test: Expr) -> None:
        kind = JoinKind.SEMI
        if isinstance(test, Exists):
            query, on, _ = self._rows(test.query)
            self._half_join(kind, query, on)
            return
        assert isinstance(test, In)
        operands = [self.value(e) for e in test.operands]
        query, on, values = self._rows(test.query)
        self._half_join(kind, query, [*_equal(operands, values, test.span), *on])

    def _keep_not(self, test: Expr) -> None:
        kind = JoinKind.ANTI
        if isinstance(test, Exists):
            query, on, _ = self._rows(test.query)
            self._half_join(kind, query, on)
            return
        assert isinstance(test, In)
        operands = [self.value(e) for e in test.operands]
        nullable = any(e.type.nullable for e in operands) or any(
            t.nullable for t in test.query.schema.types
        )
        # one column without correlation: whether there are NULLs is asked once, not for each row
        is_simple = len(operands) == 1 and not outers(test.query)
        if nullable and is_simple:
            rows, nulls = self._attach_counts(test.query)
            none = build.call("=", [rows, _zero()], test.span)
            no_nulls = build.call("=", [nulls, _zero()], test.span)
            known = build.is_null(operands[0], test.span, negated=True)
            guard = build.or_([none, build.and_([known, no_nulls])], test.span)
            self.node = Filter(self.node.schema, self.node, guard)
        query, on, values = self._rows(test.query)
        equal = _equal(operands, values, test.span)
        if nullable and not is_simple:
            # among the rows of one outer row, "equal or unknown" is a residual like any other
            equal = [build.is_truth(build.and_(equal), False, test.span, negated=True)]
        self._half_join(kind, query, [*equal, *on])

    def _half_join(self, kind: JoinKind, query: Node, on: Sequence[Expr]) -> None:
        residual = build.and_(on) if on else None
        self.node = Join(self.node.schema, kind, self.node, query, (), (), residual)

    def _rows(self, query: Node) -> tuple[Node, list[Expr], list[Expr]]:
        """Rows that stand for `query`, up to duplicates: which of them belong to a row of the
        frame, and their columns, as expressions over the frame and the rows."""
        found = selection(query)
        if found is not None:
            on = [self._outward(e) for e in found.on]
            return found.rows, on, [self._outward(e) for e in found.outputs]
        lifted, on = self.dependent(query)
        at = self.width + len(lifted.schema) - len(query.schema)
        return lifted, on, [InputRef(t, at + i) for i, t in enumerate(query.schema.types)]

    def _outward(self, e: Expr) -> Expr:
        """An expression of a sub-query over this frame's columns followed by the sub-query's."""
        width = self.width

        def rule(x: Expr) -> Expr | None:
            if isinstance(x, Outer):
                return x.expr
            if isinstance(x, InputRef):
                return replace(x, index=x.index + width)
            return None

        return descend(e, rule)

    def dependent(self, query: Node) -> tuple[Node, list[Expr]]:
        """`query` lifted over the domain of what it reads of this frame, whose columns come
        first, and the predicates that join it to the frame."""
        refs = outers(query)
        at = self.add([o.expr for o in refs], "$outer")
        columns = tuple(self.column(i) for i in at)
        schema = Schema(tuple(Field(f"$outer{i}", c.type) for i, c in enumerate(columns)))
        domain = Distinct(schema, Project(schema, self._source(at), columns))
        lifted = lift(query, domain, refs)
        inner = references(schema)
        on = [
            same(a, replace(b, index=self.width + i))  # type: ignore[call-arg]
            for i, (a, b) in enumerate(zip(columns, inner, strict=True))
        ]
        return lifted, on

    def value(self, expr: Expr) -> Expr:
        """`expr` without placeholders of sub-queries."""

        def rule(e: Expr) -> Expr | None:
            match e:
                case Scalar():
                    return self._scalar(e)
                case Exists():
                    return self._exists(e)
                case In():
                    return self._in(e)
                case Now():
                    return self._time(e.span)
            return None

        return descend(expr, rule)

    def _attach(self, kind: JoinKind, query: Node, on: Sequence[Expr] = ()) -> int:
        """Join `query` to the frame; the position of its first column."""
        at = self.width
        added = query.schema.fields
        if kind is JoinKind.LEFT:
            added = tuple(Field(f.name, f.type.with_nullable(True)) for f in added)
        schema = Schema(self.node.schema.fields + added)
        condition = build.and_(on) if on else None
        self.node = Join(schema, kind, self.node, query, (), (), condition)
        self._joins[id(self.node)] = self.node
        return at

    def _source(self, columns: Sequence[int]) -> Node:
        """Where the values of `columns` come from: below the sub-queries that were joined since,
        so that a plan does not grow twofold with every one of them."""
        node = self.node
        while True:
            match node:
                case Join(left=below) if id(node) in self._joins:
                    pass
                case Project(input=below) if _only_adds(node):
                    pass
                case _:
                    return node
            if max(columns) >= len(below.schema):
                return node
            node = below

    def _scalar(self, e: Scalar) -> Expr:
        exact = is_one_row(e.query)
        if not outers(e.query):
            query = e.query if exact else _single(e.query, 0, e.span)
            at = self._attach(JoinKind.INNER, query)
            return replace(self.column(at), span=e.span)
        by_key = grouped(e.query)
        if by_key is not None:
            return self._grouped(e, by_key)
        lifted, on = self.dependent(e.query)
        n = len(lifted.schema) - len(e.query.schema)
        if not is_at_most_one_row(e.query):
            lifted = _single(lifted, n, e.span)
        at = self._attach(JoinKind.INNER if exact else JoinKind.LEFT, lifted, on)
        return replace(self.column(at + n), span=e.span)

    def _grouped(self, e: Scalar, found: Grouped) -> Expr:
        on = []
        for i, outer in enumerate(found.keys):
            key = InputRef(found.query.schema.types[1 + i], self.width + 1 + i)
            on.append(build.call("=", [outer, key], e.span))
        at = self._attach(JoinKind.LEFT, found.query, on)
        value = self.column(at, e.span)
        if isinstance(found.empty, Literal) and found.empty.value is None:
            return value
        # the first key is NULL only where no group was joined
        nothing = build.is_null(self.column(at + 1), e.span)
        chosen = build.case([(nothing, found.empty)], value, e.span)
        return replace(chosen, type=chosen.type.with_nullable(e.type.nullable))

    def _exists(self, e: Exists) -> Expr:
        return self._found(*self._rows(e.query)[:2], e.span)

    def _found(self, query: Node, on: Sequence[Expr], span: Span | None) -> Expr:
        """Whether `query` has a row for which `on` holds, as a column of the frame."""
        columns, conditions = self._keyed(query, on)
        at = self._attach(JoinKind.LEFT, columns, conditions)
        return build.is_null(self.column(at), span, negated=True)

    def _in(self, e: In) -> Expr:
        operands = [self.value(x) for x in e.operands]
        if len(operands) > 1:
            return self._in_rows(e, operands)
        operand = operands[0]
        rows = nulls = None
        if e.type.nullable:
            rows, nulls = self._attach_counts(e.query)
        query, on, values = self._rows(e.query)
        found = self._found(query, [*_equal(operands, values, e.span), *on], e.span)
        if rows is None or nulls is None:
            return found
        unknown = build.call(">", [nulls, _zero()], e.span)
        if operand.type.nullable:
            unknown = build.or_([build.is_null(operand, e.span), unknown], e.span)
        branches = [
            (build.call("=", [rows, _zero()], e.span), build.FALSE),
            (found, build.TRUE),
            (unknown, Literal(BOOLEAN, None)),
        ]
        return build.case(branches, build.FALSE, e.span)

    def _in_rows(self, e: In, operands: Sequence[Expr]) -> Expr:
        """IN over several columns: TRUE where a row is equal, else NULL where one may be."""
        query, on, values = self._rows(e.query)
        found = self._found(query, [*_equal(operands, values, e.span), *on], e.span)
        if not e.type.nullable:
            return found
        query, on, values = self._rows(e.query)  # over the frame as it is now
        unknown = build.is_null(build.and_(_equal(operands, values, e.span)), e.span)
        maybe = self._found(query, [unknown, *on], e.span)
        return build.case(
            [(found, build.TRUE), (maybe, Literal(BOOLEAN, None))], build.FALSE, e.span
        )

    def _keyed(self, query: Node, on: Sequence[Expr]) -> tuple[Node, list[Expr]]:
        """The distinct keys by which `query` answers "is there one?", after a TRUE column, and
        the conditions that join them to the frame. Where `on` is more than equalities, the keys
        are the outer values for which there is one."""
        pairs = [_sides(p, self.width) for p in on]
        if not all(pairs):
            return self._witnessed(query, on)
        keys = [inner for p in pairs if p is not None for inner in (p[1],)]
        exprs = (build.TRUE, *keys)
        schema = Schema(tuple(Field(f"$key{i}", e.type) for i, e in enumerate(exprs)))
        conditions = [
            build.call(p[2], [p[0], InputRef(p[1].type, self.width + 1 + i)], None)
            for i, p in enumerate(p for p in pairs if p is not None)
        ]
        return Distinct(schema, Project(schema, query, exprs)), conditions

    def _witnessed(self, query: Node, on: Sequence[Expr]) -> tuple[Node, list[Expr]]:
        used = sorted({c for p in on for c in columns_of(p) if c < self.width})
        refs = tuple(self.column(c) for c in used)
        schema = Schema(tuple(Field(f"$outer{i}", c.type) for i, c in enumerate(refs)))
        domain = Distinct(schema, Project(schema, self._source(used), refs))
        n = len(used)

        def place(i: int) -> int:
            return used.index(i) if i < self.width else i - self.width + n

        condition = build.and_([remap(p, place) for p in on])
        there = Join(schema, JoinKind.SEMI, domain, query, (), (), condition)
        exprs = (build.TRUE, *references(schema))
        marked = Schema((Field("$found", build.TRUE.type), *schema.fields))
        conditions = [same(c, InputRef(c.type, self.width + 1 + i)) for i, c in enumerate(refs)]
        return Project(marked, there, exprs), conditions

    def _attach_counts(self, query: Node) -> tuple[Expr, Expr]:
        """COUNT(*) of `query` and how many of its values are NULL, as columns of the frame."""
        is_correlated = bool(outers(query))
        source, on = self.dependent(query) if is_correlated else (query, [])
        n = len(source.schema) - len(query.schema)
        value = query.schema.types[0]
        calls = (
            AggCall(resolve_aggregate("COUNT", []), ()),
            AggCall(resolve_aggregate("COUNT", [value]), (n,)),
        )
        counted = BIGINT.with_nullable(False)
        counts = (Field("$rows", counted), Field("$values", counted))
        schema = Schema((*source.schema.fields[:n], *counts))
        plan = Aggregate(schema, source, tuple(range(n)), calls)
        kind = JoinKind.LEFT if is_correlated else JoinKind.INNER
        at = self._attach(kind, plan, on) + n
        columns: list[Expr] = [self.column(at), self.column(at + 1)]
        if is_correlated:
            columns = [build.coalesce([c, _zero()], None) for c in columns]
        return columns[0], build.call("-", columns, None)


def _extends(node: Node, base: Node) -> bool:
    """Whether `node` is `base` with columns added or rows dropped by this frame."""
    while node is not base:
        match node:
            case Filter(input=below) | Frontier(input=below):
                node = below
            case Join(left=left) if len(left.schema) <= len(node.schema):
                node = left
            case Project(input=below) if _only_adds(node):
                node = below
            case _:
                return False
    return True


def _only_adds(node: Project) -> bool:
    """Whether it has the columns of its input, and others behind them."""
    n = len(node.input.schema)
    kept = node.exprs[:n]
    return len(kept) == n and all(
        isinstance(e, InputRef) and e.index == i for i, e in enumerate(kept)
    )


def _equal(a: Sequence[Expr], b: Sequence[Expr], span: Span | None) -> list[Expr]:
    return [build.call("=", [x, y], span) for x, y in zip(a, b, strict=True)]


def _zero() -> Literal:
    return Literal(BIGINT.with_nullable(False), 0)


def _sides(p: Expr, width: int) -> tuple[Expr, Expr, str] | None:
    """(frame's side, other side over its own columns, operator) of an equality between a frame of
    `width` columns and what is joined to it."""
    if not isinstance(p, Call) or p.function.name not in ("=", "is_not_distinct"):
        return None
    for a, b in (p.args, p.args[::-1]):
        left, right = columns_of(a), columns_of(b)
        if right and min(right) >= width and (not left or max(left) < width):
            return a, remap(b, lambda i: i - width), p.function.name
    return None


def _single(query: Node, n: int, span: Span | None) -> Node:
    """The one value of column `n` for every combination of the columns before it: NULL over no
    rows where there are none, an error over several rows."""
    value = query.schema.fields[n]
    if value.type.kind is Kind.NULL:
        raise unsupported(span, "a scalar sub-query that selects NULL from several rows")
    counted = BIGINT.with_nullable(False)
    keys = query.schema.fields[:n]
    nullable = value.type.with_nullable(True)
    schema = Schema((*keys, Field("$rows", counted), Field(value.name, nullable)))
    calls = (
        AggCall(resolve_aggregate("COUNT", []), ()),
        AggCall(resolve_aggregate("MAX", [value.type]), (n,)),
    )
    counts = Aggregate(schema, query, tuple(range(n)), calls, span=span)
    columns = references(schema)
    only = build.call("$SINGLE", [columns[n + 1], columns[n]], span)
    return Project(Schema((*keys, Field(value.name, only.type))), counts, (*columns[:n], only))
