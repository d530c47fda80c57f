"""Ad-hoc queries: DuckDB over zero-copy Arrow, on a consistent snapshot of the pipeline.

    SQL text ─► which relations? ─► pin all of them between two steps ─► Arrow ─► DuckDB ─► bytes

Only materialized relations can be read: materialized views, tables with a primary key or declared
materialized. A relation's Arrow form is kept until its next change, so that repeated queries pay
for it once. Results in the formats of contract section 5.

DuckDB runs locked down: no files, no network, no extensions; the query sees the relations and
nothing else.

Not here: the views' own SQL (`penstock.sql`); this dialect is DuckDB's.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from penstock.data.arrow import to_arrow
from penstock.errors import UserError
from penstock.pipeline.outputs import SnapshotHandle

ROWS_PER_CHUNK = 10_000

CONTENT_TYPES = {
    "text": "text/plain",
    "json": "application/json",
    "arrow_ipc": "application/octet-stream",
    "parquet": "application/octet-stream",
    "hash": "text/plain",
}


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
        return CONTENT_TYPES[format], _FORMATS[format](self.table(sql))

    def table(self, sql: str) -> pa.Table:
        """The query's answer as an Arrow table."""
        with _connect() as db:
            statements = _parse(db, sql)
            _check(statements, _READING)
            for name, table in self._tables(self._relations(db, statements)).items():
                db.register(name, table)
            try:
                for s in statements[:-1]:
                    db.execute(s).fetchall()
                last = statements[-1]
                if last.type == duckdb.StatementType.SELECT:
                    return db.sql(last.query).to_arrow_table()
                return db.execute(last).to_arrow_table()
            except duckdb.Error as e:
                raise _query_error(str(e)) from e

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
            try:
                mentioned |= {n.strip('"') for n in db.get_table_names(query)}
            except duckdb.Error as e:
                raise _query_error(str(e)) from e
        names = {n if n in self._declared else n.lower() for n in mentioned}
        for name in sorted(names & self._declared - self._readable):
            raise _query_error(
                f"relation '{name}' is not materialized, so there is nothing to read: declare it "
                "CREATE MATERIALIZED VIEW, or WITH ('materialized' = 'true') for a table"
            )
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
        },
    )


def _query_error(text: str) -> UserError:
    return UserError(f"Error during query processing: {text}", code="AdHocQueryError")


def _as_json(table: pa.Table) -> Iterator[bytes]:
    for batch in table.to_batches(max_chunksize=ROWS_PER_CHUNK):
        rows = batch.to_pylist(maps_as_pydicts="strict")
        lines = (orjson.dumps(row, _plain, orjson.OPT_NON_STR_KEYS) for row in rows)
        yield b"".join(line + b"\n" for line in lines)


def _plain(value: object) -> object:
    if isinstance(value, decimal.Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, datetime.timedelta):
        return str(value)
    if isinstance(value, int):  # wider than 64 bits
        return orjson.Fragment(str(value))
    return str(value)


def _as_text(table: pa.Table) -> Iterator[bytes]:
    """A grid as psql draws it; widths come from the whole result."""
    header = list(table.column_names)
    rows = [["" if v is None else _text(v) for v in row.values()] for row in table.to_pylist()]
    widths = [
        max([len(header[i]), *(len(r[i]) for r in rows)], default=0) for i in range(len(header))
    ]
    rule = "+" + "+".join("-" * (w + 2) for w in widths) + "+\n"

    def line(cells: list[str]) -> str:
        return "|" + "|".join(f" {c:<{w}} " for c, w in zip(cells, widths, strict=True)) + "|\n"

    yield (rule + line(header) + rule).encode()
    for at in range(0, len(rows), ROWS_PER_CHUNK):
        yield "".join(line(r) for r in rows[at : at + ROWS_PER_CHUNK]).encode()
    yield rule.encode()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _as_arrow(table: pa.Table) -> Iterator[bytes]:
    sink = io.BytesIO()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=ROWS_PER_CHUNK):
            writer.write_batch(batch)
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    yield sink.getvalue()


def _as_parquet(table: pa.Table) -> Iterator[bytes]:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink, compression="snappy")
    yield sink.getvalue()


def _as_hash(table: pa.Table) -> Iterator[bytes]:
    """SHA-256 over the sorted rows, so that order does not matter."""
    rows = sorted(orjson.dumps(list(r.values()), default=_plain) for r in table.to_pylist())
    yield hashlib.sha256(b"\n".join(rows)).hexdigest().upper().encode()


_FORMATS: dict[str, Callable[[pa.Table], Iterator[bytes]]] = {
    "text": _as_text,
    "json": _as_json,
    "arrow_ipc": _as_arrow,
    "parquet": _as_parquet,
    "hash": _as_hash,
}
