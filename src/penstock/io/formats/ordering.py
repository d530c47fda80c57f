"""The order in which a batch's rows are written: deletes first, a weight as so many copies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch
from penstock.data.gather import take
from penstock.errors import UserError

#: copies of one row that an encoder is willing to write (contract section 4)
MAX_WEIGHT = 1_000_000


def deletes_first(rows: Batch) -> npt.NDArray[np.int64]:
    """Positions of the rows with negative weights, then of those with positive ones."""
    w = rows.weights
    return np.concatenate([np.flatnonzero(w < 0), np.flatnonzero(w > 0)])


def copies(rows: Batch) -> tuple[Batch, int]:
    """The rows as often as their weights say, deletes first, and how many are deletes.

    Raises UserError (EncodeError) for a weight beyond MAX_WEIGHT.
    """
    counts = np.abs(rows.weights)
    if len(counts) and counts.max() > MAX_WEIGHT:
        raise UserError(
            f"a row has the weight {int(rows.weights[counts.argmax()])}; the format writes a row "
            f"once per unit of weight, at most {MAX_WEIGHT} times",
            code="EncodeError",
        )
    order = deletes_first(rows)
    order = np.repeat(order, counts[order])
    return take(rows, order), int(counts[rows.weights < 0].sum())
