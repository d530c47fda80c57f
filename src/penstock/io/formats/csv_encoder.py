"""The csv encoder: rows → buffers of CSV lines with the signed weight as last column.

    1,abc,2
    7,"a, b",-1

With `include_weight: false` (ours) there is no such column: a weight w is w equal lines, and a
delete cannot be written.

Source: contract sections 4 and 7.5.
Cost: about 1 µs a row and 100 ns a column.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.data.batch import Batch
from penstock.data.gather import slice_batch, take
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import Encoder
from penstock.io.formats.options import ENCODER_ERROR, Options
from penstock.io.formats.ordering import copies, deletes_first
from penstock.io.formats.spelling import check_columns, csv_values


class CsvEncoder(Encoder):
    def __init__(self, config: Mapping[str, Any] | None, schema: Schema) -> None:
        o = Options.of("csv encoder", ENCODER_ERROR, config)
        self._delimiter = o.character("delimiter", ",") or ","
        self._size = o.integer("buffer_size_records", 10_000)
        self._has_weight = o.boolean("include_weight", True)
        o.done()
        if self._delimiter in '"\r\n':
            raise o.fail("delimiter", "must not be a quote or a line break")
        check_columns(schema, "csv")

    def encode(self, rows: Batch) -> Sequence[bytes]:
        if self._has_weight:
            ordered = take(rows, deletes_first(rows))
        else:
            ordered, deletes = copies(rows)
            if deletes:
                raise UserError(
                    "csv encoder: a deleted row cannot be written without its weight; "
                    "remove include_weight=false",
                    code="EncodeError",
                )
        return [
            self._buffer(slice_batch(ordered, start, min(start + self._size, len(ordered))))
            for start in range(0, len(ordered), self._size)
        ]

    def _buffer(self, rows: Batch) -> bytes:
        columns = [csv_values(c) for c in rows.columns]
        if self._has_weight:
            columns.append(rows.weights.tolist())
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=self._delimiter, lineterminator="\n")
        writer.writerows(zip(*columns, strict=True))
        return out.getvalue().encode()
