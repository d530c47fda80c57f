"""Where the arrays by group live: in memory, or beyond a size in files that have no name.

    sums, counts, hashes, slots, keys of groups     < from_bytes     memory
                                                    ≥ from_bytes     a mapped file of its own

They are read and written at random places by every step, so they cannot be runs. Mapped from a
file, their cold pages are the system's to write out and drop, as those of mapped runs are. Such a
file has no name, so it is gone with its array or its process, whatever happens; what outlives the
process is in checkpoints. Its room on the disk is taken when it is made: a full disk leaves the
array in memory and says so in the log, it does not end the process at some later write.

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
    if _directory is not None:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size >= max(_from_bytes, 1):
            try:
                array = _in_file(_directory, size).view(dtype).reshape(shape)
            except OSError as e:
                log.warning("state_in_memory bytes=%d reason=%s", size, e)
            else:
                if fill:
                    array.fill(fill)
                return array
    return np.full(shape, fill, dtype) if fill else np.zeros(shape, dtype)


def is_in_file(array: npt.NDArray[Any]) -> bool:
    """Whether `array` is one that `room` put into a file, or part of one."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap) or (
        isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)
    )


def _in_file(directory: Path, size: int) -> npt.NDArray[np.uint8]:
    # where a file cannot be without a name, it has one for an instant, which the store sweeps
    with tempfile.TemporaryFile(dir=directory, suffix=".tmp") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)
