"""Common types and which casts exist: the implicit half of the type system.

    common_type([INTEGER, DECIMAL(5, 2)])  →  DECIMAL(12, 2)
    common_type([DATE, CHAR(10)])          →  DATE

The lattice (sql-reference 1.4): NULL below everything; integers by width, then DECIMAL, REAL,
DOUBLE; DATE below TIMESTAMP; a string takes the type of a number, datetime or UUID beside it.

Not here: what a cast does (`casts`), result types of arithmetic (`numeric_types`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from penstock.data.types import (
    BINARIES,
    DOUBLE,
    FLOATS,
    INTEGERS,
    NUMBERS,
    SIGNED,
    STRINGS,
    UNSIGNED,
    Kind,
    SqlType,
    decimal,
)
from penstock.data.variant import can_wrap

MAX_PRECISION = 38
_DIGITS = {
    Kind.INT8: 3, Kind.INT16: 5, Kind.INT32: 10, Kind.INT64: 19,
    Kind.UINT8: 3, Kind.UINT16: 5, Kind.UINT32: 10, Kind.UINT64: 20,
}  # fmt: skip
DATETIMES = frozenset((Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ))
INTERVALS = frozenset((Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG))
EXACT = frozenset(INTEGERS) | {Kind.DECIMAL}


def as_decimal(t: SqlType) -> SqlType:
    """The DECIMAL that holds every value of an exact numeric type."""
    return t if t.kind is Kind.DECIMAL else decimal(_DIGITS[t.kind], 0)


def holds_all(src: SqlType, dst: SqlType) -> bool:
    """Whether DECIMAL `dst` has room before the point for all values of an exact numeric type.
    What does not fit behind it is cut off (sql-reference 1.5), so rounding makes none longer."""
    src = as_decimal(src)
    return whole_digits(dst) >= whole_digits(src)


def whole_digits(t: SqlType) -> int:
    """Digits of a DECIMAL before the point; below zero where even some behind it are 0."""
    assert t.precision is not None and t.scale is not None
    return t.precision - t.scale


def common_integer(a: SqlType, b: SqlType) -> SqlType:
    """The wider of two integer types; of equal width the unsigned one."""
    rank = {k: i for i, k in enumerate(kind for pair in zip(SIGNED, UNSIGNED, strict=True)
                                       for kind in pair)}  # fmt: skip
    if (a.kind in SIGNED) == (b.kind in SIGNED):
        return a if rank[a.kind] >= rank[b.kind] else b
    return a if rank[a.kind] > rank[b.kind] else b


def common_number(a: SqlType, b: SqlType) -> SqlType:
    """The tightest numeric type of both (sql-reference 1.4); DECIMAL with REAL is DOUBLE."""
    if a.kind in INTEGERS and b.kind in INTEGERS:
        return common_integer(a, b)
    if a.kind in FLOATS or b.kind in FLOATS:
        kinds = {a.kind, b.kind}
        if Kind.DOUBLE in kinds or Kind.DECIMAL in kinds:
            return DOUBLE
        return SqlType(Kind.REAL)
    x, y = as_decimal(a), as_decimal(b)
    assert x.precision and y.precision and x.scale is not None and y.scale is not None
    whole = max(x.precision - x.scale, y.precision - y.scale)
    whole = min(whole, MAX_PRECISION)
    scale = min(max(x.scale, y.scale), MAX_PRECISION - whole)
    return decimal(max(whole + scale, 1), scale)


def _common_string(a: SqlType, b: SqlType, fixed: Kind, varying: Kind) -> SqlType:
    if a.kind is fixed and b.kind is fixed:
        if a.precision == b.precision:
            return SqlType(fixed, precision=a.precision)
        if fixed is Kind.CHAR:  # neither is padded to the other's length (sql-reference 1.4)
            return SqlType(varying)
    if a.precision is None or b.precision is None:
        return SqlType(varying)
    return SqlType(varying, precision=max(a.precision, b.precision))


def _common_pair(a: SqlType, b: SqlType) -> SqlType | None:
    """Common type of two non-NULL types, nullability ignored; None when there is none."""
    if a == b:
        return a
    if a.kind in NUMBERS and b.kind in NUMBERS:
        return common_number(a, b)
    if a.kind in STRINGS and b.kind in STRINGS:
        return _common_string(a, b, Kind.CHAR, Kind.VARCHAR)
    if a.kind in BINARIES and b.kind in BINARIES:
        return _common_string(a, b, Kind.BINARY, Kind.VARBINARY)
    for x, y in ((a, b), (b, a)):
        if x.kind in STRINGS and (y.kind in NUMBERS | DATETIMES or y.kind is Kind.UUID):
            return y
        if x.kind in BINARIES and y.kind is Kind.UUID:
            return y
        if x.kind is Kind.DATE and y.kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ):
            return y
        if x.kind is Kind.TIMESTAMP and y.kind is Kind.TIMESTAMP_TZ:
            return y
    if a.kind is b.kind and a.kind in INTERVALS:
        widest = "DAY_SECOND" if a.kind is Kind.INTERVAL_SHORT else "YEAR_MONTH"
        return replace(a, unit=a.unit if a.unit == b.unit else widest)
    if a.kind is b.kind and a.children and len(a.children) == len(b.children):
        children = [common_type(pair) for pair in zip(a.children, b.children, strict=True)]
        if all(c is not None for c in children):
            return replace(a, children=tuple(c for c in children if c is not None))
    return None


def common_type(types: Sequence[SqlType]) -> SqlType | None:
    """The least restrictive type of all `types`, nullable if any is; None when there is none."""
    nullable = any(t.nullable for t in types)
    bare = [t.with_nullable(True) for t in types if t.kind is not Kind.NULL]
    if not bare:
        return SqlType(Kind.NULL) if types else None

    def step(a: SqlType | None, b: SqlType) -> SqlType | None:
        return None if a is None else _common_pair(a, b)

    first: SqlType | None = bare[0]
    common = reduce(step, bare[1:], first)
    return None if common is None else common.with_nullable(nullable)


def holds(common: SqlType, t: SqlType) -> bool:
    """Whether a cast of an exact number from `t` to `common` keeps every value as it is. (Other
    types are compared in their common type; only exact numbers are compared across types.)"""
    if common.kind in UNSIGNED and t.kind in SIGNED:
        return False
    if common.kind is Kind.DECIMAL and t.kind in EXACT:
        x = as_decimal(t)
        assert common.scale is not None and x.scale is not None
        return x.scale <= common.scale
    return True


def key_type(a: SqlType, b: SqlType) -> SqlType | None:
    """The type in which equal values of `a` and `b`, and no others, have equal bytes; None when
    there is none. For a signed and an unsigned integer that is not the type of their sum."""
    common = common_type([a, b])
    if common is None or (holds(common, a) and holds(common, b)):
        return common
    if common.kind not in INTEGERS:
        return None
    wide = decimal(20, 0) if common.kind is Kind.UINT64 else SqlType(Kind.INT64)
    return wide.with_nullable(common.nullable)


_IMPLICIT_TO_STRING = NUMBERS | DATETIMES | BINARIES | {Kind.BOOLEAN}
_FROM_STRING = NUMBERS | DATETIMES | BINARIES | {Kind.UUID}
#: casts that must be written: (source kinds, target kinds), sql-reference 1.5
_EXPLICIT: tuple[tuple[frozenset[Kind], frozenset[Kind]], ...] = (
    (STRINGS, frozenset((Kind.BOOLEAN,)) | INTERVALS),
    (INTERVALS | {Kind.UUID}, STRINGS),
    (frozenset((Kind.UUID,)), BINARIES),
    (INTEGERS, BINARIES | INTERVALS),
    (NUMBERS, frozenset((Kind.TIMESTAMP, Kind.TIMESTAMP_TZ))),
    (frozenset((Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)), NUMBERS | {Kind.TIME}),
    (frozenset((Kind.TIME,)), frozenset((Kind.TIMESTAMP, Kind.TIMESTAMP_TZ))),
    (frozenset((Kind.DECIMAL,)), INTERVALS),
    (INTERVALS, INTEGERS | {Kind.DECIMAL}),
)


def _implicit(src: SqlType, dst: SqlType) -> bool:
    s, d = src.kind, dst.kind
    if s is Kind.NULL:
        return True
    if s in NUMBERS and d in NUMBERS:
        return True
    if s in STRINGS:
        return d in STRINGS or d in _FROM_STRING
    if d in STRINGS:
        return s in _IMPLICIT_TO_STRING
    if s in BINARIES:
        return d in BINARIES or d is Kind.UUID
    dated = (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)
    if s in dated and d in dated:
        return True
    if s is d:
        return len(src.children) == len(dst.children) and all(
            can_cast(a, b, explicit=True) for a, b in zip(src.children, dst.children, strict=True)
        )
    return False


def can_cast(src: SqlType, dst: SqlType, explicit: bool) -> bool:
    """Whether CAST(src AS dst) exists (`explicit`) or may be inserted unasked (not `explicit`)."""
    if _implicit(src, dst):
        return True
    if explicit and dst.kind is Kind.VARIANT:
        return can_wrap(src)
    if explicit and src.kind is Kind.VARIANT:
        return can_wrap(dst)
    return explicit and any(src.kind in s and dst.kind in d for s, d in _EXPLICIT)
