"""Types as spelled → types as meant (sql-reference 1.1).

    NamedType "bigint unsigned"      → UBIGINT
    NamedType "decimal" (10, 2)      → DECIMAL(10, 2)

Nullable unless NOT NULL is written. Types that a program may name but that this version cannot
store are refused by name.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    REAL,
    SMALLINT,
    TIME,
    TIMESTAMP,
    TIMESTAMP_TZ,
    TINYINT,
    UBIGINT,
    UINTEGER,
    USMALLINT,
    UTINYINT,
    UUID,
    VARBINARY,
    VARCHAR,
    Kind,
    SqlType,
    decimal,
)
from penstock.sql import ast
from penstock.sql.bind.report import BindError, did_you_mean, unsupported

_SIMPLE: dict[str, SqlType] = {
    **dict.fromkeys(("boolean", "bool"), BOOLEAN),
    "tinyint": TINYINT,
    **dict.fromkeys(("smallint", "int2"), SMALLINT),
    **dict.fromkeys(("integer", "int", "int4", "signed"), INTEGER),
    **dict.fromkeys(("bigint", "int8", "int64"), BIGINT),
    "tinyint unsigned": UTINYINT,
    **dict.fromkeys(("smallint unsigned", "int2 unsigned"), USMALLINT),
    **dict.fromkeys(("integer unsigned", "int unsigned", "int4 unsigned", "unsigned"), UINTEGER),
    **dict.fromkeys(("bigint unsigned", "int8 unsigned", "int64 unsigned"), UBIGINT),
    **dict.fromkeys(("real", "float4", "float32"), REAL),
    **dict.fromkeys(("double", "float8", "float64", "double precision"), DOUBLE),
    "date": DATE,
    "time": TIME,
    **dict.fromkeys(("timestamp", "datetime", "timestamp without time zone"), TIMESTAMP),
    "timestamp with time zone": TIMESTAMP_TZ,
    "uuid": UUID,
    "varbinary": VARBINARY,
    "binary varying": VARBINARY,
    "bytea": VARBINARY,
}
_DECIMALS = ("decimal", "dec", "numeric", "number")
_VARCHARS = ("varchar", "string", "text", "character varying", "char varying")
_CHARS = ("char", "character")
_LATER = ("variant", "geometry", "map", "array", "row", "multiset")
#: types whose declared scale is accepted and ignored (contract 10.3)
_SCALED = (Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)


def bind_type(t: ast.TypeExpr) -> SqlType:
    """The type, nullable unless NOT NULL was written. Raises BindError."""
    return _bare(t).with_nullable(t.nullable is not False)


def _bare(t: ast.TypeExpr) -> SqlType:
    if not isinstance(t, ast.NamedType):
        noun = {"ArrayType": "ARRAY", "MapType": "MAP", "RowType": "ROW"}
        raise unsupported(t.span, f"type {noun.get(type(t).__name__, 'INTERVAL')} in a declaration")
    name, args = t.name, t.args
    simple = _SIMPLE.get(name)
    if simple is not None:
        if args and simple.kind not in _SCALED and simple.kind is not Kind.VARBINARY:
            raise BindError(t.span, f"type {name.upper()} takes no number in parentheses")
        return replace(simple, precision=args[0]) if simple is VARBINARY and args else simple
    if name in _DECIMALS:
        return _decimal(t, args)
    if name in _VARCHARS:
        return replace(VARCHAR, precision=_length(t, args, None))
    if name in _CHARS:
        return SqlType(Kind.CHAR, precision=_length(t, args, 1))
    if name == "binary":
        return SqlType(Kind.BINARY, precision=_length(t, args, 1))
    if name == "float":
        raise BindError(t.span, "FLOAT is ambiguous: write REAL (32 bits) or DOUBLE (64 bits)")
    if name in _LATER:
        raise unsupported(t.span, f"type {name.upper()}")
    known = [*_SIMPLE, *_DECIMALS, *_VARCHARS, *_CHARS, "binary"]
    raise BindError(t.span, f"there is no type {name.upper()}{did_you_mean(name, known)}")


def _decimal(t: ast.NamedType, args: tuple[int, ...]) -> SqlType:
    precision, scale = args[0] if args else 38, args[1] if len(args) > 1 else 0
    if not 1 <= precision <= 38:
        raise BindError(t.span, f"a DECIMAL has 1 to 38 digits, not {precision}")
    if not 0 <= scale <= precision:
        raise BindError(
            t.span, f"the scale of DECIMAL({precision}, …) is 0 to {precision}, not {scale}"
        )
    return decimal(precision, scale)


def _length(t: ast.NamedType, args: tuple[int, ...], default: int | None) -> int | None:
    if not args:
        return default
    if args[0] < 1:
        raise BindError(t.span, f"the length of {t.name.upper()} is at least 1, not {args[0]}")
    return args[0]
