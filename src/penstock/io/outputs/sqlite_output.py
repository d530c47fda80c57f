"""A table in an SQLite file, equal to a view: keyed by an index, or a multiset of whole rows.

    begin/stage   rows → __penstock_stage_<connector>_g<N>, one transaction a chunk
    publish       one transaction:  keyed     delete keys that were not staged, upsert what differs
                                    keyless   delete all, insert what was staged
                  + marker row, drop the stage

Guarantee: atomic. In WAL mode (the default) readers keep reading the old contents until the
publishing transaction commits, and are never blocked by it. The table itself is never dropped, so
its indexes, triggers and the views over it stay.

Values: integers and floats as such, BOOLEAN 0/1, DECIMAL and UUID as exact text, dates and times
as ISO text (`column_text`).

A delta that deletes a row which is not there does nothing: somebody removed it by hand, and a
reset repairs that. Config: `path`, `table`, `journal_mode` ("wal").

Cost: staging and publishing O(rows of the view) plus an index look-up a row; a delta O(its rows).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from penstock.data.batch import Batch
from penstock.data.gather import take
from penstock.data.types import BINARIES, FLOATS, INTEGERS, Field, Kind
from penstock.errors import UserError
from penstock.io.contracts import (
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkRejected,
    SinkUnavailable,
)
from penstock.io.outputs.changes import check_keys, copies, keyed_changes
from penstock.io.outputs.column_text import sqlite_rows
from penstock.io.outputs.fencing import (
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    staging_of,
)

MARKERS = "__penstock_marker"
BUSY_S = 10.0
_MARKER_COLUMNS = (
    "pipeline_id", "view", "connector", "generation", "token", "phase", "step", "rows",
    "schema_hash", "digest",
)  # fmt: skip
_CREATE_MARKERS = f"""
CREATE TABLE IF NOT EXISTS {MARKERS} (
    "table" TEXT PRIMARY KEY, pipeline_id TEXT NOT NULL, "view" TEXT NOT NULL,
    connector TEXT NOT NULL, generation INTEGER NOT NULL, token TEXT NOT NULL, phase TEXT NOT NULL,
    step INTEGER NOT NULL, rows INTEGER NOT NULL, schema_hash TEXT NOT NULL, digest TEXT NOT NULL
)"""
_OPTIONS = frozenset(("path", "table", "journal_mode"))


class SqliteSink(Sink):
    """See the module. One connection, used by one thread."""

    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        self._path = Path(_text(context, "path"))
        self._table = _text(context, "table")
        self._journal_mode = str(context.config.get("journal_mode", "wal"))
        for option in context.config:
            if option not in _OPTIONS:
                raise UserError(
                    f"sqlite_output has no option '{option}': it takes {', '.join(sorted(_OPTIONS))}",
                    code="ConfigError.InvalidTransportConfig",
                )
        fields = context.schema.fields
        self._columns = [quoted(f.name) for f in fields]
        self._keys = [self._columns[i] for i in context.key]
        slug = re.sub(r"\W", "_", f"{context.view}_{context.connector}")
        self._stage_prefix = f"__penstock_stage_{slug}_g"
        self._db: sqlite3.Connection | None = None
        self._staging: Staging | None = None
        self._bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="atomic", stores_marker=True)

    @property
    def _target(self) -> str:
        return f"table '{self._table}' in {self._path}"

    def open(self) -> None:
        self.close()
        if not self._path.parent.is_dir():
            raise SinkRejected(f"directory {self._path.parent} does not exist: create it")
        try:
            self._db = sqlite3.connect(
                self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._db.execute(f"PRAGMA journal_mode = {self._journal_mode}")
            self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as e:
            raise self._translated(e) from e

    def validate(self) -> None:
        with self._errors() as db:
            existing = list(db.execute("SELECT name, pk FROM pragma_table_info(?)", [self._table]))
            kind = db.execute("SELECT type FROM sqlite_master WHERE name = ?", [self._table])
            found = kind.fetchone()
        check_owner(self.marker(), self.context, self._target)
        if found is None:
            return
        if found[0] != "table":
            raise SinkRejected(f"'{self._table}' in {self._path} is a {found[0]}, not a table")
        wanted = [f.name for f in self.context.schema.fields]
        names = [name for name, _ in existing]
        missing = [n for n in wanted if n not in names]
        extra = [n for n in names if n not in wanted]
        if missing or extra:
            raise SinkRejected(
                f"{self._target} has another shape than view '{self.context.view}': "
                f"missing columns {missing or 'none'}, extra columns {extra or 'none'}; rename or "
                "drop the table, or name another one"
            )
        key = [name for name, pk in sorted(existing, key=lambda r: r[1]) if pk]
        if self._keys and sorted(key) != sorted(wanted[i] for i in self.context.key):
            raise SinkRejected(
                f"the primary key of {self._target} is {key or 'missing'}, but the connector's "
                f"index is on {[wanted[i] for i in self.context.key]}"
            )

    def marker(self) -> Marker | None:
        with self._errors() as db:
            if not self._has_table(MARKERS):
                return None
            columns = ", ".join(map(quoted, _MARKER_COLUMNS))
            query = f'SELECT {columns} FROM {MARKERS} WHERE "table" = ?'
            row = db.execute(query, [self._table]).fetchone()
        if row is None:
            return None
        fields = dict(zip(_MARKER_COLUMNS, row, strict=True))
        return Marker(**{**fields, "digest": int(fields["digest"])})

    # snapshot

    def begin(self, generation: int, token: str, step: int) -> None:
        stage = self._stage(generation)
        with self._transaction() as db:
            for (name,) in db.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall():
                suffix = name.removeprefix(self._stage_prefix)
                if suffix != name and suffix.isdigit() and int(suffix) <= generation:
                    db.execute(f"DROP TABLE {quoted(name)}")
            db.execute(self._create(stage))
        self._staging = Staging(generation)

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        if self._keys:
            check_keys(rows.select(self.context.key), "of this connector")
        else:
            rows = copies(rows)
        with self._transaction() as db:
            try:
                db.executemany(self._insert(self._stage(generation)), self._bound(rows))
            except sqlite3.IntegrityError as e:
                raise SinkRejected(
                    f"the index of connector '{self.context.connector}' is not unique in view "
                    f"'{self.context.view}' ({e}): add columns to it, or aggregate in the view"
                ) from e
        staging.took(int(rows.weights.sum()))

    def publish(self, generation: int, marker: Marker) -> None:
        stage = self._stage(generation)
        with self._transaction() as db:
            stored = self.marker()
            check_owner(stored, self.context, self._target)
            if check_fence(stored, marker, self._target) and self._staging is None:
                return
            check_complete(generation, staging_of(self._staging, generation).rows, marker)
            db.execute(self._create(self._table, if_absent=True))
            if self._keys:
                self._merge(db, stage)
            else:
                self._index_rows(db)
                listed = ", ".join(self._columns)
                db.execute(f"DELETE FROM {quoted(self._table)}")
                db.execute(
                    f"INSERT INTO {quoted(self._table)} ({listed}) SELECT {listed} FROM {quoted(stage)}"
                )
            self._write_marker(db, marker)
            db.execute(f"DROP TABLE {quoted(stage)}")
        self._staging = None

    def _merge(self, db: sqlite3.Connection, stage: str) -> None:
        """Delete the keys that were not staged, upsert the rows that differ."""
        table, source = quoted(self._table), quoted(stage)
        same_key = " AND ".join(f"s.{k} = t.{k}" for k in self._keys)
        # the alias of DELETE must be the table's own name in older SQLite
        same_key_del = " AND ".join(f"s.{k} = {table}.{k}" for k in self._keys)
        db.execute(
            f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM {source} s WHERE {same_key_del})"
        )
        listed = ", ".join(self._columns)
        picked = ", ".join(f"s.{c}" for c in self._columns)
        equal = " AND ".join(f"s.{c} IS t.{c}" for c in self._columns)
        db.execute(
            f"INSERT OR REPLACE INTO {table} ({listed}) SELECT {picked} FROM {source} s "
            f"LEFT JOIN {table} t ON {same_key} WHERE NOT ({equal})"
        )

    def abort(self, generation: int) -> None:
        with self._transaction() as db:
            db.execute(f"DROP TABLE IF EXISTS {quoted(self._stage(generation))}")
        self._staging = None

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        with self._transaction() as db:
            if is_applied(self.marker(), marker, self._target):
                return
            check_owner(self.marker(), self.context, self._target)
            db.execute(self._create(self._table, if_absent=True))
            if self._keys:
                self._apply_keyed(db, rows)
            else:
                self._apply_whole(db, rows)
            self._write_marker(db, marker)

    def _apply_keyed(self, db: sqlite3.Connection, rows: Batch) -> None:
        upserts, deletes = keyed_changes(rows, self.context.key, "of this connector")
        table = quoted(self._table)
        if len(deletes):
            by_key = " AND ".join(f"{k} = ?" for k in self._keys)
            db.executemany(f"DELETE FROM {table} WHERE {by_key}", self._bound(deletes))
        if len(upserts):
            db.executemany(self._insert(self._table), self._bound(upserts))

    def _apply_whole(self, db: sqlite3.Connection, rows: Batch) -> None:
        self._index_rows(db)
        table = quoted(self._table)
        gone = take(rows, np.flatnonzero(rows.weights < 0))
        if len(gone):
            same = " AND ".join(f"{c} IS ?" for c in self._columns)
            bound = self._bound(gone)
            numbered = [(*r, n) for r, n in zip(bound, (-gone.weights).tolist(), strict=True)]
            db.executemany(
                f"DELETE FROM {table} WHERE rowid IN "
                f"(SELECT rowid FROM {table} WHERE {same} LIMIT ?)",
                numbered,
            )
        new = take(rows, np.flatnonzero(rows.weights > 0))
        if len(new):
            db.executemany(self._insert(self._table), self._bound(copies(new)))

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        self._staging = None

    # SQL

    def _stage(self, generation: int) -> str:
        return f"{self._stage_prefix}{generation}"

    def _create(self, table: str, *, if_absent: bool = False) -> str:
        columns = [f"{quoted(f.name)} {_affinity(f)}" for f in self.context.schema.fields]
        if self._keys:
            columns.append(f"PRIMARY KEY ({', '.join(self._keys)})")
        absent = "IF NOT EXISTS " if if_absent else ""
        return f"CREATE TABLE {absent}{quoted(table)} ({', '.join(columns)})"

    def _index_rows(self, db: sqlite3.Connection) -> None:
        """Find a row by all its columns without reading the table."""
        name = quoted(f"__penstock_rows_{self._table}")
        db.execute(
            f"CREATE INDEX IF NOT EXISTS {name} ON {quoted(self._table)} ({', '.join(self._columns)})"
        )

    def _insert(self, table: str) -> str:
        marks = ", ".join("?" * len(self._columns))
        verb = "INSERT OR REPLACE" if self._keys and table == self._table else "INSERT"
        return f"{verb} INTO {quoted(table)} ({', '.join(self._columns)}) VALUES ({marks})"

    def _bound(self, rows: Batch) -> list[tuple[Any, ...]]:
        bound = sqlite_rows(rows)
        self._bytes += sum(c.values.nbytes for c in rows.columns)
        return bound

    def _has_table(self, name: str) -> bool:
        assert self._db is not None
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self._db.execute(query, [name]).fetchone() is not None

    def _write_marker(self, db: sqlite3.Connection, marker: Marker) -> None:
        db.execute(_CREATE_MARKERS)
        values = [getattr(marker, c) for c in _MARKER_COLUMNS[:-1]] + [str(marker.digest)]
        marks = ", ".join("?" * (len(values) + 1))
        columns = ", ".join(map(quoted, ("table", *_MARKER_COLUMNS)))
        db.execute(
            f"INSERT OR REPLACE INTO {MARKERS} ({columns}) VALUES ({marks})", [self._table, *values]
        )

    @contextmanager
    def _errors(self) -> Iterator[sqlite3.Connection]:
        """sqlite3's errors as ours."""
        if self._db is None:
            raise SinkUnavailable(f"{self._target} is not open")
        try:
            yield self._db
        except sqlite3.Error as e:
            raise self._translated(e) from e

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; takes the write lock at once, so that what is read stays true."""
        with self._errors() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _translated(self, e: sqlite3.Error) -> UserError | SinkUnavailable:
        text = str(e)
        if isinstance(e, sqlite3.OperationalError) and "readonly" in text:
            return SinkRejected(f"{self._target} is read-only: {text}")
        if isinstance(e, sqlite3.DatabaseError) and "not a database" in text:
            return SinkRejected(f"{self._path} is not an SQLite database")
        return SinkUnavailable(f"{self._target}: {text}")


def quoted(identifier: str) -> str:
    """An identifier as SQL text, whatever characters it has."""
    return '"' + identifier.replace('"', '""') + '"'


def _affinity(f: Field) -> str:
    kind = f.type.kind
    if (kind in INTEGERS and kind is not Kind.UINT64) or kind is Kind.BOOLEAN:
        return "INTEGER"
    if kind in (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG):
        return "INTEGER"
    if kind in FLOATS:
        return "REAL"
    return "BLOB" if kind in BINARIES else "TEXT"


def _text(context: SinkContext, option: str) -> str:
    value = context.config.get(option)
    if not isinstance(value, str) or not value:
        raise UserError(
            f"connector '{context.connector}': sqlite_output needs '{option}' (a string)",
            code="ConfigError.InvalidTransportConfig",
        )
    return value
