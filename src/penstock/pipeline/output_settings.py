"""The generic attributes of an output connector (contract 7.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """`snapshot`: in snapshot_and_follow mode. `buffered` and the two bounds: the output buffer.
    `overflow_resets`: a full queue is dropped and a snapshot owed instead of stalling.
    `fails_on_lost_marker`: a target that forgot what was written to it is not written anew by
    itself."""

    snapshot: bool = False
    max_queued_records: int = 1_000_000
    buffered: bool = False
    buffer_time_s: float = float("inf")
    buffer_records: int = 10_000_000
    overflow_resets: bool = False
    paused: bool = False
    fails_on_lost_marker: bool = False
