"""BIT_AND, BIT_OR and BIT_XOR under retractions; EVERY and SOME are the same over one bit.

    value 0110 (+1), 0011 (+2)   ──►   rows 3, ones per bit  0 1 3 2

A bit of BIT_AND is set where as many rows have it as there are, one of BIT_OR where any has it;
BIT_XOR needs only whether their number is odd.

Reference:   the bits of all values of the group together; NULL without one.
Incremental: counts of each bit, from which the word of a touched group is read anew.
State: a count per bit of the type and group; for BIT_XOR one word.
Cost:  O(|delta| · bits); for BIT_XOR O(|delta|).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, grown, moved
from penstock.circuit.ops.accumulate import Accumulator, GroupedRows, the_array
from penstock.data.batch import Column
from penstock.data.kernel import kernel
from penstock.data.types import Kind, SqlType
from penstock.state.changes import Arrays


class Bits(Accumulator):
    """A bitwise aggregate of integers or BOOLEANs; `kind` is "AND", "OR" or "XOR"."""

    def __init__(self, kind: str, argument: SqlType, result: SqlType) -> None:
        self._kind = kind
        self._result = result
        bits = 1 if argument.kind is Kind.BOOLEAN else 8 * argument.width_bytes
        self._ones = np.zeros((16, 1 if kind == "XOR" else bits), dtype=np.int64)
        self._counts = np.zeros(16, dtype=np.int64)

    def reserve(self, groups: int) -> None:
        self._ones = grown(self._ones, groups)
        self._counts = grown(self._counts, groups)

    def arrays(self) -> Arrays:
        return {"ones": self._ones, "counts": self._counts}

    def load(self, arrays: Arrays) -> None:
        self._ones, self._counts = the_array(arrays["ones"]), the_array(arrays["counts"])

    def add(self, rows: GroupedRows) -> None:
        values = rows.args[0].values
        # sign extension does no harm: only the type's own bits are looked at
        words = values if values.dtype == np.uint64 else values.astype(np.int64)
        add = _add_parity if self._kind == "XOR" else _add_ones
        add(rows.groups, rows.weights, words.view(np.int64), self._ones, self._counts)

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        used: npt.NDArray[np.bool_] = np.logical_or.reduce(self._ones[:groups] != 0, axis=1)
        used |= self._counts[:groups] != 0
        return used

    def move(self, old: Ids, new: Ids) -> None:
        self._ones = moved(self._ones, old, new)
        self._counts = moved(self._counts, old, new)

    def read(self, groups: Ids) -> Column:
        words = np.empty(len(groups), dtype=np.int64)
        if self._kind == "XOR":
            words = self._ones[groups, 0]
        else:
            _read_bits(groups, self._ones, self._counts, self._kind == "AND", words)
        valid = (self._counts[groups] > 0).astype(np.uint8)
        values = np.where(valid != 0, words, 0).astype(self._result.dtype)
        return Column(self._result, values, None if valid.all() else valid)


@kernel("void(int64[::1], int64[::1], int64[::1], int64[:, ::1], int64[::1])")
def _add_ones(ids: Any, weights: Any, values: Any, ones: Any, counts: Any) -> None:
    """ones[ids[i], b] += weights[i] where values[i] has bit b."""
    for i in range(ids.shape[0]):
        weight = weights[i]
        if weight == 0:
            continue
        group = ids[i]
        counts[group] += weight
        value = values[i]
        for b in range(ones.shape[1]):
            ones[group, b] += weight * ((value >> b) & 1)


@kernel("void(int64[::1], int64[::1], int64[::1], int64[:, ::1], int64[::1])")
def _add_parity(ids: Any, weights: Any, values: Any, ones: Any, counts: Any) -> None:
    """ones[ids[i], 0] ^= values[i] for odd weights."""
    for i in range(ids.shape[0]):
        counts[ids[i]] += weights[i]
        if weights[i] & 1:
            ones[ids[i], 0] ^= values[i]


@kernel("void(int64[::1], int64[:, ::1], int64[::1], boolean, int64[::1])")
def _read_bits(ids: Any, ones: Any, counts: Any, wants_all: Any, out: Any) -> None:
    for j in range(ids.shape[0]):
        group = ids[j]
        word = 0
        least = counts[group] if wants_all else 1
        for b in range(ones.shape[1]):
            if ones[group, b] >= least:
                word |= 1 << b
        out[j] = word
