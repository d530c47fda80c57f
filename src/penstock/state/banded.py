"""A spine of which some keys may have very many rows, of which look-ups want those in a band.

    few rows a key      k │ r            sorted as any spine; the reader looks at all of a key
    many                k │ c, d │ r     in order of a column within each key, so that a band of its
                                         values is found by search (`penstock.state.ranges`)

Which of the two it is, its reader decides by what it finds: `lie_in_order` sorts all rows anew,
once and for good. A state of which each key has a few rows never pays for the order, and one that
has to be sorted took as long to come.

Cost: `lie_in_order` O(n log n), once; all else as of either spine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.data.batch import Array, Batch
from penstock.data.types import Schema
from penstock.state.ordered import OrderedRun, OrderedSpine
from penstock.state.run import Run, build_run, merge_runs, run_from
from penstock.state.storage import StateStore


class BandedSpine(OrderedSpine):
    """The integral of a relation, found by the columns at `key`, and by `column` too once it lies
    in order."""

    def __init__(self, schema: Schema, key: Sequence[int], column: int) -> None:
        # strings that begin alike are to be told apart, and long numbers
        packed = schema.types[column].is_wide and column not in key
        super().__init__(schema, key, [(column, False, True)], packed=packed)
        self.ordered_by = column

    def _admit(self, rows: Batch) -> None:
        if self.lies_in_order:
            super()._admit(rows)

    def lie_in_order(self) -> None:
        """Have the rows of each key in order of the column, those that come too."""
        if self.lies_in_order:
            return
        self.flush()
        while self._merging:
            self._adopt_merged(wait=True)
        self.lies_in_order = True
        if self._runs:
            self._admit(max(self._runs, key=len).batch)
        for i, run in enumerate(self._runs):
            self._runs[i] = self.run_of(run.batch)

    def run_of(self, delta: Batch) -> Run:  # type: ignore[override]
        return super().run_of(delta) if self.lies_in_order else build_run(delta, self.key)

    def sum_of(self, lower: Run, upper: Run) -> Run:  # type: ignore[override]
        # what is merged was made together: a merge that is under way is waited for before
        if isinstance(lower, OrderedRun):
            return super().sum_of(lower, upper)
        return merge_runs(lower, upper, self.key)

    def _read(self, arrays: Mapping[str, Array]) -> Run:  # type: ignore[override]
        return super()._read(arrays) if "c" in arrays else run_from(arrays, self.schema)

    def restore(self, store: StateStore, saved: Any) -> None:
        super().restore(store, saved)
        self.lies_in_order = any(isinstance(run, OrderedRun) for run in self._runs)
        if self.lies_in_order:
            # it may have come to be so while the others were written
            for i, run in enumerate(self._runs):
                if not isinstance(run, OrderedRun):
                    self._runs[i] = self.run_of(run.batch)
