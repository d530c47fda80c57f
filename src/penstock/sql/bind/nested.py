"""Syntax of arrays, maps, rows and lambdas → typed expressions.

    ARRAY[1, 2]  MAP['a', 1]  ROW(1, 2)  (1, 2)  t(1, 2)        values
    ARRAY(SELECT x …)  MAP(SELECT k, v …)                       values of sub-queries
    a[i]  a[SAFE_OFFSET(i)]  m[k]  v['k']  r.f  v.k             looking into them
    TRANSFORM(a, x -> x + 1)                                    lambdas

Rules are called with the ExpressionBinder that met the syntax. Source: sql-reference 2.11-2.15.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from penstock.data.types import NULL, VARCHAR, Kind, SqlType, array_of
from penstock.errors import Span, UserError
from penstock.functions.lambdas import LAMBDA_FUNCTIONS
from penstock.functions.rows import field_access, row_constructor
from penstock.plan.expressions import Call, Expr, LambdaCall, LambdaVar, Literal
from penstock.plan.nodes import Node, Project, Unnest
from penstock.plan.rewrite import inputs
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.forms import Outer, has
from penstock.sql.bind.report import BindError, did_you_mean, unsupported
from penstock.sql.bind.scope import Entry


class Binder(Protocol):
    """What rules need of the ExpressionBinder."""

    variables: Mapping[str, LambdaVar]

    def bind(self, e: ast.Expr) -> Expr: ...

    def star(self, e: ast.Star) -> list[Entry]: ...

    def query(self, query: ast.Query) -> Node: ...


def array(binder: Binder, e: ast.ArrayConstructor) -> Expr:
    items = [build.string_of(binder.bind(i)) for i in e.items]
    return (
        build.call("ARRAY", build.unify(items, e.span, "the elements of ARRAY")[0], e.span)
        if items
        else build.call("ARRAY", [], e.span)
    )


def map_(binder: Binder, e: ast.MapConstructor) -> Expr:
    keys = [build.string_of(binder.bind(k)) for k, _ in e.entries]
    values = [build.string_of(binder.bind(v)) for _, v in e.entries]
    if not keys:
        return build.call("MAP", [], e.span)
    for key, (syntax, _) in zip(keys, e.entries, strict=True):
        if key.type.kind in (Kind.NULL, Kind.MAP):
            raise BindError(syntax.span, f"the key of a MAP cannot be {build.bare(key.type)}")
    keys = build.unify(keys, e.span, "the keys of MAP")[0]
    values = build.unify(values, e.span, "the values of MAP")[0]
    return build.call("MAP", [x for pair in zip(keys, values, strict=True) for x in pair], e.span)


_QUERY = ast.Identifier(Span(0, 0), "$q")


def array_query(binder: Binder, e: ast.ArrayQuery) -> Expr:
    """ARRAY(SELECT …): COALESCE((SELECT ARRAY_AGG(x) FROM (SELECT …)), ARRAY()); rows of several
    columns become ROWs. The query's ORDER BY is that of the array."""
    rows = binder.query(e.query)
    _check_unnested(rows, e.query.span)
    names = rows.schema.names
    query, order = _ordered(e.query, names)
    hidden = tuple(
        x.expr.parts[-1]
        for x in order
        if isinstance(x.expr, ast.ColumnRef) and x.expr.parts[-1].name not in names
    )
    element: ast.Expr = ast.RowConstructor(e.span, (ast.Star(e.span, (_QUERY,), hidden),))
    if len(names) == 1:
        element = _column(names[0], e.span)
    collected = _collected(e.span, query, element, order)
    return binder.bind(_call(e.span, "coalesce", collected, ast.ArrayConstructor(e.span, ())))


def _check_unnested(rows: Node, span: Span) -> None:
    """The dialect has no UNNEST of a column of the query around in ARRAY(…) (sql-reference 8)."""
    source = rows.input if isinstance(rows, Unnest) else None
    if (
        isinstance(rows, Unnest)
        and isinstance(source, Project)
        and has(source.exprs[rows.column], Outer)
    ):
        raise unsupported(
            rows.span or span, "UNNEST of a column of the query around, in ARRAY(…)",
            "use TRANSFORM, or UNNEST in FROM and ARRAY_AGG",
        )  # fmt: skip
    for below in inputs(rows):
        _check_unnested(below, span)


