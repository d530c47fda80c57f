"""Sub-queries of expressions: (SELECT …), EXISTS (…), x IN (…), x < ALL (…), correlated or not.

    WHERE EXISTS (SELECT * FROM s WHERE s.k = t.k AND s.x > 1)

      Exists(query = Filter s.k = Outer(t.k) AND x > 1 ─ Scan s)

A sub-query is a query like any other, bound with the scopes around it at hand; what it reads of
them stays behind as `Outer` references in its plan, which `frame` turns into a join.

A comparison with ANY or ALL is a question about the least or greatest value, how many values
there are and how many are NULL:

    x > ALL (q)     CASE WHEN COUNT(*) = 0 THEN TRUE WHEN x <= MAX(q) THEN FALSE
                         WHEN x IS NULL or some q is NULL THEN NULL ELSE TRUE END
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.data.types import BIGINT, BOOLEAN, Field, Schema
from penstock.errors import Span
from penstock.functions.aggregates import resolve_aggregate
from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import AggCall, Aggregate, Node
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.catalog import Catalog, inside
from penstock.sql.bind.decorrelate import is_one_row
from penstock.sql.bind.forms import Exists, In, Scalar
from penstock.sql.bind.query import bind_query
from penstock.sql.bind.report import BindError
from penstock.sql.bind.scope import Scope

_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "=": "<>", "<>": "="}


@dataclass(frozen=True, slots=True)
class SubqueryBinder:
    """The implementation of `catalog.Subqueries`."""

    def scalar(self, e: ast.ScalarSubquery, scope: Scope, catalog: Catalog) -> Expr:
        """(SELECT …) as a value."""
        query = bind_query(e.query, inside(catalog, scope))
        _one_column(query, e.span, "a scalar sub-query")
        value = query.schema.types[0]
        is_exact = is_one_row(query)
        return Scalar(value.with_nullable(value.nullable or not is_exact), query, span=e.span)

    def exists(self, e: ast.Exists, scope: Scope, catalog: Catalog) -> Expr:
        """EXISTS (SELECT …), never NULL."""
        query = bind_query(e.query, inside(catalog, scope))
        return Exists(BOOLEAN.with_nullable(False), query, span=e.span)

    def is_in(
        self, e: ast.InQuery, operands: Sequence[Expr], scope: Scope, catalog: Catalog
    ) -> Expr:
        """(operands) IN (SELECT …); NULL where that is not known."""
        query = bind_query(e.query, inside(catalog, scope))
        return _in(operands, query, e.query.span, e.span)

    def quantified(
        self, e: ast.Quantified, operands: Sequence[Expr], scope: Scope, catalog: Catalog
    ) -> Expr:
        """operand op ANY (SELECT …), operand op ALL (SELECT …); several operands for = ANY and
        <> ALL only, which are IN and NOT IN."""
        assert e.query is not None
        query = bind_query(e.query, inside(catalog, scope))
        is_all = e.quantifier == "ALL"
        if (e.op, is_all) == ("=", False):
            return _in(operands, query, e.query.span, e.span)
        if (e.op, is_all) == ("<>", True):
            return build.not_(_in(operands, query, e.query.span, e.span), e.span)
        what = f"{e.op} {e.quantifier} (SELECT …)"
        if len(operands) != 1:
            raise BindError(e.span, f"{what} compares one column; only = ANY and <> ALL take rows")
        _one_column(query, e.query.span, what)
        # x op ALL (q) is FALSE where x is not op the extreme; x op ANY (q) is NOT (x not-op ALL)
        op = e.op if is_all else _NEGATED[e.op]
        answer = _all(op, operands[0], query, e.span)
        return answer if is_all else build.not_(answer, e.span)


def _in(operands: Sequence[Expr], query: Node, where: Span, span: Span) -> Expr:
    types = query.schema.types
    if len(types) != len(operands):
        raise BindError(
            where, f"IN (SELECT …) compares {len(operands)} column(s), this query has {len(types)}"
        )
    for i, operand in enumerate(operands):
        build.equals("IN (SELECT …)", operand, InputRef(types[i], i), span)  # can they be compared?
    nullable = any(t.nullable for t in (*types, *(e.type for e in operands)))
    return In(BOOLEAN.with_nullable(nullable), tuple(operands), query, span=span)


def _all(op: str, operand: Expr, query: Node, span: Span) -> Expr:
    """operand op ALL (query) for an operator other than <>."""
    rows = _aggregate(query, "COUNT", span, of_rows=True)
    values = _aggregate(query, "COUNT", span)
    if op == "=":
        least, most = (_aggregate(query, f, span) for f in ("MIN", "MAX"))
        differs = build.or_([build.call("<>", [operand, v], span) for v in (least, most)], span)
    else:
        extreme = _aggregate(query, "MAX" if op in (">", ">=") else "MIN", span)
        differs = build.call(_NEGATED[op], [operand, extreme], span)
    unknown = build.call("<", [values, rows], span)
    if operand.type.nullable:
        unknown = build.or_([build.is_null(operand, span), unknown], span)
    none = build.call("=", [rows, Literal(BIGINT.with_nullable(False), 0)], span)
    branches = [(none, build.TRUE), (differs, build.FALSE), (unknown, Literal(BOOLEAN, None))]
    if not (operand.type.nullable or query.schema.types[0].nullable):
        branches.pop()
    return build.case(branches, build.TRUE, span)


def _aggregate(query: Node, name: str, span: Span, *, of_rows: bool = False) -> Expr:
    """An aggregate of the one column of `query`, as a scalar sub-query."""
    types = [] if of_rows else [query.schema.types[0]]
    function = resolve_aggregate(name, types)
    schema = Schema((Field("$value", function.result),))
    call = AggCall(function, () if of_rows else (0,))
    return Scalar(function.result, Aggregate(schema, query, (), (call,)), span=span)


def _one_column(query: Node, span: Span, what: str) -> None:
    if len(query.schema) != 1:
        raise BindError(span, f"{what} has one column; this has {len(query.schema)}")
