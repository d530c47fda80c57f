"""Functions that choose among their arguments: NULLIF, GREATEST, LEAST (sql-reference 2.6).

All arguments are evaluated; the forms that must not (CASE, COALESCE, IF, IFNULL) are plan nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.heap import union
from penstock.data.types import BIGINT, INTEGER, Kind, SqlType
from penstock.errors import RuntimeSqlError
from penstock.functions.casts import cast_kernel
from penstock.functions.coercion import common_type
from penstock.functions.comparison import compare_kernel, compared_types
from penstock.functions.definition import Literals, Overload, Types, define_typed


def _validity(column: Column) -> Array:
    if column.valid is None:
        return np.ones(len(column), np.bool_)
    return column.valid.view(np.bool_)


@define_typed("NULLIF", "NULLIF(value, value)")
def nullif(types: Types, literals: Literals) -> Overload | None:
    """(a, b), or (a, a, b) where the two are compared in another type than that of the result,
    which is that of `a`: NULLIF(1, 1.0) is an INTEGER."""
    compared = compared_types(types[-2:]) if len(types) in (2, 3) else None
    if compared is None or compared[0].kind in (Kind.ROW, Kind.NULL):
        return None
    result = compared[0] if types[0].kind is Kind.NULL else types[0]
    equal = compare_kernel("=", *compared)

    def kernel(args: Sequence[Column], n: int) -> Column:
        a, x, y = args[0], args[-2], args[-1]
        hit = equal(x, y) & _validity(x) & _validity(y)
        valid = _validity(a) & ~hit
        values = a.values
        if len(values) != len(valid):
            values = np.repeat(values, len(valid), axis=0)
        return Column(a.type, values, valid.view(np.uint8), a.heaps)

    if len(types) == 2:
        return Overload(compared, compared[0], kernel, strict=False, nullable=True)
    return Overload((result, *compared), result, kernel, strict=False, nullable=True)


def _extreme(op: str, skip_nulls: bool) -> Callable[[Types, Literals], Overload | None]:
    def resolver(types: Types, literals: Literals) -> Overload | None:
        common = common_type(types) if types else None
        if common is None or common.kind is Kind.NULL:
            return None
        better = compare_kernel(op, common, common)

        def choose(best: Column, other: Column) -> Column:
            take = better(other, best)
            p, q = _validity(best), _validity(other)
            if skip_nulls:
                take, valid = (take & p & q) | (q & ~p), p | q
            else:
                valid = p & q
            wide = take[:, None] if best.values.ndim == 2 else take
            values = np.where(wide, other.values, best.values)
            valid = np.array(np.broadcast_to(valid, len(values)))
            return Column(common, values, valid.view(np.uint8), union((best.heaps, other.heaps)))

        def kernel(args: Sequence[Column], n: int) -> Column:
            best = args[0]
            for other in args[1:]:
                best = choose(best, other)
            return best

        nullable = all(t.nullable for t in types) if skip_nulls else None
        wanted = (common,) * len(types)
        return Overload(wanted, common, kernel, strict=not skip_nulls, nullable=nullable)

    return resolver


define_typed("GREATEST", "GREATEST(value, …)")(_extreme(">", skip_nulls=False))
define_typed("LEAST", "LEAST(value, …)")(_extreme("<", skip_nulls=False))
define_typed("GREATEST_IGNORE_NULLS", "{}(value, …)")(_extreme(">", skip_nulls=True))
define_typed("LEAST_IGNORE_NULLS", "{}(value, …)")(_extreme("<", skip_nulls=True))


@define_typed("$NOT_NULL", "the value of a function that RETURNS NOT NULL")
def not_null(types: Types, literals: Literals) -> Overload | None:
    """(value, name of the function) → value; NULL is an error."""

    def kernel(args: Sequence[Column], n: int) -> Column:
        value = args[0]
        missing = ~_validity(value)
        if missing.any():
            row = int(np.argmax(missing))
            raise RuntimeSqlError(f"{literals[1]} RETURNS NOT NULL, but its value is NULL", row=row)
        return value

    result = types[0].with_nullable(False)
    return Overload(types, result, kernel, can_fail=True, strict=False, nullable=False)


def _varying(t: SqlType) -> SqlType:
    """`t` with CHAR(n) in it as VARCHAR, but for maps."""
    if t.kind is Kind.CHAR:
        return replace(t, kind=Kind.VARCHAR, precision=None)
    return (
        replace(t, children=tuple(map(_varying, t.children)))
        if t.children and t.kind is not Kind.MAP
        else t
    )


@define_typed("$VARYING", "text of CHAR(n) beside other text")
def varying(types: Types, literals: Literals) -> Overload | None:
    """CHAR(n), or what holds it → the same with its blanks as VARCHAR."""
    result = _varying(types[0])
    return Overload(types, result, lambda args, n: args[0].with_type(result))


@define_typed("$SINGLE", "the value of a scalar sub-query")
def single(types: Types, literals: Literals) -> Overload | None:
    """(value, how many rows there are) → value; more than one row is an error (contract 10.2)."""

    def kernel(args: Sequence[Column], n: int) -> Column:
        value, rows = args
        several = np.flatnonzero(rows.values > 1)
        if len(several):
            row = int(several[0])
            raise RuntimeSqlError("a scalar sub-query returned more than one row", row=row)
        return value

    value, rows = types
    nullable = value.nullable
    return Overload((value, rows), value, kernel, can_fail=True, strict=False, nullable=nullable)


@define_typed("$FITS", "a total that a wider type holds")
def fits(types: Types, literals: Literals) -> Overload | None:
    """(total, NULL of the aggregate's type, what overflows, the aggregate as written or NULL) → the
    total in that type; one that does not fit is an error (contract 10.2)."""
    total, result, *_ = types
    # an interval's total counts what its values do
    stored = {Kind.INTERVAL_SHORT: BIGINT, Kind.INTERVAL_LONG: INTEGER}.get(result.kind, result)
    cast, (_, _, what, call) = cast_kernel(total.with_nullable(True), stored), literals

    def kernel(args: Sequence[Column], n: int) -> Column:
        try:
            fitting = cast([args[0]], n)
            type = fitting.type if stored is result else result
            return Column(type, fitting.values, args[0].valid)
        except RuntimeSqlError as error:
            raise RuntimeSqlError(
                f"{what} does not fit {result.with_nullable(True)}; cast the argument to a wider "
                "type first",
                row=error.row,
                details=None if call is None else {"expression": call},
            ) from error

    nullable = total.nullable
    return Overload(types, result, kernel, can_fail=True, strict=False, nullable=nullable)