def map_query(binder: Binder, e: ast.MapQuery) -> Expr:
    """MAP(SELECT key, value …); of equal keys the largest value wins."""
    width = len(binder.query(e.query).schema)
    if width != 2:
        raise BindError(e.span, f"MAP(…) takes a query of two columns, key and value, not {width}")
    entry = ast.RowConstructor(e.span, (ast.Star(e.span, (_QUERY,)),))
    entries = _call(e.span, "sort_array", _collected(e.span, e.query, entry))
    made = _call(e.span, "$map_of", entries)
    return binder.bind(_call(e.span, "coalesce", made, ast.MapConstructor(e.span, ())))


def _call(span: Span, name: str, *args: ast.Expr) -> ast.FunctionCall:
    return ast.FunctionCall(span, ast.Identifier(span, name), args)


def _column(name: str, span: Span) -> ast.ColumnRef:
    return ast.ColumnRef(span, (_QUERY, ast.Identifier(span, name)))


def _ordered(query: ast.Query, names: Sequence[str]) -> tuple[ast.Query, list[ast.OrderItem]]:
    """(the query with a column for each key that its list lacks, its ORDER BY over its columns)"""
    body = query.body
    order: list[ast.OrderItem] = []
    extra: list[ast.SelectItem] = []
    listed = [item.expr for item in body.items] if isinstance(body, ast.Select) else []
    for item in query.order_by:
        e, span = item.expr, item.span
        if e is None:  # ORDER BY ALL
            order += [replace(item, expr=_column(name, span)) for name in names]
            continue
        if isinstance(e, ast.Literal) and isinstance(e.value, int):
            name = names[e.value - 1]
        elif isinstance(e, ast.ColumnRef) and len(e.parts) == 1 and e.parts[0].name in names:
            name = e.parts[0].name
        elif e in listed and len(listed) == len(names):
            name = names[listed.index(e)]
        else:
            name = f"$o{len(extra)}"
            extra.append(ast.SelectItem(span, e, ast.Identifier(span, name)))
        order.append(replace(item, expr=_column(name, span)))
    if extra and isinstance(body, ast.Select):
        query = replace(query, body=replace(body, items=(*body.items, *extra)))
    return query, order


def _collected(
    span: Span, query: ast.Query, element: ast.Expr, order: Sequence[ast.OrderItem] = ()
) -> ast.Expr:
    rows = ast.DerivedTable(span, query, ast.Alias(span, _QUERY))
    call = replace(_call(span, "array_agg", element), order_by=tuple(order))
    item = ast.SelectItem(span, call)
    return ast.ScalarSubquery(span, ast.Query(span, ast.Select(span, (item,), rows)))


def row(binder: Binder, e: ast.RowConstructor) -> Expr:
    names: list[str] = []
    items: list[Expr] = []
    for item in e.items:
        if isinstance(item, ast.Star):
            for entry in binder.star(item):
                names.append(entry.name)
                items.append(entry.expr)
        else:
            names.append(f"EXPR${len(names)}")
            items.append(build.string_of(binder.bind(item)))
    return make_row(names, items, e.span)


def make_row(names: Sequence[str], items: Sequence[Expr], span: Span | None) -> Expr:
    function = row_constructor(names, [i.type for i in items])
    return Call(function.result, function, tuple(items), span=span)


def struct(name: str, type: SqlType, args: Sequence[Expr], span: Span) -> Expr:
    """`name(v, …)`: a value of the struct that CREATE TYPE declared as `type`."""
    if len(args) != len(type.children):
        raise BindError(span, f"{name} has {len(type.children)} fields, not {len(args)}")
    items = []
    for arg, field, wanted in zip(args, type.names, type.children, strict=True):
        item = build.implicit(arg, wanted, f"field {field} of {name}")
        if item.type.nullable and not wanted.nullable:
            raise BindError(arg.span or span, f"field {field} of {name} is NOT NULL")
        # the field's own nullability, so that all values of the struct have one type
        items.append(item)
    made = make_row(type.names, items, span)
    return build.coerce(made, type)


