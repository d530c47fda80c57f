"""Picking rows: take, filter, slice, concatenate, repeat.

All of it works on the bytes of any type, so every operator shares it. Long strings are never
copied: views keep naming their heaps.

Cost: O(rows out) per column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch, Column
from penstock.data.heap import Heap, union
from penstock.data.masks import positions
from penstock.data.types import Schema
from penstock.data.views import compact

Indices = npt.NDArray[np.int64]


def take_column(column: Column, indices: Indices, *, null_at_minus_one: bool = False) -> Column:
    """Rows `indices` of a column, in that order; -1 means NULL if asked for."""
    if null_at_minus_one:
        missing = indices < 0
        if missing.any():
            return _take_or_null(column, indices, missing)
    valid = None if column.valid is None else column.valid[indices]
    # numpy's `values[indices]` is ten times slower where a value is two words
    values = column.values.take(indices, axis=0)
    return Column(column.type, values, valid, column.heaps if len(values) else ())


def _take_or_null(column: Column, indices: Indices, missing: npt.NDArray[np.bool_]) -> Column:
    type = column.type.with_nullable(True)
    if len(column) == 0:
        shape = (len(indices), *column.values.shape[1:])
        zeros = np.zeros(shape, column.values.dtype)
        return Column(type, zeros, np.zeros(len(indices), np.uint8))
    safe = np.where(missing, 0, indices)
    values = column.values.take(safe, axis=0)
    values[missing] = 0
    valid = np.ones(len(indices), np.uint8) if column.valid is None else column.valid[safe]
    valid[missing] = 0
    return Column(type, values, valid, column.heaps)


def take(batch: Batch, indices: Indices) -> Batch:
    """Rows `indices` of a batch with their weights, in that order."""
    columns = tuple(take_column(c, indices) for c in batch.columns)
    return Batch(batch.schema, columns, batch.weights.take(indices))


def filter_batch(batch: Batch, mask: npt.NDArray[Any]) -> Batch:
    """The rows where `mask` (bool or uint8, n) is not 0; consolidated if `batch` was."""
    indices = positions(mask)
    if len(indices) == len(batch):
        return batch
    kept = take(batch, indices)
    return Batch(kept.schema, kept.columns, kept.weights, batch.consolidated)


def slice_column(column: Column, start: int, stop: int) -> Column:
    valid = None if column.valid is None else column.valid[start:stop]
    return Column(column.type, column.values[start:stop], valid, column.heaps)


def slice_batch(batch: Batch, start: int, stop: int) -> Batch:
    """Rows start..stop, sharing memory."""
    columns = tuple(slice_column(c, start, stop) for c in batch.columns)
    return Batch(batch.schema, columns, batch.weights[start:stop], batch.consolidated)


def spread(column: Column, n: int) -> Column:
    """A column of one row (or of `n`) with all its `n` rows written out, contiguous."""
    values, valid = column.values, column.valid
    if values.shape[0] != n:
        values = np.repeat(values, n, axis=0)
    if valid is not None and valid.shape[0] != n:
        valid = np.repeat(valid, n)
    if values is column.values and valid is column.valid and values.flags.c_contiguous:
        return column
    return Column(column.type, np.ascontiguousarray(values), valid, column.heaps)


def concat_columns(columns: Sequence[Column]) -> Column:
    """One column after the other; types are equal but for nullability."""
    first = columns[0]
    if len(columns) == 1:
        return first
    heaps = union(c.heaps for c in columns) if first.type.is_view else first.heaps
    return _one_after_the_other(columns, heaps)


def packed_columns(columns: Sequence[Column]) -> Column:
    """The same with its long strings in one fresh heap (see `views.compact`)."""
    first = columns[0]
    if not first.type.is_view:
        return concat_columns(columns)
    # the heaps of many small deltas are many, and are not looked at
    together = first if len(columns) == 1 else _one_after_the_other(columns, ())
    values, heaps = compact(np.ascontiguousarray(together.values))
    return Column(together.type, values, together.valid, heaps)


def _one_after_the_other(columns: Sequence[Column], heaps: tuple[Heap, ...]) -> Column:
    type = columns[0].type
    values = np.concatenate([c.values for c in columns])
    valid = None
    for c in columns:
        if c.valid is not None:
            valid = np.concatenate(
                [np.ones(len(c), np.uint8) if c.valid is None else c.valid for c in columns]
            )
            break
    if not type.nullable:
        for c in columns:
            if c.type.nullable:
                type = type.with_nullable(True)
                break
    return Column(type, values, valid, heaps)


def concat(batches: Sequence[Batch], schema: Schema | None = None) -> Batch:
    """All rows of `batches` (at least one, of one schema), in order."""
    if len(batches) == 1 and schema is None:
        return batches[0]
    first = batches[0]
    filled = [b for b in batches if len(b)] or [first]
    columns = tuple(
        concat_columns([b.columns[i] for b in filled]) for i in range(len(first.columns))
    )
    return Batch(schema or first.schema, columns, np.concatenate([b.weights for b in filled]))


def concat_all(batches: list[Batch]) -> Batch:
    """`concat` of what nobody else needs: `batches`, which are none afterwards, are let go of
    column by column, so that there is never all of it twice."""
    if len(batches) == 1:
        return batches.pop()
    schema = batches[0].schema
    filled = [b for b in batches if len(b)] or batches[:1]
    batches.clear()
    weights = np.concatenate([b.weights for b in filled])
    parts = [[b.columns[i] for b in filled] for i in range(len(schema))]
    filled.clear()
    columns = []
    for part in parts:
        columns.append(concat_columns(part))
        part.clear()
    return Batch(schema, tuple(columns), weights)


def compact_heaps(column: Column) -> Column:
    """The same column with its long strings in one fresh heap (see `views.compact`)."""
    return packed_columns((column,)) if column.type.is_view and column.heaps else column
