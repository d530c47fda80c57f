"""Parquet files in a Delta table's folder that no reader knows of until a commit names them.

    add(rows) … add(rows) ─► finish() ─► [AddAction, …] ─► the commit that publishes them
                                └────────► discard(): remove them again

A file ends at FILE_ROWS rows; what is in memory is one row group. Each file's statistics (row
count, NULL count, smallest and largest value of integers, dates and short texts) go into its
AddAction, so that readers can skip it (Delta protocol, "Per-file Statistics").

Files that were finished and never published stay until VACUUM removes them, as the table's own
leftovers do: after a crash nobody can tell them from files that an old version needs.
"""

from __future__ import annotations

import datetime
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.parquet
from deltalake.transaction import AddAction
from obstore.store import ObjectStore

from penstock.io.outputs.parquet_columns import repeating

FILE_ROWS = 1_000_000
#: longer texts are left out of the statistics
_STATS_LENGTH = 64


class ParquetFiles:
    """Writes files of `schema` into the folder `store`, named after `prefix`."""

    def __init__(self, store: ObjectStore, schema: pa.Schema, prefix: str) -> None:
        self._store, self.schema, self._prefix = store, schema, prefix
        self._file: _Upload | None = None
        self._writer: Any = None
        self._metadata: list[Any] = []
        self._done: list[AddAction] = []
        self.bytes = 0

    def add(self, rows: pa.Table) -> None:
        """Write `rows`, whose columns are those of the schema, in its order."""
        if self._file is None:
            self._metadata = []
            self._file = _Upload(self._store, f"{self._prefix}-{uuid.uuid4().hex}.parquet")
            self._writer = pa.parquet.ParquetWriter(
                self._file, self.schema, metadata_collector=self._metadata, compression="snappy",
                use_dictionary=repeating(rows),
            )  # fmt: skip
        self._writer.write_table(rows.cast(self.schema))
        self._file.rows += len(rows)
        if self._file.rows >= FILE_ROWS:
            self._end_file()

    def finish(self) -> list[AddAction]:
        """The files so far, whole and durable where the storage makes them so."""
        if self._file is not None:
            self._end_file()
        return self._done

    def _end_file(self) -> None:
        file, self._file = self._file, None
        assert file is not None
        self._writer.close()
        file.finish()
        self.bytes += file.size
        self._done.append(
            AddAction(
                path=file.path,
                size=file.size,
                partition_values={},
                modification_time=time.time_ns() // 1_000_000,
                data_change=True,
                stats=json.dumps(_statistics(self._metadata[0])),
            )
        )

    def read(self, columns: list[str]) -> pa.Table:
        """Some columns of the finished files."""
        return pa.concat_tables(
            pa.parquet.read_table(
                pa.BufferReader(bytes(obstore.get(self._store, f.path).bytes())), columns=columns
            )
            for f in self._done
        )

    def discard(self) -> None:
        """Remove the files, which no commit names. Half a file was never an object."""
        self._file = self._writer = None
        for file in self._done:
            with suppress(FileNotFoundError):
                obstore.delete(self._store, file.path)
        self._done = []


class _Upload:
    """One object while it is written, as what pyarrow takes for a file; an object only when it is
    finished. Parts go out as they fill, and the GIL is free meanwhile."""

    def __init__(self, store: ObjectStore, path: str) -> None:
        self.path, self.size, self.rows = path, 0, 0
        self._writer = obstore.open_writer(store, path)

    def write(self, data: Any) -> int:
        self._writer.write(data)
        self.size += memoryview(data).nbytes
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Parts are sent when they are full."""

    def close(self) -> None:
        """pyarrow closes what it wrote to also when it gives up; see `finish`."""

    @property
    def closed(self) -> bool:
        return False

    def finish(self) -> None:
        self._writer.close()


def _statistics(metadata: Any) -> dict[str, Any]:
    """Delta's statistics of one file, from its Parquet footer."""
    nulls: dict[str, int] = {}
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    for name, i in _scalar_columns(metadata.schema.to_arrow_schema()):
        found = [metadata.row_group(g).column(i).statistics for g in range(metadata.num_row_groups)]
        if any(s is None or not s.has_null_count for s in found):
            continue
        nulls[name] = sum(s.null_count for s in found)
        values = [v for s in found if s.has_min_max for v in (s.min, s.max)]
        complete = all(s.has_min_max or s.num_values == 0 for s in found)
        if values and complete and all(_is_comparable(v) for v in values):
            least[name], most[name] = _json(min(values)), _json(max(values))
    return {
        "numRecords": metadata.num_rows,
        "minValues": least,
        "maxValues": most,
        "nullCount": nulls,
    }


def _scalar_columns(schema: pa.Schema) -> Iterator[tuple[str, int]]:
    """Scalar columns and their places among the file's, of which a nested one has several."""
    at = 0
    for field in schema:
        if not pa.types.is_nested(field.type):
            yield field.name, at
        at += _leaves(field.type)


def _leaves(type: pa.DataType) -> int:
    """How many columns of a Parquet file a column of `type` is."""
    if not pa.types.is_nested(type):
        return 1
    return sum(_leaves(type.field(i).type) for i in range(type.num_fields))


def _is_comparable(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _STATS_LENGTH
    is_date = isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    return is_date or (isinstance(value, int) and not isinstance(value, bool))


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.date) else value
