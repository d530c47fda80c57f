"""A relation under construction: its plan, the names of its columns, and sub-queries joined to it.

    frame R, a > <Scalar: SELECT MAX(x) FROM t>    ──►   frame Join(R, Aggregate(t)), a > $n
    frame R, WHERE k IN <SELECT …>                 ──►   frame Join semi(R, …)

Columns are only ever added at the end, so expressions bound before stay right.

A correlated sub-query becomes a join as well: on its predicates that mention the outer row. Under
WHERE [NOT] EXISTS and IN they may be any; where the sub-query yields a value they must be
equalities, so that it can be grouped by its own side of them.

Not here: how a sub-query is bound (`select`), the placeholders themselves (`forms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from penstock.data.types import BIGINT, BOOLEAN, Field, Schema
from penstock.errors import Span
from penstock.functions.aggregates import resolve_aggregate
from penstock.plan.expressions import Call, Expr, InputRef, Literal, Not
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    Distinct,
    Filter,
    Join,
    JoinKind,
    Node,
    Project,
)
from penstock.plan.rewrite import conjuncts, parts
from penstock.sql.bind import build
from penstock.sql.bind.forms import SUBQUERIES, Exists, In, Outer, Scalar, descend, has
from penstock.sql.bind.report import unsupported
from penstock.sql.bind.scope import Scope


@dataclass(slots=True)
class Frame:
    """A plan and the names its columns have."""

    node: Node
    scope: Scope

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
        for c in conjuncts(condition):
            inner = c.operand if isinstance(c, Not) else c
            (tests if isinstance(inner, Exists | In) else plain).append(c)
        for group in (
            [c for c in plain if not has(c, *SUBQUERIES)],
            [c for c in plain if has(c, *SUBQUERIES)],
        ):
            if group:
                lowered = self.value(build.and_(group))
                self.node = Filter(self.node.schema, self.node, lowered)
        for test in tests:
            if isinstance(test, Not):
                self._keep_not(test.operand)
            else:
                self._keep(test)

    def _keep(self, test: Expr) -> None:
        if isinstance(test, Exists):
            self._half_join(JoinKind.SEMI, test.query, test.on)
            return
        assert isinstance(test, In)
        operand = self.value(test.operand)
        self._half_join(JoinKind.SEMI, test.query, (_equals(operand, test), *test.on))

    def _keep_not(self, test: Expr) -> None:
        if isinstance(test, Exists):
            self._half_join(JoinKind.ANTI, test.query, test.on)
            return
        assert isinstance(test, In)
        operand = self.value(test.operand)
        column = test.query.schema.types[0]
        equal = _equals(operand, test)
        if (operand.type.nullable or column.nullable) and test.on:
            # among the rows of one outer row, "equal or unknown" is a residual like any other
            equal = build.is_truth(equal, False, test.span, negated=True)
        elif operand.type.nullable or column.nullable:
            rows, nulls = self._attach_counts(test.query)
            none = build.call("=", [rows, _zero()], test.span)
            no_nulls = build.call("=", [nulls, _zero()], test.span)
            known = build.is_null(operand, test.span, negated=True)
            guard = build.or_([none, build.and_([known, no_nulls])], test.span)
            self.node = Filter(self.node.schema, self.node, guard)
        self._half_join(JoinKind.ANTI, test.query, (equal, *test.on))

    def _half_join(self, kind: JoinKind, query: Node, on: Sequence[Expr]) -> None:
        condition = [self._outward(e) for e in on]
        residual = build.and_(condition) if condition else None
        self.node = Join(self.node.schema, kind, self.node, query, (), (), residual)

    def _outward(self, e: Expr) -> Expr:
        """A predicate of a sub-query over this frame's columns followed by the sub-query's."""
        width = self.width

        def rule(x: Expr) -> Expr | None:
            if isinstance(x, Outer):
                return x.expr
            if isinstance(x, InputRef):
                return replace(x, index=x.index + width)
            return None

        return descend(e, rule)

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
            return None

        return descend(expr, rule)

    def _attach(self, kind: JoinKind, query: Node, on: Expr | None) -> int:
        """Join `query` to the frame; the position of its first column."""
        at = self.width
        added = query.schema.fields
        if kind is JoinKind.LEFT:
            added = tuple(Field(f.name, f.type.with_nullable(True)) for f in added)
        schema = Schema(self.node.schema.fields + added)
        self.node = Join(schema, kind, self.node, query, (), (), on)
        return at

    def _scalar(self, e: Scalar) -> Expr:
        if not e.on:
            at = self._attach(JoinKind.INNER, e.query, None)
            return replace(self.column(at), span=e.span)
        on = build.and_([self._outward(p) for p in e.on])
        at = self._attach(JoinKind.LEFT, e.query, on)
        value = self.column(at, e.span)
        if e.empty is None:
            return value
        # the first key is NULL only where no group was joined
        nothing = build.is_null(self.column(at + 1), e.span)
        chosen = build.case([(nothing, self.value(e.empty))], value, e.span)
        return replace(chosen, type=chosen.type.with_nullable(e.type.nullable))

    def _exists(self, e: Exists) -> Expr:
        columns, on = self._keyed(e.query, e.on, e.span)
        at = self._attach(JoinKind.LEFT, columns, on)
        return build.is_null(self.column(at), e.span, negated=True)

    def _in(self, e: In) -> Expr:
        operand = self.value(e.operand)
        if e.on:
            raise unsupported(e.span, "a correlated IN outside the conditions of WHERE")
        if not e.type.nullable:
            columns, on = self._keyed(e.query, (_equals(operand, e),), e.span)
            at = self._attach(JoinKind.LEFT, columns, on)
            return build.is_null(self.column(at), e.span, negated=True)
        rows, nulls = self._attach_counts(e.query)
        columns, on = self._keyed(e.query, (_equals(operand, e),), e.span)
        at = self._attach(JoinKind.LEFT, columns, on)
        found = build.is_null(self.column(at), e.span, negated=True)
        unknown = build.call(">", [nulls, _zero()], e.span)
        if operand.type.nullable:
            unknown = build.or_([build.is_null(operand, e.span), unknown], e.span)
        branches = [
            (build.call("=", [rows, _zero()], e.span), build.FALSE),
            (found, build.TRUE),
            (unknown, Literal(BOOLEAN, None)),
        ]
        return build.case(branches, build.FALSE, e.span)

    def _keyed(
        self, query: Node, on: Sequence[Expr], span: Span | None
    ) -> tuple[Node, Expr | None]:
        """The distinct keys by which `query` answers "is there one?", after a TRUE column, and
        the condition that joins them to the frame."""
        inner_keys: list[Expr] = []
        conditions: list[Expr] = []
        for p in on:
            outer, inner = equated(p, span)
            position = 1 + len(inner_keys)
            inner_keys.append(inner)
            ref = InputRef(inner.type, self.width + position)
            conditions.append(build.call("=", [outer, ref], span))
        exprs = (build.TRUE, *inner_keys)
        fields = tuple(Field(f"$key{i}", e.type) for i, e in enumerate(exprs))
        schema = Schema(fields)
        keys = Distinct(schema, Project(schema, query, exprs))
        return keys, build.and_(conditions) if conditions else None

    def _attach_counts(self, query: Node) -> tuple[Expr, Expr]:
        """COUNT(*) of `query` and how many of its values are NULL, as columns of the frame."""
        count_all = resolve_aggregate("COUNT", [])
        count_values = resolve_aggregate("COUNT", [query.schema.types[0]])
        counted = BIGINT.with_nullable(False)
        schema = Schema((Field("$rows", counted), Field("$values", counted)))
        calls = (AggCall(count_all, ()), AggCall(count_values, (0,)))
        at = self._attach(JoinKind.INNER, Aggregate(schema, query, (), calls), None)
        rows, values = self.column(at), self.column(at + 1)
        return rows, build.call("-", [rows, values], None)


def _zero() -> Literal:
    return Literal(BIGINT.with_nullable(False), 0)


def _equals(operand: Expr, test: In) -> Expr:
    """operand = column 0 of the sub-query, as a predicate of the sub-query."""
    f = test.query.schema.fields[0]
    return build.call(
        "=",
        [Outer(operand.type, operand, span=operand.span), InputRef(f.type, 0, f.name)],
        test.span,
    )


def equated(p: Expr, span: Span | None) -> tuple[Expr, Expr]:
    """(outer expression, inner expression) of an equality between the two."""
    if isinstance(p, Call) and p.function.name == "=":
        for a, b in (p.args, p.args[::-1]):
            outer = only_outer(a)
            if outer is not None and not has(b, Outer):
                return outer, b
    raise unsupported(
        p.span or span,
        "a correlated sub-query of this form",
        "outside WHERE [NOT] EXISTS it may only equate its own columns with outer ones",
    )


def only_outer(e: Expr) -> Expr | None:
    """`e` as an expression over the outer row, if it reads nothing else."""
    if _reads_inner(e):
        return None
    return descend(e, lambda x: x.expr if isinstance(x, Outer) else None)


def _reads_inner(e: Expr) -> bool:
    return isinstance(e, InputRef) or any(_reads_inner(x) for x in parts(e))
