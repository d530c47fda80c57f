"""sqlite_output: a view as a table of a SQLite file.

    path           the database file; its directory must exist
    table          the table; created if absent, keyed by the connector's `index` if it has one
    journal_mode   wal (default), delete, truncate or persist

    stage, HELD_BYTES of it at a time ──► __penstock_stage_<table>_<owner>_g<N>
    publish, one transaction ──► <table> replaced by the stage or made equal to it, marker

A table that we made, and that nothing else in the file is about, is replaced: the stage takes its
name. Where it has a definition, an index or a trigger of somebody's, or a view or a foreign key
refers to it, all of that stays: rows that differ are deleted and inserted.

Guarantee: atomic. A reader of the table sees the old rows until the publishing transaction
commits, and the new ones after; a reader of table and marker in one transaction sees which step.
With journal_mode wal readers never wait for the writer. Without an index the table is a multiset:
a row of weight w is there w times.

Every transaction that writes takes the write lock first (BEGIN IMMEDIATE) and then reads the
marker, so fencing and writing are one (reset.md rule 5).

Rows go into the stage sorted by key, as many at a time as memory allows: a snapshot comes in an
order of its own, and each time its rows are put between those that are there, all pages of the
stage are written again.

Cost: staging about 1 µs a row; publishing next to nothing, or the table read once and what differs
written. Memory: three times HELD_BYTES.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from penstock.data.batch import Batch
from penstock.data.gather import concat, slice_batch, take
from penstock.io.contents import Contents
from penstock.io.contracts import (
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkRejected,
    SinkUnavailable,
    StagingLost,
)
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.outputs.changes import by_key, check_keys, copies, keyed_changes
from penstock.io.outputs.column_text import sqlite_cells, sqlite_rows, sqlite_values
from penstock.io.outputs.fencing import (
    LastSeen,
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    staging_of,
)
from penstock.io.outputs.sqlite_reader import SqliteReader
from penstock.io.outputs.sqlite_table import SqliteTable

BUSY_TIMEOUT_S = 10.0
#: a second's work, for which others wait who write to the file
HELD_BYTES = 64 << 20
#: of one statement: rows, which spare calls of SQLite, and values, of which it takes no more
_MOST_ROWS, _MOST_MARKS = 64, 999
_PIECE_ROWS = 10_000
#: results that a retry may mend: busy, locked, I/O, disk full, cannot open, locking protocol
_PASSING = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    )
)


class SqliteSink(Sink):
    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        o = Options.of("sqlite_output", TRANSPORT_ERROR, context.config)
        self._path = Path(o.required_text("path"))
        table = o.required_text("table")
        self._journal_mode = o.choice(
            "journal_mode", "wal", ("wal", "delete", "truncate", "persist")
        )
        if table.lower().startswith(("__penstock_", "sqlite_")):
            raise o.fail("table", f"must not begin as the names of internal tables do: {table!r}")
        o.done()
        owner = (context.pipeline_id, context.view, context.connector)
        short = hashlib.sha256(repr(owner).encode()).hexdigest()[:12]
        self._table = SqliteTable(table, context.schema, context.key, short)
        self._key_text = ", ".join(self._table.key_names)
        self._where = f"table '{table}' of '{self._path}'"
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        #: the file has been written since it was opened, and is in the journal mode asked for
        self._is_ours = False
        self._staging: Staging | None = None
        #: what is staged and not in the file yet
        self._held: list[Batch] = []
        self._last_seen = LastSeen()
        self._writes_diff = False
        self._bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        # only with a write-ahead log can a reader keep its snapshot without holding up the writer
        return Capabilities(
            guarantee="atomic",
            stores_marker=True,
            can_diff=True,
            pins_reads=self._journal_mode == "wal",
        )

    # connecting

    def open(self) -> None:
        self.close()
        folder = self._path.absolute().parent
        if not folder.is_dir():
            raise SinkRejected(f"sqlite_output: the directory '{folder}' does not exist; create it")
        with self._errors("open"):
            self._connect()

    def _connect(self, *, makes_file: bool = False) -> sqlite3.Connection:
        """To the file; to nothing while there is none, as a look must not make it."""
        is_there = makes_file or self._path.exists()
        db = self._db = sqlite3.connect(
            self._path if is_there else ":memory:",
            timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        # a stage takes the table's name whether or not somebody's views are broken
        db.execute("PRAGMA legacy_alter_table = ON")
        db.execute("PRAGMA schema_version")  # reads, and so opens it
        self._file = _identity(self._path) if is_there else None
        return db

    def _prepare(self) -> sqlite3.Connection:
        """The file, which is looked at and is about to be written."""
        db = self._connection()
        if self._is_ours:
            return db
        if self._file is None:
            db.close()
            db = self._connect(makes_file=True)
        (mode,) = db.execute("PRAGMA journal_mode").fetchone()
        if mode != self._journal_mode:
            db.execute(f"PRAGMA journal_mode = {self._journal_mode}")
        self._is_ours = True
        return db

    def validate(self) -> None:
        with self._errors("validate"):
            db = self._connection()
            check_owner(self._table.read_marker(db), self.context, self._where)
            self._table.declared_types(db)
            if self._file is None and not self._may_make():
                raise SinkUnavailable(
                    f"sqlite_output: no file may be made in '{self._path.absolute().parent}'"
                )
            # the write lock shows whether we may write, and is given back at once
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")

    def marker(self) -> Marker | None:
        with self._errors("marker"):
            return self._last_seen.found(self._table.read_marker(self._connection()))

    # a snapshot

    def begin_diff(self, generation: int, token: str, step: int) -> None:
        self.begin(generation, token, step)
        self._writes_diff = True

    def begin(self, generation: int, token: str, step: int) -> None:
        self._writes_diff = False
        with self._writing("begin") as db:
            check_owner(self._table.read_marker(db), self.context, self._where)
            self._drop_stages(db, generation)
            self._table.create_stage(db, generation)
        self._staging, self._held = Staging(generation), []

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        if self._table.key_names:
            check_keys(rows.select(self.context.key), self._key_text)
        rows = copies(rows)
        with self._errors("stage"):
            if not self._table.has_stage(self._connection(), generation):
                raise _lost(generation)
        held = [*self._held, rows]
        if not self._table.key_names or sum(map(_memory, held)) >= HELD_BYTES:
            with self._writing("stage", is_durable=False) as db:
                self._put(db, generation, held)
            held = []
        self._held = held
        staging.took(len(rows))
        self._bytes += _size(rows)

    def _put(self, db: sqlite3.Connection, generation: int, held: Sequence[Batch]) -> None:
        """Rows into the stage."""
        if not held:
            return
        if not self._table.has_stage(db, generation):
            raise _lost(generation)
        rows = by_key(concat(held), self.context.key)
        at_once = min(_MOST_ROWS, max(1, _MOST_MARKS // len(rows.columns)))
        many = self._table.insert_staged(generation, at_once)
        try:
            for start in range(0, len(rows), _PIECE_ROWS):
                cells = sqlite_cells(slice_batch(rows, start, min(len(rows), start + _PIECE_ROWS)))
                size = at_once * len(rows.columns)
                whole = len(cells) // size * size
                db.executemany(many, (cells[at : at + size] for at in range(0, whole, size)))
                if rest := cells[whole:]:
                    last = self._table.insert_staged(generation, len(rest) // len(rows.columns))
                    db.execute(last, rest)
        except sqlite3.IntegrityError as e:
            raise SinkRejected(
                f"index ({self._key_text}) is not unique in the view: a key belongs to "
                "several rows; add columns to the index, or aggregate in the view"
            ) from e

    def publish(self, generation: int, marker: Marker) -> None:
        with self._writing("publish") as db:
            stored = self._table.read_marker(db)
            check_owner(stored, self.context, self._where)
            if check_fence(stored, marker, self._where) and self._staging is None:
                return
            staging_of(self._staging, generation)
            self._put(db, generation, self._held)
            staged = self._table.staged_rows(db, generation)
            if staged is None:
                raise _lost(generation)
            check_complete(generation, staged, marker)
            self._table.create(db)
            if self._writes_diff:
                self._table.mend_from_stage(db, generation)
            else:
                self._table.replace_from_stage(db, generation)
            self._table.drop_stage(db, generation)
            self._table.write_marker(db, marker)
        self._last_seen.saw(marker)
        self._staging, self._held = None, []

    def abort(self, generation: int) -> None:
        self._staging, self._held = None, []
        if self._file is not None:
            with self._writing("abort") as db:
                self._table.drop_stage(db, generation)

    def sweep(self, generation: int) -> None:
        if self._file is not None:
            with self._writing("sweep") as db:
                self._drop_stages(db, generation)

    def _drop_stages(self, db: sqlite3.Connection, generation: int) -> None:
        for older in self._table.stages(db):
            if older <= generation:
                self._table.drop_stage(db, older)

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        with self._writing("apply") as db:
            stored = self._table.read_marker(db)
            check_owner(stored, self.context, self._where)
            self._last_seen.check(stored, self._where)
            if is_applied(stored, marker, self._where):
                return
            self._table.create(db)
            if self._table.key_names:
                self._apply_keyed(db, rows)
            else:
                self._apply_copies(db, rows)
            self._table.write_marker(db, marker)
        self._last_seen.saw(marker)
        self._bytes += _size(rows)

    def _apply_keyed(self, db: sqlite3.Connection, rows: Batch) -> None:
        upserts, deletes = keyed_changes(rows, self.context.key, self._key_text)
        if len(deletes):
            db.executemany(self._table.delete_key, sqlite_rows(deletes))
        if len(upserts):
            db.executemany(self._table.upsert, sqlite_rows(upserts))

    def _apply_copies(self, db: sqlite3.Connection, rows: Batch) -> None:
        gone = take(rows, np.flatnonzero(rows.weights < 0))
        if len(gone):
            columns = [sqlite_values(c) for c in gone.columns]
            counts = (-gone.weights).tolist()
            db.executemany(self._table.delete_copies, zip(*columns, counts, strict=True))
        come = take(rows, np.flatnonzero(rows.weights > 0))
        if len(come):
            db.executemany(self._table.insert, sqlite_rows(copies(come)))

    # reading back

    def read(self) -> Contents:
        with self._errors("read"):
            db = self._connection()
            reader = SqliteReader(self._table, self.context.schema, db)
        return Contents(
            schema=reader.schema,
            key=self.context.key,
            rows=self._guarded(reader.rows()),
            spell=reader.spell,
        )

    def _guarded(self, pieces: Iterator[Batch]) -> Iterator[Batch]:
        with self._errors("read"):
            yield from pieces

    def privileges(self) -> Sequence[str]:
        return (f"write to '{self._path}'", f"write to its directory '{self._path.parent}'")

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """A stage stays in the file; the next `begin` drops it."""
        if self._db is not None:
            self._db.close()
        self._db, self._staging, self._held = None, None, []
        self._is_ours = False

    # transactions and failures

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise SinkUnavailable(f"sqlite_output: '{self._path}' is not open")
        now = _identity(self._path)
        if now is not None and self._file is None:
            # somebody has made it meanwhile
            self._db.close()
            return self._connect()
        if now != self._file:
            raise SinkUnavailable(
                f"sqlite_output: '{self._path}' was removed or replaced; it is opened again"
            )
        return self._db

    @contextmanager
    def _writing(self, call: str, is_durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One write transaction; whatever is raised rolls it back. One that need not be durable
        is on disk, with a write-ahead log, when the next that is durable is."""
        with self._errors(call):
            db = self._prepare()
            mode = "FULL" if is_durable or self._journal_mode != "wal" else "NORMAL"
            db.execute(f"PRAGMA synchronous = {mode}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _may_make(self) -> bool:
        return os.access(self._path.absolute().parent, os.W_OK | os.X_OK)

    def _may_write(self) -> bool:
        """Whether the file may be written for all we know. If SQLite thinks otherwise, it could
        not open a file beside it just now, for want of room say, and reads only."""
        return all(os.access(p, os.W_OK) for p in (self._path, self._path.absolute().parent))

    @contextmanager
    def _errors(self, call: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as e:
            code = getattr(e, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            message = f"sqlite_output: {call} of {self._where}: {e}"
            if code in _PASSING or (code == sqlite3.SQLITE_READONLY and self._may_write()):
                raise SinkUnavailable(message) from e
            if code == sqlite3.SQLITE_ERROR:
                raise  # a statement that SQLite does not understand is our mistake
            raise SinkRejected(message) from e


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file: a file of the same name may be another one."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _lost(generation: int) -> StagingLost:
    return StagingLost(f"the stage of generation {generation} is gone: begin again")


def _memory(rows: Batch) -> int:
    """Bytes, but for those of long texts that rows share."""
    lengths = [c.values[:, 0] & 0xFFFFFFFF for c in rows.columns if c.type.is_view]
    return _size(rows) + rows.weights.nbytes + sum(int(n[n > 12].sum()) for n in lengths)


def _size(rows: Batch) -> int:
    """Bytes of the rows' fixed-width part, which is near what SQLite writes."""
    return sum(c.values.nbytes for c in rows.columns)
