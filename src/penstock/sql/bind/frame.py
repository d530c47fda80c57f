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

from penstock.data.types import Field, Schema, SqlType
from penstock.errors import Span
from penstock.plan.expressions import Call, Expr, InputRef, Literal, Not
from penstock.plan.nodes import (
    Distinct,
    Filter,
    Frontier,
    Join,
    JoinKind,
    Node,
    Project,
    UnionAll,
    Values,
)
from penstock.plan.rewrite import can_fail
from penstock.sql.bind import build, clock, gates, marks, reached, scalars, semijoins
from penstock.sql.bind.conditions import kept_by
from penstock.sql.bind.decorrelate import (
    lift,
    same,
    selection,
)
from penstock.sql.bind.forms import (
    JOINED,
    Exists,
    ForAll,
    In,
    Now,
    Outer,
    Scalar,
    descend,
    has,
    outers,
)
from penstock.sql.bind.moments import from_and_to
from penstock.sql.bind.scope import Scope
from penstock.sql.passes.gates import gate
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
    #: comparisons with the time that are columns: the column and the node that has it
    _told: dict[tuple[Expr, str, Expr], tuple[int, Node]] = field(default_factory=dict)
    #: the nodes with those columns, by identity: such a node, and the one that it is made of
    _tellers: dict[int, tuple[Node, Node]] = field(default_factory=dict)
    #: what holds where the expression that is being lowered is reached
    _reaching: tuple[Expr, ...] = ()
    #: whether what stands before the expression that is being lowered may have dropped rows
    _has_dropped: bool = True

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

    def keep(self, condition: Expr, *, of_some: bool = False) -> None:
        """Keep the rows for which `condition` is TRUE; its sub-queries become joins.
        `of_some`: what stands before it in the text has dropped rows of the frame."""
        plain: list[Expr] = []
        tests: list[Expr] = []
        #: what can fail, behind a test that may keep it from being reached
        late: list[Expr] = []
        passing: list[tuple[Expr, str, Expr]] = []
        for c in (side for term in kept_by(condition) for side in from_and_to(term)):
            found = clock.temporal(c)
            if found is not None:
                passing.append(found)
                continue
            inner = c.operand if isinstance(c, Not) else c
            if isinstance(inner, Exists | In | ForAll):
                tests.append(c)
            else:
                (late if tests and can_fail(c) else plain).append(c)
        self._has_dropped = of_some
        self._filter([c for c in plain if not has(c, *JOINED)])
        self._filter([c for c in plain if has(c, *JOINED)])
        for e, op, limit in passing:
            self._pass(e, op, limit)
            self._has_dropped = True
        for test in tests:
            if isinstance(test, Not):
                semijoins.drop(self, test.operand)
            else:
                semijoins.keep(self, test)
            self._has_dropped = True
        self._filter(late)
        self._has_dropped = True

    def _filter(self, conditions: Sequence[Expr]) -> None:
        if conditions:
            lowered = self.value(build.and_(conditions))
            self.node = Filter(self.node.schema, self.node, lowered)
            self._has_dropped = True

    def _pass(self, e: Expr, op: str, limit: Expr) -> None:
        """Keep the rows for which `e op limit`, as the time in `limit` moves on."""
        (column,) = self.add([e], "$time")
        bound = clock.bound(limit)
        value = InputRef(bound.schema.types[0], self.width)
        predicate = build.call(op, [self.column(column), value], e.span)
        rises = clock.rises(limit)
        self.node = Frontier(self.node.schema, self.node, bound, column, op, predicate, rises)

    def _tell(self, e: Expr, op: str, limit: Expr, type: SqlType) -> Expr:
        """The column that says whether `e op limit`, for the rows of each answer are the rows that
        pass a comparison: time changes the answer of those that it passes, and reads no others."""
        key = (e, op, limit)
        if key in self._told and self._extends(self._told[key][1]):
            return self.column(self._told[key][0])
        (column,) = self.add([e], "$time")
        base, at, rises = self.node, self.width, clock.rises(limit)
        bound = clock.bound(limit)
        schema = Schema((*base.schema.fields, Field(f"$told{at}", type)))
        time, value = self.column(column), InputRef(bound.schema.types[0], at)
        branches: list[Node] = []
        refs = references(base.schema)
        for side, answer in clock.sides(op):
            test = build.call(side, [time, value], e.span)
            rows: Node = Frontier(base.schema, base, bound, column, side, test, rises)
            branches.append(
                Project(schema, rows, (*references(base.schema), Literal(type, answer)))
            )
        if time.type.nullable:
            rows = Filter(base.schema, base, build.is_null(time, e.span))
            branches.append(Project(schema, rows, (*refs, Literal(type, None))))
        self.node = UnionAll(schema, tuple(branches))
        self._tellers[id(self.node)] = (self.node, base)
        self._told[key] = (at, self.node)
        return self.column(at)

    def _extends(self, base: Node) -> bool:
        """Whether the frame is `base` with columns added or rows dropped."""
        node = self.node
        while node is not base:
            match node:
                case UnionAll() if id(node) in self._tellers:
                    node = self._tellers[id(node)][1]
                case Filter(input=below) | Frontier(input=below):
                    node = below
                case Join(left=left) if len(left.schema) <= len(node.schema):
                    node = left
                case Project(input=below) if _only_adds(node):
                    node = below
                case _:
                    return False
        return True

    def _time(self, span: Span | None) -> Expr:
        """The column with the time of day."""
        if self._now is None or not self._extends(self._now[1]):
            at = self.attach(JoinKind.INNER, clock.clock())
            self._now = (at, self.node)
        return replace(self.column(self._now[0]), span=span)

    def rows(self, query: Node) -> tuple[Node, list[Expr], list[Expr]]:
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
        schema = Schema(tuple(Field(c.name or f"$outer{i}", c.type) for i, c in enumerate(columns)))
        domain = Distinct(schema, Project(schema, self.asking(at, query), columns))
        lifted = lift(query, domain, refs)
        inner = references(schema)
        on = [
            same(a, replace(b, index=self.width + i))  # type: ignore[call-arg]
            for i, (a, b) in enumerate(zip(columns, inner, strict=True))
        ]
        return lifted, on

    def asked(self, query: Node) -> Node:
        """`query`, of which what can fail is evaluated only while some row comes to it. In the
        first condition that rows are kept by that is not asked of sums and products (`is_risky`):
        as a rule some row comes, and every row of the sub-query would be computed twice."""
        if isinstance(self.node, Values):
            return query  # there is a row
        fails = gates.query_is_risky if self.is_reached_by_all() else gates.query_can_fail
        if not fails(query):
            return query
        there = gates.independent(self._reaching_rows())
        return query if there is None else gates.behind(query, gate(there))

    def _reaching_rows(self) -> Node:
        rows = self.node
        if self._reaching:
            rows = Filter(rows.schema, rows, build.and_(self._reaching))
        return rows

    def reaching_rows(self) -> Node | None:
        """The rows that come to the expression that is being lowered; None if which they are
        depends on a row further out."""
        rows = self._reaching_rows()
        return None if outers(rows) else rows

    def is_reached_by_all(self) -> bool:
        """Whether every row comes to the expression that is being lowered."""
        return not (self._reaching or self._has_dropped)

    def is_for_all(self, query: Node, on: Sequence[Expr] = ()) -> bool:
        """Whether a sub-query, joined by `on`, is asked for all rows: not if it can fail, where
        some do not come to it."""
        fails = bool(self._reaching) and (any(map(can_fail, on)) or gates.query_can_fail(query))
        return not fails

    def asking(self, columns: Sequence[int], query: Node, on: Sequence[Expr] = ()) -> Node:
        """The rows whose values of `columns` a sub-query is asked for."""
        if self.is_for_all(query, on):
            return self.source(columns)
        return Filter(self.node.schema, self.node, build.and_(self._reaching))

    def only_reached(self, e: Expr) -> Expr:
        """`e`, which is NULL for rows that do not come to it if it could fail for them."""
        if not (self._reaching and can_fail(e)):
            return e
        return build.case([(build.and_(self._reaching), e)], None, e.span)

    def _reached(self, e: Expr, where: Sequence[Expr]) -> Expr:
        before = self._reaching
        self._reaching = (*before, *where)
        try:
            return self.value(e)
        finally:
            self._reaching = before

    def value(self, expr: Expr) -> Expr:
        """`expr` without placeholders of sub-queries."""

        def rule(e: Expr) -> Expr | None:
            match e:
                case Scalar():
                    return scalars.scalar(self, e)
                case Exists():
                    return marks.exists(self, e)
                case In():
                    return marks.is_in(self, e)
                case ForAll():
                    return marks.for_all(self, e)
                case Now():
                    return self._time(e.span)
                case Call():
                    found = clock.told(e)
                    return None if found is None else self._tell(*found, e.type)
            return reached.operands(e, self._reached)

        return descend(expr, rule)

    def attach(self, kind: JoinKind, query: Node, on: Sequence[Expr] = ()) -> int:
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

    def source(self, columns: Sequence[int]) -> Node:
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


def _only_adds(node: Project) -> bool:
    """Whether it has the columns of its input, and others behind them."""
    n = len(node.input.schema)
    kept = node.exprs[:n]
    return len(kept) == n and all(
        isinstance(e, InputRef) and e.index == i for i, e in enumerate(kept)
    )
