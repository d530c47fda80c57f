"""Where the arrays by group live: in memory, or beyond a size in files that have no name.

    sums, counts, hashes, slots, keys of groups     < LARGE_BYTES    the heap
                                                    < from_bytes     memory in large pages
                                                    ≥ from_bytes     a mapped file of its own

Each step reads and writes them at random places. In the pages of 4 KB of the heap, which the
processor remembers for 8 MB at most, each of those is two waits for memory, one for where the page
is; pages of 2 MB (Linux, where the system has them) save that one, and memory of their own gives
them back whole.

Arrays that grow (`longer`) have address space behind them, which costs nothing until it is written,
so that they grow where they are and no step copies what all groups have. They take a large page
more at a time; the next one is made by a thread beside the steps, as the system clears it first (2
to 4 ms where a host has to find it too). The first one is not, and the arrays of an operator have
as many entries each: so they do not all double their length, but take one and a half to two and a
half times, and become large in different steps.

What is written at random places cannot be runs. Mapped from a file, their cold pages are the
system's to write out and drop, as those of mapped runs are. Such a file has no name, so it is gone
with its array or its process, whatever happens; what outlives the process is in checkpoints. Its
room on the disk is taken when it is made: a full disk leaves the array in memory and says so in the
log, it does not end the process at some later write.

The choice is the process's: it runs one pipeline.

Cost: a page fault where a page is cold; while memory is plentiful, writing changed pages back now
and then is the system's business.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import logging
import mmap
import os
import resource
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

#: arrays that get large pages, which have LARGE_PAGE bytes
LARGE_BYTES, LARGE_PAGE = 1 << 20, 1 << 21
#: address space for an array that grows: times what it has, and at least
AHEAD, LEAST_AHEAD = 32, 1 << 30
#: for memory that nobody has to have yet (Linux; not in every `mmap`), and to have it made
_NORESERVE = 0x4000 if sys.platform == "linux" else 0
_POPULATE_WRITE = 23

#: copies of arrays that will soon be large
_copies = itertools.count()

#: makes pages that are about to be written
_clearing = ThreadPoolExecutor(1, thread_name_prefix="pages")

_directory: Path | None = None
_from_bytes = 0


def use_files(directory: Path, from_bytes: int) -> None:
    """Make arrays of at least `from_bytes` in files of `directory` from now on."""
    global _directory, _from_bytes
    _directory, _from_bytes = directory, from_bytes


def use_memory() -> None:
    """Make all arrays in memory from now on."""
    global _directory
    _directory = None


def room(shape: int | tuple[int, ...], dtype: npt.DTypeLike, fill: int = 0) -> npt.NDArray[Any]:
    """A new array full of `fill`, to be kept from step to step."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw: npt.NDArray[np.uint8] | None = None
    if _directory is not None and size >= max(_from_bytes, 1):
        try:
            raw = _in_file(_directory, size)
        except OSError as e:
            log.warning("state_in_memory bytes=%d reason=%s", size, json.dumps(str(e)))
    if raw is None and size >= LARGE_BYTES:
        raw = _in_large_pages(size)
    if raw is None:
        return np.full(shape, fill, dtype) if fill else np.zeros(shape, dtype)
    array: npt.NDArray[Any] = raw.view(dtype).reshape(shape)
    if fill:
        array.fill(fill)
    return array


