"""Rows with holes → an `InputBatch`: defaults, NULLs, and what a delete or an update may omit.

    values per column, MISSING where a record lacks the field
        insert              the column's DEFAULT, else NULL, else the row is refused
        delete, keyed       only key columns are read; the others are filled
        update, keyed       `present` is 0 there, and the circuit keeps the old value

A filled place holds NULL (or, in a NOT NULL column, the zero value): nobody reads it.
Source: contract section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import DELETE, INSERT, UPDATE, Batch, Column, InputBatch
from penstock.data.gather import compact_heaps, concat_columns, take_column
from penstock.data.types import Kind, Schema, has_kind
from penstock.errors import UserError
from penstock.io.formats.scalars import Invalid

Ops = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Defaults = tuple[Column | None, ...]


class SoftDeletes(tuple[Column | None, ...]):
    """The defaults of a connector with soft_delete; `deleted` are those of its deletions."""

    deleted: tuple[Column | None, ...]

    @staticmethod
    def of(defaults: Sequence[Column | None], deleted: Sequence[Column | None]) -> SoftDeletes:
        made = SoftDeletes(defaults)
        made.deleted = tuple(deleted)
        return made


class RecordDefaults(tuple[Column | None, ...]):
    """Defaults that differ from record to record, since the connector tells something of each;
    the tuple has those where it does not. Who feeds a parser record by record says before each
    which one it is.

    `told`: what gives those of a batch of records, a row of defaults each (a column of one value
    is that of all), and the same for deletions under soft_delete."""

    told: tuple[Callable[[Batch], Defaults], Callable[[Batch], Defaults] | None]
    #: of the record that is parsed now: defaults, and those of a deletion under soft_delete
    now: tuple[Defaults, Defaults | None]
    _records: tuple[Defaults, Defaults | None]

    def tell(self, records: Batch) -> None:
        """What is told of each of the records that come now."""
        of, of_deletions = self.told
        self._records = of(records), None if of_deletions is None else of_deletions(records)

    def use(self, record: int) -> None:
        """The parser is fed the record of this number."""
        usual, deleted = self._records
        self.now = _row(usual, record), None if deleted is None else _row(deleted, record)


def _row(defaults: Defaults, record: int) -> Defaults:
    at = np.array([record], np.int64)
    return tuple(c if c is None or len(c) == 1 else take_column(c, at) for c in defaults)


@dataclass(frozen=True, slots=True)
class Table:
    """What a parser knows of the table it reads for. `defaults`: a one-row Column or None each."""

    schema: Schema
    key: tuple[int, ...]
    defaults: tuple[Column | None, ...]
    #: soft_delete: the defaults of deletions, which are taken in as insertions
    deleted: tuple[Column | None, ...] | None = None
    #: defaults that are other ones for each record
    of_records: RecordDefaults | None = None

    def may_lack(self, op: int, column: int) -> bool:
        """May a record of operation `op` come without this column?"""
        if op == INSERT or not self.key:
            return self.defaults[column] is not None or self.schema.types[column].nullable
        return column not in self.key

    def ignores(self, op: int, column: int) -> bool:
        """A keyed delete looks at the key only."""
        return op == DELETE and bool(self.key) and column not in self.key

    def check_operation(self, op: int) -> None:
        if op == UPDATE and not self.key:
            raise Invalid(
                "'update' needs a table with a primary key",
                hint="send a 'delete' of the old row and an 'insert' of the new one",
            )


def table(
    schema: Schema, key: Sequence[int], defaults: Sequence[Column | None], format: str
) -> Table:
    """Raises UserError for columns that no text format of ours can carry."""
    for f in schema.fields:
        if has_kind(f.type, Kind.INTERVAL_LONG, Kind.INTERVAL_SHORT):
            raise UserError(
                f"column '{f.name}': the {format} format cannot carry values of type {f.type} yet",
                code="ConfigError.InvalidParserConfig",
                details={"column": f.name},
            )
    return plain_table(schema, key, defaults)


def plain_table(schema: Schema, key: Sequence[int], defaults: Sequence[Column | None]) -> Table:
    """The same for a format that can carry any column."""
    filled = tuple(defaults) or (None,) * len(schema)
    deleted = defaults.deleted if isinstance(defaults, SoftDeletes) else None
    of_records = defaults if isinstance(defaults, RecordDefaults) else None
    return Table(schema, tuple(key), filled, deleted, of_records)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows before their holes are filled: `missing[c]` says where column c was absent."""

    columns: list[Column]
    missing: list[Mask | None]
    ops: npt.NDArray[np.uint8]


