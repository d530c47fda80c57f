"""A DuckDB file that others want to read: opened for each call, and closed again.

DuckDB lets one process write a file or many read it, never both (https://duckdb.org/docs, page
Concurrency). So whoever wants to be read must let go:

    open ─► BEGIN … COMMIT ─► close        other processes open it read-only in between
    busy?  retry for BUSY_TIMEOUT_S, then SinkUnavailable; the controller backs off

With `keep_open` the file stays open, which saves tens of milliseconds a delta and keeps other
processes out for as long as the pipeline runs.

Connections of one process share one DuckDB, which has no lock between them; `DuckDbFile` objects
of one path exclude each other by a lock of their own, so reading a marker and writing under it
are one (reset.md rule 5).

Not here: SQL (`duckdb_table`).
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import duckdb
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from penstock.io.contracts import SinkRejected, SinkUnavailable
from penstock.io.outputs.identifiers import text_literal

BUSY_TIMEOUT_S = 5.0
Connection = duckdb.DuckDBPyConnection
#: bytes 8 to 11 of every DuckDB file
_MAGIC = b"DUCK"


class _Lock:
    """A lock that a weak dictionary can hold."""

    def __init__(self) -> None:
        self.held = threading.RLock()


_locks: WeakValueDictionary[str, _Lock] = WeakValueDictionary()
_locks_guard = threading.Lock()


def run(db: Connection, sql: str, parameters: Sequence[Any] | None = None) -> list[Any]:
    """Execute one statement to its end; its rows."""
    return db.execute(sql, parameters).fetchall()


class DuckDbFile:
    """One file at `path`; its DuckDB may use `memory_limit` (such as '512MB')."""

    def __init__(self, path: Path, memory_limit: str, keep_open: bool) -> None:
        self.path = path
        self._memory_limit = memory_limit
        self._keep_open = keep_open
        #: how the name of a database begins that is not whole yet; it lies beside `path`
        self.new_prefix = f"{path.name}.new-"
        self._db: Connection | None = None
        self._identity: tuple[int, int] | None = None
        with _locks_guard:
            self._lock = _locks.setdefault(os.path.realpath(path), _Lock())

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def check(self) -> None:
        """Raise SinkRejected if there is something at the path that is no DuckDB file."""
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise SinkRejected(f"duckdb_output: the directory '{folder}' does not exist; create it")
        try:
            with self.path.open("rb") as f:
                head = f.read(12)
        except FileNotFoundError:
            return
        except OSError as e:
            raise SinkRejected(f"duckdb_output: '{self.path}': {e.strerror}") from e
        if head and head[8:12] != _MAGIC:
            raise SinkRejected(f"duckdb_output: '{self.path}' is not a DuckDB file")

    @contextmanager
    def opened(self) -> Iterator[Connection]:
        """The file, open for writing, of which nobody else in the world holds a connection but
        readers of this process. SinkUnavailable if others do not let go of it."""
        with self._lock.held:
            db = self._connect()
            try:
                yield db
            except BaseException:
                self.close()
                raise
            finally:
                if not self._keep_open:
                    self.close()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction; whatever is raised rolls it back."""
        with self.opened() as db:
            run(db, "BEGIN TRANSACTION")
            try:
                yield db
                run(db, "COMMIT")
            except BaseException:
                # a COMMIT that failed has ended the transaction already
                with suppress(duckdb.TransactionException):
                    run(db, "ROLLBACK")
                raise

    def reading(self) -> Connection:
        """A connection of the caller's own, beside the sink's; the caller closes it."""
        return self._new_connection()

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None

    def _connect(self) -> Connection:
        if self._db is not None:
            if _identity(self.path) == self._identity:
                return self._db
            self.close()
            raise SinkUnavailable(
                f"duckdb_output: '{self.path}' was removed or replaced; it is opened again"
            )
        self._db = self._new_connection()
        configure(self._db, self._memory_limit)
        self._identity = _identity(self.path)
        return self._db

    def _new_connection(self) -> Connection:
        if not self.exists:
            self._create()
        for attempt in Retrying(
            retry=retry_if_exception_type((duckdb.IOException, duckdb.ConnectionException)),
            stop=stop_after_delay(BUSY_TIMEOUT_S),
            wait=wait_fixed(0.005),
            reraise=True,
        ):
            with attempt:
                return duckdb.connect(str(self.path))
        raise AssertionError("tenacity raises what the last attempt raised")

    def _create(self) -> None:
        """An empty database at `path`, whole from its first instant: DuckDB makes one in several
        writes, and cannot open what a kill leaves between two of them."""
        new = self.path.absolute().with_name(f"{self.new_prefix}{uuid.uuid4().hex[:8]}")
        try:
            duckdb.connect(str(new)).close()
            # a link, as it replaces nothing that somebody else has made meanwhile
            try:
                os.link(new, self.path)
            except FileExistsError:
                pass
            except OSError:
                os.rename(new, self.path)  # a file system without links
        finally:
            new.unlink(missing_ok=True)


def configure(db: Connection, memory_limit: str) -> None:
    """Bound what a DuckDB may use; a snapshot's order of rows means nothing."""
    run(db, f"SET memory_limit = {text_literal(memory_limit)}")
    run(db, "SET preserve_insertion_order = false")


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file: a file of the same name may be another one."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