def index(binder: Binder, e: ast.Index) -> Expr:
    operand = binder.bind(e.operand)
    i, name = e.index, "[]"
    if isinstance(i, ast.FunctionCall) and i.name.name.upper() == "SAFE_OFFSET":
        if len(i.args) != 1:
            raise BindError(i.span, f"SAFE_OFFSET takes 1 argument, not {len(i.args)}")
        i, name = i.args[0], "[SAFE_OFFSET]"
    if operand.type.kind not in (Kind.ARRAY, Kind.MAP, Kind.VARIANT):
        raise BindError(e.span, f"{build.bare(operand.type)} has no elements to look up with [ ]")
    return build.call(name, [operand, build.string_of(binder.bind(i))], e.span)


def field(operand: Expr, name: ast.Identifier, span: Span) -> Expr:
    """`operand.name`: of a ROW a field, of a VARIANT what it has under that name."""
    type = operand.type
    if type.kind is Kind.VARIANT:
        key = Literal(VARCHAR.with_nullable(False), name.name, span=name.span)
        return build.call("[]", [operand, key], span)
    if type.kind is not Kind.ROW:
        raise BindError(name.span, f"{build.bare(type)} has no field {name.name}")
    if name.name not in type.names:
        hint = did_you_mean(name.name, type.names) or f"; it has {', '.join(type.names)}"
        raise BindError(name.span, f"this row has no field {name.name}{hint}")
    function = field_access(type, type.names.index(name.name))
    return Call(function.result, function, (operand,), span=span)


def field_of(binder: Binder, e: ast.FieldAccess) -> Expr:
    return field(binder.bind(e.operand), e.field, e.span)


def lambda_call(binder: Binder, name: str, e: ast.FunctionCall) -> Expr:
    """TRANSFORM and the like: `e.args` are the operand and a lambda."""
    if len(e.args) != 2 or not isinstance(e.args[1], ast.Lambda):
        raise BindError(e.span, f"{name} takes a value and a lambda, as in {name}(a, x -> x + 1)")
    operand, syntax = binder.bind(e.args[0]), e.args[1]
    function = LAMBDA_FUNCTIONS[name](operand.type)
    if function is None and operand.type.kind is Kind.NULL:
        nothing = (array_of(NULL), SqlType(Kind.VARIANT))
        function = next(f for t in nothing if (f := LAMBDA_FUNCTIONS[name](t)) is not None)
    if function is None:
        raise BindError(e.args[0].span, f"{name} does not take {build.bare(operand.type)}")
    operand = build.coerce(operand, function.operand)
    if len(syntax.params) != len(function.params):
        raise BindError(
            syntax.span,
            f"the lambda of {name} has {len(function.params)} parameters, not {len(syntax.params)}",
        )
    names = tuple(p.name for p in syntax.params)
    if len(set(names)) < len(names):
        raise BindError(syntax.span, f"the lambda of {name} has two parameters of one name")
    level = 1 + max((v.level for v in binder.variables.values()), default=-1)
    bound = {
        n: LambdaVar(t, level, i, n)
        for i, (n, t) in enumerate(zip(names, function.params, strict=True))
    }
    inner: Any = copy.copy(binder)
    inner.variables = {**binder.variables, **bound}
    body: Expr = build.string_of(inner.bind(syntax.body))
    if function.body is not None:
        body = (
            build.condition(body, f"the lambda of {name}")
            if function.body.kind is Kind.BOOLEAN
            else build.implicit(body, function.body, f"the result of the lambda of {name}")
        )
    try:
        result = function.result(body.type)
    except UserError as error:
        raise BindError(syntax.body.span, error.message) from None
    result = result.with_nullable(result.nullable or operand.type.nullable)
    return LambdaCall(result, function, operand, body, level, names, span=e.span)


RULES: dict[type, Callable[..., Expr]] = {
    ast.ArrayConstructor: array,
    ast.MapConstructor: map_,
    ast.RowConstructor: row,
    ast.ArrayQuery: array_query,
    ast.MapQuery: map_query,
    ast.Index: index,
    ast.FieldAccess: field_of,
}
