"""The rows an expression is evaluated over, and the small pieces evaluation is made of.

    Frame      columns, number of rows (≥ 1), results already computed for these rows
    subset     the rows that reach a guarded branch, with only the columns it reads
    masked     values + validity → a Column that keeps the invariants of `penstock.data.batch`
    scatter    columns computed on disjoint row sets → one column

Within an evaluation a column has n rows, or one row where every row is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Column
from penstock.data.gather import spread
from penstock.data.types import FLOATS, SqlType

__all__ = [
    "Evaluator", "Frame", "Rows", "Valid", "both", "gather", "heaps_of", "masked", "scatter",
    "spread",
]  # fmt: skip

Valid = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


class Frame:
    """`shared` holds the common subexpressions already evaluated for these very rows; `bound` the
    parameters of the lambdas around, by (level, index), a value a row."""

    __slots__ = ("bound", "columns", "n", "shared")

    def __init__(self, columns: Sequence[Column | None], n: int) -> None:
        self.columns = columns
        self.n = n
        self.shared: dict[int, Column] = {}
        self.bound: dict[tuple[int, int], Column] = {}

    def subset(self, rows: Rows, needed: Iterable[int]) -> Frame:
        columns: list[Column | None] = [None] * len(self.columns)
        for i in needed:
            column = self.columns[i]
            assert column is not None
            columns[i] = gather(column, rows)
        frame = Frame(columns, len(rows))
        frame.bound = {k: gather(spread(c, self.n), rows) for k, c in self.bound.items()}
        return frame


Evaluator = Callable[[Frame], Column]


def gather(column: Column, rows: Rows) -> Column:
    """Rows `rows` of a column of n rows."""
    valid = None if column.valid is None else column.valid[rows]
    # numpy's `values[rows]` is ten times slower where a value is two words
    return Column(column.type, column.values.take(rows, axis=0), valid, column.heaps)


def both(a: Valid | None, b: Valid | None) -> Valid | None:
    """Valid where both are."""
    if a is None:
        return b
    return a if b is None else a & b


def masked(type: SqlType, column: Column, valid: Valid | None) -> Column:
    """`column`'s values as `type`, NULL where `valid` is 0: zero bytes under NULL, canonical
    floats, no mask when no row is NULL."""
    values = column.values
    if not values.flags.c_contiguous:
        values = np.ascontiguousarray(values)
    if type.kind in FLOATS:
        values = canonical(values)
    if valid is None:
        return Column(type, values, None, column.heaps)
    if valid.all():
        valid = None
        return Column(type, values, None, column.heaps)
    rows = max(values.shape[0], valid.shape[0])
    if valid.shape[0] != rows:
        valid = np.repeat(valid, rows)
    keep = valid.view(np.bool_)
    if values.ndim == 2:
        keep = keep[:, None]
    return Column(type, np.where(keep, values, values.dtype.type(0)), valid, column.heaps)


def canonical(values: Array) -> Array:
    """Floats with one NaN and no negative zero."""
    values = values + values.dtype.type(0)
    nan = np.isnan(values)
    if nan.any():
        values[nan] = np.nan
    return values


def heaps_of(columns: Iterable[Column]) -> tuple:  # type: ignore[type-arg]
    """Every heap that some of `columns` keeps alive, once."""
    return tuple(dict.fromkeys(h for c in columns for h in c.heaps))


def scatter(type: SqlType, n: int, pieces: Sequence[tuple[Rows, Column]]) -> Column:
    """A column of `n` rows from columns on disjoint row sets; rows in no piece are NULL."""
    shape = (n, 2) if type.is_wide else (n,)
    values = np.zeros(shape, dtype=type.dtype)
    valid = np.zeros(n, dtype=np.uint8)
    for rows, column in pieces:
        if type.is_wide:
            values[:, 0][rows], values[:, 1][rows] = column.values[:, 0], column.values[:, 1]
        else:
            values[rows] = column.values
        valid[rows] = 1 if column.valid is None else column.valid
    heaps = heaps_of(c for _, c in pieces)
    return Column(type, values, None if valid.all() else valid, heaps)
