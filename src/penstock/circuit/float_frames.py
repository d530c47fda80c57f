"""Sums of floats over frames: exact, so that it does not matter how rows are put together.

    rows        0.1  0.2 │ 0.3  0.4 │ …      blocks of rows, each with the exact total of all rows
    blocks    0      0.3 │      1.0 │ …      before it, parts that do not overlap

A frame's total is taken over from the frame before: what it left is taken away, what came is added.
Totals are as of `penstock.circuit.floating`; NaN and infinities are counted beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit import floating
from penstock.circuit.dense import Ids
from penstock.circuit.floating import _DOWN, _NOT_HUGE, _UP, Floats, Totals, grow, inlined, rounded
from penstock.data.batch import Column
from penstock.data.kernel import kernel

_NAN = np.nan
_INFINITE = np.inf


@dataclass(frozen=True, slots=True)
class FloatSums:
    """Exact totals, one an entry: `parts` and `huge` as of `Totals`, `strange`: how many NaN, inf
    and -inf, int64[n, 3], or no rows where there are none at all."""

    parts: Floats
    huge: Floats
    strange: Ids

    @staticmethod
    def of(n: int, ids: Ids, weights: Ids, values: Floats) -> FloatSums:
        """Of `n` entries, to which values·weights are added at `ids`."""
        totals, strange = Totals(), np.zeros((0, 3), np.int64)
        totals.reserve(n)
        is_finite = np.isfinite(values)
        if not is_finite.all():
            strange = np.zeros((n, 3), np.int64)
            for i, which in enumerate((np.isnan(values), values == np.inf, values == -np.inf)):
                np.add.at(strange[:, i], ids[which], weights[which])
            values = np.where(is_finite, values, 0.0)
        totals.add(ids, weights, values)
        return FloatSums(totals.parts[:n], totals.huge[:n], strange)

    @staticmethod
    def joined(them: Sequence[FloatSums]) -> FloatSums:
        """All entries of the first, then those of the second, …; of one at least."""
        strange = [each.strange for each in them]
        if any(map(len, strange)):
            strange = [
                s if len(s) else np.zeros((len(each.parts), 3), np.int64)
                for s, each in zip(strange, them, strict=True)
            ]
        return FloatSums(
            _stacked([each.parts for each in them]), _stacked([each.huge for each in them]),
            np.concatenate(strange),
        )  # fmt: skip

    def take(self, at: Ids) -> FloatSums:
        strange = self.strange[at] if len(self.strange) else self.strange
        return FloatSums(self.parts[at], self.huge[at], strange)

    def plus(self, at: Ids, others: FloatSums, sign: int = 1) -> FloatSums:
        """With others[i] added to (or taken from) entry at[i]."""
        totals, strange = Totals(), self.strange
        totals.parts, totals.huge = self.parts.copy(), self.huge.copy()
        weights, chosen = np.full(len(at), sign, np.int64), np.ones(len(at), np.bool_)
        for k in range(others.parts.shape[1]):
            totals.add_small(at, weights, np.ascontiguousarray(others.parts[:, k]))
        for k in range(others.huge.shape[1]):
            totals.add_huge(at, weights, np.ascontiguousarray(others.huge[:, k]), chosen)
        if len(others.strange):
            strange = strange.copy() if len(strange) else np.zeros((len(self.parts), 3), np.int64)
            np.add.at(strange, at, others.strange * sign)
        return FloatSums(totals.parts, totals.huge, strange)

    def up_to(self) -> FloatSums:
        """Entry i: the sum of all before entry i, and at last of all."""
        return FloatSums(
            _prefixes(self.parts), _prefixes(self.huge),
            np.cumsum(np.vstack((np.zeros((1, 3), np.int64), self.strange)), axis=0)
            if len(self.strange) else self.strange,
        )  # fmt: skip


def _stacked(them: Sequence[Floats]) -> Floats:
    out = np.zeros((sum(map(len, them)), max(each.shape[1] for each in them)), np.float64)
    at = 0
    for each in them:
        out[at : at + len(each), : each.shape[1]] = each
        at += len(each)
    return out


def floats_of(column: Column) -> Floats:
    return np.ascontiguousarray(column.values.astype(np.float64, copy=False))


def frame_float_sums(
    lo: Ids, hi: Ids, elements: FloatSums, counts: Ids, average: bool
) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """(Σ of elements lo[i] .. hi[i], or their average; 0 where these `counts` come to nothing)."""
    out, valid = np.empty(len(lo), np.float64), np.empty(len(lo), np.uint8)
    room = elements.parts.shape[1] + 2
    while True:
        total = np.zeros((1, room), np.float64)
        huge = np.zeros((1, room if elements.huge.shape[1] else 0), np.float64)
        if _frames(
            lo, hi, elements.parts, elements.huge, counts, elements.strange, average,
            total, huge, out, valid,
        ):  # fmt: skip
            return out, valid
        room *= 2


@kernel("boolean(float64[:, ::1], float64[:, ::1])", helpers=(floating,))
def _add_up(entries: Any, out: Any) -> Any:
    """out[i + 1] = out[i] + entries[i]; False if that needs more parts than there are."""
    spare = np.empty(out.shape[1] + 1, np.float64)
    for i in range(entries.shape[0]):
        for k in range(out.shape[1]):
            out[i + 1, k] = out[i, k]
        for k in range(entries.shape[1]):
            if entries[i, k] != 0.0 and not grow(out, i + 1, entries[i, k], spare):
                return False
    return True


def _prefixes(entries: Floats) -> Floats:
    room = entries.shape[1]
    while True:
        out = np.zeros((len(entries) + 1, room), np.float64)
        if not room or _add_up(np.ascontiguousarray(entries), out):
            return out
        room += 1


@inlined
def _change(total: Any, entries: Any, at: Any, sign: Any, spare: Any) -> Any:
    for k in range(entries.shape[1]):
        x = entries[at, k]
        if x == 0.0:
            break
        if not grow(total, 0, x * sign, spare):
            return False
    return True


@inlined
def _read(total: Any, huge: Any, both: Any, spare: Any, divisor: Any) -> Any:
    """The total divided by `divisor`, rounded as `AVG` of a group is; infinite where it does not
    fit."""
    largest = 0.0
    for k in range(huge.shape[1]):
        largest = max(largest, abs(huge[0, k]))
    if largest == 0.0 and divisor == 1.0:
        return rounded(total)
    is_scaled = largest >= _NOT_HUGE * _DOWN
    both[0, :] = 0.0
    for k in range(huge.shape[1]):
        both[0, k] = huge[0, k] if is_scaled else huge[0, k] * _UP
    for k in range(total.shape[1]):
        x = total[0, k] * _DOWN if is_scaled else total[0, k]
        if x != 0.0:
            grow(both, 0, x, spare)
    sum = rounded(both)
    if divisor != 1.0:
        # what rounding left is divided as well
        grow(both, 0, -sum, spare)
        sum = sum / divisor + rounded(both) / divisor
    return sum * _UP if is_scaled else sum


@kernel(
    "boolean(int64[::1], int64[::1], float64[:, ::1], float64[:, ::1], int64[::1], "
    "int64[:, ::1], boolean, float64[:, ::1], float64[:, ::1], float64[::1], uint8[::1])",
    helpers=(floating,),
)
def _frames(
    lo: Any, hi: Any, parts: Any, huge_parts: Any, counts: Any, strange: Any, average: Any,
    total: Any, huge: Any, out: Any, valid: Any,
) -> Any:  # fmt: skip
    """See `frame_float_sums`; False if there is no room in `total` or `huge`, which are scratch."""
    width = total.shape[1] + huge.shape[1] + 2
    both, spare = np.zeros((1, width), np.float64), np.empty(width + 1, np.float64)
    odd = np.zeros(3, np.int64)
    count, a, b = 0, 0, 0
    for i in range(lo.shape[0]):
        if i == 0 or lo[i] < a or hi[i] < b or lo[i] >= b:
            total[0, :] = 0.0
            huge[0, :] = 0.0
            odd[:] = 0
            count, a, b = 0, lo[i], lo[i]
        while b < hi[i]:
            if not _change(total, parts, b, 1.0, spare):
                return False
            if not _change(huge, huge_parts, b, 1.0, spare):
                return False
            count += counts[b]
            if strange.shape[0] > 0:
                for j in range(3):
                    odd[j] += strange[b, j]
            b += 1
        while a < lo[i]:
            if not _change(total, parts, a, -1.0, spare):
                return False
            if not _change(huge, huge_parts, a, -1.0, spare):
                return False
            count -= counts[a]
            if strange.shape[0] > 0:
                for j in range(3):
                    odd[j] -= strange[a, j]
            a += 1
        valid[i] = 1 if count > 0 else 0
        if count <= 0:
            out[i] = 0.0
        elif odd[0] > 0 or (odd[1] > 0 and odd[2] > 0):
            out[i] = _NAN
        elif odd[1] > 0 or odd[2] > 0:
            out[i] = _INFINITE if odd[1] > 0 else -_INFINITE
        else:
            out[i] = _read(total, huge, both, spare, float(count) if average else 1.0)
            if out[i] == 0.0:
                out[i] = 0.0  # never -0.0
    return True
