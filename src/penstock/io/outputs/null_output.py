"""A sink that counts and keeps nothing: the yardstick for throughput and for the controller.

Guarantee: atomic, trivially. It obeys the whole contract (order of calls, completeness, fencing,
replay) with its marker in memory, so that whatever violates the contract fails here first.

Cost: O(rows) per chunk for the sum of the weights; no memory.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from penstock.data.batch import Batch
from penstock.io.contracts import Capabilities, Marker, Sink, SinkContext
from penstock.io.outputs.fencing import (
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    staging_of,
)

TARGET = "null_output"


class NullSink(Sink):
    """Counts in `phases`: begun, chunks, rows_staged, published, aborted, deltas, rows_applied."""

    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        self.phases: Counter[str] = Counter()
        self._marker: Marker | None = None
        self._staging: Staging | None = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="atomic")

    def open(self) -> None:
        self._staging = None

    def validate(self) -> None:
        check_owner(self._marker, self.context, TARGET)

    def marker(self) -> Marker | None:
        return self._marker

    def begin(self, generation: int, token: str, step: int) -> None:
        self._staging = Staging(generation)
        self.phases["begun"] += 1

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        copies = int(rows.weights.sum())
        staging.took(copies)
        self.phases["chunks"] += 1
        self.phases["rows_staged"] += copies

    def publish(self, generation: int, marker: Marker) -> None:
        check_owner(self._marker, self.context, TARGET)
        if check_fence(self._marker, marker, TARGET) and self._staging is None:
            return
        check_complete(generation, staging_of(self._staging, generation).rows, marker)
        self._marker, self._staging = marker, None
        self.phases["published"] += 1

    def abort(self, generation: int) -> None:
        if self._staging is not None and self._staging.generation == generation:
            self._staging = None
            self.phases["aborted"] += 1

    def apply(self, rows: Batch, marker: Marker) -> None:
        if is_applied(self._marker, marker, TARGET):
            return
        self._marker = marker
        self.phases["deltas"] += 1
        self.phases["rows_applied"] += int(np.abs(rows.weights).sum())

    def close(self) -> None:
        self._staging = None
