"""Masks (uint8 or bool, contiguous), asked the way small steps can afford.

A step of one row asks hundreds of them, and `mask.all()` or `np.flatnonzero(mask)` cost a
microsecond or more each for what numpy does around the look at the bytes.

Cost: O(n), some hundred nanoseconds for a few rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def all_set(mask: npt.NDArray[Any]) -> bool:
    """Whether no byte of `mask` is 0."""
    return b"\0" not in mask.tobytes()


def any_set(mask: npt.NDArray[np.bool_]) -> bool:
    """Whether a byte of `mask` is True."""
    return b"\1" in mask.tobytes()


def positions(mask: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Where `mask` (any numbers, one dimension) is not 0, ascending."""
    found: npt.NDArray[np.int64] = mask.nonzero()[0]
    return found
