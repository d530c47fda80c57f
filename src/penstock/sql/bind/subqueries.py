"""Sub-queries of expressions: (SELECT …), EXISTS (…), x IN (…), correlated or not.

    WHERE EXISTS (SELECT * FROM s WHERE s.k = t.k AND s.x > 1)

      Exists(query = Filter x > 1 ─ Scan s,  on = [s.k = Outer(t.k)])

The predicates of a sub-query's WHERE that mention the outer row leave the sub-query and become
its `on`; `frame` joins by them. A correlated scalar sub-query must be an aggregate; it is grouped
by its own side of the equalities in `on`:

    (SELECT AVG(y) FROM s WHERE s.k = t.k)
      Scalar(query = Aggregate by [k] AVG(y) ─ Scan s,  on = [k = Outer(t.k)])

Over no rows COUNT is 0, so the value where there is no group is computed from the select list.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.data.types import BOOLEAN, Field, Schema
from penstock.errors import Span
from penstock.plan.expressions import Expr, InputRef
from penstock.plan.nodes import Aggregate, Node, Project, Values
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.catalog import Catalog, Scopes
from penstock.sql.bind.forms import Exists, In, Outer, Scalar, descend
from penstock.sql.bind.frame import equated
from penstock.sql.bind.query import bind_query, with_ctes
from penstock.sql.bind.report import BindError, unsupported
from penstock.sql.bind.select import Select
from penstock.sql.passes.join_keys import references


@dataclass(frozen=True, slots=True)
class SubqueryBinder:
    """The implementation of `catalog.Subqueries`."""

    def scalar(self, e: ast.ScalarSubquery, outer: Scopes, catalog: Catalog) -> Expr:
        """(SELECT …) as a value."""
        select = _select(e.query, outer, catalog)
        if select is not None and select.on:
            return _correlated_value(e, select)
        query = _whole(e.query, select, catalog)
        _one_column(query, e.span, "a scalar sub-query")
        if not _is_one_row(query):
            raise unsupported(
                e.span,
                "a scalar sub-query other than an aggregate without GROUP BY",
                "join with the query instead",
            )
        return Scalar(query.schema.types[0], query, span=e.span)

    def exists(self, e: ast.Exists, outer: Scopes, catalog: Catalog) -> Expr:
        """EXISTS (SELECT …), never NULL."""
        select = _select(e.query, outer, catalog)
        if select is None or not select.on:
            query = _whole(e.query, select, catalog)
            return Exists(BOOLEAN.with_nullable(False), query, span=e.span)
        _plain_outputs(select, e.span)
        query, on = select.frame.node, tuple(select.on)
        return Exists(BOOLEAN.with_nullable(False), query, on, span=e.span)

    def is_in(self, e: ast.InQuery, operand: Expr, outer: Scopes, catalog: Catalog) -> Expr:
        """operand IN (SELECT …); NULL where that is not known."""
        select = _select(e.query, outer, catalog)
        on: tuple[Expr, ...] = ()
        if select is None or not select.on:
            query = _whole(e.query, select, catalog)
            _one_column(query, e.query.span, "IN (SELECT …)")
        else:
            outputs = _plain_outputs(select, e.span)
            if len(outputs) != 1:
                raise _wrong_width(e.query.span, "IN (SELECT …)", len(outputs))
            name, value = outputs[0]
            below = select.frame.node
            schema = Schema((Field(name, value.type), *below.schema.fields))
            query = Project(schema, below, (value, *references(below.schema)))
            on = tuple(_moved(p, 1) for p in select.on)
        nullable = operand.type.nullable or query.schema.types[0].nullable
        result = In(BOOLEAN.with_nullable(nullable), operand, query, on, span=e.span)
        column = InputRef(query.schema.types[0], 0)
        build.call("=", [operand, column], e.span)  # refuses what cannot be compared
        return result


def _select(query: ast.Query, outer: Scopes, catalog: Catalog) -> Select | None:
    """The SELECT of a sub-query, None if it is something else (which cannot be correlated)."""
    if not isinstance(query.body, ast.Select):
        return None
    select = Select(query.body, with_ctes(query, catalog), outer)
    if select.on and (query.limit is not None or query.offset is not None):
        raise unsupported(query.span, "LIMIT in a correlated sub-query")
    return select


def _whole(query: ast.Query, select: Select | None, catalog: Catalog) -> Node:
    return bind_query(query, catalog, select=select)


def _one_column(query: Node, span: Span, what: str) -> None:
    if len(query.schema) != 1:
        raise _wrong_width(span, what, len(query.schema))


def _wrong_width(span: Span, what: str, width: int) -> BindError:
    return BindError(span, f"{what} has one column; this has {width}")


def _is_one_row(node: Node) -> bool:
    """Whether `node` has exactly one row, whatever its input."""
    while isinstance(node, Project):
        node = node.input
    if isinstance(node, Aggregate):
        return not node.keys
    return isinstance(node, Values) and len(node.rows) == 1


def _plain_outputs(select: Select, span: Span) -> list[tuple[str, Expr]]:
    """The outputs of a correlated sub-query that is a selection."""
    s = select.syntax
    if s.group_by is not None or s.having is not None or s.qualify is not None:
        raise unsupported(span, "GROUP BY, HAVING or QUALIFY in a correlated sub-query")
    before = select.frame.node
    outputs, _ = select.outputs()
    node = select.frame.node
    while isinstance(node, Project):
        node = node.input
    if isinstance(node, Aggregate) and node is not before:
        raise unsupported(span, "an aggregate in a correlated EXISTS or IN")
    return outputs


def _moved(e: Expr, by: int) -> Expr:
    """A predicate of a sub-query whose columns moved; `Outer` references stay."""
    return descend(e, lambda x: replace(x, index=x.index + by) if isinstance(x, InputRef) else None)


def _correlated_value(e: ast.ScalarSubquery, select: Select) -> Expr:
    s = select.syntax
    if s.group_by is not None or s.having is not None or s.distinct:
        raise unsupported(e.span, "GROUP BY, HAVING or DISTINCT in a correlated sub-query")
    pairs = [equated(p, e.span) for p in select.on]
    keys = list(dict.fromkeys(inner for _, inner in pairs))
    value, over_nothing = select.value_by(keys)
    node = select.frame.node
    fields = (Field("$value", value.type), *node.schema.fields[: len(keys)])
    query = Project(Schema(fields), node, (value, *references(node.schema)[: len(keys)]))
    on = []
    for outer, inner in pairs:
        key = 1 + keys.index(inner)
        ref = InputRef(query.schema.types[key], key)
        on.append(build.call("=", [Outer(outer.type, outer, span=outer.span), ref], e.span))
    result = value.type.with_nullable(True)
    if over_nothing is not None:
        result = value.type.with_nullable(value.type.nullable or over_nothing.type.nullable)
    return Scalar(result, query, tuple(on), over_nothing, span=e.span)
