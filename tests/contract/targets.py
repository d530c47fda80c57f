"""The targets that the contract suite runs against, each read by a plain tool, never by us.

Not here: what a target is (`target`), Kafka's topics (`kafka_targets`).
"""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import deltalake
import deltalake.exceptions
import duckdb
import psycopg
import pyarrow as pa
import redis

from tests.contract.kafka_targets import KafkaLogTarget
from tests.contract.target import SCHEMA, Rows, Target
from tests.servers import PostgresServer


class SqliteTarget(Target):
    transport = "sqlite_output"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "target.sqlite"

    def config(self) -> dict[str, Any]:
        return {"path": str(self.path), "table": "my table"}

    def look(self) -> Rows | None:
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10) as db:
            try:
                found = db.execute('SELECT k, v, n, d, b, x FROM "my table"').fetchall()
            except sqlite3.OperationalError as e:
                assert "no such table" in str(e)
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


class DuckDbTarget(Target):
    """Read over a connection of its own in this process; `test_duckdb` reads from another one."""

    transport = "duckdb_output"
    histories = 3
    table = '"my ""table"""'

    def __init__(self, folder: Path) -> None:
        self.path = folder / "target.duckdb"

    def config(self) -> dict[str, Any]:
        return {"path": str(self.path), "table": self.table, "keep_open": True}

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path)) as db:
            return db.execute(sql).fetchall()

    def look(self) -> Rows | None:
        try:
            found = self.run(f"SELECT k, v, n::VARCHAR, d::VARCHAR, b::INT, x FROM {self.table}")
        except duckdb.CatalogException as e:
            assert "does not exist" in str(e)
            return None
        return Counter(found)

    def damage(self) -> None:
        self.run(
            f"DELETE FROM {self.table} WHERE k % 3 = 0;"
            f"UPDATE {self.table} SET v = 'damaged', n = NULL WHERE k % 3 = 1;"
        )
        self.run(f"DELETE FROM {self.table} WHERE k = -7")
        self.run(f"INSERT INTO {self.table} (k, v) VALUES (-7, 'invented')")

    def remove(self) -> None:
        self.run(f"DROP TABLE {self.table}")


class KeyedDuckDbTarget(DuckDbTarget):
    """The sink opens the file for each call; a reader that stays makes that quick."""

    is_keyed = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._reader = duckdb.connect(str(self.path))

    def config(self) -> dict[str, Any]:
        return {"path": str(self.path), "table": self.table}

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        return self._reader.cursor().execute(sql).fetchall()


class DeltaTarget(Target):
    """Read by the library itself, at one version."""

    transport = "delta_table_output"
    is_keyed = True
    histories = 4
    mode = "materialized"

    def __init__(self, folder: Path) -> None:
        self.uri = str(folder / "my table")

    def config(self) -> dict[str, Any]:
        return {"uri": self.uri, "mode": self.mode}

    def read(self) -> list[dict[str, Any]] | None:
        try:
            table = deltalake.DeltaTable(self.uri)
        except deltalake.exceptions.TableNotFoundError:
            return None
        return table.to_pyarrow_table().to_pylist()

    def look(self) -> Rows | None:
        found = self.read()
        return None if found is None else Counter(self.row(r) for r in found)

    @staticmethod
    def row(r: Mapping[str, Any]) -> tuple[Any, ...]:
        texts = (None if r[c] is None else str(r[c]) for c in ("n", "d"))
        return (r["k"], r["v"], *texts, None if r["b"] is None else int(r["b"]), r["x"])

    def damage(self) -> None:
        table = deltalake.DeltaTable(self.uri)
        table.delete("k % 3 = 0 OR k = -7")
        table = deltalake.DeltaTable(self.uri)
        table.update({"v": "'damaged'", "n": "NULL"}, predicate="k % 3 = 1")
        invented = [dict.fromkeys(table.schema().to_arrow().names) | self.invented()]
        schema = pa.schema(table.schema().to_arrow())
        deltalake.write_deltalake(
            self.uri, pa.Table.from_pylist(invented, schema=schema), mode="append"
        )

    def invented(self) -> dict[str, Any]:
        return {"k": -7, "v": "invented"}

    def remove(self) -> None:
        shutil.rmtree(self.uri)


