"""The targets that the contract suite runs against, each read by a plain tool, never by us.

Not here: what a target is (`target`), Kafka's topics (`kafka_targets`), Redis (`redis_targets`),
tables in files (`lake_targets`).
"""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from tests.contract.kafka_targets import KafkaLogTarget, KafkaUpsertTarget
from tests.contract.lake_targets import (
    AppendedDeltaTarget,
    DeltaTarget,
    DuckDbTarget,
    KeyedDuckDbTarget,
    ParquetFolderTarget,
    TruncatedDeltaTarget,
)
from tests.contract.redis_targets import GenerationsRedisTarget, RedisTarget
from tests.contract.target import SCHEMA, Rows, Target
from tests.servers import PostgresServer


class SqliteTarget(Target):
    transport = "sqlite_output"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "target.sqlite"

    def config(self) -> dict[str, Any]:
        return {"path": str(self.path), "table": "my table"}

    def look(self) -> Rows | None:
        if not self.path.exists():
            return None
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10) as db:
            try:
                found = db.execute('SELECT k, v, n, d, b, x FROM "my table"').fetchall()
            except sqlite3.OperationalError as e:
                assert "no such table" in str(e), e
                return None
        return Counter(found)

    def damage(self) -> None:
        with sqlite3.connect(self.path, timeout=10) as db:
            db.execute('DELETE FROM "my table" WHERE k % 3 = 0')
            db.execute("""UPDATE "my table" SET v = 'damaged', n = NULL WHERE k % 3 = 1""")
            db.execute(
                """INSERT OR IGNORE INTO "my table" VALUES (-7, 'invented', '1', 'x', 5, 1.5)"""
            )

    def remove(self) -> None:
        with sqlite3.connect(self.path, timeout=10) as db:
            db.execute('DROP TABLE "my table"')


class KeyedSqliteTarget(SqliteTarget):
    is_keyed = True


def whole_deltas(path: Path) -> str:
    """The file up to the last whole delta, as docs/connectors/file.md tells readers to read it."""
    sidecar = path.with_name(path.name + ".penstock.json")

    def told() -> Any:
        return json.loads(sidecar.read_text()) if sidecar.exists() else None

    while True:
        before = told()
        with path.open("rb") as file:
            is_part = before is not None and before["appending"]
            is_part = is_part and before["inode"] == os.fstat(file.fileno()).st_ino
            text = file.read(before["bytes"] if is_part else -1)
        if told() == before:
            return text.decode()


class JsonFileTarget(Target):
    transport = "file_output"
    format: ClassVar[Mapping[str, Any] | None] = {
        "name": "json",
        "config": {"update_format": "insert_delete"},
    }

    def __init__(self, folder: Path) -> None:
        self.path = folder / "target.ndjson"

    def config(self) -> dict[str, Any]:
        return {"path": str(self.path)}

    def look(self) -> Rows | None:
        try:
            text = whole_deltas(self.path)
        except FileNotFoundError:
            return None
        rows: Rows = Counter()
        for line in text.splitlines():
            for kind, row in json.loads(line).items():
                values = [row[n] for n in SCHEMA.names]
                values[2] = None if values[2] is None else f"{float(values[2]):.2f}"
                values[4] = None if values[4] is None else int(values[4])
                rows[tuple(values)] += 1 if kind == "insert" else -1
        return +rows

    def damage(self) -> None:
        lines = self.path.read_text().splitlines(keepends=True)
        row = {"k": -7, "v": "invented", "n": 1, "d": None, "b": None, "x": None}
        self.path.write_text("".join(lines[::2]) + json.dumps({"insert": row}) + "\n")

    def remove(self) -> None:
        self.path.unlink()


