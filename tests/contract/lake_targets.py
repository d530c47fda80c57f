"""Targets that are tables in files: DuckDB, Delta Lake, folders of Parquet."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import deltalake
import deltalake.exceptions
import duckdb
import pyarrow as pa
import pyarrow.parquet

from tests.contract.target import Rows, Target


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
            return table.to_pyarrow_table().to_pylist()
        except deltalake.exceptions.TableNotFoundError:
            return None
        except (deltalake.exceptions.DeltaError, OSError) as e:
            raise ValueError(f"nobody can read it: {e}") from e

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
        while Path(self.uri).exists():
            shutil.rmtree(self.uri, ignore_errors=True)  # the sink may write meanwhile


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


class ParquetFolderTarget(Target):
    """A folder of Parquet files, read by DuckDB, which looks again when a file has gone."""

    transport = "file_output"
    format: ClassVar[Mapping[str, Any] | None] = {"name": "parquet"}

    def __init__(self, folder: Path) -> None:
        self.path = folder / "my rows"
        self.db = duckdb.connect()

    def config(self) -> dict[str, Any]:
        return {"path": str(self.path)}

    def look(self) -> Rows | None:
        while True:
            if not self.path.exists():
                return None
            try:
                found = self.rows()
            except duckdb.IOException:
                continue
            return Counter({tuple(row): n for *row, n in found})

    def rows(self) -> list[tuple[Any, ...]]:
        query = (
            "SELECT k, v, n::VARCHAR, d::VARCHAR, b::INT, x, sum(__penstock_weight)::INT AS w "
            f"FROM '{self.path}/*.parquet' GROUP BY ALL HAVING w > 0"
        )
        return self.db.cursor().execute(query).fetchall()

    def damage(self) -> None:
        files = sorted(self.path.glob("*.parquet"))
        if files:
            table = pa.parquet.read_table(files[0])
            row = dict.fromkeys(table.schema.names) | {
                "k": -7,
                "v": "invented",
                "__penstock_weight": 1,
            }
            invented = pa.Table.from_pylist([row], schema=table.schema)
            pa.parquet.write_table(pa.concat_tables([table.slice(1), invented]), files[0])

    def remove(self) -> None:
        self.path.unlink()
