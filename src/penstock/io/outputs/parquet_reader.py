"""The rows of a folder of Parquet files read back as text, and a view's rows spelt the same way.

Files are never changed, and a step's file appears whole, so that the list of them is what a reader
sees at one instant. Memory: BATCH_ROWS rows of one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from penstock.data.arrow import to_arrow
from penstock.data.batch import Batch
from penstock.data.build import empty_batch
from penstock.data.types import Schema
from penstock.io.contracts import SinkRejected
from penstock.io.outputs.arrow_words import of_arrow
from penstock.io.outputs.words import words_schema

BATCH_ROWS = 50_000


class ParquetReader:
    def __init__(self, files: Sequence[Path], schema: Schema, weight: str) -> None:
        """`weight`: the column with the signed number of copies."""
        self.schema = words_schema(schema)
        self._files, self._weight = files, weight
        self._types = [c.type for c in to_arrow(empty_batch(schema)).columns]

    def rows(self) -> Iterator[Batch]:
        names = [*self.schema.names, self._weight]
        for file in self._files:
            try:
                with pa.parquet.ParquetFile(file) as parts:
                    for piece in parts.iter_batches(BATCH_ROWS, columns=names):
                        *columns, weights = (piece.column(n) for n in names)
                        yield self._spelt(columns, weights.cast(pa.int64()))
            except (pa.ArrowInvalid, KeyError) as e:
                raise SinkRejected(
                    f"file_output: '{file}' is not as it was written ({e}): reset the connector"
                ) from e

    def _spelt(self, columns: Sequence[pa.Array], weights: pa.Array) -> Batch:
        typed = [c.cast(t) for c, t in zip(columns, self._types, strict=True)]
        return of_arrow(self.schema, typed, weights.to_numpy(zero_copy_only=False).astype(np.int64))

    def spell(self, rows: Batch) -> Batch:
        return of_arrow(self.schema, to_arrow(rows).columns, rows.weights)
