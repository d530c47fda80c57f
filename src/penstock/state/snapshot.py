"""A snapshot: a relation's contents at one step, pinned.

It holds the runs that a spine had; runs are immutable, so taking one costs nothing and later steps
do not show in it. Reading consolidates across runs, in chunks cut by ranges of the key's hash, so
memory stays at about the size of a chunk.

Rows with negative totals (retractions that came before their insertion) are not part of it.

Cost: taking O(1); reading O(rows) in all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from penstock.data.batch import Batch
from penstock.data.build import empty_batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, filter_batch, slice_batch
from penstock.data.types import Schema
from penstock.state.run import Run


class Snapshot:
    """See the module. `rows` is the sum of all weights: what the chunks add up to, less any rows
    with negative totals, which the chunks leave out. Thread-safe."""

    def __init__(self, schema: Schema, runs: tuple[Run, ...], rows: int) -> None:
        self.schema = schema
        self.rows = rows
        self._runs = runs
        self._batch: Batch | None = None

    def batch(self) -> Batch:
        """Everything at once: consolidated, weights positive."""
        if self._batch is None:
            self._batch = self._positive([r.batch for r in self._runs])
        return self._batch

    def chunks(self, max_rows: int) -> Iterator[Batch]:
        """The contents in pieces of about `max_rows` distinct rows, none empty."""
        total = sum(len(r) for r in self._runs)
        pieces = max(1, -(-total // max_rows))
        cuts = [(i << 64) // pieces for i in range(1, pieces)]
        edges = [
            [0, *np.searchsorted(r.k, np.array(cuts, np.uint64)).tolist(), len(r)]
            for r in self._runs
        ]
        for i in range(pieces):
            parts = [
                slice_batch(r.batch, e[i], e[i + 1])
                for r, e in zip(self._runs, edges, strict=True)
                if e[i] < e[i + 1]
            ]
            chunk = self._positive(parts)
            if len(chunk):
                yield chunk

    def _positive(self, parts: list[Batch]) -> Batch:
        if not parts:
            return empty_batch(self.schema)
        rows = consolidate(concat(parts)) if len(parts) > 1 else parts[0]
        return filter_batch(rows, rows.weights > 0)
