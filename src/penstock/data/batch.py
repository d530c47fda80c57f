"""A Z-set in columns: rows with signed weights.

    Column   values (see `penstock.data.types` for the layout), `valid`, `heaps`
    Batch    a schema's columns of equal length + `weights: int64[n]`

A string view is 16 bytes, two uint64 words as Arrow's string_view lays them out (little endian):

    length ≤ 12    int32 length │ the bytes themselves, zero padded to 12
    length > 12    int32 length │ first 4 bytes │ int32 heap id │ int32 offset in the heap

A heap id is process-wide (see `penstock.data.heap`), so gathering or concatenating views never
rewrites them; a column keeps the heaps that its views may name alive through `heaps`.

Invariants (kernels compare rows by their bytes, so these make equal rows equal bytes):
* `values` is C-contiguous, of exactly the dtype and shape that the type's layout says;
* `valid` is None (no row is NULL) or uint8[n] with 1 for a value and 0 for NULL;
* under NULL the value's bytes are zero;
* floats hold one NaN (the positive quiet one) and never -0.0;
* unused bytes of a string view are zero.

Batches are values: nobody writes to the arrays of a batch once it is built, nor to its fields
(`value`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

import numpy as np
import numpy.typing as npt

from penstock.data.types import Schema, SqlType

if TYPE_CHECKING:
    from penstock.data.heap import Heap

Array = npt.NDArray[Any]
Weights = npt.NDArray[np.int64]
T = TypeVar("T")


@dataclass_transform(eq_default=False, frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """A dataclass that is frozen for the type checker alone: with `frozen` it takes 1.3 µs to make
    one instead of 0.3, and a step makes some hundreds."""
    return dataclass(slots=True, eq=False)(cls)


@value
class Column:
    """One column of `n` values. `valid` is None when no row is NULL."""

    type: SqlType
    values: Array
    valid: npt.NDArray[np.uint8] | None = None
    heaps: tuple[Heap, ...] = ()

    def __len__(self) -> int:
        rows: int = self.values.shape[0]
        return rows

    @property
    def has_nulls(self) -> bool:
        return self.valid is not None

    def with_type(self, type: SqlType) -> Column:
        """The same values under a type of the same layout (say, other nullability)."""
        return self if type is self.type else Column(type, self.values, self.valid, self.heaps)


@value
class Batch:
    """Rows of one schema with weights. `consolidated`: no two rows equal, no weight zero."""

    schema: Schema
    columns: tuple[Column, ...]
    weights: Weights
    consolidated: bool = False

    def __len__(self) -> int:
        rows: int = self.weights.shape[0]
        return rows

    def column(self, name: str) -> Column:
        return self.columns[self.schema.index(name)]

    def select(self, indices: tuple[int, ...], schema: Schema | None = None) -> Batch:
        """The columns at `indices`, in that order; weights are shared."""
        if schema is None:
            schema = Schema(tuple(self.schema.fields[i] for i in indices))
        return Batch(schema, tuple(self.columns[i] for i in indices), self.weights)


#: operations of a row that arrives at a table (see `InputBatch`)
DELETE, INSERT, UPDATE = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class InputBatch:
    """Rows as a connector delivers them to a table, in order of arrival.

    `ops` is uint8[n] of INSERT, DELETE or UPDATE. A table without a primary key takes INSERT and
    DELETE as weights +1 and -1. A table with one takes them as upserts: INSERT replaces the row
    with its key, DELETE removes the row with its key (only the key columns are looked at), UPDATE
    overwrites only the columns whose `present[c]` (uint8[n], None: all present) is 1 and is
    ignored where the key does not exist. Later rows win over earlier ones.
    """

    schema: Schema
    columns: tuple[Column, ...]
    ops: npt.NDArray[np.uint8]
    present: tuple[npt.NDArray[np.uint8] | None, ...] = ()

    def __len__(self) -> int:
        return int(self.ops.shape[0])
