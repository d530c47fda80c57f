"""What DuckDB refuses and the dialect of ad-hoc queries answers, by asking once more.

    SELECT f / 0 …                   floats divide as IEEE 754 says: Infinity, -Infinity, NaN
    SELECT CAST(n AS TIMESTAMP) …    a whole number is seconds since 1970

Each costs a longer query, so it is applied only after DuckDB has said that the query needs it; of
a TRY_CAST it would not say so, but answer NULL, so that one is applied where it is written.
Whole numbers divided by zero stay an error. Source: contract section 5, "Dialect differences".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import duckdb

_FLOAT = "typeof(divide(a, b)) IN ('DOUBLE', 'FLOAT') AND b = 0"
#: the text of a constant takes the type of the division, which an integer's never reaches
_DIVIDE = f"""CREATE MACRO "//"(a, b) AS CASE
    WHEN {_FLOAT} AND (a = 0 OR a::VARCHAR = 'nan') THEN 'NaN'
    WHEN {_FLOAT} AND a > 0 THEN 'Infinity' WHEN {_FLOAT} AND a < 0 THEN '-Infinity'
    ELSE divide(a, b) END"""
_INTEGERS = "'TINYINT','SMALLINT','INTEGER','BIGINT','UTINYINT','USMALLINT','UINTEGER','UBIGINT'"
#: the moment of a whole number in the years 1 to 9999, which are those that can be shown
_MOMENT = """CASE WHEN TRY_CAST(x::VARCHAR AS BIGINT) BETWEEN -62135596800 AND 253402300799
    THEN make_timestamp(1000000 * TRY_CAST(x::VARCHAR AS BIGINT))"""
_SECONDS = f"""CREATE MACRO to_timestamp_seconds(x) AS CASE WHEN typeof(x) IN ({_INTEGERS})
    THEN {_MOMENT} WHEN x IS NOT NULL THEN error('no TIMESTAMP is ' || x || ' seconds after 1970: '
    || 'the years 1 to 9999 are known') END ELSE CAST(x AS TIMESTAMP) END"""
_SECONDS_OR_NULL = f"""CREATE MACRO timestamp_or_null(x) AS CASE WHEN typeof(x) IN ({_INTEGERS})
    THEN {_MOMENT} END ELSE TRY_CAST(x AS TIMESTAMP) END"""

#: prepares a connection and gives the statement to run in place of the one given
Remedy = Callable[[duckdb.DuckDBPyConnection, str], str]


def divided(db: duckdb.DuckDBPyConnection, query: str) -> str:
    db.execute(_DIVIDE.replace("CREATE", "CREATE OR REPLACE", 1))
    return query


def timed(db: duckdb.DuckDBPyConnection, query: str) -> str:
    """Each cast to TIMESTAMP in a SELECT as a call of `to_timestamp_seconds`, or of
    `timestamp_or_null` if it was a TRY_CAST; other statements, of which DuckDB gives no tree, are
    left as they are."""
    for macro in (_SECONDS, _SECONDS_OR_NULL):
        db.execute(macro.replace("CREATE", "CREATE OR REPLACE", 1))
    ((written,),) = db.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(written)
    if tree["error"]:
        return query
    ((model,),) = db.execute(
        "SELECT json_serialize_sql('SELECT to_timestamp_seconds(0)')"
    ).fetchall()
    call = json.loads(model)["statements"][0]["node"]["select_list"][0]
    text = json.dumps(_called(tree, call))
    ((rewritten,),) = db.execute("SELECT json_deserialize_sql(?::JSON)", [text]).fetchall()
    return str(rewritten)


def _called(tree: Any, call: dict[str, Any]) -> Any:
    if isinstance(tree, list):
        return [_called(part, call) for part in tree]
    if not isinstance(tree, dict):
        return tree
    tree = {name: _called(part, call) for name, part in tree.items()}
    wanted = str((tree.get("type_expr") or {}).get("type_name")).upper()
    if tree.get("class") != "CAST" or wanted not in ("TIMESTAMP", "DATETIME"):
        return tree
    if tree.get("try_cast"):
        name = "timestamp_or_null"
        call = {**call, "function_name": name, "qualified_name": {"path": [name]}}
    argument = {**call["arguments"][0], "expression": tree["child"]}
    return {**call, "alias": tree["alias"], "arguments": [argument]}


#: what DuckDB's error says → what helps
_REMEDIES: tuple[tuple[re.Pattern[str], Remedy], ...] = (
    (re.compile("Division by zero"), divided),
    (re.compile(r"Unimplemented type for cast \(U?\w*INT\w* -> TIMESTAMP\)"), timed),
)


#: a query that may cast a whole number so that DuckDB says nothing
_TRIED = re.compile(r"\btry_cast\b.*\b(?:timestamp|datetime)\b", re.IGNORECASE | re.DOTALL)


def foreseen(sql: str) -> list[Remedy]:
    """What helps a query that would go wrong without an error."""
    return [timed] if _TRIED.search(sql) else []


def remedy(error: duckdb.Error) -> Remedy | None:
    """What helps against `error`, None if it stands."""
    return next((cure for says, cure in _REMEDIES if says.search(str(error))), None)
