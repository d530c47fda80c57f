"""Functions of ad-hoc SQL that DuckDB lacks, as macros: what clients of the dialect call.

    json_get(json, key, …)          the value there, as JSON; keys are names, or indexes from 0
    json_get_str | _int | _float | _bool | _json(json, key, …)      that value, NULL of another type
    json_as_text(json, key, …)      any value as text, NULL for JSON's null
    json_contains(json, key, …)     whether there is a value
    json_length(json, key, …)       of an array or object          json_object_keys(json, key, …)
    struct(value, …)                fields c0, c1, …
    make_array(value, …)            regexp_like(text, pattern[, flags])      approx_distinct(value)
    nvl, btrim, signum, to_date, date_bin, from_unixtime, to_unixtime, to_timestamp_millis, _micros

A VARIANT is the text of its JSON here. Source: contract section 5, "Dialect differences".
Cost: about a millisecond for each function that a query mentions.
"""

from __future__ import annotations

import re

import duckdb

_MAX_KEYS, _MAX_FIELDS = 6, 12

#: name → the value for `{x}`, which is at the path
_AT_PATH = {
    "json_get": "{x}::VARCHAR",
    "json_get_json": "{x}::VARCHAR",
    "json_get_str": "CASE json_type({x}) WHEN 'VARCHAR' THEN {x} ->> '$' END",
    "json_get_int": "CASE WHEN json_type({x}) IN ('BIGINT', 'UBIGINT') "
    "THEN TRY_CAST({x} ->> '$' AS BIGINT) END",
    "json_get_float": "CASE WHEN json_type({x}) IN ('BIGINT', 'UBIGINT', 'DOUBLE') "
    "THEN CAST({x} ->> '$' AS DOUBLE) END",
    "json_get_bool": "CASE json_type({x}) WHEN 'BOOLEAN' THEN {x} ->> '$' = 'true' END",
    "json_as_text": "CASE WHEN json_type({x}) <> 'NULL' THEN {x} ->> '$' END",
    "json_contains": "CASE WHEN j IS NOT NULL THEN {x} IS NOT NULL END",
    "json_length": "CASE json_type({x}) WHEN 'ARRAY' THEN json_array_length({x}) "
    "WHEN 'OBJECT' THEN len(json_keys({x})) END",
    "json_object_keys": "CASE json_type({x}) WHEN 'OBJECT' THEN json_keys({x}) END",
}


def _by_arity(body: str) -> str:
    arities = []
    for n in range(_MAX_KEYS + 1):
        keys = [f"k{i}" for i in range(n)]
        path = "".join(f" -> {k}" for k in keys)
        arities.append(f"({', '.join(['j', *keys])}) AS {body.format(x=f'(j::JSON{path})')}")
    return ", ".join(arities)


def _structs() -> str:
    arities = []
    for n in range(1, _MAX_FIELDS + 1):
        names = [f"c{i}" for i in range(n)]
        fields = ", ".join(f"'{c}': {c}" for c in names)
        arities.append(f"({', '.join(names)}) AS {{{fields}}}")
    return ", ".join(arities)


def _arrays() -> str:
    names = [f"c{i}" for i in range(_MAX_FIELDS)]
    lists = [", ".join(names[:n]) for n in range(_MAX_FIELDS + 1)]
    return ", ".join(f"({c}) AS [{c}]" for c in lists)


_MACROS = {
    **{name: _by_arity(body) for name, body in _AT_PATH.items()},
    "struct": _structs(),
    "regexp_like": "(s, pattern) AS regexp_matches(s, pattern), "
    "(s, pattern, flags) AS regexp_matches(s, pattern, flags)",
    "make_array": _arrays(),
    "nvl": "(x, y) AS coalesce(x, y)",
    "btrim": "(s) AS trim(s), (s, characters) AS trim(s, characters)",
    "signum": "(x) AS sign(x)",
    "from_unixtime": "(x) AS make_timestamp(x * 1000000)",
    "to_unixtime": "(x) AS CAST(floor(epoch(x)) AS BIGINT)",
    "to_timestamp_millis": "(x) AS make_timestamp(x * 1000)",
    "to_timestamp_micros": "(x) AS make_timestamp(x)",
    "to_date": "(x) AS CAST(x AS DATE)",
    "date_bin": "(width, x) AS time_bucket(width, x), "
    "(width, x, origin) AS time_bucket(width, x, origin)",
    "approx_distinct": "(x) AS approx_count_distinct(x)",
}
_CALLED = re.compile(rf"\b({'|'.join(_MACROS)})\s*\(", re.IGNORECASE)


def define(db: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Defines the functions that `sql` mentions."""
    for name in sorted({m.lower() for m in _CALLED.findall(sql)}):
        db.execute(f"CREATE MACRO {name}{_MACROS[name]}")
