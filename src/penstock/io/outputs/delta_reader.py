"""The rows that a Delta table shows, read back as text, and a view's rows spelt the same way.

    a table             its rows
    a log               those of the newest generation, deletions with weight -1
    a log with a key    the last row of each key, unless it is a deletion: PARTS of the keys, one
                        after the other, so that no more than about ROWS_AT_ONCE rows are in memory

A version is a snapshot: it is read to its end whatever is committed meanwhile.

Cost: one pass over the table; of a log two, of one with a key one more for each part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Batch
from penstock.data.consolidate import group_rows
from penstock.data.gather import concat, take
from penstock.data.hash import hash_columns
from penstock.data.types import Schema
from penstock.io.outputs.arrow_words import of_arrow
from penstock.io.outputs.delta_shape import GENERATION, OP, TIMESTAMP, DeltaShape
from penstock.io.outputs.delta_types import delta_rows
from penstock.io.outputs.words import words_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable

#: rows of a log with a key that are in memory at once
ROWS_AT_ONCE = 1 << 20


class DeltaReader:
    """Reads `table`, one version, whose columns are `files`; None: there is no table."""

    def __init__(
        self, table: DeltaTable | None, files: pa.Schema, shape: DeltaShape, schema: Schema
    ) -> None:
        self.schema = words_schema(schema)
        self._table = table
        self._types = {n: files.field(n).type for n in shape.names}

    def rows(self) -> Iterator[Batch]:
        if self._table is None:
            return
        names = list(self._types)
        for piece in pa.RecordBatchReader.from_stream(self._table.scan(columns=names)):
            columns = [piece.column(n).cast(t) for n, t in self._types.items()]
            yield of_arrow(self.schema, columns)

    def spell(self, rows: Batch) -> Batch:
        told = delta_rows(rows, self._types)
        columns = [told.column(n).combine_chunks() for n in self._types]
        flat = [
            pa.concat_arrays(c.chunks) if isinstance(c, pa.ChunkedArray) else c for c in columns
        ]
        return of_arrow(self.schema, flat, rows.weights)


@dataclass(slots=True)
class _Changes:
    """Rows of a log as words, when they came (µs), and whether they are deletions."""

    words: Batch
    at: npt.NDArray[np.int64]
    is_gone: npt.NDArray[np.bool_]

    def of(self, rows: npt.NDArray[np.int64]) -> _Changes:
        return _Changes(take(self.words, rows), self.at[rows], self.is_gone[rows])


class DeltaLogReader(DeltaReader):
    """Of a log; see the module. `key`: the columns of its connector's index, or ()."""

    def __init__(
        self,
        table: DeltaTable | None,
        files: pa.Schema,
        shape: DeltaShape,
        schema: Schema,
        key: tuple[int, ...],
    ) -> None:
        super().__init__(table, files, shape, schema)
        self._key = key
        self._has_generation = GENERATION in files.names

    def rows(self) -> Iterator[Batch]:
        if self._table is None:
            return
        newest, count = self._newest()
        if not self._key:
            for c in self._changes(newest):
                weights = np.where(c.is_gone, np.int64(-1), np.int64(1))
                yield Batch(c.words.schema, c.words.columns, weights)
            return
        parts = 1 + count // ROWS_AT_ONCE
        for part in range(parts):
            yield self._last_of_keys(newest, part, parts)

    def _newest(self) -> tuple[int, int]:
        """The newest generation, and how many rows the log has."""
        newest = count = 0
        names = [GENERATION if self._has_generation else OP]
        for piece in self._scan(names):
            count += len(piece)
            if self._has_generation:
                newest = max(newest, pc.max(piece.column(0)).as_py() or 0)
        return newest, count

    def _changes(self, newest: int) -> Iterator[_Changes]:
        """All rows of a generation but its reset row."""
        more = [OP, TIMESTAMP, *([GENERATION] if self._has_generation else [])]
        for piece in self._scan([*self._types, *more]):
            # of whatever kind of text the library hands out
            op = piece.column(OP).cast(pa.utf8())
            is_one = pc.fill_null(pc.not_equal(op, "r"), True)
            if self._has_generation:
                is_newest = pc.equal(pc.fill_null(piece.column(GENERATION), 0), newest)
                is_one = pc.and_(is_one, is_newest)
            columns = [piece.column(n).cast(t).filter(is_one) for n, t in self._types.items()]
            at = pc.fill_null(piece.column(TIMESTAMP).cast(pa.int64()).filter(is_one), 0)
            is_gone = pc.fill_null(pc.equal(op.filter(is_one), "d"), False)
            yield _Changes(
                of_arrow(self.schema, columns),
                at.to_numpy(zero_copy_only=False),
                is_gone.to_numpy(zero_copy_only=False),
            )

    def _last_of_keys(self, newest: int, part: int, parts: int) -> Batch:
        """What the log shows of one of `parts` parts of the keys."""
        kept: list[_Changes] = []
        for c in self._changes(newest):
            hashes = hash_columns([c.words.columns[i] for i in self._key], n=len(c.at))
            kept.append(c.of(np.flatnonzero(hashes % np.uint64(parts) == np.uint64(part))))
            if sum(len(k.at) for k in kept) > ROWS_AT_ONCE:
                kept = [self._last(kept)]
        last = self._last(kept)
        return take(last.words, np.flatnonzero(~last.is_gone))

    def _last(self, pieces: list[_Changes]) -> _Changes:
        """The last row of each key, deletions too."""
        if not pieces:
            empty = of_arrow(self.schema, [pa.nulls(0, pa.utf8())] * len(self._types))
            return _Changes(empty, np.empty(0, np.int64), np.empty(0, np.bool_))
        all = _Changes(
            concat([p.words for p in pieces]),
            np.concatenate([p.at for p in pieces]),
            np.concatenate([p.is_gone for p in pieces]),
        )
        if len(all.at) == 0:
            return all
        keys = [all.words.columns[i] for i in self._key]
        order, starts = group_rows(keys, hash_columns(keys, n=len(all.at)))
        ends = np.append(starts[1:], len(order))
        group = np.repeat(np.arange(len(starts)), ends - starts)
        by_time = order[np.lexsort((all.at[order], group))]
        return all.of(by_time[ends - 1])

    def _scan(self, names: list[str]) -> pa.RecordBatchReader:
        assert self._table is not None
        return pa.RecordBatchReader.from_stream(self._table.scan(columns=names))
