"""The targets of the contract suite as targets of a real pipeline: what else lies about, and a
reader of DuckDB that is another process than the writer.

`things` names whatever a sink has made, numbers left out: after a fault it must be what it was
after a reset that nothing disturbed.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import deltalake
import duckdb

from tests.contract.kafka_targets import KafkaLogTarget, KafkaUpsertTarget
from tests.contract.lake_targets import (
    AppendedDeltaTarget,
    DeltaTarget,
    DuckDbTarget,
    ParquetFolderTarget,
)
from tests.contract.redis_targets import GenerationsRedisTarget, RedisTarget
from tests.contract.target import Target
from tests.contract.targets import (
    JsonFileTarget,
    KeyedSqliteTarget,
    LoggedPostgresTarget,
    PostgresTarget,
    SqliteTarget,
)
from tests.system.egress_target import EgressTarget

#: DuckDB lets one process write or many read: its reader must let go between two looks
PAUSE_S = 0.03


class RealDuckDbTarget(DuckDbTarget):
    """Opened for each look, as the connector's page tells readers to."""

    is_keyed = True

    def config(self) -> dict[str, Any]:
        return {"path": str(self.path), "table": self.table}

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        is_look = sql.startswith("SELECT")
        while True:
            if is_look and not self.path.exists():
                raise duckdb.CatalogException("the file does not exist")
            try:
                with duckdb.connect(str(self.path), read_only=is_look) as db:
                    return db.execute(sql).fetchall()
            except (duckdb.IOException, duckdb.ConnectionException):
                time.sleep(PAUSE_S)


class AtomicRedisTarget(GenerationsRedisTarget):
    """Read in one script: a scan of several calls may miss keys that come meanwhile."""

    SCRIPT = """
    local shown = ARGV[1] .. (redis.call('GET', ARGV[1] .. 'current') or '') .. ':'
    local found = {}
    for _, name in ipairs(redis.call('KEYS', '*')) do
        if name:sub(1, #shown) == shown then
            table.insert(found, name)
            table.insert(found, redis.call('GET', name))
        end
    end
    return found
    """

    def values(self) -> dict[str, Any]:
        found = self.db.eval(self.SCRIPT, 0, self.prefix)
        return {name: json.loads(value) for name, value in _pairs(found)}


def _pairs(flat: list[str]) -> list[tuple[str, str]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


TARGETS: dict[str, type[Target]] = {
    "sqlite": KeyedSqliteTarget,
    "postgres": PostgresTarget,
    "postgres cdc": LoggedPostgresTarget,
    "duckdb": RealDuckDbTarget,
    "delta": DeltaTarget,
    "delta append": AppendedDeltaTarget,
    "redis": RedisTarget,
    "redis gen": AtomicRedisTarget,
    "kafka": KafkaLogTarget,
    "kafka upsert": KafkaUpsertTarget,
    "file": JsonFileTarget,
    "parquet": ParquetFolderTarget,
}
#: those that are not in the program: whoever follows the view has one
SUBSCRIPTIONS: dict[str, type[Target]] = {"http": EgressTarget}


def things(target: Target) -> set[str]:
    """Patterns of the names of files, tables and keys that belong to the target."""
    return {without_numbers(name) for name in names(target)}


def clean(target: Target) -> None:
    """What the connector's page tells an operator to do about what a crash may leave."""
    if isinstance(target, DeltaTarget):
        table = deltalake.DeltaTable(target.uri)
        table.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)


#: also random hexadecimal ones that happen to have no digit
_NUMBERS = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,}|[0-9a-f]*\d[0-9a-f]*"
)


def without_numbers(name: str) -> str:
    return _NUMBERS.sub("#", name)


def names(target: Target) -> set[str]:
    match target:
        case SqliteTarget():
            with sqlite3.connect(target.path) as db:
                tables = {n for (n,) in db.execute("SELECT name FROM sqlite_master")}
            return tables | _files(target.path.parent)
        case RealDuckDbTarget():
            tables = {n for (n,) in target.run("SELECT table_name FROM duckdb_tables()")}
            # the writer may be at work
            return tables | {n for n in _files(target.path.parent) if not n.endswith(".wal")}
        case DeltaTarget():
            return _unreferenced(Path(target.uri))
        case JsonFileTarget() | ParquetFolderTarget():
            return _files(target.path.parent)
        case PostgresTarget():
            schema = target.table.split(".")[0].strip('"')
            found = target.run(
                "SELECT table_name FROM information_schema.tables "
                f"WHERE table_schema = '{schema}' OR table_type = 'LOCAL TEMPORARY'"
            )
            return {n for (n,) in found}
        case GenerationsRedisTarget():
            return {
                n.replace(target.shown(), "shown ").split(" ")[0] for n in target.db.scan_iter()
            }
        case RedisTarget():
            return set(target.db.scan_iter())
    return set()


def _files(folder: Path) -> set[str]:
    """Names in the folder; of a folder in it only the name."""
    return {p.name for p in folder.iterdir()}


def _unreferenced(table: Path) -> set[str]:
    """Data files that no version of a Delta table names."""
    named: set[str] = set()
    for log in (table / "_delta_log").glob("*.json"):
        for line in log.read_text().splitlines():
            for action in json.loads(line).values():
                if isinstance(action, dict) and "path" in action:
                    named.add(action["path"])
    data = (p for p in table.rglob("*.parquet") if "_delta_log" not in p.parts)
    return {p.name for p in data if str(p.relative_to(table)) not in named}
