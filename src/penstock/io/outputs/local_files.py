"""What the sinks that write files themselves have in common: how writers of one directory exclude
each other, how failures are told, how a name comes to stay.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.io.contracts import SinkRejected, SinkUnavailable


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Exclude the other writers of this directory (reset.md rule 5)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def file_errors(call: str, where: str) -> Iterator[None]:
    """The system's failures, told as the controller understands them."""
    try:
        yield
    except (PermissionError, IsADirectoryError) as e:
        raise SinkRejected(
            f"file_output: {call} of {where}: {e.strerror}: check owner and permissions"
        ) from e
    except OSError as e:
        raise SinkUnavailable(f"file_output: {call} of {where}: {e}") from e


def sync_folder(folder: Path) -> None:
    """The names in it survive a power loss from here on."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
