"""A whole query: WITH, set operations, VALUES, and ORDER BY … LIMIT over them.

    a UNION b        Distinct(UnionAll(a, b)), columns cast to common types
    a EXCEPT b       rows of Distinct(a) without an equal row in b
    a INTERSECT b    rows of Distinct(a) with an equal row in b
    … ALL            a - b and a - (a - b), as often as that is positive

ORDER BY without LIMIT has no meaning for a view: it is checked and dropped (contract 10.2).

Not here: one SELECT (`select`), DDL (`penstock.sql.statements`), making plans cheap (`passes`).
"""

from __future__ import annotations

from dataclasses import replace

from penstock.data.types import Field, Schema
from penstock.errors import Span
from penstock.functions.coercion import common_type
from penstock.plan.expressions import InputRef
from penstock.plan.nodes import (
    Difference,
    Distinct,
    Join,
    JoinKind,
    Node,
    Project,
    SortKey,
    TopK,
    UnionAll,
    Values,
)
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.catalog import Catalog, renamed
from penstock.sql.bind.constants import check_row, constant
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.forms import JOINED, has
from penstock.sql.bind.frame import Frame
from penstock.sql.bind.report import BindError, Poisoned, unsupported
from penstock.sql.bind.scope import Scope
from penstock.sql.bind.select import Select, Sort, ordinal
from penstock.sql.bind.unnest import ONE_ROW
from penstock.sql.passes.join_keys import references


def bind_query(query: ast.Query, catalog: Catalog) -> Node:
    """The plan of a query; raises BindError."""
    catalog = with_ctes(query, catalog)
    limit, offset = _count(query.limit, "LIMIT"), _count(query.offset, "OFFSET") or 0
    if isinstance(query.body, ast.Select):
        return Select(query.body, catalog).bind(query.order_by, limit, offset)
    node = _body(query.body, catalog)
    keys = [_output_key(item, node.schema) for item in query.order_by]
    if limit is None and not offset:
        return node
    return TopK(node.schema, node, (), tuple(keys), limit, offset, span=query.span)


def with_ctes(query: ast.Query, catalog: Catalog) -> Catalog:
    """The catalog inside `query`: its WITH queries, each seeing those before it."""
    if query.recursive:
        raise unsupported(query.span, "WITH RECURSIVE", "write DECLARE RECURSIVE VIEW")
    ctes: dict[str, Node | None] = dict(catalog.ctes)
    here: set[str] = set()
    for cte in query.ctes:
        name = cte.name.name
        if name in here:
            raise BindError(cte.name.span, f"WITH has two queries named {name}")
        here.add(name)
        inside, ctes[name] = replace(catalog, ctes=dict(ctes)), None
        with catalog.report.attempt(cte.span):
            bound = bind_query(cte.query, inside)
            ctes[name] = renamed(bound, cte.columns, f"WITH {name}")
    if any(ctes[name] is None for name in here):
        raise Poisoned
    return replace(catalog, ctes=ctes) if here else catalog


def _body(body: ast.QueryBody, catalog: Catalog) -> Node:
    match body:
        case ast.Query():
            return bind_query(body, catalog)
        case ast.Select():
            return Select(body, catalog).bind()
        case ast.Values():
            return _values(body, catalog)
        case ast.SetOperation():
            return _set_operations(body, catalog)
    raise AssertionError(body)


def _count(e: ast.Expr | None, clause: str) -> int | None:
    """The constant of LIMIT or OFFSET."""
    if e is None:
        return None
    try:
        bound = constant(ExpressionBinder(Scope(), aggregates=clause).bind(e))
    except BindError:  # a column, for example
        bound = None
    value = None if bound is None else bound.value
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BindError(e.span, f"{clause} takes a constant whole number, 0 or more")
    return min(value, 2**63 - 1)  # no view has more rows


