"""The facts that an output endpoint is made of: cuts, counters, progress, holds.

Not here: what changes them (`delivery_state`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from penstock.data.batch import Batch


class SnapshotHandle(Protocol):
    """What `circuit.snapshot` returns: the view at one step, pinned."""

    @property
    def rows(self) -> int: ...

    def batch(self) -> Batch: ...

    def chunks(self, max_rows: int) -> Iterator[Batch]: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """A view pinned between two steps: its contents after `step`, when `processed` input records
    had gone through the circuit."""

    step: int
    processed: int
    snapshot: SnapshotHandle


@dataclass(slots=True)
class Counters:
    """Cumulative figures of an endpoint; never zeroed by a reset."""

    transmitted_records: int = 0
    num_transport_errors: int = 0
    num_encode_errors: int = 0
    resets: int = 0
    cancelled_resets: int = 0
    published_snapshots: int = 0


@dataclass(slots=True)
class Progress:
    """How far the current snapshot is. `rows_staged` counts what the sink has taken."""

    attempt: int = 0
    rows_staged: int = 0
    rows_total: int | None = None
    step: int | None = None
    bytes_before: int = 0
    bytes_sent: int = 0
    last_error: str | None = None
    started_at: float = field(default_factory=time.time)


@dataclass(slots=True)
class Hold:
    """Somebody compares the target at `step`: nothing later is delivered, and once it is there
    (`is_still`) the sink is not called."""

    step: int
    is_still: bool = False
