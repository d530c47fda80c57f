"""The storage directory of one pipeline: its parts, and who may use it.

    <storage>/lock            held by the process that runs the pipeline
    <storage>/checkpoints/    manifests            (`manifests`)
    <storage>/state/          what they name       (`penstock.state.storage`)
    <storage>/journal/        input, exactly_once  (`journal`)
    <storage>/resets.sqlite   tokens, generations  (`resets`)

A pipeline may outlive the server that started it by some seconds. The lock keeps its successor
from writing to the same files before it is gone.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from penstock.errors import TransientError
from penstock.pipeline.journal import Journal
from penstock.pipeline.manifests import ManifestStore
from penstock.state.storage import StateStore

_POLL_S = 0.05


class Storage:
    """See the module. Raises TransientError if another process keeps the lock for `patience_s`."""

    def __init__(self, directory: Path, *, patience_s: float = 15.0) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience_s
        while not self._try_lock():
            if time.monotonic() >= deadline:
                os.close(self._lock)
                raise TransientError(
                    f"the storage {directory} is in use by another process: wait until the earlier "
                    "run of this pipeline has ended",
                    code="StorageError",
                )
            time.sleep(_POLL_S)
        self.manifests = ManifestStore(directory / "checkpoints")
        self.state = StateStore(directory / "state")
        self.journal = Journal(directory / "journal")

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let others have it; repeating it does nothing."""
        self.journal.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)
