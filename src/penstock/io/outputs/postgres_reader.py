"""The rows of a PostgreSQL table, or those that its log shows, read back as text, and a view's rows
spelt the same way.

A value is spelt as the server casts it to text. A view's rows go to the server and come back,
cast to the target's types on the way, so that both sides have taken the same conversions.

One REPEATABLE READ transaction sees the table at one instant, however long it is read, and holds
up nobody.

Cost: one pass over the table; a view's rows travel twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.io.outputs.column_text import column_text
from penstock.io.outputs.identifiers import quoted
from penstock.io.outputs.postgres_rows import Columns
from penstock.io.outputs.postgres_table import PostgresTable
from penstock.io.outputs.postgres_types import created_type
from penstock.io.outputs.words import of_columns, words_schema

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

READ_ROWS = 20_000


class PostgresReader:
    """Reads `table` as it is now. `db` is in a transaction until `rows` has ended.

    `shown`: makes, of the table's columns, SQL for what is read instead of the table, and for the
    weight of a row."""

    def __init__(
        self,
        table: PostgresTable,
        schema: Schema,
        db: Connection,
        shown: Callable[[Columns], tuple[str, str]] | None = None,
    ) -> None:
        self.schema = words_schema(schema)
        self._table, self._db = table, db
        db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        try:
            found = table.columns(db)
        except BaseException:
            db.execute("ROLLBACK")
            raise
        self._exists = found is not None
        self._source, self._weight = table.target, "1"
        if found is not None and shown is not None:
            self._source, self._weight = shown(found)
        self._types = [
            created_type(f.type) if found is None else found[f.name].type for f in schema.fields
        ]

    def rows(self) -> Iterator[Batch]:
        """The target's rows in pieces; without a target there are none."""
        try:
            if not self._exists:
                return
            listed = ", ".join(f"{quoted(n)}::text" for n in self.schema.names)
            with self._db.cursor(name=f"penstock_read_{uuid.uuid4().hex}") as cursor:
                cursor.execute(f"SELECT {listed}, {self._weight} FROM {self._source}")
                while rows := cursor.fetchmany(READ_ROWS):
                    *columns, weights = zip(*rows, strict=True)
                    yield of_columns(self.schema, columns, np.array(weights, np.int64))
        finally:
            if not self._db.closed:
                self._db.execute("ROLLBACK")

    def spell(self, rows: Batch) -> Batch:
        """Rows of the view in the target's words, with their weights."""
        if len(rows) == 0:
            return of_columns(self.schema, [[] for _ in self.schema.fields])
        names = [f"c{i}" for i in range(len(self._types))]
        listed = ", ".join(f"{n}::{t}::text" for n, t in zip(names, self._types, strict=True))
        arrays = ", ".join("%s::text[]" for _ in names)
        told = self._db.execute(
            f"SELECT {listed} FROM unnest({arrays}) WITH ORDINALITY AS s({', '.join(names)}, o) "
            "ORDER BY o",
            [column_text(c) for c in rows.columns],
        ).fetchall()
        return of_columns(self.schema, list(zip(*told, strict=True)), rows.weights)
