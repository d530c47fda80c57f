"""SQL types and their physical layout.

Every SQL value lives in one fixed-width numpy column (see `penstock.data.batch`):

    SQL type                         kind            numpy values            null rows hold
    ───────────────────────────────  ──────────────  ──────────────────────  ──────────────
    BOOLEAN                          BOOLEAN         uint8[n] (0 or 1)       0
    [U]TINYINT … [U]BIGINT           (U)INT8..64     int8..int64, uint8..    0
    REAL, DOUBLE                     REAL, DOUBLE    float32[n], float64[n]  0.0
    DECIMAL(p, s)                    DECIMAL         uint64[n, 2] little-endian two's complement
                                                     int128 of the unscaled value (Arrow decimal128)
    CHAR(n) VARCHAR[(n)]             CHAR, VARCHAR   uint64[n, 2] string views, UTF-8
    BINARY(n) VARBINARY              BINARY, …       uint64[n, 2] string views, bytes
    UUID                             UUID            uint64[n, 2], the 16 bytes in memory order
    DATE                             DATE            int32[n] days since 1970-01-01
    TIME                             TIME            int64[n] nanoseconds of the day
    TIMESTAMP [WITH TIME ZONE]       TIMESTAMP[_TZ]  int64[n] microseconds since 1970 (UTC)
    INTERVAL DAY..SECOND (short)     INTERVAL_SHORT  int64[n] microseconds
    INTERVAL YEAR..MONTH (long)      INTERVAL_LONG   int32[n] months
    ARRAY MAP ROW                    …               uint64[n, 2] views of the encoding of `nested`
    VARIANT                          VARIANT         uint64[n, 2] views of the encoding of `variant`
    NULL                             NULL            uint8[n], every row invalid

Types are values: equal types compare equal. Nullability is part of the type.
`json_type` spells a type as the schema JSON of the REST contract (section 1.3).

Not here: conversion between types (`penstock.functions.casts`), type inference rules
(`penstock.functions.coercion`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np


class Kind(Enum):
    # that of `Enum` is a function in Python, which each look into a set of kinds would call
    __hash__ = object.__hash__

    NULL = "NULL"
    BOOLEAN = "BOOLEAN"
    INT8 = "TINYINT"
    INT16 = "SMALLINT"
    INT32 = "INTEGER"
    INT64 = "BIGINT"
    UINT8 = "UTINYINT"
    UINT16 = "USMALLINT"
    UINT32 = "UINTEGER"
    UINT64 = "UBIGINT"
    DECIMAL = "DECIMAL"
    REAL = "REAL"
    DOUBLE = "DOUBLE"
    CHAR = "CHAR"
    VARCHAR = "VARCHAR"
    BINARY = "BINARY"
    VARBINARY = "VARBINARY"
    DATE = "DATE"
    TIME = "TIME"
    TIMESTAMP = "TIMESTAMP"
    TIMESTAMP_TZ = "TIMESTAMP_TZ"
    INTERVAL_SHORT = "INTERVAL_SHORT"
    INTERVAL_LONG = "INTERVAL_LONG"
    UUID = "UUID"
    VARIANT = "VARIANT"
    ARRAY = "ARRAY"
    MAP = "MAP"
    ROW = "STRUCT"


SIGNED = (Kind.INT8, Kind.INT16, Kind.INT32, Kind.INT64)
UNSIGNED = (Kind.UINT8, Kind.UINT16, Kind.UINT32, Kind.UINT64)
INTEGERS = frozenset(SIGNED + UNSIGNED)
FLOATS = frozenset((Kind.REAL, Kind.DOUBLE))
NUMBERS = INTEGERS | FLOATS | {Kind.DECIMAL}
STRINGS = frozenset((Kind.CHAR, Kind.VARCHAR))
BINARIES = frozenset((Kind.BINARY, Kind.VARBINARY))
NESTED = frozenset((Kind.VARIANT, Kind.ARRAY, Kind.MAP, Kind.ROW))
#: kinds whose values are 16-byte string views with an out-of-line heap
VIEWS = STRINGS | BINARIES | NESTED
#: kinds whose values are 16 bytes a row, stored as uint64[n, 2]
WIDE = VIEWS | {Kind.DECIMAL, Kind.UUID}

_DTYPE: dict[Kind, np.dtype[Any]] = {
    Kind.NULL: np.dtype(np.uint8),
    Kind.BOOLEAN: np.dtype(np.uint8),
    Kind.INT8: np.dtype(np.int8),
    Kind.INT16: np.dtype(np.int16),
    Kind.INT32: np.dtype(np.int32),
    Kind.INT64: np.dtype(np.int64),
    Kind.UINT8: np.dtype(np.uint8),
    Kind.UINT16: np.dtype(np.uint16),
    Kind.UINT32: np.dtype(np.uint32),
    Kind.UINT64: np.dtype(np.uint64),
    Kind.REAL: np.dtype(np.float32),
    Kind.DOUBLE: np.dtype(np.float64),
    Kind.DATE: np.dtype(np.int32),
    Kind.TIME: np.dtype(np.int64),
    Kind.TIMESTAMP: np.dtype(np.int64),
    Kind.TIMESTAMP_TZ: np.dtype(np.int64),
    Kind.INTERVAL_SHORT: np.dtype(np.int64),
    Kind.INTERVAL_LONG: np.dtype(np.int32),
}


@dataclass(frozen=True, slots=True)
class SqlType:
    """One SQL type with its nullability.

    `precision` is the digits of DECIMAL or the length of CHAR/VARCHAR/BINARY/VARBINARY
    (None: unlimited); `scale` the scale of DECIMAL; `unit` the qualifier of an interval
    ("DAY", "DAY_HOUR", "YEAR_MONTH", …); `children` the element types of ARRAY (1), MAP (2)
    or ROW (n, named by `names`).
    """

    kind: Kind
    nullable: bool = True
    precision: int | None = None
    scale: int | None = None
    unit: str | None = None
    children: tuple[SqlType, ...] = ()
    names: tuple[str, ...] = ()
    #: two words a value; a string view; both asked for each column of each step
    is_wide: bool = field(init=False, repr=False, compare=False)
    is_view: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_wide", self.kind in WIDE)
        object.__setattr__(self, "is_view", self.kind in VIEWS)

    def with_nullable(self, nullable: bool) -> SqlType:
        return self if self.nullable == nullable else replace(self, nullable=nullable)

    @property
    def dtype(self) -> np.dtype[Any]:
        """numpy dtype of one element of `values` (uint64 for the wide kinds, two per row)."""
        return np.dtype(np.uint64) if self.is_wide else _DTYPE[self.kind]

    @property
    def width_bytes(self) -> int:
        return 16 if self.is_wide else self.dtype.itemsize

    def same_as(self, other: SqlType) -> bool:
        """Equal but for nullability."""
        return self.with_nullable(True) == other.with_nullable(True)

    def __str__(self) -> str:
        text = _spell(self)
        return text if self.nullable else f"{text} NOT NULL"


_SPELL_INT = {
    Kind.UINT8: "TINYINT UNSIGNED",
    Kind.UINT16: "SMALLINT UNSIGNED",
    Kind.UINT32: "INTEGER UNSIGNED",
    Kind.UINT64: "BIGINT UNSIGNED",
    Kind.TIMESTAMP_TZ: "TIMESTAMP WITH TIME ZONE",
}


def _spell(t: SqlType) -> str:
    match t.kind:
        case Kind.DECIMAL:
            return f"DECIMAL({t.precision}, {t.scale})"
        case Kind.CHAR | Kind.VARCHAR | Kind.BINARY | Kind.VARBINARY:
            return t.kind.value if t.precision is None else f"{t.kind.value}({t.precision})"
        case Kind.INTERVAL_SHORT | Kind.INTERVAL_LONG:
            return f"INTERVAL {(t.unit or '').replace('_', ' TO ')}".strip()
        case Kind.ARRAY:
            return f"{_spell(t.children[0])} ARRAY"
        case Kind.MAP:
            return f"MAP<{_spell(t.children[0])}, {_spell(t.children[1])}>"
        case Kind.ROW:
            fields = ", ".join(f"{n} {c}" for n, c in zip(t.names, t.children, strict=True))
            return f"ROW({fields})"
        case _:
            name: str = t.kind.value
            return _SPELL_INT.get(t.kind, name)


def _t(kind: Kind) -> SqlType:
    return SqlType(kind)


NULL = _t(Kind.NULL)
BOOLEAN = _t(Kind.BOOLEAN)
TINYINT, SMALLINT, INTEGER, BIGINT = (_t(k) for k in SIGNED)
UTINYINT, USMALLINT, UINTEGER, UBIGINT = (_t(k) for k in UNSIGNED)
REAL = _t(Kind.REAL)
DOUBLE = _t(Kind.DOUBLE)
VARCHAR = _t(Kind.VARCHAR)
VARBINARY = _t(Kind.VARBINARY)
DATE = _t(Kind.DATE)
TIME = _t(Kind.TIME)
TIMESTAMP = _t(Kind.TIMESTAMP)
TIMESTAMP_TZ = _t(Kind.TIMESTAMP_TZ)
UUID = _t(Kind.UUID)
VARIANT = _t(Kind.VARIANT)


def decimal(precision: int, scale: int) -> SqlType:
    return SqlType(Kind.DECIMAL, precision=precision, scale=scale)


def char(length: int) -> SqlType:
    return SqlType(Kind.CHAR, precision=length)


def varchar(length: int | None = None) -> SqlType:
    return SqlType(Kind.VARCHAR, precision=length)


def array_of(element: SqlType) -> SqlType:
    """ARRAY; elements are always nullable (sql-reference 1.2)."""
    return SqlType(Kind.ARRAY, children=(element.with_nullable(True),))


def map_of(key: SqlType, value: SqlType) -> SqlType:
    """MAP; keys are never NULL, values always nullable."""
    return SqlType(Kind.MAP, children=(key.with_nullable(False), value.with_nullable(True)))


def has_kind(t: SqlType, *kinds: Kind) -> bool:
    """Whether `t`, or anything inside it, is of one of `kinds`."""
    return t.kind in kinds or any(has_kind(c, *kinds) for c in t.children)


def row_of(**fields: SqlType) -> SqlType:
    """ROW with the fields given, for tests and examples."""
    return SqlType(Kind.ROW, children=tuple(fields.values()), names=tuple(fields))


@dataclass(frozen=True, slots=True)
class Field:
    """A named column of a schema. `name` is as stored: lower case unless it was quoted."""

    name: str
    type: SqlType


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a relation, in order."""

    fields: tuple[Field, ...]
    #: of the fields, in order
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    types: tuple[SqlType, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(f.name for f in self.fields))
        object.__setattr__(self, "types", tuple(f.type for f in self.fields))

    def __len__(self) -> int:
        return len(self.fields)

    def index(self, name: str) -> int:
        """Position of column `name`; KeyError if there is none."""
        for i, f in enumerate(self.fields):
            if f.name == name:
                return i
        raise KeyError(name)


def schema(**columns: SqlType) -> Schema:
    """A schema from keyword arguments, for tests and examples."""
    return Schema(tuple(Field(n, t) for n, t in columns.items()))


def json_type(t: SqlType) -> dict[str, Any]:
    """The type as ColumnType of the REST contract (section 1.3); every key is present."""
    name = t.kind.value
    precision, scale = t.precision, t.scale
    if t.kind in (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG):
        name = f"INTERVAL_{t.unit}"
    elif t.kind in (Kind.VARCHAR, Kind.VARBINARY) and precision is None:
        precision = -1
    elif t.kind is Kind.TIME:
        precision = 9
    elif t.kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ):
        precision = 6
    nested = [json_type(c) for c in t.children]
    return {
        "type": name,
        "nullable": t.nullable,
        "precision": precision,
        "scale": scale,
        "component": nested[0] if t.kind is Kind.ARRAY else None,
        "key": nested[0] if t.kind is Kind.MAP else None,
        "value": nested[1] if t.kind is Kind.MAP else None,
        "fields": [
            {"name": n, "case_sensitive": n != n.lower(), "columntype": c, "unused": False}
            for n, c in zip(t.names, nested, strict=True)
        ]
        if t.kind is Kind.ROW
        else None,
    }
