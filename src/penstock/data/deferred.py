"""Columns that are gathered when somebody reads them.

    rows of a table that are about to go:  key, price │ name, comment, …
                                           read by a view │ by nobody, unless one subscribes

Rows that are looked up in large state lie far apart in memory, so every column of every row is a
wait; the readers of a table look at few of its columns.

Cost: none until the values or their presence are asked for, then that of `take_column`, once.
Until then the columns that are gathered from are kept alive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Batch, Column
from penstock.data.gather import concat_columns, take_column
from penstock.data.heap import Heap
from penstock.data.types import Schema, SqlType

#: rows of a batch, by position
Part = tuple[Batch, npt.NDArray[np.int64]]


class _Source:
    """What a column is gathered from, and what that gave. Threads may both gather: they find the
    same."""

    __slots__ = ("at", "gathered", "parts")

    def __init__(self, parts: Sequence[Part], at: int) -> None:
        self.parts, self.at = parts, at
        self.gathered: Column | None = None

    def column(self) -> Column:
        parts, gathered = self.parts, self.gathered
        if gathered is None:
            gathered = concat_columns([take_column(b.columns[self.at], rows) for b, rows in parts])
            # in this order: who finds no parts finds what was gathered
            self.gathered = gathered
            self.parts = ()
        return gathered


class DeferredColumn(Column):
    """Rows of one column of several batches, one part after the other."""

    __slots__ = ("_rows", "_source")

    _rows: int
    _source: _Source

    def __init__(self, type: SqlType, source: _Source, rows: int) -> None:
        # the base is frozen, and so is this
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "_source", source)
        object.__setattr__(self, "_rows", rows)

    def __len__(self) -> int:
        return self._rows

    @property
    def values(self) -> Array:
        return self._source.column().values

    @property
    def valid(self) -> npt.NDArray[np.uint8] | None:
        return self._source.column().valid

    @property
    def heaps(self) -> tuple[Heap, ...]:
        return self._source.column().heaps

    @property
    def has_nulls(self) -> bool:
        return self.valid is not None

    def gathered(self) -> Column:
        """The same values, in memory of their own."""
        return self._source.column().with_type(self.type)

    def with_type(self, type: SqlType) -> Column:
        return self if type is self.type else DeferredColumn(type, self._source, self._rows)


def deferred(schema: Schema, parts: Sequence[Part]) -> Batch:
    """The rows of `parts`, all of `schema`, with their weights, in order."""
    weights = [b.weights.take(rows) for b, rows in parts]
    together = weights[0] if len(parts) == 1 else np.concatenate(weights)
    columns = tuple(
        DeferredColumn(t, _Source(parts, i), len(together)) for i, t in enumerate(schema.types)
    )
    return Batch(schema, columns, together)


def gathered(batch: Batch) -> Batch:
    """The same rows, of which nothing is deferred: to be kept."""
    if not any(isinstance(c, DeferredColumn) for c in batch.columns):
        return batch
    columns = tuple(c.gathered() if isinstance(c, DeferredColumn) else c for c in batch.columns)
    return Batch(batch.schema, columns, batch.weights, batch.consolidated)


__all__ = ["DeferredColumn", "Part", "deferred", "gathered"]
