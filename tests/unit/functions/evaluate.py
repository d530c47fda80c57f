"""Evaluates a function on Python values, as a constant and as a column, for the other tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.compile.expressions import compile_expression
from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, column_to_python
from penstock.data.types import Field, Schema, SqlType
from penstock.functions.registry import Function, resolve
from penstock.plan.expressions import Call, Cast, Expr, InputRef, Literal

Arg = tuple[SqlType, Any]


def coerced(expr: Expr, wanted: SqlType) -> Expr:
    return expr if expr.type == wanted else Cast(wanted, expr)


def resolved(name: str, args: Sequence[Arg]) -> Function:
    return resolve(name, [t for t, _ in args], [v for _, v in args])


def over(expr: Expr, batch: Batch) -> list[Any]:
    return column_to_python(compile_expression(expr, batch.schema)(batch))


def one_row(args: Sequence[Arg]) -> Batch:
    fields = tuple(Field(f"c{i}", t) for i, (t, _) in enumerate(args))
    return batch_from_rows(Schema(fields), [tuple(v for _, v in args)] * 3)


def as_columns(name: str, args: Sequence[Arg]) -> Any:
    """The value of the call over a batch of three equal rows."""
    function = resolved(name, args)
    refs = [InputRef(t, i) for i, (t, _) in enumerate(args)]
    parts = tuple(coerced(r, t) for r, t in zip(refs, function.arg_types, strict=True))
    first, *others = over(Call(function.result, function, parts), one_row(args))
    assert all(repr(o) == repr(first) for o in others)
    return first


def as_constants(name: str, args: Sequence[Arg]) -> Any:
    function = resolved(name, args)
    literals = [Literal(t, v) for t, v in args]
    parts = tuple(coerced(x, t) for x, t in zip(literals, function.arg_types, strict=True))
    return over(Call(function.result, function, parts), one_row(args))[0]


def first_as_column(name: str, args: Sequence[Arg]) -> Any:
    """The first argument a column, the others constants."""
    function = resolved(name, args)
    exprs = [InputRef(t, i) if i == 0 else Literal(t, v) for i, (t, v) in enumerate(args)]
    parts = tuple(coerced(x, t) for x, t in zip(exprs, function.arg_types, strict=True))
    return over(Call(function.result, function, parts), one_row(args))[-1]


def last_as_column(name: str, args: Sequence[Arg]) -> Any:
    """The last argument a column, the others constants."""
    function = resolved(name, args)
    last = len(args) - 1
    exprs = [InputRef(t, i) if i == last else Literal(t, v) for i, (t, v) in enumerate(args)]
    parts = tuple(coerced(x, t) for x, t in zip(exprs, function.arg_types, strict=True))
    return over(Call(function.result, function, parts), one_row(args))[-1]


def cast(value: Any, source: SqlType, target: SqlType, safe: bool = False) -> Any:
    """CAST of a column's value."""
    return over(Cast(target, InputRef(source, 0), safe), one_row([(source, value)]))[0]
