"""The durable record of resets: tokens, generations, and how each ended.

One SQLite file in the pipeline's storage directory. A reset is written here before anything
touches its sink (spec/reset.md section 3, rule 1), and its outcome after the sink has published,
so that `reset_status` answers truthfully after a restart.

    accepted ──► done | failed | cancelled    superseded: a later generation of the same endpoint
        └──────► superseded ──► the same      was accepted; it ends as that one does (rule 8)

Generations of an endpoint only grow. Progress (rows staged) is not kept here: it is the live
endpoint's to tell, and starts again with it.

A caller may name its reset (`reset_id`): the same name for the same endpoint is the same reset,
whatever became of it, so that a call whose answer was lost can be repeated.

Of an HTTP subscription, whose name no other one gets, only the resets that somebody asked for stay
once it has ended.

Not here: what a reset does (`pipeline.delivery`).
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from penstock.errors import CorruptState, TransientError

SCHEMA = """
CREATE TABLE IF NOT EXISTS reset (
    token TEXT PRIMARY KEY, endpoint TEXT NOT NULL, generation INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, step INTEGER, rows INTEGER, error TEXT,
    accepted_at REAL NOT NULL, finished_at REAL, mode TEXT NOT NULL DEFAULT 'replace',
    reset_id TEXT, attempt INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS generation (endpoint TEXT PRIMARY KEY, last INTEGER NOT NULL);
"""
#: columns that a log written by an earlier version may lack
ADDED = {
    "mode": "TEXT NOT NULL DEFAULT 'replace'",
    "reset_id": "TEXT",
    "attempt": "INTEGER NOT NULL DEFAULT 0",
    "bytes": "INTEGER NOT NULL DEFAULT 0",
}
_TOKEN = re.compile("[0-9a-f]{32}")
#: names of subscriptions, `<relation>.api-<uuid>`, as SQLite's GLOB has it
SUBSCRIPTIONS = "*.api-????????-????-????-????-????????????"
INDEX = "CREATE UNIQUE INDEX IF NOT EXISTS reset_by_id ON reset (endpoint, reset_id)"


@dataclass(frozen=True, slots=True)
class ResetRecord:
    """One accepted reset. `state`: accepted, superseded, done, failed or cancelled; times in
    epoch seconds; `step` and `rows` of the published snapshot once it is done; `mode`: replace
    or diff; `reset_id`: the caller's name for it, if it gave one; `attempt` and `bytes`: which
    attempt it was that got through, and what that wrote, as well as the sink knows."""

    token: str
    endpoint: str
    generation: int
    state: str
    reason: str
    step: int | None
    rows: int | None
    error: str | None
    accepted_at: float
    finished_at: float | None
    mode: str
    reset_id: str | None
    attempt: int = 0
    bytes: int = 0

    @property
    def is_pending(self) -> bool:
        return self.state == "accepted"


COLUMNS = ", ".join(f.name for f in fields(ResetRecord))


class ResetLog:
    """The record of one pipeline's resets. Every method is thread-safe and durable on return; one
    that cannot write raises TransientError, and then nothing has changed."""

    def __init__(self, storage_dir: Path | None) -> None:
        """Open the log in `storage_dir`; None keeps it in memory (a pipeline without storage).
        Raises CorruptState if the file is damaged."""
        where = ":memory:" if storage_dir is None else str(storage_dir / "resets.sqlite")
        self._lock = threading.Lock()
        self._db = sqlite3.connect(where, check_same_thread=False, isolation_level=None)
        try:
            self._open()
        except sqlite3.DatabaseError as e:
            self._db.close()
            if type(e) is not sqlite3.DatabaseError:
                raise  # OperationalError and others are about the disk, not about what is on it
            raise CorruptState(
                f"the record of resets {where} is damaged ({e}): restore it from a backup of the "
                "whole storage, or clear the pipeline's storage to start from nothing",
                details={"file": where},
            ) from e

    def _open(self) -> None:
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found.splitlines()[-1])
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)
        has = {name for _, name, *_ in self._db.execute("PRAGMA table_info(reset)")}
        for column, declared in ADDED.items():
            if column not in has:
                self._db.execute(f"ALTER TABLE reset ADD COLUMN {column} {declared}")
        self._db.execute(INDEX)
        self._is_open = True
        self._forget("GLOB", SUBSCRIPTIONS)  # of a process that died

    def accept(
        self,
        endpoint: str,
        *,
        reason: str,
        at_least: int = 1,
        mode: str = "replace",
        reset_id: str | None = None,
    ) -> ResetRecord:
        """Record a new generation of `endpoint` (≥ `at_least`), superseding unfinished ones."""
        with self._lock, _transaction(self._db) as db:
            row = db.execute("SELECT last FROM generation WHERE endpoint = ?", [endpoint])
            last = (row.fetchone() or (0,))[0]
            generation = max(last + 1, at_least)
            db.execute("INSERT OR REPLACE INTO generation VALUES (?, ?)", [endpoint, generation])
            db.execute(
                "UPDATE reset SET state = 'superseded' WHERE endpoint = ? AND state = 'accepted'",
                [endpoint],
            )
            token = uuid.uuid4().hex  # see _TOKEN
            db.execute(
                "INSERT INTO reset (token, endpoint, generation, state, reason, accepted_at, mode, "
                "reset_id) VALUES (?, ?, ?, 'accepted', ?, ?, ?, ?)",
                [token, endpoint, generation, reason, time.time(), mode, reset_id],
            )
        record = self.find(token)
        assert record is not None
        return record

    def last_generation(self, endpoint: str) -> int:
        """The highest that was ever given out, whatever became of it; 0 if none was."""
        with self._lock:
            found = self._db.execute("SELECT last FROM generation WHERE endpoint = ?", [endpoint])
            return int((found.fetchone() or (0,))[0])

    def finish(
        self,
        endpoint: str,
        generation: int,
        *,
        step: int,
        rows: int,
        attempt: int = 0,
        bytes: int = 0,
    ) -> None:
        """The snapshot of `generation` is published: it and all it superseded are done."""
        with self._lock, _transaction(self._db) as db:
            db.execute(
                "UPDATE reset SET state = 'done', step = ?, rows = ?, error = NULL, "
                "attempt = ?, bytes = ?, finished_at = ? WHERE endpoint = ? AND generation <= ? "
                "AND state IN ('accepted', 'superseded')",
                [step, rows, attempt, bytes, time.time(), endpoint, generation],
            )

    def fail(self, endpoint: str, generation: int, error: str) -> None:
        """The sink refused `generation` for good."""
        with self._lock, _transaction(self._db) as db:
            db.execute(
                "UPDATE reset SET state = 'failed', error = ?, finished_at = ? "
                "WHERE endpoint = ? AND generation <= ? AND state IN ('accepted', 'superseded')",
                [error, time.time(), endpoint, generation],
            )

    def cancel(self, endpoint: str, generation: int) -> None:
        """`generation` and what it superseded will not be published."""
        with self._lock, _transaction(self._db) as db:
            db.execute(
                "UPDATE reset SET state = 'cancelled', finished_at = ? "
                "WHERE endpoint = ? AND generation <= ? AND state IN ('accepted', 'superseded')",
                [time.time(), endpoint, generation],
            )

    def forget(self, endpoint: str) -> None:
        """The endpoint will not come back: only what somebody asked for stays. Nothing happens to
        a log that is closed: whoever opens it next forgets subscriptions."""
        self._forget("=", endpoint)

    def _forget(self, is_one: str, endpoint: str) -> None:
        of_it = f"WHERE endpoint {is_one} ?"
        with self._lock:
            if self._is_open:
                with _transaction(self._db) as db:
                    db.execute(f"DELETE FROM generation {of_it}", [endpoint])
                    db.execute(f"DELETE FROM reset {of_it} AND reason <> 'request'", [endpoint])

    @staticmethod
    def could_give(token: str) -> bool:
        """Whether a token looks as `accept` makes them; what does not was never one."""
        return _TOKEN.fullmatch(token) is not None

    def find(self, token: str) -> ResetRecord | None:
        return self._find("token = ?", token)

    def newest(self, endpoint: str) -> ResetRecord | None:
        """The newest generation of `endpoint` that was not called off."""
        return self._find(
            "endpoint = ? AND state <> 'cancelled' ORDER BY generation DESC LIMIT 1", endpoint
        )

    def find_by_id(self, endpoint: str, reset_id: str) -> ResetRecord | None:
        """The reset that a caller named `reset_id`."""
        return self._find("endpoint = ? AND reset_id = ?", endpoint, reset_id)

    def _find(self, condition: str, *values: str) -> ResetRecord | None:
        with self._lock:
            row = self._db.execute(
                f"SELECT {COLUMNS} FROM reset WHERE {condition}", values
            ).fetchone()
        return None if row is None else ResetRecord(*row)

    def close(self) -> None:
        with self._lock:
            self._is_open = False
            self._db.close()


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it, durable, or nothing and TransientError."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")
    except sqlite3.Error as e:
        raise TransientError(
            f"the record of resets cannot be written: {e}; make room on the disk of the pipeline's "
            "storage, or make it writable",
            code="StorageError",
        ) from e
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
