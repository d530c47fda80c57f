"""The records on disk: one SQLite file in the data directory.

    tenants(id, name) ─┬─ pipelines(id, tenant_id, name, record)
                       └─ api_keys(id, tenant_id, name, role, hash)

Invariants: every write is one committed transaction; API keys are stored as SHA-256 only (they are
128 random characters, so a slow hash adds nothing); the file is readable by its owner alone.
Other processes (`penstock apikey`) may use the file at the same time.

Cost: one commit per change, about a millisecond.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import string
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import (
    Conflict,
    CorruptState,
    NotFound,
    PenstockError,
    TransientError,
    UserError,
)
from penstock.manager.records import PipelineRecord
from penstock.wire.names import check_key_name
from penstock.wire.stamps import uuid7

_FORMAT = 1
_SCHEMA = """
CREATE TABLE tenants (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE pipelines (
    id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL REFERENCES tenants, name TEXT NOT NULL,
    record TEXT NOT NULL, UNIQUE (tenant_id, name));
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL REFERENCES tenants, name TEXT NOT NULL,
    role TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, UNIQUE (tenant_id, name));
"""
DEFAULT_TENANT = "default"
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Tenant:
    """An owner of pipelines and keys; names are unique within it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it can be shown: without its secret."""

    id: str
    tenant: Tenant
    name: str
    role: str

    def to_json(self) -> dict[str, str]:
        return {"id": self.id, "name": self.name, "role": self.role}


@contextmanager
def using(data_dir: Path) -> Iterator[Path]:
    """The data directory, made if it is new; UserError where the file system refuses it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield data_dir
    except OSError as e:
        raise UserError(f"cannot use the data directory {data_dir}: {e.strerror or e}") from None


class Store:
    """All durable state of the API process. Thread-safe.

    Raises UserError where the directory cannot be used, CorruptState where its file is not ours.
    Whatever writes raises TransientError where the disk is full or somebody else has the file for
    long; nothing is written then, and the next call may succeed."""

    def __init__(self, data_dir: Path) -> None:
        with using(data_dir):
            path = data_dir / "penstock.db"
            path.touch(mode=0o600)
        self._path = path
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, timeout=10, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._prepare(path)
        except sqlite3.DatabaseError as e:
            self._db.close()
            raise CorruptState(f"{path} cannot be used: {e}") from None
        except PenstockError:
            self._db.close()
            raise

    def _prepare(self, path: Path) -> None:
        with self._transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, _FORMAT):
                raise CorruptState(
                    f"{path} has format {version}, this release reads format {_FORMAT}: serve it"
                    " with the release that wrote it, or give another --data-dir"
                )
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_FORMAT}")
        self.tenant(DEFAULT_TENANT)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as e:
                raise TransientError(f"{self._path} cannot be written: {e}") from e
            finally:
                # a disk that is full may have ended it already
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _rows(self, query: str, *values: str) -> list[tuple[str, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def tenant(self, name: str) -> Tenant:
        """The tenant of this name, made if it is new."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO tenants VALUES (?, ?)", (uuid7(), name))
            (found,) = db.execute("SELECT id FROM tenants WHERE name = ?", (name,)).fetchone()
        return Tenant(found, name)

    def pipelines(self) -> list[PipelineRecord]:
        """Every record of every tenant, ordered by id."""
        return [
            PipelineRecord.load(text)
            for (text,) in self._rows("SELECT record FROM pipelines ORDER BY id")
        ]

    def put(self, record: PipelineRecord) -> None:
        """Insert or replace by id. Raises Conflict `DuplicateName`."""
        values = (record.id, record.tenant_id, record.name, record.dump())
        try:
            with self._transaction() as db:
                db.execute(
                    "INSERT INTO pipelines VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                    " SET name = excluded.name, record = excluded.record",
                    values,
                )
        except sqlite3.IntegrityError:
            raise _duplicate("a pipeline", record.name) from None

    def delete(self, pipeline_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM pipelines WHERE id = ?", (pipeline_id,))

    def create_key(self, tenant: Tenant, name: str, role: str) -> tuple[ApiKey, str]:
        """A new key and its secret, which nobody can read again. Raises `DuplicateName`."""
        check_key_name(name)
        secret = "apikey:" + "".join(secrets.choice(_ALPHABET) for _ in range(128))
        key = ApiKey(uuid7(), tenant, name, role)
        try:
            with self._transaction() as db:
                db.execute(
                    "INSERT INTO api_keys VALUES (?, ?, ?, ?, ?)",
                    (key.id, tenant.id, name, role, _digest(secret)),
                )
        except sqlite3.IntegrityError:
            raise _duplicate("an API key", name) from None
        return key, secret

    def keys(self, tenant: Tenant) -> list[ApiKey]:
        rows = self._rows(
            "SELECT id, name, role FROM api_keys WHERE tenant_id = ? ORDER BY id", tenant.id
        )
        return [ApiKey(key_id, tenant, name, role) for key_id, name, role in rows]

    def key(self, tenant: Tenant, name: str) -> ApiKey:
        """Raises NotFound `UnknownApiKey`."""
        for key in self.keys(tenant):
            if key.name == name:
                return key
        raise NotFound(
            f"There is no API key named '{name}'", code="UnknownApiKey", details={"name": name}
        )

    def delete_key(self, tenant: Tenant, name: str) -> None:
        """Raises NotFound `UnknownApiKey`."""
        key = self.key(tenant, name)
        with self._transaction() as db:
            db.execute("DELETE FROM api_keys WHERE id = ?", (key.id,))

    def find_key(self, secret: str) -> ApiKey | None:
        """The key with this secret. A look-up by hash leaks nothing by its timing."""
        rows = self._rows(
            "SELECT k.id, t.id, t.name, k.name, k.role FROM api_keys k"
            " JOIN tenants t ON t.id = k.tenant_id WHERE k.hash = ?",
            _digest(secret),
        )
        for key_id, tenant_id, tenant_name, name, role in rows:
            return ApiKey(key_id, Tenant(tenant_id, tenant_name), name, role)
        return None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _duplicate(kind: str, name: str) -> Conflict:
    return Conflict(
        f"There is already {kind} named '{name}'", code="DuplicateName", details={"name": name}
    )
