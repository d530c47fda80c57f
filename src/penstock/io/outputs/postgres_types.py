"""Which PostgreSQL types a view's columns become, and which existing ones they fit into.

    SQL type                 created as              fits as well into
    ───────────────────────  ──────────────────────  ───────────────────────────────
    BOOLEAN                  boolean
    TINYINT, SMALLINT        smallint                any wider integer, numeric
    INTEGER, USMALLINT       integer                 bigint, numeric
    BIGINT, UINTEGER         bigint                  numeric
    UBIGINT                  numeric(20, 0)          numeric
    DECIMAL(p, s)            numeric(p, s)           numeric with as many digits on both sides
    REAL, DOUBLE             real, double precision  real → double precision
    CHAR(n), VARCHAR(n)      varchar(n), or text     varchar, char, citext
    BINARY, VARBINARY        bytea
    DATE TIME TIMESTAMP …    date time timestamp …
    INTERVAL, UUID           interval, uuid
    ARRAY MAP ROW VARIANT    jsonb

Every type fits into text and varchar. TIME keeps microseconds, as PostgreSQL does.

Not here: rendering values as text (`column_text`).
"""

from __future__ import annotations

from penstock.data.types import BINARIES, NESTED, STRINGS, Kind, SqlType

_INTEGER_NAMES = ("int2", "int4", "int8", "numeric")
#: position in _INTEGER_NAMES of the narrowest type that holds every value
_NARROWEST = {
    Kind.INT8: 0, Kind.INT16: 0, Kind.UINT8: 0, Kind.INT32: 1, Kind.UINT16: 1,
    Kind.INT64: 2, Kind.UINT32: 2, Kind.UINT64: 3,
}  # fmt: skip
_PLAIN = {
    Kind.BOOLEAN: ("boolean", "bool"),
    Kind.REAL: ("real", "float4"),
    Kind.DOUBLE: ("double precision", "float8"),
    Kind.DATE: ("date", "date"),
    Kind.TIME: ("time", "time"),
    Kind.TIMESTAMP: ("timestamp", "timestamp"),
    Kind.TIMESTAMP_TZ: ("timestamp with time zone", "timestamptz"),
    Kind.INTERVAL_SHORT: ("interval", "interval"),
    Kind.INTERVAL_LONG: ("interval", "interval"),
    Kind.UUID: ("uuid", "uuid"),
}
_TEXTS = ("text", "varchar")


def created_type(type: SqlType) -> str:
    """The type of a column of a table that we create."""
    kind = type.kind
    if kind in _NARROWEST:
        return ("smallint", "integer", "bigint", "numeric(20, 0)")[_NARROWEST[kind]]
    if kind is Kind.DECIMAL:
        return f"numeric({type.precision}, {type.scale})"
    if kind in BINARIES:
        return "bytea"
    if kind in STRINGS and type.precision is not None:
        return f"varchar({type.precision})"
    if kind in NESTED:
        return "jsonb"
    return _PLAIN[kind][0] if kind in _PLAIN else "text"


def fits(type: SqlType, name: str, typmod: int) -> bool:
    """True if values of `type` can be stored in a column whose base type is `name` (pg_type's
    typname) with PostgreSQL's type modifier `typmod` (-1: none)."""
    kind = type.kind
    if name in _TEXTS:
        return True
    if kind in _NARROWEST:
        return name in _INTEGER_NAMES[_NARROWEST[kind] :] and _digits_fit(20, 0, name, typmod)
    if kind is Kind.DECIMAL:
        return name == "numeric" and _digits_fit(
            type.precision or 38, type.scale or 0, name, typmod
        )
    if kind in STRINGS:
        return name in ("bpchar", "citext")
    if kind in BINARIES:
        return name == "bytea"
    if kind in NESTED:
        return name == "jsonb"  # not json, whose values cannot be compared
    if kind is Kind.REAL and name == "float8":
        return True
    return kind in _PLAIN and name == _PLAIN[kind][1]


def _digits_fit(precision: int, scale: int, name: str, typmod: int) -> bool:
    """Whether numeric's modifier leaves room for the digits on both sides of the point."""
    if name != "numeric" or typmod < 0:
        return True
    has_precision, has_scale = (typmod - 4) >> 16 & 0xFFFF, (typmod - 4) & 0x7FF
    return has_scale >= scale and has_precision - has_scale >= precision - scale
