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

#: hashes that are sorted at once
PART = 1 << 20


class SeenKeys:
    """Hashes of the keys seen so far. Not thread-safe."""

    def __init__(self) -> None:
        self._hashes: list[npt.NDArray[np.uint64]] = []

    def add(self, keys: Batch) -> None:
        self._hashes.append(hash_columns(keys.columns, 0))

    def may_repeat(self) -> bool:
        """False if all keys are different; True if some may be equal. O(n log n); in parts of about
        `PART` hashes by their first bits, so that the keys take their eight bytes once."""
        bits = min(8, (sum(map(len, self._hashes)) // PART).bit_length())
        first = np.uint64(64 - bits)
        for part in range(1 << bits):
            # a shift by 64 would be none
            chosen = [h[(h >> first) == part] for h in self._hashes] if bits else self._hashes
            if not chosen:
                return False
            hashes = np.sort(np.concatenate(chosen))
            if (hashes[1:] == hashes[:-1]).any():
                return True
        return False


def not_unique(index: str) -> SinkRejected:
    return SinkRejected(
        f"index '{index}' is not unique in the view: a key belongs to several rows; add columns to "
        "the index, or aggregate in the view"
    )