def _values(values: ast.Values, catalog: Catalog) -> Node:
    binder = ExpressionBinder(Scope(), aggregates="VALUES", catalog=catalog)
    rows = [[binder.bind(e) for e in row] for row in values.rows]
    width = len(rows[0])
    for row, written in zip(rows, values.rows, strict=True):
        if len(row) != width:
            raise BindError(
                written[0].span, f"this row of VALUES has {len(row)} values, the first has {width}"
            )
    columns = [
        build.unify(list(c), values.span, "the values of a column") for c in zip(*rows, strict=True)
    ]
    schema = Schema(tuple(Field(f"EXPR${i}", t) for i, (_, t) in enumerate(columns)))
    cells = list(zip(*(c for c, _ in columns), strict=True))
    asks = [row for row in cells if any(has(e, *JOINED) for e in row)]
    plain = tuple(row for row in cells if not any(has(e, *JOINED) for e in row))
    check_row(e for row in plain for e in row)
    branches: list[Node] = [Values(schema, plain, span=values.span)] if plain else []
    for asking in asks:  # like a SELECT without FROM
        frame = Frame(ONE_ROW, Scope())
        exprs = tuple(frame.value(e) for e in asking)
        branches.append(Project(schema, frame.node, exprs, span=values.span))
    return branches[0] if len(branches) == 1 else UnionAll(schema, tuple(branches))


def _set_operations(last: ast.SetOperation, catalog: Catalog) -> Node:
    """A chain a UNION b UNION c …, from the left, however long it is."""
    chain: list[ast.SetOperation] = []
    body: ast.QueryBody = last
    while isinstance(body, ast.SetOperation):
        chain.append(body)
        body = body.left
    node = _body(body, catalog)
    for op in reversed(chain):
        node = _set_operation(op, node, _body(op.right, catalog))
    return node


def _item(body: ast.QueryBody, i: int) -> Span | None:
    """Where column `i` of a branch is written, or the branch."""
    if isinstance(body, ast.Select) and not any(isinstance(x.expr, ast.Star) for x in body.items):
        return body.items[i].span
    return body.span


def _set_operation(op: ast.SetOperation, left: Node, right: Node) -> Node:
    if len(left.schema) != len(right.schema):
        raise BindError(
            op.right.span,
            f"{op.op} of queries with {len(left.schema)} and {len(right.schema)} columns",
        )
    fields = []
    for i, (a, b) in enumerate(zip(left.schema.fields, right.schema.types, strict=True)):
        common = common_type([a.type, b])
        if common is None:
            raise BindError(
                _item(op.right, i),
                f"column {i + 1} of {op.op} is {build.bare(a.type)} on one side and "
                f"{build.bare(b)} on the other, which have no common type",
            )
        fields.append(Field(a.name, common))
    schema = Schema(tuple(fields))
    left, right = _as(left, schema), _as(right, schema)
    if op.op == "UNION":
        if isinstance(left, Distinct) and not op.all:
            left = left.input  # duplicates go in the end
        before = left.inputs if isinstance(left, UnionAll) else (left,)
        both = UnionAll(schema, (*before, right), span=op.span)
        return both if op.all else Distinct(schema, both, span=op.span)
    if op.all:
        rest = Difference(schema, left, right, span=op.span)
        return rest if op.op != "INTERSECT" else Difference(schema, left, rest, span=op.span)
    kind = JoinKind.SEMI if op.op == "INTERSECT" else JoinKind.ANTI
    keys = tuple((i, i) for i in range(len(schema)))
    once = Distinct(schema, left, span=op.span)
    return Join(schema, kind, once, right, keys, (True,) * len(keys), None, span=op.span)


def _as(node: Node, schema: Schema) -> Node:
    """`node` with its columns cast to the types of `schema`, which is at least as nullable."""
    if node.schema == schema:
        return node
    if isinstance(node, UnionAll):
        return replace(node, schema=schema, inputs=tuple(_as(x, schema) for x in node.inputs))
    if isinstance(node, Project):  # literals take the type as they are written, blanks and all
        types = schema.types
        exprs = tuple(build.coerce(e, t) for e, t in zip(node.exprs, types, strict=True))
        return replace(node, schema=schema, exprs=exprs)
    columns = references(node.schema)
    casts = tuple(build.coerce(e, f.type) for e, f in zip(columns, schema.fields, strict=True))
    return Project(schema, node, casts)


def _output_key(item: ast.OrderItem, schema: Schema) -> SortKey:
    """A sort key over the output of a set operation: a column's name or number."""
    e = item.expr
    position: int | None = None
    if e is not None:
        position = ordinal(e, len(schema), "ORDER BY")
        if position is None:
            bound = ExpressionBinder(Scope.of_table(None, schema), aggregates="ORDER BY").bind(e)
            position = bound.index if isinstance(bound, InputRef) else None
    if e is None or position is None:
        raise BindError(item.span, "ORDER BY of a set operation takes a column's name or number")
    return Sort.of(InputRef(schema.types[position], position), item).key(position)
