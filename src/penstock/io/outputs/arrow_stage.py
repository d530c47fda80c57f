"""A snapshot on its way, as an Arrow IPC file beside its target (arrow.apache.org/docs/format).

    write(rows), piece by piece ──► <path> ──finish──► read(), as often as is needed

Writing copies memory and nothing else; reading holds one piece of about PIECE_BYTES at a time. A
finished stage stays open, so whoever removes its file takes nothing from a publish under way.

Not here: which rows, and what becomes of them (`duckdb_output`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from penstock.io.contracts import StagingLost

PIECE_BYTES = 4 << 20


class ArrowStage:
    """The file at `path`, made anew, with the columns of `schema`. OSError as files raise it."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path, schema
        #: how many were written
        self.rows = 0
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)
        self._reader: pa.RecordBatchFileReader | None = None

    def write(self, rows: pa.Table) -> None:
        if self._reader is not None:
            raise StagingLost(f"'{self.path}' was finished for publishing: begin again")
        pieces = 1 + rows.nbytes // PIECE_BYTES
        self._writer.write_table(rows.cast(self._schema), max(1, -(-len(rows) // pieces)))
        self.rows += len(rows)

    def finish(self) -> None:
        """Nothing more comes; a repetition does nothing. StagingLost if the file is gone."""
        if self._reader is not None:
            return
        self._writer.close()
        self._file.close()
        try:
            self._file = pa.OSFile(str(self.path), "rb")
            self._reader = pa.ipc.open_file(self._file)
        except (FileNotFoundError, pa.ArrowInvalid) as e:
            raise StagingLost(f"the stage '{self.path}' was removed: begin again") from e

    def read(self) -> pa.RecordBatchReader:
        """All rows once, of a finished stage."""
        return pa.RecordBatchReader.from_batches(self._schema, self._pieces())

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        assert self._reader is not None
        for i in range(self._reader.num_record_batches):
            yield self._reader.get_batch(i)

    def remove(self) -> None:
        self._reader = None
        self._file.close()
        self.path.unlink(missing_ok=True)
