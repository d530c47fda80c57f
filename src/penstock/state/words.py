"""The first 128 bits by which rows are ordered, as two words a row.

    ORDER BY a, b        │ a is NULL? │ a, 64 bits │ b is NULL? │ 62 bits of b │
    ORDER BY name        │ before, with or behind the prefix? │ 126 bits of name, behind it │

Words never contradict the order; rows that share both may differ in it. The prefix is what strings
begin with that came first, or most of late (`penstock.state.ordered`); a number at its end is left
out, as the next strings will have another. Strings without it have their own first bytes.

Columns that are the same for all rows of a key are passed over by who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.hash import words_of
from penstock.data.heap import heap_addresses
from penstock.data.kernel import kernel
from penstock.data.masks import positions
from penstock.data.order import value_codes
from penstock.data.pointers import load_u8
from penstock.data.types import UNSIGNED, Kind, SqlType

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
#: column, descending, nulls first
Direction = tuple[int, bool, bool]

_BITS, _WORD_BITS = 128, 64
_DIGITS = b"0123456789"
#: how the bits of a value are turned into a number of its order: see `_put`; in two words
_PLAIN, _SIGNED, _FLOAT = 0, 1, 2
#: of a DECIMAL whose low word is all of it; of what has two words
_LOW, _WIDE = 3, 4
#: digits of a DECIMAL that one word holds
_WORD_DIGITS = 18
_NO_MASK = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Part:
    """Where a column of the order goes: `bits` of it behind the first `at`, after one for NULL if
    it is `flagged`. `how`: see `_put`."""

    how: int
    bits: int
    at: int
    flagged: bool
    descending: bool
    nulls_first: bool


def parts_of(
    types: Sequence[SqlType],
    directions: Sequence[tuple[bool, bool]],
    *,
    first_apart: bool = False,
) -> tuple[Part, ...]:
    """Of the first columns of an order, of these types and (descending, nulls first) each, those
    that the words are made of. `first_apart`: the first word is of the first column alone."""
    parts: list[Part] = []
    at = 0
    for type, (descending, nulls_first) in zip(types, directions, strict=True):
        bits = _width(type)
        parts.append(Part(_how(type), bits, at, type.nullable, descending, nulls_first))
        at += type.nullable + bits
        if first_apart and len(parts) == 1:
            assert at <= _WORD_BITS, "its values do not fit a word"
            at = _WORD_BITS
        if type.is_view or at >= _BITS:
            break
    return tuple(parts)


def packed_words(
    columns: Sequence[Column], parts: Sequence[Part], prefix: bytes, n: int
) -> tuple[U64, U64]:
    """(first words, second words) of `n` rows of `columns`, one for each of `parts`. `prefix`: what
    most strings begin with (of one column: there are none behind it)."""
    first, second = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    for column, part in zip(columns, parts, strict=True):
        valid = _NO_MASK if column.valid is None else column.valid
        rest = part.descending, part.nulls_first, first, second
        if part.how == _LOW:
            low = np.ascontiguousarray(column.values[:, 0])
            _put(low, valid, _SIGNED, 64, part.at, part.flagged, *rest)
            continue
        if part.how != _WIDE:
            _put(words_of(column), valid, part.how, part.bits, part.at, part.flagged, *rest)
            continue
        high, low = _wide_codes(column, prefix)
        _put(high, valid, _PLAIN, 64, part.at, part.flagged, *rest)
        _put(low, valid, _PLAIN, 64, part.at + part.flagged + 64, False, *rest)
    return first, second


def prefix_of(column: Column, rows: I64 | None = None) -> bytes | None:
    """What all strings of a column begin with, or those at `rows`, without digits at the end; None
    of none."""
    if rows is None:
        rows = np.arange(len(column)) if column.valid is None else positions(column.valid)
    if not len(rows):
        return None
    views = np.ascontiguousarray(column.values)
    first = np.zeros(int(views[rows[0], 0] & np.uint64(0xFFFFFFFF)), np.uint8)
    _copy(views, heap_addresses(), int(rows[0]), first)
    own = np.empty(len(rows), np.int64)
    _shared(views, heap_addresses(), rows, first, own)
    return first[: own.min()].tobytes().rstrip(_DIGITS)


def without(column: Column, prefix: bytes) -> I64:
    """The rows of `column` whose strings do not begin with `prefix`."""
    rows = np.arange(len(column)) if column.valid is None else positions(column.valid)
    own, bytes_ = np.empty(len(rows), np.int64), np.frombuffer(prefix, np.uint8).copy()
    _shared(np.ascontiguousarray(column.values), heap_addresses(), rows, bytes_, own)
    return rows[own < len(prefix)]


def are_short(column: Column, room: int) -> bool:
    """Whether no two different strings of a column have the same first `room` bytes, zero padded,
    as none is longer or has a zero of its own: at most 12 bytes, which a view holds."""
    views = np.ascontiguousarray(column.values)
    length = (views[:, 0] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    if not len(length):
        return True
    if int(length.max()) > min(room, 12):
        return False
    used = np.count_nonzero(views.view(np.uint8).reshape(len(views), 16)[:, 4:], axis=1)
    return bool((used == length).all())


def _width(type: SqlType) -> int:
    """Bits that the values of a type take."""
    if _how(type) == _LOW:
        return 64
    if type.is_wide or type.is_view:
        return _BITS
    return 8 * type.dtype.itemsize


def _how(type: SqlType) -> int:
    if type.kind is Kind.DECIMAL and type.precision is not None and type.precision <= _WORD_DIGITS:
        return _LOW
    if type.is_wide or type.is_view:
        return _WIDE
    if type.kind in (Kind.REAL, Kind.DOUBLE):
        return _FLOAT
    return _PLAIN if type.kind in (*UNSIGNED, Kind.BOOLEAN, Kind.NULL) else _SIGNED


def _wide_codes(column: Column, prefix: bytes) -> tuple[U64, U64]:
    """Two words that order the values."""
    if not column.type.is_view:
        high, low = value_codes(column)
        return np.ascontiguousarray(high), np.ascontiguousarray(low)
    n = len(column)
    first, second = np.empty(n, np.uint64), np.empty(n, np.uint64)
    bytes_ = np.frombuffer(prefix, np.uint8).copy()
    _bytes_behind(np.ascontiguousarray(column.values), heap_addresses(), bytes_, first, second)
    return first, second


@kernel(
    "void(uint64[::1], uint8[::1], int64, int64, int64, boolean, boolean, boolean, uint64[::1], "
    "uint64[::1])"
)
def _put(
    word: Any, valid: Any, how: Any, bits: Any, at: Any, flagged: Any, descending: Any,
    nulls_first: Any, first: Any, second: Any,
) -> None:  # fmt: skip
    """Place the low `bits` of each word behind the first `at` bits of (first, second), turned into
    a number whose order is that of the value: those of a signed number (`how` 1), of a float (2),
    or one already (0); `flagged`: behind a bit more, which says whether it is NULL. An empty mask:
    none is."""
    has_mask = valid.shape[0] > 0
    left, sign = np.uint64(64 - bits), np.uint64(1) << np.uint64(bits - 1)
    begin = at + 1 if flagged else at
    for i in range(word.shape[0]):
        is_value = not has_mask or valid[i] != 0
        if flagged and is_value == nulls_first:
            if at < 64:
                first[i] |= np.uint64(1) << np.uint64(63 - at)
            elif at < 128:
                second[i] |= np.uint64(1) << np.uint64(127 - at)
        if not is_value:
            continue
        x = word[i]
        if how == 1:
            x ^= sign
        elif how == 2:
            x = ~x if x & sign else x | sign
        x = (~x if descending else x) << left
        if begin < 64:
            first[i] |= x >> np.uint64(begin)
            if begin > 0:
                second[i] |= x << np.uint64(64 - begin)
        elif begin < 128:
            second[i] |= x >> np.uint64(begin - 64)


@kernel("void(uint64[:, ::1], uint64[::1], uint8[::1], uint64[::1], uint64[::1])")
def _bytes_behind(views: Any, addresses: Any, prefix: Any, first: Any, second: Any) -> None:
    """In 128 bits, of each string whether it is before `prefix` and what begins with that (0), is
    one of these (1) or is behind them (2), and its first bytes, those behind the prefix of the
    second kind; zero padded."""
    low = np.uint64(0xFFFFFFFF)
    width = prefix.shape[0]
    for i in range(views.shape[0]):
        w0, w1 = views[i, 0], views[i, 1]
        length = np.int64(w0 & low)
        p = np.uint64(0)
        if length > 12:
            p = addresses[w1 & low] + (w1 >> np.uint64(32))
        c, d = np.uint64(0), np.uint64(0)
        side = 1
        for j in range(width + 16):
            # the prefix first, then what is behind it, or all over from the first byte
            at = j if side == 1 else j - width
            if at < 0:
                continue
            x = np.uint64(0)
            if at < length:
                if length > 12:
                    x = np.uint64(load_u8(p + np.uint64(at)))
                elif at < 4:
                    x = (w0 >> np.uint64(32 + 8 * at)) & np.uint64(0xFF)
                else:
                    x = (w1 >> np.uint64(8 * (at - 4))) & np.uint64(0xFF)
            if j < width:
                if at >= length or x < np.uint64(prefix[j]):
                    side = 0
                elif x > np.uint64(prefix[j]):
                    side = 2
                continue
            k = j - width
            if k < 8:
                c |= x << np.uint64(56 - 8 * k)
            else:
                d |= x << np.uint64(56 - 8 * (k - 8))
        first[i] = (np.uint64(side) << np.uint64(62)) | (c >> np.uint64(2))
        second[i] = (c << np.uint64(62)) | (d >> np.uint64(2))


@kernel("void(uint64[:, ::1], uint64[::1], int64[::1], uint8[::1], int64[::1])")
def _shared(views: Any, addresses: Any, rows: Any, prefix: Any, shared: Any) -> None:
    """shared[i] = how many of the first bytes of `prefix` the string in rows[i] begins with."""
    low = np.uint64(0xFFFFFFFF)
    for r in range(rows.shape[0]):
        w0, w1 = views[rows[r], 0], views[rows[r], 1]
        length = np.int64(w0 & low)
        p = np.uint64(0)
        if length > 12:
            p = addresses[w1 & low] + (w1 >> np.uint64(32))
        at: Any = 0
        while at < prefix.shape[0] and at < length:
            if length > 12:
                x = np.uint64(load_u8(p + np.uint64(at)))
            elif at < 4:
                x = (w0 >> np.uint64(32 + 8 * at)) & np.uint64(0xFF)
            else:
                x = (w1 >> np.uint64(8 * (at - 4))) & np.uint64(0xFF)
            if x != np.uint64(prefix[at]):
                break
            at += 1
        shared[r] = at


@kernel("void(uint64[:, ::1], uint64[::1], int64, uint8[::1])")
def _copy(views: Any, addresses: Any, row: Any, out: Any) -> None:
    """The bytes of one string."""
    low = np.uint64(0xFFFFFFFF)
    w0, w1 = views[row, 0], views[row, 1]
    length = np.int64(w0 & low)
    for at in range(length):
        if length > 12:
            p = addresses[w1 & low] + (w1 >> np.uint64(32))
            out[at] = load_u8(p + np.uint64(at))
        elif at < 4:
            out[at] = np.uint8((w0 >> np.uint64(32 + 8 * at)) & np.uint64(0xFF))
        else:
            out[at] = np.uint8((w1 >> np.uint64(8 * (at - 4))) & np.uint64(0xFF))
