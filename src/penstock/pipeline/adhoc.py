"""Ad-hoc queries: DuckDB over zero-copy Arrow, on a consistent snapshot of the pipeline.

    SQL text ─► which relations? ─► pin all of them between two steps ─► Arrow ─► DuckDB ─► bytes

Only materialized relations can be read: materialized views, tables with a primary key or declared
materialized. A relation's Arrow form is kept until its next change, so that repeated queries pay
for it once. Results in the formats of contract section 5.

DuckDB runs locked down: no files, no network, no extensions; the query sees the relations and
nothing else.

Whole numbers divide to whole numbers and NULL sorts as the largest value, as in the engine whose
place DuckDB takes here (contract section 5).

Not here: the views' own SQL (`penstock.sql`); this dialect is DuckDB's, with the functions of
`adhoc_functions`, and what it would have answered where DuckDB refuses (`adhoc_remedies`).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from penstock.data.arrow import to_arrow
from penstock.errors import UserError
from penstock.pipeline.adhoc_formats import CONTENT_TYPES, FORMATS
from penstock.pipeline.adhoc_functions import define
from penstock.pipeline.adhoc_remedies import Remedy, foreseen, remedy
from penstock.pipeline.outputs import SnapshotHandle


@dataclass(frozen=True, slots=True)
class _Kept:
    step: int
    table: pa.Table


class AdHoc:
    """Runs queries against the snapshots that `pin` hands out. Thread-safe."""

    def __init__(
        self,
        readable: frozenset[str],
        declared: frozenset[str],
        pin: Callable[[frozenset[str]], tuple[int, Mapping[str, SnapshotHandle]]],
    ) -> None:
        """`readable`: materialized relations; `declared`: all relations of the program.
        `pin(names)` returns the step and one snapshot per name, all of that step."""
        self._readable, self._declared, self._pin = readable, declared, pin
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def query(self, sql: str, format: str) -> tuple[str, Iterator[bytes]]:
        """(content type, body). Raises UserError AdHocQueryError before the first byte."""
        if format not in CONTENT_TYPES:
            raise UserError(
                f"unknown query format '{format}': expected one of {', '.join(CONTENT_TYPES)}"
            )
        return CONTENT_TYPES[format], FORMATS[format](self.table(sql))

    def table(self, sql: str) -> pa.Table:
        """The query's answer as an Arrow table. Raises UserError AdHocQueryError."""
        cures = foreseen(sql)
        while True:
            try:
                return self._answer(sql, cures)
            except duckdb.Error as e:
                cure = remedy(e)
                if cure is None or cure in cures:
                    raise self._refusal(e) from e
                cures.append(cure)

    def _answer(self, sql: str, cures: Sequence[Remedy]) -> pa.Table:
        """The answer with what the query was found to need. Raises duckdb.Error, UserError."""
        with _connect() as db:
            statements = _parse(db, sql)
            _check(statements, _READING)
            define(db, sql)
            for name, table in self._tables(self._relations(db, statements)).items():
                db.register(name, table)
            texts = [s.query for s in statements]
            for cure in cures:
                texts = [cure(db, text) for text in texts]
            for text in texts[:-1]:
                db.execute(text).fetchall()
            return _named(db.sql(texts[-1]).to_arrow_table())

    def _refusal(self, error: duckdb.Error) -> UserError:
        """What DuckDB says, except that it knows nothing of relations the query does not name."""
        missing = _NO_TABLE.search(str(error))
        if missing is None:
            return _query_error(_SETTING.sub("", str(error)).rstrip())
        name, known = missing["name"], sorted(self._declared)
        close = get_close_matches(name.lower(), known, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        there = f" (there are: {', '.join(known)})" if known else ""
        return _query_error(f"there is no table or view '{name}'{meant}{there}")

    def statements(self, sql: str) -> list[str]:
        """The statements of `sql`, one text each, in order. Raises AdHocQueryError if one of them
        neither reads nor inserts, so that nothing is inserted before that is known."""
        with _connect() as db:
            statements = _parse(db, sql)
        _check(statements, _READING | {duckdb.StatementType.INSERT})
        return [str(s.query) for s in statements]

    def _relations(
        self, db: duckdb.DuckDBPyConnection, statements: list[duckdb.Statement]
    ) -> frozenset[str]:
        mentioned: set[str] = set()
        for s in statements:
            if s.type == duckdb.StatementType.EXECUTE:
                continue  # reads what its PREPARE mentions
            query = _WRAPPING.sub("", s.query, count=1)
            if s.type == duckdb.StatementType.PREPARE:
                query = _PARAMETER.sub("NULL", query)
            mentioned |= _mentioned(db, query)
        names = {n if n in self._declared else n.lower() for n in mentioned}
        for name in sorted(names & self._declared - self._readable):
            raise _query_error(
                f"relation '{name}' is not materialized, so there is nothing to read: declare it "
                "CREATE MATERIALIZED VIEW, or WITH ('materialized' = 'true') for a table"
            )
        if any(_CATALOG.search(s.query) for s in statements):
            return self._readable
        return frozenset(names & self._readable)

    def _tables(self, names: frozenset[str]) -> dict[str, pa.Table]:
        step, snapshots = self._pin(names)
        tables: dict[str, pa.Table] = {}
        for name, snapshot in snapshots.items():
            with self._lock:
                kept = self._kept.get(name)
            if kept is None or kept.step != step:
                kept = _Kept(step, repeated(to_arrow(snapshot.batch()), snapshot.batch().weights))
                with self._lock:
                    self._kept[name] = kept
            tables[name] = kept.table
        return tables


def _mentioned(db: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    """The relations that a query names. DuckDB finds them by binding it without them, which goes
    wrong where columns matter (USING, NATURAL, UNNEST of a column): its parse tree has them too."""
    try:
        return {n.strip('"') for n in db.get_table_names(query)}
    except duckdb.BinderException:
        ((text,),) = db.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        tables: set[str] = set()
        for part in _parts(json.loads(text)):
            if part.get("type") == "BASE_TABLE":
                tables.add(str(part["table_name"]))
        return tables
    except duckdb.Error as e:
        raise _query_error(str(e)) from e


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _parts(part)


def _named(answer: pa.Table) -> pa.Table:
    """COUNT(*) without an alias goes by that name, as clients of the dialect expect, and TRY_CAST
    by its own, whatever answers it."""
    names = [name.replace("count_star()", "count(*)") for name in answer.column_names]
    return answer.rename_columns([_TRIED.sub(r"TRY_CAST(\1 AS TIMESTAMP)", n) for n in names])


def repeated(rows: pa.RecordBatch, weights: object) -> pa.Table:
    """Each row as often as its weight says (ad-hoc SQL sees multisets as repeated rows)."""
    table = pa.Table.from_batches([rows])
    counts = np.asarray(weights)
    if counts.size == 0 or (counts == 1).all():
        return table
    return table.take(pa.array(np.repeat(np.arange(len(counts)), counts)))


_READING = {
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.PREPARE,
    duckdb.StatementType.EXECUTE,
}


# What stands around the query of an EXPLAIN or a PREPARE.
_WRAPPING = re.compile(
    r"""(?:\s|--[^\n]*\n|/\*.*?\*/)*
        (?:explain\s+(?:analyze\s+)?|prepare\s+\S+?\s*(?:\([^()]*\)\s*)?\s+as\s+)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


# Statements about relations that they do not name.
_CATALOG = re.compile(
    r"^\s*show\s+(?:all\s+)?tables|\binformation_schema\.|\bduckdb_(?:tables|columns|views)\b",
    re.IGNORECASE,
)

_NO_TABLE = re.compile(r"Table with name (?P<name>.+?) does not exist!")

# Advice that a query cannot follow: SET is not allowed in one.
_SETTING = re.compile(r""", or SET \w+=\w+ to [^.]*|\s*Use "SET [^"]*" to [^.]*\.""")

_TRIED = re.compile(r"\btimestamp_or_null\(([^()]*)\)")

_PARAMETER = re.compile(r"\$\w+|\?")


def _parse(db: duckdb.DuckDBPyConnection, sql: str) -> list[duckdb.Statement]:
    try:
        return db.extract_statements(sql)
    except duckdb.Error as e:
        raise _query_error(str(e)) from e


def _check(statements: list[duckdb.Statement], allowed: set[duckdb.StatementType]) -> None:
    if not statements:
        raise _query_error("the query is empty")
    for s in statements:
        if s.type == duckdb.StatementType.INSERT and s.type not in allowed:
            raise _query_error(
                "this form of INSERT is not supported: write INSERT INTO table [(columns)] VALUES "
                "… or INSERT INTO table [(columns)] SELECT …"
            )
        if s.type not in allowed:
            raise _query_error(
                f"{s.type.name} is not allowed in an ad-hoc query: SELECT reads materialized "
                "relations, INSERT INTO adds rows to a table"
            )


def _connect() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": "false",
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
            "lock_configuration": "true",
            "threads": "1",
            "integer_division": "true",
            "default_null_order": "nulls_last_on_asc_first_on_desc",
        },
    )


def _query_error(text: str) -> UserError:
    return UserError(f"Error during query processing: {text}", code="AdHocQueryError")