def longer(array: npt.NDArray[Any], rows: int, fill: int = 0) -> npt.NDArray[Any]:
    """`array` with room for `rows` entries at least, more than it has, the new ones full of `fill`:
    in the same memory if there is room behind it, else a copy about twice as long. Whoever has
    `array` still sees what is in it, and is to write into the longer one only."""
    entry = array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    is_file = _directory is not None and rows * entry >= max(_from_bytes, 1)
    memory = None if is_file else _reserve_of(array)
    if memory is None or rows * entry > memory.room:
        rows = max(16, rows, len(array) * _sixteenths(array.nbytes) // 16)
        size, memory = rows * entry, None
        if not is_file and size >= LARGE_BYTES and not _is_limited():
            memory = _reserved(max(AHEAD * size, LEAST_AHEAD))
        if memory is None:
            bigger = room((rows, *array.shape[1:]), array.dtype, fill)
            bigger[: len(array)] = array
            return bigger
    # to the end of a large page
    size = min(memory.room, -(-rows * entry // LARGE_PAGE) * LARGE_PAGE)
    held = size // entry * entry
    bigger = memory.part(0, held).view(array.dtype).reshape((-1, *array.shape[1:]))
    if not memory.used:
        bigger[: len(array)] = array
    if fill:
        bigger[len(array) :].fill(fill)
    memory.used = held
    populated(memory.part(size, size + LARGE_PAGE))
    return bigger


def _sixteenths(size: int) -> int:
    """How much longer a copy of an array of `size` bytes is to be, 32 being twice as long."""
    if not LARGE_BYTES // 16 <= size < LARGE_BYTES:
        return 32
    # one after the other differs by as much as may be
    return 24 + next(_copies) * 7 % 16


def populated(part: npt.NDArray[np.uint8]) -> Future[None]:
    """Have the system make the pages of `part`, beside what goes on; when it has. Changes none."""
    return _clearing.submit(_populate, part)


def _populate(part: npt.NDArray[np.uint8]) -> None:
    start = _address(part)
    end = start + part.nbytes
    start += -start % mmap.PAGESIZE
    if _NORESERVE and end > start:
        with suppress(OSError, AttributeError):  # older systems refuse, by what they return
            # not by `mmap`, which keeps the GIL meanwhile
            libc = ctypes.CDLL(None)
            address, size = ctypes.c_void_p(start), ctypes.c_size_t(end - start)
            libc.madvise(address, size, _POPULATE_WRITE)


def _is_limited() -> bool:
    """Whether address space costs something."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(r)[0] != resource.RLIM_INFINITY for r in limits):
        return True
    return _is_counted()


@functools.cache
def _is_counted() -> bool:
    """Whether the system counts every address that could be written. It is asked once, as that
    takes a tenth of a millisecond of a step; one that comes to count later refuses what is too
    much, and the array is copied."""
    policy = Path("/proc/sys/vm/overcommit_memory")
    return not policy.exists() or policy.read_text().strip() == "2"


class _Reserve(mmap.mmap):
    """Memory in large pages, more than is used. It knows no array, which would know it."""

    #: where its first large page begins, how many bytes there are from there on, and how many of
    #: these the array in it has
    start = room = used = 0

    def part(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self, np.uint8)[self.start + start : self.start + stop]


def _reserved(size: int) -> _Reserve | None:
    """None where the system has no large pages, or not so many addresses."""
    whole = _in_large_pages(size, _Reserve)
    if whole is None:
        return None
    memory = _base_of(whole)
    memory.start = _address(whole) - _address(np.frombuffer(memory, np.uint8))
    memory.room = len(whole)
    return cast(_Reserve, memory)


def _reserve_of(array: npt.NDArray[Any]) -> _Reserve | None:
    """The memory that `array` is all that is used of."""
    memory = _base_of(array)
    if not isinstance(memory, _Reserve) or array.nbytes != memory.used:
        return None
    return memory if _address(array) == _address(memory.part(0, 1)) else None


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _base_of(array: npt.NDArray[Any]) -> Any:
    """What the memory of `array` is part of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base.obj if isinstance(base, memoryview) else base


def is_in_file(array: npt.NDArray[Any]) -> bool:
    """Whether `array` is one that `room` put into a file, or part of one."""
    return isinstance(_base_of(array), _File)


class _File(mmap.mmap):
    """A file that is mapped."""


def _in_file(directory: Path, size: int) -> npt.NDArray[np.uint8]:
    # where a file cannot be without a name, it has one for an instant, which the store sweeps
    with tempfile.TemporaryFile(dir=directory, suffix=".tmp") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return np.frombuffer(_File(file.fileno(), size), np.uint8)


def _in_large_pages(size: int, kind: type[mmap.mmap] = mmap.mmap) -> npt.NDArray[np.uint8] | None:
    """None where the system has none."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        # private: shared memory has no large pages. What lies before the first is never touched
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        memory = kind(-1, size + LARGE_PAGE, flags=flags)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # also a system that is built without them
        return None
    array = np.frombuffer(memory, np.uint8)
    start = -_address(array) % LARGE_PAGE
    return array[start : start + size]
