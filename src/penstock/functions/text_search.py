"""Kernels that look for strings in strings: POSITION, SPLIT_PART, TRIM, REPLACE, LIKE.

Strings come flat, a constant as one string (`text_kernels`). Text is searched by its bytes, which
for UTF-8 finds whole characters only.

Cost: one pass over the bytes, times the length of what is looked for where it repeats itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Column
from penstock.data.kernel import kernel
from penstock.data.types import SqlType
from penstock.data.views import make_views
from penstock.functions.text_kernels import Flat, Places, cut, flat, places


@kernel(
    "void(uint8[::1], int64[::1], uint8[::1], int64[::1], int64, int64[::1])",
)
def _find(data: Any, offsets: Any, part: Any, parts: Any, characters: Any, out: Any) -> None:
    """out[i] = place of the part from 1, 0 where it is not; counted in code points or bytes."""
    ss, sp = np.int64(offsets.shape[0] > 2), np.int64(parts.shape[0] > 2)
    for i in range(out.shape[0]):
        begin, end = offsets[i * ss], offsets[i * ss + 1]
        q, m = parts[i * sp], parts[i * sp + 1] - parts[i * sp]
        out[i] = 0
        n = np.int64(1)
        for at in range(begin, end - m + 1):
            k = np.int64(0)
            while k < m and data[at + k] == part[q + k]:
                k += 1
            if k == m:
                out[i] = n
                break
            if characters == 0 or (
                at + 1 < end and (data[at + 1] & np.uint8(0xC0)) != np.uint8(0x80)
            ):
                n += 1


def find(column: Column, part: Column, *, characters: bool) -> Places:
    """Where `part` begins in each string, from 1; 0 where it does not occur."""
    out = np.empty(max(len(column), len(part)), np.int64)
    _find(*flat(column), *flat(part), int(characters), out)
    return out


@kernel("void(uint8[::1], int64[::1], uint8[::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def _split_part(
    data: Any, offsets: Any, mark: Any, marks: Any, index: Any, start: Any, stop: Any
) -> None:
    ss, sm = np.int64(offsets.shape[0] > 2), np.int64(marks.shape[0] > 2)
    si = np.int64(index.shape[0] > 1)
    for i in range(start.shape[0]):
        begin, end = offsets[i * ss], offsets[i * ss + 1]
        q, m = marks[i * sm], marks[i * sm + 1] - marks[i * sm]
        wanted = index[i * si]
        start[i] = 0
        stop[i] = 0
        if wanted < 0:  # counted from the end: how many parts are there?
            total, at = np.int64(1), begin
            while m > 0 and at + m <= end:
                k = np.int64(0)
                while k < m and data[at + k] == mark[q + k]:
                    k += 1
                if k == m:
                    total += 1
                    at += m
                else:
                    at += 1
            wanted = total + 1 + wanted
        if wanted < 1:
            continue
        n, a, at = np.int64(1), begin, begin
        while m > 0 and at + m <= end and n <= wanted:
            k = np.int64(0)
            while k < m and data[at + k] == mark[q + k]:
                k += 1
            if k == m:
                if n == wanted:
                    break
                n += 1
                at += m
                a = at
            else:
                at += 1
        if n == wanted:
            start[i] = a - begin
            found = m > 0 and at + m <= end
            stop[i] = (at if found else end) - begin


def split_part(column: Column, mark: Column, index: Array, type: SqlType) -> Column:
    """Part index[i] of string i between marks, from 1, negative from the end; else ''."""
    n = max(len(column), len(mark), len(index))
    start, stop = np.empty(n, np.int64), np.empty(n, np.int64)
    _split_part(*flat(column), *flat(mark), places(index), start, stop)
    return cut(column, start, stop, type)


@kernel(
    "void(uint8[::1], int64[::1], uint8[::1], int64[::1], int64, int64, int64[::1], int64[::1])"
)
def _strip(
    data: Any, offsets: Any, chars: Any, sets: Any, left: Any, right: Any, start: Any, stop: Any
) -> None:
    ss, sc = np.int64(offsets.shape[0] > 2), np.int64(sets.shape[0] > 2)
    for i in range(start.shape[0]):
        begin, end = offsets[i * ss], offsets[i * ss + 1]
        q, r = sets[i * sc], sets[i * sc + 1]
        a, b = begin, end
        going = left != 0
        while going and a < b:
            size = np.int64(1)
            while a + size < b and (data[a + size] & np.uint8(0xC0)) == np.uint8(0x80):
                size += 1
            going = False
            c = q
            while c < r and not going:
                k = np.int64(0)
                while k < size and c + k < r and data[a + k] == chars[c + k]:
                    k += 1
                going = k == size
                c += 1
            if going:
                a += size
        going = right != 0
        while going and a < b:
            size = np.int64(1)
            while b - size > a and (data[b - size] & np.uint8(0xC0)) == np.uint8(0x80):
                size += 1
            going = False
            c = q
            while c < r and not going:
                k = np.int64(0)
                while k < size and c + k < r and data[b - size + k] == chars[c + k]:
                    k += 1
                going = k == size
                c += 1
            if going:
                b -= size
        start[i] = a - begin
        stop[i] = b - begin


def strip(column: Column, chars: Column, left: bool, right: bool, type: SqlType) -> Column:
    """Each string without the characters of its set at the left or right end."""
    n = max(len(column), len(chars))
    start, stop = np.empty(n, np.int64), np.empty(n, np.int64)
    _strip(*flat(column), *flat(chars), int(left), int(right), start, stop)
    return cut(column, start, stop, type)


@kernel(
    "void(uint8[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], int64[::1], int64[::1],"
    " uint8[::1])"
)
def _replace(
    data: Any, offsets: Any, old: Any, olds: Any, new: Any, news: Any, ends: Any, out: Any
) -> None:
    """With `out` empty the sizes of the results go to ends[1:]; else their bytes to `out`, where
    ends[i] is the beginning of result i."""
    ss, so = np.int64(offsets.shape[0] > 2), np.int64(olds.shape[0] > 2)
    sn = np.int64(news.shape[0] > 2)
    writing = out.shape[0] > 0
    for i in range(ends.shape[0] - 1):
        begin, end = offsets[i * ss], offsets[i * ss + 1]
        q, m = olds[i * so], olds[i * so + 1] - olds[i * so]
        r, w = news[i * sn], news[i * sn + 1] - news[i * sn]
        at, size = begin, np.int64(0)
        while at < end:
            k = np.int64(0)
            if m > 0 and at + m <= end:
                while k < m and data[at + k] == old[q + k]:
                    k += 1
            if m > 0 and k == m:
                if writing:
                    for j in range(w):
                        out[ends[i] + size + j] = new[r + j]
                size += w
                at += m
            else:
                if writing:
                    out[ends[i] + size] = data[at]
                size += 1
                at += 1
        if not writing:
            ends[i + 1] = size


def replaced(column: Column, old: Column, new: Column, type: SqlType) -> Column:
    """Each string with all occurrences of `old` (none of them if it is empty) as `new`."""
    source, what, by = flat(column), flat(old), flat(new)
    ends = np.zeros(max(len(column), len(old), len(new)) + 1, np.int64)
    _replace(*source, *what, *by, ends, np.zeros(0, np.uint8))
    np.cumsum(ends, out=ends)
    out = np.empty(int(ends[-1]), np.uint8)
    if len(out):
        _replace(*source, *what, *by, ends, out)
    views, heaps = make_views(out, ends, None)
    return Column(type, views, None, heaps)


@kernel("void(uint8[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], int64[::1], int64[::1])")
def _replaced_lengths(
    data: Any, offsets: Any, old: Any, olds: Any, new: Any, news: Any, out: Any
) -> None:
    ss, so = np.int64(offsets.shape[0] > 2), np.int64(olds.shape[0] > 2)
    sn = np.int64(news.shape[0] > 2)
    for i in range(out.shape[0]):
        begin, end = offsets[i * ss], offsets[i * ss + 1]
        q, m = olds[i * so], olds[i * so + 1] - olds[i * so]
        size, found, longer = np.int64(0), np.int64(0), np.int64(0)
        for j in range(begin, end):
            size += np.int64((data[j] & np.uint8(0xC0)) != np.uint8(0x80))
        for j in range(news[i * sn], news[i * sn + 1]):
            longer += np.int64((new[j] & np.uint8(0xC0)) != np.uint8(0x80))
        for j in range(q, q + m):
            longer -= np.int64((old[j] & np.uint8(0xC0)) != np.uint8(0x80))
        if m == 1:
            mark = old[q]
            for j in range(begin, end):
                found += np.int64(data[j] == mark)
        elif m > 1:
            at = begin
            while at + m <= end:
                k = np.int64(0)
                while k < m and data[at + k] == old[q + k]:
                    k += 1
                if k == m:
                    found += 1
                    at += m
                else:
                    at += 1
        out[i] = size + found * longer


def replaced_lengths(column: Column, old: Column, new: Column) -> npt.NDArray[np.int64]:
    """The length of each string of `replaced` in code points, without the strings."""
    out = np.empty(max(len(column), len(old), len(new)), np.int64)
    _replaced_lengths(*flat(column), *flat(old), *flat(new), out)
    return out


#: what stands for % and _ in a pattern given to `like`: bytes that UTF-8 never has
ANY_RUN, ANY_ONE = 0xFF, 0xFE


@kernel("void(uint8[::1], int64[::1], uint8[::1], int64[::1], uint8[::1])")
def _like(data: Any, offsets: Any, pattern: Any, patterns: Any, out: Any) -> None:
    ss, sp = np.int64(offsets.shape[0] > 2), np.int64(patterns.shape[0] > 2)
    for i in range(out.shape[0]):
        at, end = offsets[i * ss], offsets[i * ss + 1]
        p, q = patterns[i * sp], patterns[i * sp + 1]
        resume_at, resume_p = np.int64(-1), np.int64(-1)
        matched = True
        while at < end or p < q:
            if p < q and pattern[p] == np.uint8(0xFF):
                p += 1
                resume_at, resume_p = at, p
                continue
            if p < q and at < end and pattern[p] == np.uint8(0xFE):
                at += 1
                while at < end and (data[at] & np.uint8(0xC0)) == np.uint8(0x80):
                    at += 1
                p += 1
                continue
            if p < q and at < end and pattern[p] == data[at]:
                at += 1
                p += 1
                continue
            if resume_at < 0 or resume_at >= end:
                matched = False
                break
            resume_at += 1  # the last % takes one more character
            while resume_at < end and (data[resume_at] & np.uint8(0xC0)) == np.uint8(0x80):
                resume_at += 1
            at, p = resume_at, resume_p
        out[i] = np.uint8(matched)


def like(column: Column, patterns: Flat) -> Array:
    """uint8: whether each whole string matches its pattern of bytes, ANY_RUN and ANY_ONE."""
    n = max(len(column), len(patterns[1]) - 1)
    out = np.empty(n, np.uint8)
    _like(*flat(column), *patterns, out)
    return out
