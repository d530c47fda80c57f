"""CREATE FUNCTION f(a T, …) RETURNS R [AS expr]: a typed body, inlined at every call.

    f(x INT) RETURNS INT AS x + 1          f(a * 2)   ──►   a * 2 + 1
    m(x INT) RETURNS INT AS (SELECT …)     m(a)       ──►   (SELECT …), which may read relations
    g(x INT) RETURNS INT                   g(a * 2)   ──►   Call "g"(a * 2), of udf.py

CREATE [LINEAR] AGGREGATE h(a T, …) RETURNS R: Python over the rows of each group.

    h(a, b)          ──►   Call "h"(ARRAY_AGG(ROW(a, b)))         all rows of a group that changed
    LINEAR h(a, b)   ──►   Call "h_post"(SUM(h_map(a, b)))        rows that changed only

Not here: what the Python of a function without a body must look like (`python_functions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from penstock.data.types import (
    BINARIES,
    NUMBERS,
    STRINGS,
    VARCHAR,
    Field,
    Kind,
    Schema,
    SqlType,
    array_of,
)
from penstock.errors import Span
from penstock.functions.python_functions import PythonFunctions
from penstock.functions.variants import json_struct
from penstock.plan.expressions import Call, Expr, InputRef, Literal
from penstock.plan.rewrite import substitute
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.calls import is_built_in
from penstock.sql.bind.catalog import Catalog
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.forms import Now, descend, has
from penstock.sql.bind.nested import make_row
from penstock.sql.bind.report import BindError
from penstock.sql.bind.scope import Scope
from penstock.sql.bind.types import bind_type

#: functions of these names are declared without a body: jsonstring_as_T(VARCHAR) RETURNS T
_FROM_JSON = "jsonstring_as_"


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A declared function; `body` is over `params` as columns and has type `result`. `loose` is
    the same over parameters that are all nullable: what is inlined over an argument that may be
    NULL although the parameter is NOT NULL; None: there is no such thing."""

    name: str
    params: Schema
    result: SqlType
    body: Expr
    loose: Expr | None = None

    def inline(self, args: Sequence[Expr], span: Span) -> Expr:
        """The body over `args`. Raises BindError where they do not fit the parameters."""
        values = _fitting(self.name, self.params, args, span)
        wrong = _null_at(self.params, values)
        if wrong is not None and self.loose is None:
            raise _not_null(self.name, self.params.names[wrong], values[wrong].span or span)
        body = self.body if wrong is None or self.loose is None else self.loose
        return descend(body, lambda e: values[e.index] if isinstance(e, InputRef) else None)


@dataclass(frozen=True, slots=True)
class UserAggregate:
    """A declared aggregate: `row` of the parameters is collected by the built-in aggregate
    `collect`, and `result` is over what that gives, as column 0."""

    name: str
    params: Schema
    row: Expr
    collect: str
    result: Expr

    def collected(self, args: Sequence[Expr], span: Span) -> Expr:
        """What `collect` is to aggregate. Raises BindError where `args` do not fit."""
        return substitute(self.row, _fitting(self.name, self.params, args, span))

    def finished(self, aggregated: Expr) -> Expr:
        return substitute(self.result, [aggregated])


def _fitting(name: str, params: Schema, args: Sequence[Expr], span: Span) -> list[Expr]:
    """`args` as values of the parameters: few casts are inserted unasked (sql-reference 1.4)."""
    if len(args) != len(params):
        wanted = ", ".join(build.bare(t) for t in params.types)
        raise BindError(span, f"{name} takes ({wanted}), not {len(args)} arguments")
    values = []
    for p, arg in zip(params.fields, args, strict=True):
        if arg.type.kind in STRINGS and p.type.kind not in (*STRINGS, *BINARIES):
            raise BindError(
                arg.span or span,
                f"argument {p.name} of {name} is {build.bare(p.type)}, and text is not "
                "read as one unasked; write a CAST",
            )
        value = build.implicit(arg, p.type, f"argument {p.name} of {name}")
        # a body is typed for the declared nullability, which the argument need not use up
        values.append(value)
    return values


def _null_at(params: Schema, values: Sequence[Expr]) -> int | None:
    """The first parameter that is NOT NULL over a value that may be."""
    for i, (p, value) in enumerate(zip(params.fields, values, strict=True)):
        if value.type.nullable and not p.type.nullable:
            return i
    return None


def _not_null(function: str, param: str, span: Span) -> BindError:
    return BindError(
        span,
        f"argument {param} of {function} is NOT NULL, and this may be NULL; give it a value "
        "with COALESCE(…)",
    )


def is_python(s: ast.Statement) -> TypeGuard[ast.CreateFunction | ast.CreateAggregate]:
    """Whether a statement declares what is defined in Python."""
    if isinstance(s, ast.CreateFunction):
        return s.body is None and not s.name.name.startswith(_FROM_JSON)
    return isinstance(s, ast.CreateAggregate)


