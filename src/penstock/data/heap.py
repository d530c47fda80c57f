"""The process-wide table of heaps: where the bytes of long strings live.

    view ─ heap id ─► addresses[id] ─► uint8 buffer,  bytes at `offset`

A view names its heap by an id that is valid in the whole process, so rows can be gathered,
concatenated and merged without rewriting views; kernels look the address up in one table.
A `Heap` owns its buffer; its id is free again when the last column that holds it is gone.

Invariants: a heap's bytes never change or move; an id is not reused while its heap is alive; the
address table never moves (it is allocated once, and the system backs only the touched pages).

Heaps of files have ids of a range of their own, chosen at random when they are written, so that
views in a file can usually be used as they are: whoever reads it asks for that very id.

Cost: 8 bytes of table a live heap.
"""

from __future__ import annotations

import secrets
import threading
import weakref
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

#: live heaps at one time; a merge folds many into one, so there are few
MAX_HEAPS = 1 << 20

#: ids from MAX_HEAPS on are those of files
_addresses: npt.NDArray[np.uint64] = np.zeros(2 * MAX_HEAPS, np.uint64)
_lock = threading.Lock()
_free: list[int] = []
_next = 0
_claimed: set[int] = set()


class Heap:
    """An immutable byte buffer with a process-wide id: `file_id` if nobody has that one."""

    __slots__ = ("__weakref__", "data", "id")

    def __init__(self, data: npt.NDArray[np.uint8], file_id: int | None = None) -> None:
        global _next
        self.data = data
        with _lock:
            if file_id is not None and file_id not in _claimed:
                self.id = file_id
                _claimed.add(file_id)
            elif _free:
                self.id = _free.pop()
            else:
                if _next >= MAX_HEAPS:
                    raise MemoryError(f"more than {MAX_HEAPS} string heaps are alive")
                self.id = _next
                _next += 1
            _addresses[self.id] = data.ctypes.data
        weakref.finalize(self, _release, self.id).atexit = False

    def __len__(self) -> int:
        return int(self.data.shape[0])


def _release(id: int) -> None:
    # these calls are atomic; taking the lock here could deadlock with a collection inside it
    if id >= MAX_HEAPS:
        _claimed.discard(id)
    else:
        _free.append(id)


def new_file_id() -> int:
    """An id for a heap that is about to be written."""
    return MAX_HEAPS + secrets.randbelow(MAX_HEAPS)


def heap_addresses() -> npt.NDArray[np.uint64]:
    """Address of each heap's first byte, by id; the same array for the life of the process."""
    return _addresses


def union(heap_sets: Iterable[tuple[Heap, ...]]) -> tuple[Heap, ...]:
    """The heaps of several columns, each once."""
    seen: dict[int, Heap] = {}
    last: tuple[Heap, ...] = ()
    for heaps in heap_sets:
        # rows of one batch share theirs, which may be many
        if heaps is not last:
            for h in heaps:
                seen[h.id] = h
            last = heaps
    return tuple(seen.values())
