"""Whether keys that come in many batches are all different, for targets that cannot tell.

Eight bytes a key are kept: its hash. Equal hashes are only a suspicion; whoever asks then looks at
the keys themselves (ARCHITECTURE.md: a hash never decides).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch
from penstock.data.hash import hash_columns
from penstock.io.contracts import SinkRejected


class SeenKeys:
    """Hashes of the keys seen so far. Not thread-safe."""

    def __init__(self) -> None:
        self._hashes: list[npt.NDArray[np.uint64]] = []

    def add(self, keys: Batch) -> None:
        self._hashes.append(hash_columns(keys.columns, 0))

    def may_repeat(self) -> bool:
        """False if all keys are different; True if some may be equal. O(n log n)."""
        if not self._hashes:
            return False
        hashes = np.sort(np.concatenate(self._hashes))
        return bool((hashes[1:] == hashes[:-1]).any())


def not_unique(index: str) -> SinkRejected:
    return SinkRejected(
        f"index '{index}' is not unique in the view: a key belongs to several rows; add columns to "
        "the index, or aggregate in the view"
    )
