"""String views: making them, reading them back, comparing them.

    bytes + offsets (Arrow's utf8)  ◄──►  views + heap  (layout in `penstock.data.batch`)

The order of strings is the order of their bytes, which for UTF-8 is the order of code points.

Cost: a few nanoseconds a string of up to 12 bytes; longer ones touch their heap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.heap import Heap, heap_addresses
from penstock.data.kernel import kernel
from penstock.data.pointers import load_u8, load_u64, store_u64

U64 = npt.NDArray[np.uint64]
INLINE = 12
#: a view has 32 bits for the offset in its heap; larger data are spread over several heaps
MAX_HEAP_BYTES = 1 << 31


@kernel("void(uint8[::1], int64[::1], uint8[::1], int64, int64, uint64[:, ::1])")
def _make(data: Any, offsets: Any, valid: Any, heap_id: int, heap_start: int, out: Any) -> None:
    """Views over `data[offsets[i]:offsets[i+1]]`; long ones point into the heap `heap_id`, whose
    first byte is `data[heap_start]`. `valid` of length 0: no NULLs."""
    n = out.shape[0]
    has_valid = valid.shape[0] > 0
    for i in range(n):
        w0, w1 = np.uint64(0), np.uint64(0)
        if not has_valid or valid[i] != 0:
            at, length = offsets[i], offsets[i + 1] - offsets[i]
            w0 = np.uint64(length)
            for j in range(min(length, 4)):
                w0 |= np.uint64(data[at + j]) << np.uint64(32 + 8 * j)
            if length <= 12:
                for j in range(4, length):
                    w1 |= np.uint64(data[at + j]) << np.uint64(8 * (j - 4))
            else:
                w1 = np.uint64(heap_id) | (np.uint64(at - heap_start) << np.uint64(32))
        out[i, 0] = w0
        out[i, 1] = w1


@kernel("void(uint64[:, ::1], uint64[::1], int64[::1], uint8[::1], uint64)")
def _copy_out(views: Any, addresses: Any, offsets: Any, out: Any, address: Any) -> None:
    """Write the bytes of view i at out[offsets[i]]; `address` is that of `out`."""
    for i in range(views.shape[0]):
        w0, w1 = views[i, 0], views[i, 1]
        length: Any = np.int64(w0 & np.uint64(0xFFFFFFFF))
        at = offsets[i]
        if length <= 12:
            for j in range(min(4, length)):
                out[at + j] = np.uint8((w0 >> np.uint64(32 + 8 * j)) & np.uint64(0xFF))
            for j in range(4, length):
                out[at + j] = np.uint8((w1 >> np.uint64(8 * (j - 4))) & np.uint64(0xFF))
        else:
            p = addresses[w1 & np.uint64(0xFFFFFFFF)] + (w1 >> np.uint64(32))
            q = address + np.uint64(at)
            # the last eight bytes may overlap those before: a long string has more than eight
            end = np.uint64(length - 8)
            k = np.uint64(0)
            while k < end:
                store_u64(q + k, load_u64(p + k))
                k += np.uint64(8)
            store_u64(q + end, load_u64(p + end))


@kernel("int64(uint64[:, ::1])")
def long_bytes(views: Any) -> Any:
    """Bytes of all long strings."""
    total: Any = 0
    for i in range(views.shape[0]):
        length = np.int64(views[i, 0] & np.uint64(0xFFFFFFFF))
        if length > 12:
            total += length
    return total


@kernel("int64(uint64[:, ::1], uint64[::1], uint64, int64, int64, uint64[:, ::1])")
def _relocate(views: Any, addresses: Any, data: Any, start: int, heap_id: int, out: Any) -> Any:
    """Copy long strings to address `data`, the bytes of heap `heap_id`, from `start` on, and point
    their views there; returns where the next would go."""
    at: Any = start
    for i in range(views.shape[0]):
        w0, w1 = views[i, 0], views[i, 1]
        length = np.int64(w0 & np.uint64(0xFFFFFFFF))
        if length > 12:
            p = addresses[w1 & np.uint64(0xFFFFFFFF)] + (w1 >> np.uint64(32))
            q = data + np.uint64(at)
            end = np.uint64(length - 8)
            j = np.uint64(0)
            while j < end:
                store_u64(q + j, load_u64(p + j))
                j += np.uint64(8)
            store_u64(q + end, load_u64(p + end))
            w1 = np.uint64(heap_id) | (np.uint64(at) << np.uint64(32))
            at += length
        out[i, 0] = w0
        out[i, 1] = w1
    return at


@kernel("int64(uint64[:, ::1], uint64[::1], int64, int64, int64, uint64[:, ::1])")
def _append(views: Any, addresses: Any, heap_id: int, start: int, end: int, out: Any) -> Any:
    """Copy long strings into bytes start..end of heap `heap_id` and point their views, in `out`,
    there; returns where the next would go, or -1, with nothing done, where they do not fit. `out`
    may be `views`."""
    low = np.uint64(0xFFFFFFFF)
    at: Any = start
    for i in range(views.shape[0]):
        length = np.int64(views[i, 0] & low)
        if length > 12:
            at += length
    if at > end:
        return -1
    at = start
    for i in range(views.shape[0]):
        w0, w1 = views[i, 0], views[i, 1]
        length = np.int64(w0 & low)
        if length > 12:
            p = addresses[w1 & low] + (w1 >> np.uint64(32))
            q = addresses[heap_id] + np.uint64(at)
            last = np.uint64(length - 8)
            j = np.uint64(0)
            while j < last:
                store_u64(q + j, load_u64(p + j))
                j += np.uint64(8)
            store_u64(q + last, load_u64(p + last))
            w1 = np.uint64(heap_id) | (np.uint64(at) << np.uint64(32))
            at += length
        out[i, 0] = w0
        out[i, 1] = w1
    return at


@kernel("void(uint64[:, ::1], int64[::1])")
def _rename(views: Any, names: Any) -> None:
    low = np.uint64(0xFFFFFFFF)
    for i in range(views.shape[0]):
        if (views[i, 0] & low) > np.uint64(12):
            w1 = views[i, 1]
            views[i, 1] = (w1 & ~low) | np.uint64(names[np.int64(w1 & low)])


@kernel("void(uint64[:, ::1], int64[::1], uint64[:, ::1], int64[::1], uint64[::1], uint8[::1])")
def _equal(a: Any, ia: Any, b: Any, ib: Any, addresses: Any, out: Any) -> None:
    """out[i] &= a[ia[i]] == b[ib[i]]"""
    low = np.uint64(0xFFFFFFFF)
    for i in range(out.shape[0]):
        if out[i] == 0:
            continue
        a0, a1, b0, b1 = a[ia[i], 0], a[ia[i], 1], b[ib[i], 0], b[ib[i], 1]
        if a0 != b0:
            out[i] = 0
        elif a1 != b1:
            length = np.int64(a0 & low)
            if length <= 12:
                out[i] = 0
            else:
                p = addresses[a1 & low] + (a1 >> np.uint64(32))
                q = addresses[b1 & low] + (b1 >> np.uint64(32))
                end = np.uint64(length - 8)
                j = np.uint64(4)
                while j < end:
                    if load_u64(p + j) != load_u64(q + j):
                        break
                    j += np.uint64(8)
                # the last eight bytes, or those that differ
                j = min(j, end)
                if load_u64(p + j) != load_u64(q + j):
                    out[i] = 0


@kernel("void(uint64[:, ::1], uint64[:, ::1], uint64[::1], int8[::1])")
def _compare(a: Any, b: Any, addresses: Any, out: Any) -> None:
    """out[i] = sign of a[i] compared with b[i], by bytes; a side of one row is a constant."""
    low = np.uint64(0xFFFFFFFF)
    sa, sb = np.int64(a.shape[0] > 1), np.int64(b.shape[0] > 1)
    for i in range(out.shape[0]):
        a0, a1, b0, b1 = a[i * sa, 0], a[i * sa, 1], b[i * sb, 0], b[i * sb, 1]
        la, lb = np.int64(a0 & low), np.int64(b0 & low)
        p, q = np.uint64(0), np.uint64(0)
        if la > 12:
            p = addresses[a1 & low] + (a1 >> np.uint64(32))
        if lb > 12:
            q = addresses[b1 & low] + (b1 >> np.uint64(32))
        sign = np.int8(0)
        for j in range(min(la, lb)):
            if j < 4:
                x = (a0 >> np.uint64(32 + 8 * j)) & np.uint64(0xFF)
                y = (b0 >> np.uint64(32 + 8 * j)) & np.uint64(0xFF)
            else:
                if la > 12:
                    x = np.uint64(load_u8(p + np.uint64(j)))
                else:
                    x = (a1 >> np.uint64(8 * (j - 4))) & np.uint64(0xFF)
                if lb > 12:
                    y = np.uint64(load_u8(q + np.uint64(j)))
                else:
                    y = (b1 >> np.uint64(8 * (j - 4))) & np.uint64(0xFF)
            if x != y:
                sign = np.int8(-1) if x < y else np.int8(1)
                break
        if sign == 0 and la != lb:
            sign = np.int8(-1) if la < lb else np.int8(1)
        out[i] = sign


@kernel("void(uint64[:, ::1], uint64[::1], uint64[::1])")
def _prefix(views: Any, addresses: Any, out: Any) -> None:
    """The first eight bytes of each string as a big-endian number, zero padded."""
    low = np.uint64(0xFFFFFFFF)
    for i in range(views.shape[0]):
        w0, w1 = views[i, 0], views[i, 1]
        length = np.int64(w0 & low)
        raw = (w0 >> np.uint64(32)) | (w1 << np.uint64(32))
        if length > 12:
            raw = load_u64(addresses[w1 & low] + (w1 >> np.uint64(32)))
        code = np.uint64(0)
        for j in range(8):
            code |= ((raw >> np.uint64(8 * j)) & np.uint64(0xFF)) << np.uint64(56 - 8 * j)
        out[i] = code


_NO_MASK = np.zeros(0, np.uint8)


def make_views(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    valid: npt.NDArray[np.uint8] | None,
) -> tuple[U64, tuple[Heap, ...]]:
    """Views of the n strings `data[offsets[i]:offsets[i + 1]]`; `data` becomes their heap (it is
    copied only if read-only) if any is long. NULL rows get zero views."""
    out = np.empty((len(offsets) - 1, 2), np.uint64)
    if not data.flags.writeable:
        # Invariant: kernels take writable-typed arrays only (a second typing compiles again)
        data = data.copy()
    data, offsets = np.ascontiguousarray(data), np.ascontiguousarray(offsets)
    lengths = np.diff(offsets)
    heaps: list[Heap] = []
    for a, b in _blocks(offsets):
        start, heap_id = int(offsets[a]), 0
        if int(lengths[a:b].max()) > INLINE:
            # Invariant: eight bytes may be read at any long string's start, so 13 bytes suffice
            heaps.append(Heap(data[start : int(offsets[b])]))
            heap_id = heaps[-1].id
        mask = _NO_MASK if valid is None else valid[a:b]
        _make(data, offsets[a : b + 1], mask, heap_id, start, out[a:b])
    return out, tuple(heaps)


def _blocks(offsets: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cuts rows so that each block's strings fit one heap (rows a..b, in order, none empty).
    One string is never cut: its length fits the view's 32 bits, and so does its block's."""
    n = len(offsets) - 1
    if n > 0 and int(offsets[n] - offsets[0]) <= MAX_HEAP_BYTES:
        return [(0, n)]
    blocks, a = [], 0
    while a < n:
        limit = int(offsets[a]) + MAX_HEAP_BYTES
        b = max(a + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)
        blocks.append((a, b))
        a = b
    return blocks


