"""Rows as words: batches of nullable text columns, which is how targets are compared (`contents`).

    of_columns     lists of texts, one a column             → a batch, weights 1
    of_records     a log of lines, each with its weight     → one column `record`

    {"insert":{"k":1}}  ──►  {"k":1} │ +1        1,"a, b",2  ──►  1,"a, b" │ +2

A line that is none of the format's is a record of its own, so that it shows as a difference.

Cost: one pass over the bytes, vectorised; memory is one block of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.arrow import column_from_arrow
from penstock.data.batch import Batch
from penstock.data.build import column_from_python
from penstock.data.types import VARCHAR, Field, Schema

BLOCK_BYTES = 4 << 20
RECORD = Schema((Field("record", VARCHAR),))


def words_schema(schema: Schema) -> Schema:
    """The same column names, each a nullable VARCHAR."""
    return Schema(tuple(Field(f.name, VARCHAR) for f in schema.fields))


def of_columns(
    schema: Schema,
    columns: Sequence[Sequence[str | None]],
    weights: npt.NDArray[np.int64] | None = None,
) -> Batch:
    """Texts as a batch of `schema`, which is that of `words_schema`."""
    made = tuple(column_from_python(VARCHAR, c) for c in columns)
    count = len(columns[0]) if columns else 0
    return Batch(schema, made, np.ones(count, np.int64) if weights is None else weights)


@dataclass(frozen=True, slots=True)
class LogFormat:
    """How a log spells a change. With `is_quoted` a line feed within double quotes does not end
    the record, and the signed weight is what follows the last `delimiter` (none: always 1);
    else `insert` and `delete` begin a line and `end` ends it."""

    insert: str = ""
    delete: str = ""
    end: str = ""
    is_quoted: bool = False
    delimiter: str = ""


JSON_LOGS = {
    "insert_delete": LogFormat('{"insert":', '{"delete":', "}"),
    "debezium": LogFormat('{"payload":{"op":"c","after":', '{"payload":{"op":"d","before":', "}}"),
}


def csv_log(delimiter: str, *, has_weight: bool) -> LogFormat:
    return LogFormat(is_quoted=True, delimiter=delimiter if has_weight else "")


def read_records(file: BinaryIO, size: int, format: LogFormat) -> Iterator[Batch]:
    """The first `size` bytes of `file` as records with weights."""
    rest, left = b"", size
    while left > 0:
        data = file.read(min(BLOCK_BYTES, left))
        left = 0 if not data else left - len(data)
        rest += data
        end = _record_ends(rest, format)
        if len(end):
            whole, rest = rest[: end[-1] + 1], rest[end[-1] + 1 :]
            yield of_records(whole, format, end)
    if rest:
        yield of_records(rest + b"\n", format)


def of_records(data: bytes, format: LogFormat, ends: npt.NDArray[np.int64] | None = None) -> Batch:
    """Whole records, each ended by a line feed (at `ends`)."""
    if ends is None:
        ends = _record_ends(data, format)
        if not len(ends) or ends[-1] != len(data) - 1:
            # an open quote: the rest is one record
            ends = np.append(ends, len(data) - 1)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    offsets = np.concatenate([starts, [ends[-1] + 1]]).astype(np.int64)
    lines = pa.Array.from_buffers(
        pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    lines = pc.binary_slice(lines, 0, -1).cast(pa.binary())
    texts, weights = _told_csv(lines, format) if format.is_quoted else _told_json(lines, format)
    return Batch(RECORD, (column_from_arrow(VARCHAR, texts),), weights)


def _record_ends(data: bytes, format: LogFormat) -> npt.NDArray[np.int64]:
    """Where the line feeds are that end a record."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    if format.is_quoted and len(ends):
        quotes = np.flatnonzero(raw == ord('"'))
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return ends.astype(np.int64)


def _told_json(
    lines: pa.BinaryArray, format: LogFormat
) -> tuple[pa.StringArray, npt.NDArray[np.int64]]:
    is_insert = _between(lines, format.insert, format.end)
    is_delete = _between(lines, format.delete, format.end)
    body = pc.if_else(
        is_insert,
        pc.binary_slice(lines, len(format.insert), -len(format.end)),
        pc.if_else(is_delete, pc.binary_slice(lines, len(format.delete), -len(format.end)), lines),
    )
    return _text(body), np.where(np.asarray(is_delete), np.int64(-1), np.int64(1))


def _between(lines: pa.BinaryArray, start: str, end: str) -> pa.BooleanArray:
    return pc.and_(pc.starts_with(lines, start), pc.ends_with(lines, end))


def _told_csv(
    lines: pa.BinaryArray, format: LogFormat
) -> tuple[pa.StringArray, npt.NDArray[np.int64]]:
    texts = _text(lines)
    if not format.delimiter:
        return texts, np.ones(len(texts), np.int64)
    told = pc.extract_regex(
        texts, rf"^(?s:(?P<row>.*))\x{ord(format.delimiter):02x}(?P<weight>-?[0-9]{{1,18}})$"
    )
    is_told = told.is_valid()
    rows = pc.if_else(is_told, pc.struct_field(told, "row"), texts)
    weights = pc.if_else(is_told, pc.struct_field(told, "weight"), "1").cast(pa.int64())
    return rows, np.asarray(weights, np.int64)


def _text(lines: pa.BinaryArray) -> pa.StringArray:
    """As text; bytes that are no UTF-8 are shown as \\xNN."""
    try:
        return lines.cast(pa.utf8())
    except pa.ArrowInvalid:
        return pa.array([v.decode("utf-8", "backslashreplace") for v in lines.to_pylist()])