def declare(
    f: ast.CreateFunction, catalog: Catalog, python: PythonFunctions | None = None
) -> UserFunction:
    """The function of a CREATE FUNCTION; `python` has those without a body. Raises BindError."""
    name, params, result = _signature(f, catalog)
    if f.body is None and not is_python(f):
        return UserFunction(name, params, result, _from_json(f, params, result))
    if f.body is None:
        return UserFunction(name, params, result, _in_python(f, params, result, python))
    body = _body(f.body, name, params, result, catalog)
    if all(t.nullable for t in params.types):
        return UserFunction(name, params, result, body)
    loose = Schema(tuple(replace(p, type=p.type.with_nullable(True)) for p in params.fields))
    return UserFunction(name, params, result, body, _body(f.body, name, loose, result, catalog))


def _body(e: ast.Expr, name: str, params: Schema, result: SqlType, catalog: Catalog) -> Expr:
    scope = Scope.of_table(None, params)
    binder = ExpressionBinder(scope, aggregates="a function's body", catalog=catalog)
    body = build.implicit(binder.bind(e), result, f"the result of {name}")
    if has(body, Now):
        raise BindError(e.span, "NOW() cannot be used here; it has a value in queries only")
    if body.type.nullable and not result.nullable:
        said = Literal(VARCHAR.with_nullable(False), name)
        body = build.call("$NOT_NULL", [body, said], e.span)
    return body


def declare_aggregate(
    f: ast.CreateAggregate, catalog: Catalog, python: PythonFunctions | None
) -> UserAggregate:
    """The aggregate of a CREATE AGGREGATE. Raises BindError."""
    name, params, result = _signature(f, catalog)
    for p, type in zip(f.params, params.types, strict=True):
        if not type.nullable:
            raise BindError(p.span, f"the arguments of aggregate {name} must not be NOT NULL")
    if not result.nullable:
        raise BindError(f.returns.span, f"the result of aggregate {name} must not be NOT NULL")
    if not f.params:
        raise BindError(f.name.span, f"aggregate {name} needs an argument")
    if python is None:
        raise BindError(
            f.name.span,
            f"aggregate {name} has no definition: give it in Python with the program (udf.py)",
        )
    args = tuple(InputRef(p.type, i, p.name) for i, p in enumerate(params.fields))
    try:
        if f.linear:
            return _linear(f, params, result, args, python)
        row = args[0] if len(args) == 1 else make_row(params.names, args, f.span)
        rows = array_of(row.type.with_nullable(True)).with_nullable(True)
        none = build.call("ARRAY", [], f.span)
        there = build.coalesce([InputRef(rows, 0), build.coerce(none, rows)], f.span)
        function = python.declare_aggregate(name, there.type, len(args), result)
    except ValueError as e:
        raise BindError(f.name.span, str(e)) from None
    return UserAggregate(name, params, row, "ARRAY_AGG", Call(result, function, (there,)))


def _linear(
    f: ast.CreateAggregate,
    params: Schema,
    result: SqlType,
    args: tuple[Expr, ...],
    python: PythonFunctions,
) -> UserAggregate:
    """A sum of what each row gives."""
    name = f.name.name
    if result.kind not in NUMBERS:
        raise BindError(f.returns.span, f"a LINEAR aggregate is a number, not {result}")
    share = python.declare(f"{name}_map", params.types, result)
    total: Expr = InputRef(result, 0)
    if f"{name}_post" in python:
        total = Call(result, python.declare(f"{name}_post", [result], result), (total,))
    return UserAggregate(name, params, Call(result, share, args), "SUM", total)


def _signature(
    f: ast.CreateFunction | ast.CreateAggregate, catalog: Catalog
) -> tuple[str, Schema, SqlType]:
    """(name, parameters, result) as declared. Raises BindError."""
    name = f.name.name
    if is_built_in(name):
        raise BindError(f.name.span, f"{name.upper()} is a built-in function")
    if name in catalog.functions:
        raise BindError(f.name.span, f"there is a function {name} already: no overloading")
    fields: list[Field] = []
    for p in f.params:
        if any(p.name.name == x.name for x in fields):
            raise BindError(p.name.span, f"{name} has two parameters {p.name.name}")
        fields.append(Field(p.name.name, bind_type(p.type, catalog.types)))
    return name, Schema(tuple(fields)), bind_type(f.returns, catalog.types)


def _in_python(
    f: ast.CreateFunction, params: Schema, result: SqlType, python: PythonFunctions | None
) -> Expr:
    if python is None:
        raise BindError(
            f.name.span,
            f"function {f.name.name} has no body: write AS expression, or give its Python "
            "definition with the program (udf.py)",
        )
    try:
        function = python.declare(f.name.name, params.types, result)
    except ValueError as e:
        raise BindError(f.name.span, str(e)) from None
    args = tuple(InputRef(p.type, i, p.name) for i, p in enumerate(params.fields))
    return Call(result, function, args, span=f.name.span)


def _from_json(f: ast.CreateFunction, params: Schema, result: SqlType) -> Expr:
    """The body of jsonstring_as_T."""
    if len(params) != 1 or params.types[0].kind is not Kind.VARCHAR:
        raise BindError(f.name.span, f"{f.name.name} takes one VARCHAR")
    if result.kind is not Kind.ROW or not result.nullable:
        raise BindError(f.returns.span, f"{f.name.name} returns a struct that may be NULL")
    text = InputRef(params.types[0], 0, params.names[0])
    function = json_struct(result)
    return Call(function.result, function, (text,), span=f.span)