class CsvFileTarget(JsonFileTarget):
    format: ClassVar[Mapping[str, Any] | None] = {"name": "csv"}

    def look(self) -> Rows | None:
        try:
            text = whole_deltas(self.path)
        except FileNotFoundError:
            return None
        rows: Rows = Counter()
        for line in csv.reader(io.StringIO(text, newline="")):
            k, v, n, d, b, x, w = (None if text == "NULL" else text for text in line)
            assert k is not None and w is not None
            row = (
                int(k), v, n and f"{float(n):.2f}", d, b and int(b == "true"), x and float(x),
            )  # fmt: skip
            rows[row] += int(w)
        return +rows

    def damage(self) -> None:
        with self.path.open(newline="") as f:
            lines = list(csv.reader(f))
        with self.path.open("w", newline="") as f:
            csv.writer(f).writerows([*lines[::2], ["-7", "invented", *["NULL"] * 4, "1"]])


_schemas = count(1)


class PostgresTarget(Target):
    transport = "postgres_output"
    is_keyed = True
    server = "postgres"

    def __init__(self, server: PostgresServer) -> None:
        # a schema is made and dropped in no time, a database is hundreds of files
        self.uri = server.shared_database()
        schema = f'"My schema {next(_schemas)}"'
        self.table = f'{schema}."the ""table"""'
        self.run(f"CREATE SCHEMA {schema}")

    def config(self) -> dict[str, Any]:
        return {"uri": self.uri, "table": self.table}

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.uri, autocommit=True) as db:
            cursor = db.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def look(self) -> Rows | None:
        try:
            return Counter(self.run(f"SELECT k, v, n::text, d::text, b::int, x FROM {self.table}"))
        except psycopg.errors.UndefinedTable:
            return None

    def damage(self) -> None:
        self.run(
            f"DELETE FROM {self.table} WHERE k % 3 = 0;"
            f"UPDATE {self.table} SET v = 'damaged', n = NULL WHERE k % 3 = 1;"
            f"INSERT INTO {self.table} VALUES (-7, 'invented') ON CONFLICT DO NOTHING"
        )

    def remove(self) -> None:
        self.run(f"DROP TABLE {self.table}")


class CountedPostgresTarget(PostgresTarget):
    """Without a key: rows may repeat."""

    is_keyed = False
    histories = 5


class LoggedPostgresTarget(PostgresTarget):
    """A log of changes, read by the rule of the connector's page."""

    histories = 5

    def config(self) -> dict[str, Any]:
        return {**super().config(), "mode": "cdc"}

    def look(self) -> Rows | None:
        try:
            found = self.run(
                f"SELECT __feldera_op, k, v, n::text, d::text, b::int, x FROM {self.table} "
                "WHERE __penstock_generation = "
                f"(SELECT max(__penstock_generation) FROM {self.table}) "
                "AND __feldera_op <> 'r' ORDER BY __feldera_ts"
            )
        except psycopg.errors.UndefinedTable:
            return None
        rows: dict[int, tuple[Any, ...]] = {}
        for op, *row in found:
            if op == "d":
                rows.pop(row[0], None)
            else:
                rows[row[0]] = tuple(row)
        return Counter(rows.values())

    def damage(self) -> None:
        newest = f"(SELECT max(__penstock_generation) FROM {self.table})"
        self.run(
            f"DELETE FROM {self.table} WHERE k % 3 = 0;"
            f"UPDATE {self.table} SET v = 'damaged', n = NULL WHERE k % 3 = 1;"
            f"INSERT INTO {self.table} (k, __feldera_op, __feldera_ts, __penstock_generation) "
            f"VALUES (-7, 'i', 1, {newest})"
        )


TARGETS: dict[str, type[Target]] = {
    "sqlite keyed": KeyedSqliteTarget,
    "sqlite rows": SqliteTarget,
    "duckdb keyed": KeyedDuckDbTarget,
    "duckdb rows": DuckDbTarget,
    "redis in place": RedisTarget,
    "redis generations": GenerationsRedisTarget,
    "delta table": DeltaTarget,
    "delta truncate": TruncatedDeltaTarget,
    "delta append": AppendedDeltaTarget,
    "postgres": PostgresTarget,
    "postgres rows": CountedPostgresTarget,
    "postgres cdc": LoggedPostgresTarget,
    "kafka log": KafkaLogTarget,
    "kafka upsert": KafkaUpsertTarget,
    "file json": JsonFileTarget,
    "file csv": CsvFileTarget,
    "file parquet": ParquetFolderTarget,
}
