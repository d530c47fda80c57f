"""Memory that was let go of: kept for who comes next, or given back to the system.

    no limit    an array that goes ──► the heap ──► the next array    (`penstock.manager.allocation`
                                   └─► the system, when the            says so to the C library)
                                       pipeline rests and it is much
    a limit     an array that goes ──► the system: large ones at once, the rest when something was
                                       spilled

What the system gets back it clears before anybody has it again, and a virtual machine's host has to
find it again: a second a GB there.

Source: mallopt(3), malloc_trim(3), mallinfo(3). Other C libraries than glibc do as they do.

Cost: `give_back` looks through all free parts of the heap, and who allocates waits meanwhile. Large
pages of which it gives back a part are small ones from then on, until the system makes them anew.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

#: mallopt's names, of malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8

#: arrays of so many bytes have memory of their own, that goes when they go
OWN_BYTES = 1 << 20
#: what the heap may keep at its end
_KEPT_BYTES = 1 << 20
#: less than this is kept anyway: twice what the heap has more than it needs
MUCH_BYTES = 1 << 27
#: arrays with memory of their own, at most; glibc's own choice
_MOST_OWN = 1 << 16


def limit_what_is_kept() -> None:
    """From now on, give back what is freed, in the whole process."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MMAP_MAX, _MOST_OWN)
        libc.mallopt(_MMAP_THRESHOLD, OWN_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_TOP_PAD, 0)
        # what one thread leaves in a heap of its own is of no use to another
        libc.mallopt(_ARENA_MAX, 1)
        libc.malloc_trim(0)


def give_back() -> None:
    """Give what is free to the system."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def give_back_much() -> None:
    """The same, where that is at least half of what is used."""
    libc = _glibc()
    if libc is not None and hasattr(libc, "mallinfo2"):
        libc.mallinfo2.restype = _Heap
        heap = libc.mallinfo2()
        if heap.free > max(MUCH_BYTES, heap.used // 2):
            libc.malloc_trim(0)


class _Heap(ctypes.Structure):
    """What mallinfo2 returns, in bytes where no number is meant."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("size", "parts", "fast", "maps", "mapped")),
        *((name, ctypes.c_size_t) for name in ("unused", "fast_free", "used", "free", "end")),
    )


@functools.cache
def _glibc() -> Any:
    """The C library of the process, None if it is another one."""
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
