"""Order: exact sorting of rows, and 64-bit codes that keep the order.

Ascending order is: NULL where asked, then values; -inf … +inf, NaN last; strings by bytes
(= code points); FALSE before TRUE. `descending` turns values around, not the place of NULLs.

Cost: codes O(n); sorting O(n log n), strings compared in full only where 8 bytes do not decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.types import UNSIGNED, Kind
from penstock.data.views import compare, copy_out, prefixes

U64 = npt.NDArray[np.uint64]
_SIGN = np.uint64(1 << 63)


def value_codes(column: Column) -> tuple[U64, ...]:
    """Order-preserving words of the values alone, most significant first. Exact for all types
    but strings, whose one word is their first 8 bytes."""
    v = np.ascontiguousarray(column.values)
    kind = column.type.kind
    if column.type.is_view:
        return (prefixes(v),)
    if kind is Kind.DECIMAL:
        return (v[:, 1] ^ _SIGN, np.ascontiguousarray(v[:, 0]))
    if kind is Kind.UUID:
        return (v[:, 0].byteswap(), v[:, 1].byteswap())
    if kind in (Kind.REAL, Kind.DOUBLE):
        bits = v.astype(np.float64).view(np.uint64)
        negative = (bits & _SIGN) != 0
        return (np.where(negative, ~bits, bits | _SIGN),)
    if kind in UNSIGNED or kind in (Kind.BOOLEAN, Kind.NULL):
        return (v.astype(np.uint64),)
    return (v.astype(np.int64).view(np.uint64) ^ _SIGN,)


def order_codes(column: Column, descending: bool = False, nulls_first: bool = True) -> U64:
    """One uint64 a row such that code order never contradicts the row order; equal codes may
    hide a difference (strings beyond 8 bytes, decimals beyond 64 bits, the two extremes beside
    NULL)."""
    code = value_codes(column)[0]
    if descending:
        code = ~code
    if column.valid is None:
        return code
    # Invariant: codes saturate next to the extreme that NULL takes, keeping the order weakly
    if nulls_first:
        code = np.maximum(code, np.uint64(1))
        return np.where(column.valid == 0, np.uint64(0), code)
    top = np.uint64(0xFFFFFFFFFFFFFFFF)
    code = np.minimum(code, top - np.uint64(1))
    return np.where(column.valid == 0, top, code)


def sort_indices(
    columns: Sequence[Column], directions: Sequence[tuple[bool, bool]], n: int | None = None
) -> npt.NDArray[np.int64]:
    """Stable exact sort: positions in order of `columns[0]`, then `columns[1]`, …; each direction
    is (descending, nulls_first)."""
    if not columns:
        return np.arange(n or 0)
    keys: list[npt.NDArray[np.uint64]] = []
    for column, (descending, nulls_first) in zip(columns, directions, strict=True):
        if column.valid is not None:
            is_null = column.valid == 0
            keys.append((is_null ^ nulls_first).astype(np.uint64))
        words = (dense_ranks(column),) if column.type.is_view else value_codes(column)
        keys.extend(~w if descending else w for w in words)
    return np.lexsort(keys[::-1])


def dense_ranks(column: Column) -> U64:
    """Rank of each string among the distinct ones; exact."""
    values = np.ascontiguousarray(column.values)
    code = prefixes(values)
    order = np.argsort(code, kind="stable")
    order = _settle_ties(values, code, order)
    ordered = values[order]
    ranks = np.zeros(len(values), np.uint64)
    if len(values) > 1:
        differs = compare(ordered[1:], ordered[:-1], len(values) - 1)
        ranks[order] = np.concatenate(([0], np.cumsum(differs != 0))).astype(np.uint64)
    return ranks


def _settle_ties(
    values: npt.NDArray[np.uint64], code: U64, order: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Sort runs of equal 8-byte prefixes by the whole strings: bottom-up merge by halves would
    be a kernel; ties are rare, so each run is sorted through its bytes."""
    sorted_code = code[order]
    starts = np.flatnonzero(np.diff(sorted_code, prepend=~sorted_code[:1]))
    ends = np.append(starts[1:], len(order))
    tied = np.flatnonzero(ends - starts > 1)
    for s, e in zip(starts[tied].tolist(), ends[tied].tolist(), strict=True):
        order[s:e] = _sort_run(values, order[s:e])
    return order


def _sort_run(values: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    data, offsets = copy_out(values[rows])
    raw = data.tobytes()
    strings = [raw[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    return rows[np.array(sorted(range(len(strings)), key=strings.__getitem__), np.int64)]
