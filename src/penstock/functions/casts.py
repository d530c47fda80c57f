"""Casts: `cast_kernel(from, to, safe)`, the semantics of sql-reference 1.5.

    cast_numbers    numbers to each other          cast_text      from and to text
    cast_times      dates, times, intervals        cast_binary    from and to bytes

CAST fails on the first bad row, SAFE_CAST makes it NULL (`cast_parts` says what a converter is).
Not here: which casts exist (`coercion.can_cast`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.data.batch import Column
from penstock.data.build import null_column
from penstock.data.types import (
    BINARIES,
    FLOATS,
    INTEGERS,
    NUMBERS,
    STRINGS,
    VARCHAR,
    Kind,
    SqlType,
)
from penstock.data.variant import wrap
from penstock.errors import RuntimeSqlError
from penstock.functions import text
from penstock.functions.cast_binary import binary_to_text, binary_to_uuid, to_binary
from penstock.functions.cast_numbers import number
from penstock.functions.cast_parts import Converter, retype, then
from penstock.functions.cast_text import from_text, text_to_text, to_text
from penstock.functions.cast_times import (
    TIMESTAMPS,
    datetime_cast,
    number_to_scaled,
    to_number,
    within_calendar,
)
from penstock.functions.coercion import DATETIMES, EXACT, INTERVALS, holds_all
from penstock.functions.definition import Kernel
from penstock.functions.interval_units import unit_size
from penstock.functions.nested_casts import masked_converter, nested_converter
from penstock.functions.variant_casts import from_variant

#: values longer than this are cut in messages
_LONGEST = 80


def _converter(src: SqlType, dst: SqlType) -> Converter | None:
    s, d = src.kind, dst.kind
    if d is Kind.VARIANT:
        return lambda column: (wrap(column), None)
    if s is Kind.VARIANT:
        return lambda column: (from_variant(column, dst, safe_cast), None)
    if s is d and src.children:
        return nested_converter(src, dst, _child_converter)
    if s in NUMBERS and d in NUMBERS:
        same = src == dst or (s is d and s is not Kind.DECIMAL)
        return retype(dst) if same else number(src, dst)
    if s in STRINGS and d in STRINGS:
        return text_to_text(src, dst)
    if d in STRINGS:
        return binary_to_text(dst) if s in BINARIES else to_text(src, dst)
    if d in BINARIES:
        return to_binary(src, dst)
    if s in STRINGS:
        return from_text(dst)
    if s in BINARIES and d is Kind.UUID:
        return binary_to_uuid(dst)
    if s in DATETIMES and d in DATETIMES:
        return datetime_cast(src, dst)
    if s in NUMBERS and d in TIMESTAMPS:
        return then(number_to_scaled(src, dst, 1000), within_calendar(dst))
    if s in TIMESTAMPS and d in NUMBERS:
        return to_number(src, dst, 1000)
    if s in NUMBERS and d in INTERVALS:
        return number_to_scaled(src, dst, unit_size(dst))
    if s in INTERVALS and d in NUMBERS:
        return to_number(src, dst, unit_size(src))
    return retype(dst) if s is d else None


def _child_converter(src: SqlType, dst: SqlType) -> Converter:
    """The conversion of the children of a nested value; NULL stays NULL."""
    if src.kind is Kind.NULL:
        return lambda column: (null_column(dst, len(column)), None)
    convert = _converter(src, dst)
    if convert is None:
        raise NotImplementedError(f"CAST({src} AS {dst}) has no kernel")
    return masked_converter(convert)


def safe_cast(src: SqlType, dst: SqlType, column: Column) -> Column:
    """`column` converted, with NULL for what cannot be; a scalar conversion that exists."""
    convert = _converter(src, dst)
    if convert is None:
        return null_column(dst, len(column))
    out, bad = masked_converter(convert)(column)
    if bad is None or not bad.any():
        return out
    good = (~bad).astype(np.uint8)
    valid = good if out.valid is None else out.valid & good
    mask = valid[:, None] if out.values.ndim == 2 else valid
    values = np.where(mask, out.values, out.values.dtype.type(0))
    return Column(out.type, values, valid, out.heaps)


def cast_can_fail(src: SqlType, dst: SqlType, safe: bool) -> bool:
    """Whether CAST(src AS dst) fails for some value."""
    s, d = src.kind, dst.kind
    if (
        safe
        or Kind.VARIANT in (s, d)
        or s is Kind.NULL
        or src.same_as(dst)
        or (d in FLOATS and s in NUMBERS)
    ):
        return False
    if s is d and src.children:
        pairs = zip(src.children, dst.children, strict=True)
        return any(cast_can_fail(a, b, safe) for a, b in pairs)
    if d in STRINGS and s not in BINARIES:
        return False
    if s in DATETIMES and d in DATETIMES:
        return False
    if s in INTEGERS and d in INTEGERS:
        a, b = np.iinfo(src.dtype), np.iinfo(dst.dtype)
        return bool(a.min < b.min or a.max > b.max)
    if s in EXACT and d is Kind.DECIMAL:
        return not holds_all(src, dst)
    return True


def cast_kernel(src: SqlType, dst: SqlType, safe: bool = False) -> Kernel:
    """The strict kernel of CAST(src AS dst); with `safe` bad rows are NULL. The cast exists."""
    if src.kind is Kind.NULL:
        return lambda args, n: null_column(dst, 1)
    convert = _converter(src, dst)
    if convert is None:
        raise NotImplementedError(f"CAST({src} AS {dst}) has no kernel")
    target = dst.with_nullable(True)

    def kernel(args: Sequence[Column], n: int) -> Column:
        (column,) = args
        out, bad = convert(column)
        if bad is None or not bad.any():
            return out
        if safe:
            return Column(out.type, out.values, (~bad).astype(np.uint8), out.heaps)
        rows = bad if column.valid is None else bad & (column.valid == 1)
        if rows.any():
            row = int(np.argmax(rows))
            raise RuntimeSqlError(f"{_spelled(column, row)} cannot be cast to {target}", row=row)
        return out

    return kernel


def _spelled(column: Column, row: int) -> str:
    """The value of a row, for a message."""
    one = Column(column.type, column.values[row : row + 1], None, column.heaps)
    if column.type.kind in STRINGS:
        shown = repr(text.to_list(one)[0])
    elif column.type.children or column.type.kind in BINARIES or not _converter(one.type, VARCHAR):
        return f"this {column.type.with_nullable(True)}"
    else:
        shown = text.to_list(cast_kernel(one.type, VARCHAR)([one], 1))[0]
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
