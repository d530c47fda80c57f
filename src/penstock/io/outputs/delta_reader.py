"""The rows of a materialized Delta table read back as text, and a view's rows spelt the same way.

A version is a snapshot: it is read to its end whatever is committed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.io.outputs.arrow_words import of_arrow
from penstock.io.outputs.delta_shape import DeltaShape
from penstock.io.outputs.delta_types import delta_rows
from penstock.io.outputs.words import words_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable


class DeltaReader:
    """Reads `table`, one version, whose columns are `files`; None: there is no table."""

    def __init__(
        self, table: DeltaTable | None, files: pa.Schema, shape: DeltaShape, schema: Schema
    ) -> None:
        self.schema = words_schema(schema)
        self._table = table
        self._types = {n: files.field(n).type for n in shape.names}

    def rows(self) -> Iterator[Batch]:
        if self._table is None:
            return
        names = list(self._types)
        for piece in pa.RecordBatchReader.from_stream(self._table.scan(columns=names)):
            columns = [piece.column(n).cast(t) for n, t in self._types.items()]
            yield of_arrow(self.schema, columns)

    def spell(self, rows: Batch) -> Batch:
        told = delta_rows(rows, self._types)
        columns = [told.column(n).combine_chunks() for n in self._types]
        flat = [
            pa.concat_arrays(c.chunks) if isinstance(c, pa.ChunkedArray) else c for c in columns
        ]
        return of_arrow(self.schema, flat, rows.weights)