class TruncatedDeltaTarget(DeltaTarget):
    """A log that begins with the last snapshot."""

    is_keyed = False
    mode = "truncate"

    def look(self) -> Rows | None:
        found = self.read()
        if found is None:
            return None
        rows: Rows = Counter()
        for r in sorted(found, key=lambda r: r["__feldera_ts"]):
            rows[self.row(r)] += {"i": 1, "d": -1}[r["__feldera_op"]]
        return +rows

    def invented(self) -> dict[str, Any]:
        return {"k": -7, "v": "invented", "__feldera_op": "i", "__feldera_ts": 1}


class AppendedDeltaTarget(TruncatedDeltaTarget):
    """A log that nothing is removed from, read by the rule of the connector's page."""

    is_keyed = True
    mode = "append"

    def look(self) -> Rows | None:
        found = self.read()
        if found is None:
            return None
        newest = max((r["__penstock_generation"] or 0 for r in found), default=0)
        rows: dict[int, tuple[Any, ...]] = {}
        for r in sorted(found, key=lambda r: r["__feldera_ts"]):
            if (r["__penstock_generation"] or 0) != newest or r["__feldera_op"] == "r":
                continue
            if r["__feldera_op"] == "d":
                rows.pop(r["k"], None)
            else:
                rows[r["k"]] = self.row(r)
        return Counter(rows.values())


class RedisTarget(Target):
    """Keys in place, read one after the other."""

    transport = "redis_output"
    is_keyed = True
    server = "redis_server"
    layout = "in_place"
    prefix = "my [view]*:"
    format: ClassVar[Mapping[str, Any] | None] = {
        "name": "json",
        "config": {"update_format": "redis", "key_fields": ["k"]},
    }

    def __init__(self, server: RedisServer) -> None:
        self.url = server.new_url()
        self.db = redis.Redis.from_url(self.url, decode_responses=True)
        self.db.mset({"my views: of others": "stay", "others": "stay"})

    def config(self) -> dict[str, Any]:
        return {"connection_string": self.url, "key_prefix": self.prefix, "layout": self.layout}

    def shown(self) -> str:
        """The prefix of the keys that readers look at."""
        return self.prefix

    def values(self) -> dict[str, Any]:
        """Key → row, by Redis' own cursor."""
        shown = self.shown()
        names = [n for n in self.db.scan_iter(count=1000) if n.startswith(shown)]
        found = self.db.mget(names) if names else []
        return {n: json.loads(v) for n, v in zip(names, found, strict=True) if v is not None}

    def look(self) -> Rows | None:
        found = self.values()
        if not found and not self.db.hlen("__penstock_markers"):
            return None
        assert all(n.endswith(f":{r['k']}") for n, r in found.items())
        return Counter(self.row(r) for r in found.values())

    @staticmethod
    def row(r: Mapping[str, Any]) -> tuple[Any, ...]:
        n = None if r["n"] is None else f"{float(r['n']):.2f}"
        return (r["k"], r["v"], n, r["d"], None if r["b"] is None else int(r["b"]), r["x"])

    def damage(self) -> None:
        shown = self.shown()
        for name, row in self.values().items():
            if row["k"] % 3 == 0:
                self.db.delete(name)
            elif row["k"] % 3 == 1:
                self.db.set(name, json.dumps(row | {"v": "damaged", "n": None}))
        invented = dict.fromkeys(SCHEMA.names) | {"k": -7, "v": "invented"}
        self.db.set(f"{shown}-7", json.dumps(invented))

    def remove(self) -> None:
        for name in self.db.scan_iter():
            if name.startswith(self.prefix):
                self.db.delete(name)
        assert self.db.mget("my views: of others", "others") == ["stay", "stay"]


class GenerationsRedisTarget(RedisTarget):
    """Keys beside each other, read as the page says: until the pointer stays where it was."""

    layout = "generations"

    def shown(self) -> str:
        return f"{self.prefix}{self.db.get(self.prefix + 'current')}:"

    def values(self) -> dict[str, Any]:
        while True:
            shown, found = self.shown(), super().values()
            if self.shown() == shown:
                return found


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
            text = self.path.read_text()
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
            with self.path.open(newline="") as f:
                lines = list(csv.reader(f))
        except FileNotFoundError:
            return None
        rows: Rows = Counter()
        for line in lines:
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


class PostgresTarget(Target):
    transport = "postgres_output"
    is_keyed = True
    server = "postgres"
    table = '"My schema"."the ""table"""'

    def __init__(self, server: PostgresServer) -> None:
        self.uri = server.new_database()
        self.run('CREATE SCHEMA "My schema"')

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
    "kafka log": KafkaLogTarget,
    "file json": JsonFileTarget,
    "file csv": CsvFileTarget,
}
