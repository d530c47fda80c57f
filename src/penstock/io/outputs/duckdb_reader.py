"""The rows of a DuckDB table read back as text, and a view's rows spelt the same way.

A value is spelt as DuckDB casts it to VARCHAR. A view's rows take the way that they take into the
target: cast to its types, in a database in memory, so that both sides have taken the same
conversions.

One transaction sees the table at one instant while a sink of this process writes on; the file
stays open for as long as it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.io.outputs.arrow_words import of_arrow
from penstock.io.outputs.duckdb_file import Connection, run
from penstock.io.outputs.duckdb_table import DuckDbTable
from penstock.io.outputs.identifiers import quoted
from penstock.io.outputs.words import words_schema

READ_ROWS = 20_000


class DuckDbReader:
    """Reads `table` as it is now over `db`, its own connection; None: there is no file."""

    def __init__(self, table: DuckDbTable, schema: Schema, db: Connection | None) -> None:
        self.schema = words_schema(schema)
        self._table, self._db = table, db
        self._texts = ", ".join(f"CAST({quoted(n)} AS VARCHAR)" for n in schema.names)
        self._types: dict[str, str] | None = None
        if db is not None:
            run(db, "BEGIN TRANSACTION")
            # the first look fixes what the whole transaction sees
            self._types = table.column_types(db)

    def rows(self) -> Iterator[Batch]:
        """The target's rows in pieces; without a target there are none."""
        if self._db is None:
            return
        try:
            if self._types is None:
                return
            found = self._db.sql(f"SELECT {self._texts} FROM {self._table.target}")
            reader: Any = found.to_arrow_reader(READ_ROWS)
            for piece in reader:
                yield of_arrow(self.schema, piece.columns)
        finally:
            self._db.close()

    def spell(self, rows: Batch) -> Batch:
        """Rows of the view in the target's words, with their weights."""
        with duckdb.connect() as memory:
            types = self._types or self._table.created_types
            told = self._table.spelt(memory, rows, types, self._texts)
        columns = [c.combine_chunks() for c in told.columns]
        return of_arrow(self.schema, [_flat(c) for c in columns], rows.weights.astype(np.int64))


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column
