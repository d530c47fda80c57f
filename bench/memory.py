"""The memory of one part of a run, whatever ran before it in the same process.

    let_go()   peak = Peak()   … the part …   peak.mib()   let_go()   the next part

A circuit's nodes know each other, so one that nobody uses any more is there until the collector
runs, which with few Python objects and much memory may be never; and C libraries keep what they
were given back.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

#: asks Linux to take the present memory for the largest there was (proc(5), clear_refs)
_FORGET = "5"


def let_go() -> None:
    """Give the system back what nothing refers to any more, where the C library can."""
    # what was measured was kept from the collector (`feed.settle`)
    gc.unfreeze()
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # glibc's
        ctypes.CDLL(None).malloc_trim(0)


def at_hand(bytes: int) -> None:
    """Have `bytes` of memory, or half of what is available, that the process has used before. The
    first use of a page takes the system 0.4 ms, and 2 where a virtual machine's host has to find
    it, so whoever of two comes to it first is not to be compared with the other."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # kept when it is free again, as the bench runs as a worker does
    np.ones(min(bytes, available // 2), np.uint8)


class Peak:
    """The largest resident memory since this was made."""

    def __init__(self) -> None:
        #: whether what was before does not count; where it does, a figure has to say so
        self.is_own = False
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text(_FORGET)
            self.is_own = True

    def mib(self) -> float:
        if not self.is_own:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        lines = Path("/proc/self/status").read_text().splitlines()
        (line,) = (x for x in lines if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
