"""The rows of an SQLite table read back as SQL literals, and a view's rows spelt the same way.

    1 │ 'it''s' │ NULL │ 12.5 │ X'00ff'

A view's rows take the way that they take into the target: through a table of its declared types
(in memory), so that whatever SQLite's affinities make of a value happens on both sides.

Texts with a zero character, which SQL literals cannot show, are `text X'…'`.

Cost: about 2 µs a value, both ways.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.io.outputs.column_text import sqlite_rows
from penstock.io.outputs.identifiers import quoted
from penstock.io.outputs.sqlite_table import SqliteTable
from penstock.io.outputs.words import of_columns, words_schema

READ_ROWS = 20_000


class SqliteReader:
    """Reads `table` as it is now. `db` is in a read transaction until `rows` has ended."""

    def __init__(self, table: SqliteTable, schema: Schema, db: sqlite3.Connection) -> None:
        self.schema = words_schema(schema)
        self._table, self._db = table, db
        self._literals = ", ".join(
            f"CASE WHEN typeof({c}) = 'text' AND instr({c}, char(0)) "
            f"THEN 'text X''' || hex({c}) || '''' ELSE quote({c}) END"
            for c in map(quoted, schema.names)
        )
        db.execute("BEGIN")
        # the first look at the file fixes what the whole transaction sees
        self._declared = table.declared_types(db)

    def rows(self) -> Iterator[Batch]:
        """The target's rows in pieces; without a target there are none."""
        try:
            if self._declared is None:
                return
            found = self._db.execute(f"SELECT {self._literals} FROM {self._table.target}")
            while rows := found.fetchmany(READ_ROWS):
                yield of_columns(self.schema, list(zip(*rows, strict=True)))
        finally:
            self._db.execute("ROLLBACK")

    def spell(self, rows: Batch) -> Batch:
        """Rows of the view in the target's words, with their weights."""
        if len(rows) == 0:
            return of_columns(self.schema, [[] for _ in self.schema.fields])
        memory = sqlite3.connect(":memory:")
        try:
            declared = self._declared or self._table.declared_types_of_view()
            columns = [f"{quoted(n)} {t}" for n, t in declared.items()]
            memory.execute(f"CREATE TABLE spelt ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            names = ", ".join(map(quoted, rows.schema.names))
            memory.executemany(f"INSERT INTO spelt ({names}) VALUES ({marks})", sqlite_rows(rows))
            order = next(n for n in ("rowid", "oid", "_rowid_") if n not in declared)
            told = memory.execute(f"SELECT {self._literals} FROM spelt ORDER BY {order}").fetchall()
        finally:
            memory.close()
        return of_columns(self.schema, list(zip(*told, strict=True)), rows.weights)
