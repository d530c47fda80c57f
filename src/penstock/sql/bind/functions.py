"""CREATE FUNCTION f(a T, …) RETURNS R [AS expr]: a typed body, inlined at every call.

    f(x INT) RETURNS INT AS x + 1          f(a * 2)   ──►   a * 2 + 1
    g(x INT) RETURNS INT                   g(a * 2)   ──►   Call "g"(a * 2), of udf.py

Not here: what the Python of a function without a body must look like (`python_functions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.data.types import BINARIES, STRINGS, Field, Kind, Schema, SqlType
from penstock.errors import Span
from penstock.functions.aggregates import is_aggregate
from penstock.functions.python_functions import PythonFunctions
from penstock.functions.registry import names as builtin_names
from penstock.functions.variants import json_struct
from penstock.plan.expressions import Call, Expr, InputRef
from penstock.plan.rewrite import substitute
from penstock.sql import ast
from penstock.sql.bind import build, later
from penstock.sql.bind.catalog import Catalog
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.report import BindError
from penstock.sql.bind.scope import Scope
from penstock.sql.bind.types import bind_type

#: functions of these names are declared without a body: jsonstring_as_T(VARCHAR) RETURNS T
_FROM_JSON = "jsonstring_as_"


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A declared function; `body` is over `params` as columns and has type `result`."""

    name: str
    params: Schema
    result: SqlType
    body: Expr

    def inline(self, args: Sequence[Expr], span: Span) -> Expr:
        """The body over `args`. Raises BindError where they do not fit the parameters."""
        if len(args) != len(self.params):
            wanted = ", ".join(build.bare(t) for t in self.params.types)
            raise BindError(span, f"{self.name} takes ({wanted}), not {len(args)} arguments")
        values = []
        for p, arg in zip(self.params.fields, args, strict=True):
            if arg.type.kind in STRINGS and p.type.kind not in (*STRINGS, *BINARIES):
                raise BindError(
                    arg.span or span,
                    f"argument {p.name} of {self.name} is {build.bare(p.type)}, and text is not "
                    "read as one unasked; write a CAST",
                )
            value = build.implicit(arg, p.type, f"argument {p.name} of {self.name}")
            if value.type.nullable and not p.type.nullable:
                raise BindError(arg.span or span, f"argument {p.name} of {self.name} is NOT NULL")
            # the body is typed for the declared nullability, which the argument need not use up
            values.append(value)
        return substitute(self.body, values)


def declare(
    f: ast.CreateFunction, catalog: Catalog, python: PythonFunctions | None = None
) -> UserFunction:
    """The function of a CREATE FUNCTION; `python` has those without a body. Raises BindError."""
    name = f.name.name
    if name.upper() in {*builtin_names(), *later.FUNCTIONS} or is_aggregate(name):
        raise BindError(f.name.span, f"{name.upper()} is a built-in function")
    if name in catalog.functions:
        raise BindError(f.name.span, f"there is a function {name} already: no overloading")
    fields: list[Field] = []
    for p in f.params:
        if any(p.name.name == x.name for x in fields):
            raise BindError(p.name.span, f"{name} has two parameters {p.name.name}")
        fields.append(Field(p.name.name, bind_type(p.type, catalog.types)))
    params, result = Schema(tuple(fields)), bind_type(f.returns, catalog.types)
    if f.body is None:
        if name.startswith(_FROM_JSON):
            return UserFunction(name, params, result, _from_json(f, params, result))
        return UserFunction(name, params, result, _in_python(f, params, result, python))
    binder = ExpressionBinder(
        Scope.of_table(None, params), aggregates="a function's body", functions=catalog.functions,
        types=catalog.types,
    )  # fmt: skip
    body = build.implicit(binder.bind(f.body), result, f"the result of {name}")
    if body.type.nullable and not result.nullable:
        raise BindError(f.body.span, f"{name} RETURNS NOT NULL, but its body can be NULL")
    return UserFunction(name, params, result, body)


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
