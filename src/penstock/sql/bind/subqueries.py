"""Sub-queries of expressions: (SELECT …), EXISTS (…), x IN (…), x < ALL (…), correlated or not.

    WHERE EXISTS (SELECT * FROM s WHERE s.k = t.k AND s.x > 1)

      Exists(query = Filter s.k = Outer(t.k) AND x > 1 ─ Scan s)

A sub-query is a query like any other, bound with the scopes around it at hand; what it reads of
them stays behind as `Outer` references in its plan, which `frame` turns into a join.

A comparison with ANY or ALL asks whether there is a value that it fails for, and then for NULLs:

    x > ALL (q)     CASE WHEN EXISTS (value of q with x <= value) THEN FALSE WHEN q is empty THEN
                         TRUE WHEN x IS NULL or some value of q is NULL THEN NULL ELSE TRUE END
    x > ANY (q)     NOT x <= ALL (q)
    x = ANY (q)     x IN (q)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.data.types import BOOLEAN
from penstock.errors import Span
from penstock.plan.expressions import Expr, InputRef
from penstock.plan.nodes import Node
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.catalog import Catalog, inside
from penstock.sql.bind.decorrelate import is_one_row
from penstock.sql.bind.forms import Exists, ForAll, In, Scalar
from penstock.sql.bind.marks import NEGATED
from penstock.sql.bind.query import bind_query
from penstock.sql.bind.report import BindError
from penstock.sql.bind.scope import Scope


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
        # x op ANY (q) is NOT (x not-op ALL (q))
        op = e.op if is_all else NEGATED[e.op]
        value = InputRef(query.schema.types[0], 0)
        nullable = build.call(op, [operands[0], value], e.span).type.nullable
        answer = ForAll(BOOLEAN.with_nullable(nullable), operands[0], op, query, span=e.span)
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


def _one_column(query: Node, span: Span, what: str) -> None:
    if len(query.schema) != 1:
        raise BindError(span, f"{what} has one column; this has {len(query.schema)}")
