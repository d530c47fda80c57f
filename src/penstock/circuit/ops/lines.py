"""What LATENESS lets others know: the line itself, and the rows that were behind it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from penstock.circuit.node import Node
from penstock.circuit.ops.source import KeyedSource
from penstock.circuit.waterline import Punctual, Value, largest_of_changes
from penstock.data.batch import Batch, Column
from penstock.data.types import FLOATS, Schema

LAG_STEPS = 64


class Line(Node):
    """One row: the largest value that a column has had, less a constant. With a `lag` it moves
    only once that many rows have come since it did, or some in each of LAG_STEPS steps.

    Reference:   max over all steps of A[column] - behind; no row before there is a value.
    Incremental: the largest of the delta, against the largest before.
    State: that value.
    Cost:  O(|delta|).

    Unlike the line by which rows are late it includes the step itself: what is behind it can be
    neither inserted nor deleted by a later step.
    """

    scalars: ClassVar[tuple[str, ...]] = (*Node.scalars, "highest")

    def __init__(
        self, source: Node, column: int, behind: Value, schema: Schema, lag: int = 0
    ) -> None:
        super().__init__(schema, (source,))
        self._column, self._behind, self._lag = column, behind, lag
        self.highest: Value | None = None
        #: since it moved: the largest value, and the rows and steps
        self._seen: Value | None = None
        self._rows, self._steps = 0, 0

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        found = largest_of_changes(delta.columns[self._column], delta.weights)
        if self._lag:
            self._rows += len(delta)
            self._steps += 1
            if found is not None and (self._seen is None or found > self._seen):
                self._seen = found
            if self._rows < self._lag and self._steps < LAG_STEPS:
                return None
            found, self._seen, self._rows, self._steps = self._seen, None, 0, 0
        before = self.highest
        if found is None or (before is not None and found <= before):
            return None
        self.highest = found
        values = [found] if before is None else [before, found]
        weights = np.array([-1, 1][-len(values) :], np.int64)
        return Batch(self.schema, (self._column_of(values),), weights)

    def _column_of(self, values: list[Value]) -> Column:
        """The values less `behind`, kept within the type."""
        (type,) = self.schema.types
        moved = [v - self._behind for v in values]
        if type.is_wide:
            words = [(int(v) % (1 << 64), int(v) >> 64 & (1 << 64) - 1) for v in moved]
            return Column(type, np.array(words, np.uint64))
        if type.kind not in FLOATS:
            info = np.iinfo(type.dtype)
            moved = [min(max(int(v), int(info.min)), int(info.max)) for v in moved]
        return Column(type, np.array(moved, type.dtype))

    def parameters(self) -> tuple[Any, ...]:
        return self._column, self._behind, *((self._lag,) if self._lag else ())


class Late(Node):
    """The records that came too late, each once and for good.

    Reference:   the changes that LATENESS dropped, as insertions.
    Incremental: those of this step.
    State: none.
    Cost:  O(|late records|).
    """

    def __init__(self, source: Punctual | KeyedSource) -> None:
        super().__init__(source.schema, (source,))
        self._source = source

    def is_due(self) -> bool:
        return self._source.late is not None

    def step(self) -> Batch | None:
        late = self._source.late
        assert late is not None
        return Batch(self.schema, late.columns, np.abs(late.weights))

    def parameters(self) -> tuple[Any, ...]:
        return ()
