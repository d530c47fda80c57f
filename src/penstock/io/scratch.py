"""A temporary folder that does not outlive its process by more than the next one's start.

    with the object    removed by `cleanup`, at the latest when the object goes
    with the process   a process that is killed leaves it; the lock on it goes with the process,
                       and the next process that needs a folder of the same prefix removes it

Cost: a lock; the first folder of a prefix in a process lists the temporary folder once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from functools import lru_cache
from pathlib import Path


class Scratch:
    """A new folder, named `prefix` and something, in `parent` or where temporary files go. No
    other kind of folder may be named so."""

    def __init__(self, prefix: str, parent: str | None = None) -> None:
        parent = parent or tempfile.gettempdir()
        _sweep(parent, prefix)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_at(self.path, lock):
                break
            os.close(lock)  # another process took it for a dead one's before it was locked
        self._end = weakref.finalize(self, _remove, self.path, lock)

    def cleanup(self) -> None:
        """Remove it with all that is in it; once."""
        self._end()


@lru_cache(maxsize=64)
def _sweep(parent: str, prefix: str) -> None:
    """Remove the folders that processes left which are dead."""
    for path in Path(parent).glob(f"{prefix}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # another user's, or gone meanwhile
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)  # in use
        else:
            _remove(path, lock)


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def _is_at(path: Path, lock: int) -> bool:
    """Whether the folder that is locked is the one of that name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except FileNotFoundError:
        return False
