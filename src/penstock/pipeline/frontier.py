"""How far an input has come, and how long its rows took: `completed_frontier` and
`processing_latency_p99_micros` of the statistics (contract 6.1).

    arrive ─► take ─► step: process ─► every output has the step: complete

Only of rows that arrived in this life: nobody knows when those of an earlier one came. Called under
the endpoint's lock. Times are epoch seconds.

Cost: an entry per piece of rows until its step, one per step until it is delivered.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: steps whose latency is remembered
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class _Passage:
    """Rows that went through the circuit with one step; `position`: where their source goes on."""

    step: int
    position: Mapping[str, Any] | None
    ingested_at: float
    processed_at: float


class Frontier:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        #: (records so far, when) per piece that arrived
        self._arrived: deque[tuple[int, float]] = deque()
        self._processed: deque[_Passage] = deque()
        self._completed: tuple[_Passage, float] | None = None
        self._latencies: deque[float] = deque(maxlen=_KEPT)

    def arrive(self, records: int) -> None:
        """The rows up to the `records`-th are here."""
        self._arrived.append((records, self._clock()))

    def process(self, step: int, records: int, position: Mapping[str, Any] | None) -> None:
        """`step` took the rows up to the `records`-th through the circuit."""
        arrived = []
        while self._arrived and self._arrived[0][0] <= records:
            arrived.append(self._arrived.popleft()[1])
        if arrived:
            now = self._clock()
            self._latencies.append(now - arrived[0])
            self._processed.append(_Passage(step, position, arrived[-1], now))

    def complete(self, step: int) -> None:
        """Every output has all steps up to `step`."""
        while self._processed and self._processed[0].step <= step:
            self._completed = self._processed.popleft(), self._clock()

    def completed(self) -> dict[str, Any] | None:
        """A CompletedWatermark of the contract: the newest rows that every output has."""
        if self._completed is None:
            return None
        passage, completed_at = self._completed
        return {
            "metadata": dict(passage.position or {}),
            "ingested_at": _rfc3339(passage.ingested_at),
            "processed_at": _rfc3339(passage.processed_at),
            "completed_at": _rfc3339(completed_at),
        }

    def latency_p99_micros(self) -> int | None:
        """From the arrival of a step's first row to the step's end, of the latest steps."""
        ordered = sorted(self._latencies)
        return int(ordered[len(ordered) * 99 // 100] * 1e6) if ordered else None


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
