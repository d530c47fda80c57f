"""The parquet parser: a whole Parquet file → rows of one table, all inserts (contract section 7.5).

Columns are found by name, as JSON's are; a column that the file lacks is NULL or has its DEFAULT,
and columns that the table lacks are not read. There are no options. How values may be spelled:
`arrow_values`; a VARIANT is the text of its JSON, a UUID text or 16 bytes.

A value that its column cannot take costs its row; the file's other rows are taken. A file that
cannot be read as Parquet is one error.

Memory: the file, since its index is at its end. Cost: a few ns a value; a bad value costs
log2(BATCH_ROWS) conversions of its batch's halves.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.data.batch import INSERT, Column, InputBatch
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import Parsed, ParseError, Parser, ParserState
from penstock.io.formats.arrow_values import column_of
from penstock.io.formats.columns import all_null
from penstock.io.formats.flavors import match_keys
from penstock.io.formats.options import PARSER_ERROR, Options
from penstock.io.formats.rows import input_batch, table
from penstock.io.formats.scalars import Invalid

BATCH_ROWS = 1 << 16


class ParquetParser(Parser):
    def __init__(
        self,
        config: Mapping[str, Any] | None,
        schema: Schema,
        key: tuple[int, ...] = (),
        defaults: Sequence[Column | None] = (),
    ) -> None:
        Options.of("parquet parser", PARSER_ERROR, config).done()
        self._table = table(schema, key, defaults, "parquet")
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> Parsed:
        self._pieces.append(data)
        return Parsed(())

    def finish(self) -> Parsed:
        data, self._pieces = b"".join(self._pieces), []
        if not data:
            return Parsed(())
        try:
            with pq.ParquetFile(io.BytesIO(data)) as file:
                return self._read(file)
        except (pa.ArrowException, OSError) as e:
            return Parsed((), (ParseError(f"not a Parquet file that can be read: {e}", 1),))

    def state(self) -> ParserState:
        return ParserState(sum(map(len, self._pieces)), {})

    def restore(self, facts: Mapping[str, Any]) -> None:
        """A file is read from its beginning, so there is nothing to know."""

    def _read(self, file: pq.ParquetFile) -> Parsed:
        found = match_keys(tuple(file.schema_arrow.names), self._table.schema.names)
        for c, (name, column) in enumerate(zip(found, self._table.schema.names, strict=True)):
            if name is None and not self._table.may_lack(INSERT, c):
                hint = "the column is NOT NULL and has no DEFAULT"
                missing = f"the file has no column '{column}'"
                return Parsed((), (ParseError(missing, 1, field=column, suggestion=hint),))
        batches: list[InputBatch] = []
        errors: list[ParseError] = []
        at = 0
        wanted = [name for name in found if name is not None]
        for rows in file.iter_batches(BATCH_ROWS, columns=wanted):
            self._take(rows, found, at, batches, errors)
            at += len(rows)
        return Parsed(tuple(batches), tuple(errors), at)

    def _take(
        self,
        rows: pa.RecordBatch,
        found: Sequence[str | None],
        at: int,
        batches: list[InputBatch],
        errors: list[ParseError],
    ) -> None:
        """The rows, of which the first is number `at` of the file; halved until the bad ones are
        alone."""
        if not len(rows):
            return
        try:
            batches.append(self._batch(rows, found))
        except _Refused as e:
            if len(rows) == 1:
                text = _spelled(rows.column(e.name)[0])
                errors.append(ParseError(str(e), at + 1, field=e.column, invalid_text=text))
                return
            half = len(rows) // 2
            self._take(rows.slice(0, half), found, at, batches, errors)
            self._take(rows.slice(half), found, at + half, batches, errors)

    def _batch(self, rows: pa.RecordBatch, found: Sequence[str | None]) -> InputBatch:
        n = len(rows)
        columns: list[Column] = []
        missing: list[npt.NDArray[np.bool_] | None] = []
        for f, name in zip(self._table.schema.fields, found, strict=True):
            if name is None:
                columns.append(all_null(f.type, n))
                missing.append(np.ones(n, bool))
                continue
            try:
                columns.append(column_of(f.type, rows.column(name)))
            except (UserError, Invalid, pa.ArrowException) as e:
                raise _Refused(str(e), f.name, name) from e
            missing.append(None)
        return input_batch(self._table, columns, missing, np.full(n, INSERT, np.uint8))


class _Refused(Exception):
    """A value that `column`, called `name` in the file, cannot take."""

    def __init__(self, message: str, column: str, name: str) -> None:
        super().__init__(message)
        self.column, self.name = column, name


def _spelled(value: pa.Scalar) -> str | None:
    try:
        return str(value.as_py())
    except (ValueError, OverflowError):  # a moment that Python has no type for: its number
        number = getattr(value, "value", None)
        return None if number is None else str(number)
