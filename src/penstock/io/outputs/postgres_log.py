"""A PostgreSQL table that is the log of a view's changes (mode cdc): rows are only ever added.

    the view's columns, __feldera_op, __feldera_ts, __penstock_generation

    __feldera_op            i, d; u if the connector has an index: the row replaces its key's;
                            r: the generation begins here
    __feldera_ts            µs since 1970, growing with each step; or a timestamp column of yours
    __penstock_generation   the generation; a table without it can be followed, not reset

A snapshot is one reset row and the view's rows as inserts, in one transaction.

Source: contract section 7.4 (postgres_output, mode cdc); spec/reset.md section 4.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.io.outputs.changes import copies, logged_changes
from penstock.io.outputs.column_text import column_text
from penstock.io.outputs.identifiers import quoted
from penstock.io.outputs.postgres_rows import Columns, PostgresRows, arrays, pieces
from penstock.io.outputs.postgres_table import OPTIONAL, PostgresTable

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

(GENERATION,) = OPTIONAL
_TIMESTAMPS = ("timestamp", "timestamptz")


class LoggedRows(PostgresRows):
    """Rows of a log whose columns for operation and time are `op` and `ts`."""

    def __init__(
        self, table: PostgresTable, schema: Schema, key: tuple[int, ...], op: str, ts: str
    ) -> None:
        super().__init__(table, schema, key)
        self._op, self._ts = op, ts
        self._last = 0

    def check_resettable(self, db: Connection) -> None:
        """Raise SinkRejected if a reset could not be told from other changes."""
        columns = self.table.columns(db)
        if columns is not None and GENERATION not in columns:
            raise self.table.unfit(
                f"has no column {GENERATION}, so a reset could not be told from other changes: "
                f"ALTER TABLE {self.table.target} ADD {GENERATION} bigint"
            )

    def create_stage(self, db: Connection, generation: int) -> None:
        self.check_resettable(db)
        super().create_stage(db, generation)

    def replace(self, db: Connection, generation: int) -> None:
        columns = self.table.create(db)
        self.check_resettable(db)
        self.check_unique(db, generation)
        more, values = self._stamp(columns, generation, self._now())
        self._execute(db, f"INSERT INTO {self.table.target} ({more}) VALUES ({values})", "r")
        self._execute(
            db,
            f"INSERT INTO {self.table.target} ({self.listed}, {more}) "
            f"SELECT {self.listed}, {values} FROM {self.stage_name(generation)}",
            "i",
        )

    def apply(self, db: Connection, columns: Columns, rows: Batch, generation: int) -> None:
        types = {n: columns[n].base for n in self.names}
        more, values = self._stamp(columns, generation, self._now())
        statement = (
            f"INSERT INTO {self.table.target} ({self.listed}, {more}) "
            f"SELECT {self.listed}, {values} FROM {arrays(types, self.names)} AS s({self.listed})"
        )
        for op, changed in logged_changes(rows, self.key, self.key_text):
            for piece in pieces(copies(changed)):
                self._execute(db, statement, op, *(column_text(c) for c in piece.columns))

    def shown(self, columns: Columns) -> tuple[str, str]:
        """SQL for the rows that the log shows (docs/connectors/postgres.md), and for their weight:
        those of the newest generation, deletions negative; with a key the last of each."""
        target, op = self.table.target, quoted(self._op)
        rule = f"{op} <> 'r'"
        if GENERATION in columns:
            generation = quoted(GENERATION)
            rule += f" AND {generation} = (SELECT max({generation}) FROM {target})"
        if not self.key:
            weight = f"CASE {op} WHEN 'i' THEN 1 ELSE -1 END"
            return f"{target} WHERE {rule}", weight
        keys = ", ".join(quoted(self.names[i]) for i in self.key)
        newest = (
            f"(SELECT DISTINCT ON ({keys}) * FROM {target} WHERE {rule} "
            f"ORDER BY {keys}, {quoted(self._ts)} DESC) AS newest"
        )
        return f"{newest} WHERE {op} <> 'd'", "1"

    @staticmethod
    def _execute(db: Connection, statement: str, op: str, *parameters: Any) -> None:
        """The operation is what the statement's first parameter is, as `_stamp` has made it."""
        db.execute(statement, (op, *parameters))

    def _stamp(self, columns: Columns, generation: int, now: int) -> tuple[str, str]:
        """The log's own columns, and SQL for their values; that of the operation is %s."""
        is_time = columns[self._ts].typname in _TIMESTAMPS
        stamped = f"to_timestamp({now} / 1e6)" if is_time else str(now)
        values = {self._op: "%s", self._ts: stamped}
        if GENERATION in columns:
            values[GENERATION] = str(generation)
        return ", ".join(map(quoted, values)), ", ".join(values.values())

    def _now(self) -> int:
        """µs since 1970, later than at the last call."""
        self._last = max(time.time_ns() // 1000, self._last + 1)
        return self._last
