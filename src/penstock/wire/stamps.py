"""Time stamps and identifiers as the wire writes them.

Invariants: `uuid7` strings sort in order of creation within one process, also within one
millisecond, which is what makes "ordered by id" mean "ordered by creation" (contract 1.1).
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import UTC, datetime

_lock = threading.Lock()
_last = 0


def now_rfc3339() -> str:
    """The time in UTC with microseconds, e.g. `2026-01-31T12:00:00.000001Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 in the form of `now_rfc3339`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def uuid7() -> str:
    """A fresh UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then a sub-millisecond
    counter in the 12 bits after the version, then 62 random bits."""
    global _last
    with _lock:
        ticks = time.time_ns() * 4096 // 1_000_000
        _last = ticks = max(ticks, _last + 1)
    milliseconds, fraction = divmod(ticks, 4096)
    tail = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    number = milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | tail
    return str(uuid.UUID(int=number))
