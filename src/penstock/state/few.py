"""The run of a few rows, in one call.

    words of each row, as they came ──► sorted, with the table of their keys and where it lies

Most steps of a busy view bring a row or two, and what they pay for is calls: sorting, gathering
each word, counting what is equal and indexing are a dozen of them.

Cost: O(rows²) at worst, which is why it is for `FEW_ROWS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.gather import take_column
from penstock.data.kernel import kernel

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: rows that are put in order one after the other
FEW_ROWS = 16
#: log2 of the buckets of a table, beyond the bits of the number of rows: about four a row
TABLE_BITS = 2

_WORD, _NUMBER = np.dtype(np.uint64), np.dtype(np.int64)
_SLOT = np.dtype(np.int32)


class Few(NamedTuple):
    """Rows in order: their positions (None: as they came), their words and weights, and the index
    of the first word as `Run` has it."""

    order: I64 | None
    words: list[U64]
    weights: I64
    table: npt.NDArray[np.int32]
    shift: int
    where: tuple[U64, int]

    def columns(self, columns: Sequence[Column]) -> tuple[Column, ...]:
        """The rows' columns. Nothing is gathered where they are in order, unless an array is a part
        of what may be a large one."""
        order = self.order
        if order is not None:
            return tuple([take_column(c, order) for c in columns])
        every = np.arange(len(self.weights))
        return tuple([c if c.values.base is None else take_column(c, every) for c in columns])


def few(words: Sequence[U64], weights: I64) -> Few | None:
    """No more than FEW_ROWS rows sorted by `words`, which are two or four, the first being the
    hash of the key; None if two have the same words or the weight of one is 0."""
    n = len(weights)
    shift = 64 - n.bit_length() - TABLE_BITS
    order, sums = np.empty(n, _NUMBER), np.empty(n, _NUMBER)
    made = [np.empty(n, _WORD) for _ in words]
    table, told = np.empty((1 << (64 - shift)) + 1, _SLOT), np.empty(4, _WORD)
    # of two words the second one is given in place of those that there are not
    how, address = _few(
        words[0], words[1], words[-2], words[-1], weights, shift,
        order, made[0], made[1], made[-2], made[-1], sums, table, told,
    )  # fmt: skip
    if how < 0:
        return None
    return Few(order if how else None, made, sums, table, shift, (told, address))


@kernel(
    "UniTuple(int64, 2)(uint64[::1], uint64[::1], uint64[::1], uint64[::1], int64[::1], int64, "
    "int64[::1], uint64[::1], uint64[::1], uint64[::1], uint64[::1], int64[::1], int32[::1], "
    "uint64[::1])"
)
def _few(
    k: Any, c: Any, d: Any, r: Any, weights: Any, shift: Any,
    order: Any, ks: Any, cs: Any, ds: Any, rs: Any, sums: Any, table: Any, told: Any,
) -> Any:  # fmt: skip
    """What `few` says. (-1 if rows are equal or no rows, 1 if they were in another order, else 0;
    the address of `told`.) Words are written in the order k, c, d, r, as some may be the same."""
    n = weights.shape[0]
    how = 0
    for i in range(n):
        j: Any = i
        while j > 0:
            b = order[j - 1]
            if k[b] != k[i]:
                is_behind = k[b] > k[i]
            elif c[b] != c[i]:
                is_behind = c[b] > c[i]
            elif d[b] != d[i]:
                is_behind = d[b] > d[i]
            else:
                is_behind = r[b] > r[i]
            if not is_behind:
                break
            order[j] = b
            j -= 1
            how = 1
        order[j] = i
    for i in range(n):
        at = order[i]
        ks[i], cs[i], ds[i], rs[i], sums[i] = k[at], c[at], d[at], r[at], weights[at]
        if sums[i] == 0:
            how = -1
        if i > 0:
            b = order[i - 1]
            if k[b] == k[at] and c[b] == c[at] and d[b] == d[at] and r[b] == r[at]:
                how = -1
    row = 0
    for p in range(table.shape[0] - 1):
        while row < n and np.int64(ks[row] >> np.uint64(shift)) < p:
            row += 1
        table[p] = row
    table[table.shape[0] - 1] = n
    told[0], told[1] = np.uint64(ks.ctypes.data), np.uint64(table.ctypes.data)
    told[2], told[3] = np.uint64(shift), np.uint64(n)
    return how, np.int64(told.ctypes.data)