def spliced(
    read: Rows, kept: npt.NDArray[np.int64], exact: Rows, order: npt.NDArray[np.int64]
) -> Rows:
    """The rows `kept` of `read` and all of `exact`, in `order`."""
    n = len(read.ops)
    places = np.concatenate([kept, n + np.arange(len(exact.ops))])[order]
    columns = [
        take_column(concat_columns([a, b]), places)
        for a, b in zip(read.columns, exact.columns, strict=True)
    ]
    missing = [
        None if a is None and b is None else np.concatenate([
            np.zeros(n, np.bool_) if a is None else a,
            np.zeros(len(exact.ops), np.bool_) if b is None else b,
        ])[places]
        for a, b in zip(read.missing, exact.missing, strict=True)
    ]  # fmt: skip
    ops = np.concatenate([read.ops, exact.ops])[places]
    return Rows(columns, missing, ops)


def input_batch(
    table: Table,
    columns: Sequence[Column],
    missing: Sequence[npt.NDArray[np.bool_] | None],
    ops: Ops,
) -> InputBatch:
    """Columns as read, NULL where missing[c] says that the field was absent, and operations."""
    finished: list[Column] = []
    present: list[npt.NDArray[np.uint8] | None] = []
    updates = ops == UPDATE if (ops == UPDATE).any() else None
    gone = ops == DELETE
    defaults, deleted = table.defaults, table.deleted
    if table.of_records is not None:
        defaults, deleted = table.of_records.now
    if deleted is not None and gone.any():
        columns = [
            c if absent is None or default is None else _overlay(c, default, absent & gone)
            for c, absent, default in zip(columns, missing, deleted, strict=True)
        ]
        missing = [None if absent is None else absent & ~gone for absent in missing]
        ops = np.full(len(ops), INSERT, np.uint8)
    for column, absent, default in zip(columns, missing, defaults, strict=True):
        if absent is None or not absent.any():
            finished.append(column)
            present.append(None)
            continue
        kept = None
        if updates is not None and (updates & absent).any():
            kept = 1 - (updates & absent).astype(np.uint8)
        present.append(kept)
        if default is not None:
            column = _overlay(column, default, absent)
        if not column.type.nullable:
            column = Column(column.type, column.values, None, column.heaps)
        finished.append(column)
    is_partial = any(p is not None for p in present)
    return InputBatch(table.schema, tuple(finished), ops, tuple(present) if is_partial else ())


def merged(batches: Sequence[InputBatch]) -> tuple[InputBatch, ...]:
    """The batches as one, in their order, with one heap a column; nothing for no batches."""
    if len(batches) < 2:
        return tuple(batches)
    first = batches[0]
    columns = tuple(
        compact_heaps(concat_columns([b.columns[c] for b in batches]))
        for c in range(len(first.columns))
    )
    present: tuple[npt.NDArray[np.uint8] | None, ...] = ()
    if any(b.present for b in batches):
        present = tuple(_merged_presence(batches, c) for c in range(len(first.columns)))
    return (InputBatch(first.schema, columns, np.concatenate([b.ops for b in batches]), present),)


def _merged_presence(batches: Sequence[InputBatch], column: int) -> npt.NDArray[np.uint8] | None:
    parts = [b.present[column] if b.present else None for b in batches]
    if all(p is None for p in parts):
        return None
    return np.concatenate(
        [np.ones(len(b), np.uint8) if p is None else p for b, p in zip(batches, parts, strict=True)]
    )


def _overlay(column: Column, default: Column, absent: npt.NDArray[np.bool_]) -> Column:
    n = len(column)
    both = concat_columns([column, default.with_type(column.type)])
    mixed = take_column(both, np.where(absent, n, np.arange(n)))
    valid = mixed.valid
    if valid is not None and valid.all():
        valid = None
    return Column(column.type, mixed.values, valid, mixed.heaps)


def values_and_holes(
    values: list[Any], missing: Any
) -> tuple[list[Any], npt.NDArray[np.bool_] | None]:
    """The values with None for `missing`, and where it was."""
    if missing not in values:
        return values, None
    holes = np.array([v is missing for v in values])
    return [None if v is missing else v for v in values], holes
