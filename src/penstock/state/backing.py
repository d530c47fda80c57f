"""Where the arrays by group live: in memory, or beyond a size in files that have no name.

    sums, counts, hashes, slots, keys of groups     < LARGE_BYTES    the heap
                                                    < from_bytes     memory in large pages
                                                    ≥ from_bytes     a mapped file of its own

Each step reads and writes them at random places. In the pages of 4 KB of the heap, which the
processor remembers for 8 MB at most, each of those is two waits for memory, one for where the page
is; pages of 2 MB (Linux, where the system has them) save that one, and memory of their own gives
them back whole.

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

import logging
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

#: arrays that get large pages, which have LARGE_PAGE bytes
LARGE_BYTES, LARGE_PAGE = 1 << 20, 1 << 21

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
            log.warning("state_in_memory bytes=%d reason=%s", size, e)
    if raw is None and size >= LARGE_BYTES:
        raw = _in_large_pages(size)
    if raw is None:
        return np.full(shape, fill, dtype) if fill else np.zeros(shape, dtype)
    array: npt.NDArray[Any] = raw.view(dtype).reshape(shape)
    if fill:
        array.fill(fill)
    return array


def is_in_file(array: npt.NDArray[Any]) -> bool:
    """Whether `array` is one that `room` put into a file, or part of one."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, _File) or (isinstance(base, memoryview) and isinstance(base.obj, _File))


class _File(mmap.mmap):
    """A file that is mapped."""


def _in_file(directory: Path, size: int) -> npt.NDArray[np.uint8]:
    # where a file cannot be without a name, it has one for an instant, which the store sweeps
    with tempfile.TemporaryFile(dir=directory, suffix=".tmp") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return np.frombuffer(_File(file.fileno(), size), np.uint8)


def _in_large_pages(size: int) -> npt.NDArray[np.uint8] | None:
    """None where the system has none."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        # private: shared memory has no large pages. What lies before the first is never touched
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = mmap.mmap(-1, size + LARGE_PAGE, flags=flags)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # also a system that is built without them
        return None
    array = np.frombuffer(memory, np.uint8)
    start = -array.__array_interface__["data"][0] % LARGE_PAGE
    return array[start : start + size]
