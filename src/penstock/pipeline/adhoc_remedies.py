"""What DuckDB refuses and the dialect of ad-hoc queries answers, by asking once more.

    SELECT f / 0 …                   floats divide as IEEE 754 says: Infinity, -Infinity, NaN
    SELECT CAST(n AS TIMESTAMP) …    a whole number is seconds since 1970

Each costs a longer query, so it is applied only after DuckDB has said that the query needs it.
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
_SECONDS = f"""CREATE MACRO to_timestamp_seconds(x) AS CASE WHEN typeof(x) IN ({_INTEGERS})
    THEN make_timestamp(TRY_CAST(x::VARCHAR AS BIGINT) * 1000000) ELSE CAST(x AS TIMESTAMP) END"""

#: prepares a connection and gives the statement to run in place of the one given
Remedy = Callable[[duckdb.DuckDBPyConnection, str], str]


def divided(db: duckdb.DuckDBPyConnection, query: str) -> str:
    db.execute(_DIVIDE.replace("CREATE", "CREATE OR REPLACE", 1))
    return query


def timed(db: duckdb.DuckDBPyConnection, query: str) -> str:
    """Each cast to TIMESTAMP in a SELECT as a call of `to_timestamp_seconds`; other statements, of
    which DuckDB gives no tree, are left as they are."""
    db.execute(_SECONDS.replace("CREATE", "CREATE OR REPLACE", 1))
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
    is_timestamp = (tree.get("type_expr") or {}).get("type_name") == "TIMESTAMP"
    if tree.get("class") != "CAST" or not is_timestamp or tree.get("try_cast"):
        return tree
    argument = {**call["arguments"][0], "expression": tree["child"]}
    return {**call, "alias": tree["alias"], "arguments": [argument]}


#: what DuckDB's error says → what helps
_REMEDIES: tuple[tuple[re.Pattern[str], Remedy], ...] = (
    (re.compile("Division by zero"), divided),
    (re.compile(r"Unimplemented type for cast \(U?\w*INT\w* -> TIMESTAMP\)"), timed),
)


def remedy(error: duckdb.Error) -> Remedy | None:
    """What helps against `error`, None if it stands."""
    return next((cure for says, cure in _REMEDIES if says.search(str(error))), None)
