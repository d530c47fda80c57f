"""Types as spelled → types as meant (sql-reference 1.1).

    NamedType "bigint unsigned"      → UBIGINT
    NamedType "decimal" (10, 2)      → DECIMAL(10, 2)

    ArrayType, MapType, RowType      → their children bound, nullable as sql-reference 1.2 says
    a name of CREATE TYPE            → its type, from `declared`

Nullable unless NOT NULL is written. Types that a program may name but that this version cannot
store are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    VARIANT,
    Kind,
    SqlType,
    array_of,
    decimal,
    map_of,
)
from penstock.errors import Span
from penstock.sql import ast
from penstock.sql.bind import literals
from penstock.sql.bind.report import NOT_SUPPORTED, BindError, Poisoned, did_you_mean

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
    "variant": VARIANT,
    "varbinary": VARBINARY,
    "binary varying": VARBINARY,
    "bytea": VARBINARY,
}
_DECIMALS = ("decimal", "dec", "numeric", "number")
_VARCHARS = ("varchar", "string", "text", "character varying", "char varying")
_CHARS = ("char", "character")
#: types of the dialect that no program of ours can store, and what may be written instead
_REFUSED = {
    "geometry": "GEOMETRY is not supported",
    "multiset": "MULTISET is not supported; use ARRAY",
    "time with time zone": "TIME WITH TIME ZONE is not supported; use TIME",
    "clob": "CLOB is not supported; use VARCHAR",
    "blob": "BLOB is not supported; use VARBINARY",
    "any": "ANY is not a type of a column; use VARIANT",
    "array": "an array type is written with its elements first, as in INT ARRAY",
    "map": "a map type is written MAP<key, value>",
    "row": "a row type is written ROW(name type, …)",
}
#: types of other dialects → what says the same here
_ELSEWHERE = {
    **dict.fromkeys(
        ("timestamptz", "timestamp_tz", "timestamp_ltz", "datetimeoffset"),
        "TIMESTAMP WITH TIME ZONE",
    ),
    **dict.fromkeys(("timestamp_ntz", "datetime2", "datetime64", "smalldatetime"), "TIMESTAMP"),
    **dict.fromkeys(("json", "jsonb", "object", "super"), "VARIANT"),
    **dict.fromkeys(("nvarchar", "varchar2", "nchar", "nvarchar2", "enum", "xml"), "VARCHAR"),
    **dict.fromkeys(("serial", "bigserial", "smallserial"), "BIGINT: rows bring their own numbers"),
    **dict.fromkeys(("uint8", "utinyint"), "TINYINT UNSIGNED"),
    **dict.fromkeys(("uint16", "usmallint"), "SMALLINT UNSIGNED"),
    **dict.fromkeys(("uint32", "uinteger", "uint"), "INTEGER UNSIGNED"),
    **dict.fromkeys(("uint64", "ubigint"), "BIGINT UNSIGNED"),
    "byteint": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "bytes": "VARBINARY",
    "bit": "BOOLEAN",
    **dict.fromkeys(("money", "bignumeric", "bigdecimal", "hugeint"), "DECIMAL(precision, scale)"),
}
_BUILT_IN = frozenset((*_SIMPLE, *_DECIMALS, *_VARCHARS, *_CHARS, *_REFUSED, "float", "binary"))
#: the most characters or bytes of a type; of one whose every value is padded to its length
_LONGEST, _LONGEST_PADDED = 2**31 - 1, 100_000_000
UserTypes = Mapping[str, SqlType | None]
_NONE_DECLARED: UserTypes = {}
#: types whose declared scale is accepted and ignored (contract 10.3)
_SCALED = (Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)


def is_built_in(name: str) -> bool:
    """Whether an unquoted `name` is a type of the dialect."""
    return name in _BUILT_IN


def bind_type(t: ast.TypeExpr, declared: UserTypes = _NONE_DECLARED) -> SqlType:
    """The type, nullable unless NOT NULL was written; `declared`: what CREATE TYPE has named,
    None where that failed. Raises BindError."""
    return _bare(t, declared).with_nullable(t.nullable is not False)


def declared_type(t: ast.CreateType, declared: UserTypes) -> SqlType:
    """The type that CREATE TYPE names; fields of a struct are nullable unless NOT NULL."""
    if t.type is not None:
        return bind_type(t.type, declared)
    return _row(t.fields, True, declared)


def _row(fields: tuple[ast.TypeField, ...], nullable: bool, declared: UserTypes) -> SqlType:
    names: list[str] = []
    children: list[SqlType] = []
    for f in fields:
        if f.name.name in names:
            raise BindError(f.name.span, f"there are two fields {f.name.name}")
        names.append(f.name.name)
        child = bind_type(f.type, declared)
        default = nullable if f.type.nullable is None else f.type.nullable
        children.append(child.with_nullable(default))
    return SqlType(Kind.ROW, children=tuple(children), names=tuple(names))


def _map(t: ast.MapType, declared: UserTypes) -> SqlType:
    key = bind_type(t.key, declared)
    if key.kind in (Kind.MAP, Kind.NULL):
        raise BindError(t.key.span, f"the key of a MAP cannot be a {key.kind.value}")
    return map_of(key, bind_type(t.value, declared))


def _bare(t: ast.TypeExpr, declared: UserTypes) -> SqlType:
    match t:
        case ast.ArrayType():
            return array_of(bind_type(t.element, declared))
        case ast.MapType():
            return _map(t, declared)
        case ast.RowType():
            return _row(t.fields, False, declared)
        case ast.IntervalType():
            q = t.qualifier
            return interval_type(q.unit, q.to_unit, t.span)
    assert isinstance(t, ast.NamedType)
    name, args = t.name, t.args
    if name in declared:
        found = declared[name]
        if found is None:
            raise Poisoned
        return found
    if t.quoted:
        raise BindError(t.span, f"there is no type {name}{did_you_mean(name, declared)}")
    simple = _SIMPLE.get(name)
    if simple is not None:
        if args and simple.kind not in _SCALED and simple.kind is not Kind.VARBINARY:
            raise BindError(t.span, f"type {name.upper()} takes no number in parentheses")
        if simple is not VARBINARY:
            return simple
        return replace(simple, precision=_length(t, args, None, least=0))
    if name in _DECIMALS:
        return _decimal(t, args)
    if name in _VARCHARS:
        return replace(VARCHAR, precision=_length(t, args, None))
    if name in _CHARS:
        return SqlType(Kind.CHAR, precision=_length(t, args, 1, most=_LONGEST_PADDED))
    if name == "binary":
        return SqlType(Kind.BINARY, precision=_length(t, args, 1, most=_LONGEST_PADDED))
    if name == "float":
        raise BindError(t.span, "FLOAT is ambiguous: write REAL (32 bits) or DOUBLE (64 bits)")
    if name in _REFUSED:
        raise BindError(t.span, _REFUSED[name], NOT_SUPPORTED)
    if name in _ELSEWHERE:
        raise BindError(t.span, f"there is no type {name}; write {_ELSEWHERE[name]}")
    known = [*declared, *_SIMPLE, *_DECIMALS, *_VARCHARS, *_CHARS, "binary"]
    raise BindError(t.span, f"there is no type {name}{did_you_mean(name, known, 0.7)}")


def interval_type(unit: str, to_unit: str | None, span: Span | None) -> SqlType:
    """INTERVAL unit [TO unit]."""
    first, last = literals.unit_name(unit), literals.unit_name(to_unit) if to_unit else None
    try:
        return literals.interval_type(first, last).with_nullable(True)
    except ValueError as error:
        raise BindError(span, str(error)) from None


def _decimal(t: ast.NamedType, args: tuple[int, ...]) -> SqlType:
    precision, scale = args[0] if args else 38, args[1] if len(args) > 1 else 0
    if not 1 <= precision <= 38:
        raise BindError(t.span, f"a DECIMAL has 1 to 38 digits, not {precision}")
    if not 0 <= scale <= precision:
        raise BindError(
            t.span, f"the scale of DECIMAL({precision}, …) is 0 to {precision}, not {scale}"
        )
    return decimal(precision, scale)


def _length(
    t: ast.NamedType, args: tuple[int, ...], default: int | None, *, least: int = 1,
    most: int = _LONGEST,
) -> int | None:  # fmt: skip
    if not args:
        return default
    if not least <= args[0] <= most:
        raise BindError(
            t.span,
            f"the length of {t.name.upper()} is at least {least} and at most {most}, not {args[0]}",
        )
    return args[0]
