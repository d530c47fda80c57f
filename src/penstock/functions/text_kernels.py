"""Kernels over the bytes of strings: counting, cutting, characters and their codes.

A column's strings come flat, as all their bytes and n + 1 offsets (`flat`); a constant beside a
whole column is flat with one string, which every row then uses. Places are byte places within the
string; code points are counted by their first bytes.

    cut                the bytes from … to … of each string
    cut_characters     the code points from … to …

Cutting does not copy long strings: they stay in the heap they are in.

Cost: one pass over the bytes. Not here: searching (`text_search`), what the SQL functions mean
(`strings`, `parts`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Column
from penstock.data.heap import Heap, heap_addresses
from penstock.data.kernel import kernel
from penstock.data.pointers import load_u8
from penstock.data.types import SqlType
from penstock.data.views import MAX_HEAP_BYTES, copy_out, lengths_of, long_lengths

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Flat = tuple[Bytes, Places]
#: behind every string's end
END = 1 << 40


def flat(column: Column) -> Flat:
    return copy_out(np.ascontiguousarray(column.values))


def places(values: Array) -> Places:
    """Whole numbers as kernels take them."""
    return np.ascontiguousarray(values, dtype=np.int64)


@kernel("void(uint8[::1], int64[::1], int64[::1])")
def _count(data: Any, offsets: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        n = np.int64(0)
        for j in range(offsets[i], offsets[i + 1]):
            n += np.int64((data[j] & np.uint8(0xC0)) != np.uint8(0x80))
        out[i] = n


def code_points(column: Column) -> Places:
    """The length of each string in code points."""
    data, offsets = flat(column)
    out = np.empty(len(column), np.int64)
    _count(data, offsets, out)
    return out


@kernel("void(uint8[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def _byte_places(data: Any, offsets: Any, first: Any, last: Any, start: Any, stop: Any) -> None:
    """Byte places of code points first[i] … last[i] (0 ≤ first ≤ last, both cut to the end)."""
    ss = np.int64(offsets.shape[0] > 2)
    sa, sb = np.int64(first.shape[0] > 1), np.int64(last.shape[0] > 1)
    for i in range(start.shape[0]):
        begin, end = offsets[i * ss], offsets[i * ss + 1]
        a, b = first[i * sa], last[i * sb]
        size = end - begin
        at, n = np.int64(0), np.int64(0)
        while at < size and n < a:
            at += 1
            while at < size and (data[begin + at] & np.uint8(0xC0)) == np.uint8(0x80):
                at += 1
            n += 1
        start[i] = at
        if b - n >= size - at:
            at = size
        while at < size and n < b:
            at += 1
            while at < size and (data[begin + at] & np.uint8(0xC0)) == np.uint8(0x80):
                at += 1
            n += 1
        stop[i] = at


@kernel("void(uint64[:, ::1], uint64[::1], int64[::1], int64[::1], uint64[:, ::1])")
def _cut(views: Any, addresses: Any, start: Any, stop: Any, out: Any) -> None:
    low = np.uint64(0xFFFFFFFF)
    sv = np.int64(views.shape[0] > 1)
    for i in range(out.shape[0]):
        w0, w1 = views[i * sv, 0], views[i * sv, 1]
        length, a = np.int64(w0 & low), start[i]
        size = stop[i] - a
        p = np.uint64(0)
        if length > 12:
            p = addresses[w1 & low] + (w1 >> np.uint64(32))
        r0, r1 = np.uint64(max(size, 0)), np.uint64(0)
        for j in range(min(size, 4 if size > 12 else 12)):
            k = a + j
            if length > 12:
                b = np.uint64(load_u8(p + np.uint64(k)))
            elif k < 4:
                b = (w0 >> np.uint64(32 + 8 * k)) & np.uint64(0xFF)
            else:
                b = (w1 >> np.uint64(8 * (k - 4))) & np.uint64(0xFF)
            if j < 4:
                r0 |= b << np.uint64(32 + 8 * j)
            else:
                r1 |= b << np.uint64(8 * (j - 4))
        if size > 12:
            r1 = (w1 & low) | (((w1 >> np.uint64(32)) + np.uint64(a)) << np.uint64(32))
        out[i, 0] = r0
        out[i, 1] = r1


def cut(column: Column, start: Places, stop: Places, type: SqlType) -> Column:
    """Bytes start[i] … stop[i] of string i, which must lie within it."""
    out = np.empty((len(start), 2), np.uint64)
    _cut(np.ascontiguousarray(column.values), heap_addresses(), start, stop, out)
    return Column(type, out, None, column.heaps)


def cut_characters(column: Column, first: Array, last: Array, type: SqlType) -> Column:
    """Code points first[i] … last[i] of string i, both cut to its end."""
    n = max(len(column), len(first), len(last))
    start, stop = np.empty(n, np.int64), np.empty(n, np.int64)
    _byte_places(*flat(column), places(first), places(last), start, stop)
    return cut(column, start, stop, type)


def cut_bytes(column: Column, first: Array, last: Array, type: SqlType) -> Column:
    """Bytes first[i] … last[i] of string i, both cut to its end."""
    size = lengths_of(column.values)
    n = max(len(column), len(first), len(last))
    start = np.minimum(np.broadcast_to(first, n), size)
    stop = np.maximum(np.minimum(np.broadcast_to(last, n), size), start)
    return cut(column, places(start), places(stop), type)


@kernel("int64(uint64[:, ::1], uint64[::1], uint8[::1], uint8[::1], int64, uint64[:, ::1])")
def _map_ascii(views: Any, addresses: Any, table: Any, data: Any, heap_id: int, out: Any) -> Any:
    """Every byte b as table[b], long strings to `data`, the heap `heap_id`; 0 where one is not
    ASCII, else 1."""
    low, high = np.uint64(0xFFFFFFFF), np.uint64(0x8080808080808080)
    at: Any = 0
    for i in range(views.shape[0]):
        w0, w1 = views[i, 0], views[i, 1]
        length: Any = np.int64(w0 & low)
        r0, r1 = np.uint64(length), np.uint64(0)
        if length <= 12:
            if (w1 & high) != 0 or ((w0 >> np.uint64(32)) & high) != 0:
                return 0
            for j in range(min(length, 4)):
                b = (w0 >> np.uint64(32 + 8 * j)) & np.uint64(0xFF)
                r0 |= np.uint64(table[b]) << np.uint64(32 + 8 * j)
            for j in range(length - 4):
                b = (w1 >> np.uint64(8 * j)) & np.uint64(0xFF)
                r1 |= np.uint64(table[b]) << np.uint64(8 * j)
        else:
            p = addresses[w1 & low] + (w1 >> np.uint64(32))
            for j in range(length):
                c = load_u8(p + np.uint64(j))
                if c >= 128:
                    return 0
                data[at + j] = table[c]
            for j in range(4):
                r0 |= np.uint64(data[at + j]) << np.uint64(32 + 8 * j)
            r1 = np.uint64(heap_id) | (np.uint64(at) << np.uint64(32))
            at += length
        out[i, 0] = r0
        out[i, 1] = r1
    return 1


def mapped_ascii(column: Column, table: Bytes, type: SqlType) -> Column | None:
    """Each string with byte b as table[b] (of 128); None where one is not ASCII."""
    views = np.ascontiguousarray(column.values)
    out, size = np.empty_like(views), int(long_lengths(views).sum())
    if size > MAX_HEAP_BYTES:
        return None
    heaps = (Heap(np.empty(size, np.uint8)),) if size else ()
    data, heap_id = (heaps[0].data, heaps[0].id) if heaps else (np.empty(0, np.uint8), 0)
    if not _map_ascii(views, heap_addresses(), table, data, heap_id, out):
        return None
    return Column(type, out, None, heaps)


@kernel("void(uint8[::1], int64[::1], int32[::1])")
def _first_code_point(data: Any, offsets: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        at, size = offsets[i], offsets[i + 1] - offsets[i]
        code = np.int32(0)
        if size > 0:
            lead = np.int32(data[at])
            if lead < 0x80:
                code, more = lead, 0
            elif lead < 0xE0:
                code, more = lead & 0x1F, 1
            elif lead < 0xF0:
                code, more = lead & 0x0F, 2
            else:
                code, more = lead & 0x07, 3
            for j in range(1, more + 1):
                code = (code << 6) | (np.int32(data[at + j]) & 0x3F)
        out[i] = code


def first_code_points(column: Column) -> Array:
    """int32: the first character of each string, 0 of an empty one."""
    out = np.empty(len(column), np.int32)
    _first_code_point(*flat(column), out)
    return out


@kernel("void(int64[::1], uint64[:, ::1])")
def _characters(codes: Any, out: Any) -> None:
    for i in range(codes.shape[0]):
        c: Any = codes[i]
        size: Any = 0
        raw: Any = 0
        if c < 0 or c > 0x10FFFF or (c >= 0xD800 and c < 0xE000):
            size = 0
        elif c < 0x80:
            size, raw = 1, c
        elif c < 0x800:
            size, raw = 2, (0xC0 | c >> 6) | (0x80 | c & 0x3F) << 8
        elif c < 0x10000:
            size = 3
            raw = (0xE0 | c >> 12) | (0x80 | c >> 6 & 0x3F) << 8 | (0x80 | c & 0x3F) << 16
        else:
            size = 4
            raw = (0xF0 | c >> 18) | (0x80 | c >> 12 & 0x3F) << 8
            raw |= (0x80 | c >> 6 & 0x3F) << 16 | (0x80 | c & 0x3F) << 24
        out[i, 0] = np.uint64(size) | (np.uint64(raw) << np.uint64(32))
        out[i, 1] = np.uint64(0)


def characters(codes: Array, type: SqlType) -> Column:
    """One-character strings, '' for what is no code point."""
    out = np.empty((len(codes), 2), np.uint64)
    _characters(places(codes), out)
    return Column(type, out)