def lengths_of(views: U64) -> npt.NDArray[np.int64]:
    """Length of each string in bytes."""
    return (views[:, 0] & np.uint64(0xFFFFFFFF)).astype(np.int64)


def copy_out(views: U64) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All bytes one after the other, and n + 1 offsets into them."""
    offsets = np.zeros(len(views) + 1, np.int64)
    np.cumsum(lengths_of(views), out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    _copy_out(np.ascontiguousarray(views), heap_addresses(), offsets, out, out.ctypes.data)
    return out, offsets


def compact(views: U64) -> tuple[U64, tuple[Heap, ...]]:
    """The same strings with all long ones in one fresh heap (in as few as can hold them, where
    they are more than `MAX_HEAP_BYTES`), so that old heaps can go."""
    size = long_bytes(views)
    if size == 0:
        return views, ()
    out = np.empty_like(views)
    if size <= MAX_HEAP_BYTES:
        heap = Heap(np.empty(size, np.uint8))
        relocate(views, heap, 0, out)
        return out, (heap,)
    offsets = np.zeros(len(views) + 1, np.int64)
    np.cumsum(long_lengths(views), out=offsets[1:])
    heaps: list[Heap] = []
    for a, b in _blocks(offsets):
        heaps.append(Heap(np.empty(int(offsets[b] - offsets[a]), np.uint8)))
        relocate(views[a:b], heaps[-1], 0, out[a:b])
    return out, tuple(heaps)


def long_lengths(views: U64) -> npt.NDArray[np.int64]:
    """Bytes that each string has in a heap: its length if it is long, else 0."""
    lengths = lengths_of(views)
    lengths[lengths <= INLINE] = 0
    return lengths


def relocate(views: U64, heap: Heap, start: int, out: U64) -> int:
    """Copy the long strings of `views` into `heap` from byte `start` on and write their new views
    to `out`; returns where the next string goes."""
    end = _relocate(views, heap_addresses(), heap.data.ctypes.data, start, heap.id, out)
    return int(end)


def append_long(views: U64, heap_id: int, start: int, end: int, out: U64) -> int:
    """The same where they fit into bytes start..end of the heap; -1, with nothing done, where they
    do not. `out` may be `views`."""
    at: int = _append(views, heap_addresses(), heap_id, start, end, out)
    return at


def rename_heaps(views: U64, names: npt.NDArray[np.int64]) -> None:
    """Have long strings of heap h name heap names[h] instead, in place. For views that nobody
    else has yet."""
    _rename(views, names)


def and_equal(
    a: U64,
    ia: npt.NDArray[np.int64],
    b: U64,
    ib: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
) -> None:
    """Clear out[i] where string a[ia[i]] differs from b[ib[i]]."""
    _equal(a, ia, b, ib, heap_addresses(), out)


@kernel("void(uint64[:, ::1], uint64[:, ::1], uint64[::1], boolean[::1])")
def _same(a: Any, b: Any, addresses: Any, out: Any) -> None:
    low = np.uint64(0xFFFFFFFF)
    step_a, step_b = 1 if a.shape[0] > 1 else 0, 1 if b.shape[0] > 1 else 0
    for i in range(out.shape[0]):
        a0, a1, b0, b1 = a[i * step_a, 0], a[i * step_a, 1], b[i * step_b, 0], b[i * step_b, 1]
        same = a0 == b0 and a1 == b1
        if not same and a0 == b0 and np.int64(a0 & low) > 12:
            # equal length and first bytes, elsewhere: a long string has more than eight bytes
            p = addresses[a1 & low] + (a1 >> np.uint64(32))
            q = addresses[b1 & low] + (b1 >> np.uint64(32))
            end = np.uint64(np.int64(a0 & low) - 8)
            j = np.uint64(4)
            while j < end and load_u64(p + j) == load_u64(q + j):
                j += np.uint64(8)
            same = j >= end and load_u64(p + end) == load_u64(q + end)
        out[i] = same


def same(a: U64, b: U64, n: int) -> npt.NDArray[np.bool_]:
    """Whether string a[i] equals b[i], for n rows; a side with one row counts for all of them."""
    out = np.empty(n, np.bool_)
    _same(np.ascontiguousarray(a), np.ascontiguousarray(b), heap_addresses(), out)
    return out


def compare(a: U64, b: U64, n: int) -> npt.NDArray[np.int8]:
    """Sign of a[i] against b[i] for n rows; a side with one row counts for all of them."""
    out = np.empty(n, np.int8)
    _compare(np.ascontiguousarray(a), np.ascontiguousarray(b), heap_addresses(), out)
    return out


def prefixes(views: U64) -> U64:
    """Order-preserving 64-bit codes: equal codes say nothing, unequal ones decide."""
    out = np.empty(len(views), np.uint64)
    _prefix(views, heap_addresses(), out)
    return out
