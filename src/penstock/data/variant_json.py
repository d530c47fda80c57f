"""VARIANT from and to JSON text, whole columns at a time.

    parse_json(texts)     non-negative integers BIGINT UNSIGNED, negative ones BIGINT, other numbers
                          DECIMAL (DOUBLE beyond 38 digits), text VARCHAR, arrays, objects as maps
    to_json(variants)     no blanks, keys in order; dates and times as JSON strings

Both go level by level of nesting: parsing builds the deepest values first, printing joins the texts
of children. A text that is not JSON is NULL; of equal keys the last counts. NULL too is what JSON
cannot say: a map with keys that are no text, NaN, infinities.

Source: sql-reference 2.15 (PARSE_JSON, TO_JSON).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data import json_tape
from penstock.data.arrow import column_from_arrow, column_to_arrow
from penstock.data.batch import Column
from penstock.data.gather import take_column
from penstock.data.json_tape import ARRAY, FALSE, INTEGER, KEY, NULL, NUMBER, OBJECT, STRING, Tape
from penstock.data.kernel import kernel
from penstock.data.nested import Offsets, build_map, explode, implode
from penstock.data.types import (
    BIGINT,
    BINARIES,
    BOOLEAN,
    DOUBLE,
    FLOATS,
    TIMESTAMP,
    UBIGINT,
    VARCHAR,
    VARIANT,
    Kind,
    decimal,
)
from penstock.data.variant import (
    TAGS,
    VARIANT_ARRAY,
    VARIANT_MAP,
    Group,
    assemble,
    container,
    groups,
    tags,
    variant_null,
    wrap,
)
from penstock.data.views import copy_out, make_views

# numbers -------------------------------------------------------------------------------------

_UNSIGNED, _SIGNED, _DECIMAL, _FLOAT = range(4)


@kernel("void(uint8[::1], int64[::1], int64[::1], uint64[:, ::1], uint8[::1], uint8[::1])")
def _numbers(data: Any, starts: Any, ends: Any, values: Any, scales: Any, forms: Any) -> None:
    """Exact values of number texts: forms[i] is _UNSIGNED, _SIGNED or _DECIMAL with the unscaled
    int128 values[i]; _FLOAT where that does not hold it."""
    for i in range(starts.shape[0]):
        at: Any = starts[i]
        end = ends[i]
        negative = data[at] == 45
        if negative:
            at += 1
        lo, hi = np.uint64(0), np.uint64(0)
        digits: Any = 0  # significant ones
        zeros: Any = 0  # trailing ones that are not in lo, hi yet
        exponent: Any = 0
        whole = True
        after_point = False
        while at < end:
            c = data[at]
            if c == 46:
                after_point, whole = True, False
            elif c == 69 or c == 101:
                break
            else:
                if after_point:
                    exponent -= 1
                if c == 48:
                    if digits > 0:
                        zeros += 1
                else:
                    digits += zeros + 1
                    if digits <= 38:
                        for k in range(zeros + 1):
                            add = np.uint64(c - 48) if k == zeros else np.uint64(0)
                            low = (lo & np.uint64(0xFFFFFFFF)) * np.uint64(10) + add
                            mid = (lo >> np.uint64(32)) * np.uint64(10) + (low >> np.uint64(32))
                            lo = (mid << np.uint64(32)) | (low & np.uint64(0xFFFFFFFF))
                            hi = hi * np.uint64(10) + (mid >> np.uint64(32))
                    zeros = 0
            at += 1
        if at < end:
            whole = False
            at += 1
            minus = data[at] == 45
            if minus or data[at] == 43:
                at += 1
            power: Any = 0
            while at < end:
                power = min(power * 10 + (data[at] - 48), 100000)
                at += 1
            exponent += -power if minus else power
        exponent += zeros
        form: Any = 2
        if digits == 0:
            exponent = 0
        if digits > 38 or exponent < -38 or digits + exponent > 38:
            form = 3
        elif exponent > 0:
            for _ in range(exponent):
                low = (lo & np.uint64(0xFFFFFFFF)) * np.uint64(10)
                mid = (lo >> np.uint64(32)) * np.uint64(10) + (low >> np.uint64(32))
                lo = (mid << np.uint64(32)) | (low & np.uint64(0xFFFFFFFF))
                hi = hi * np.uint64(10) + (mid >> np.uint64(32))
            exponent = 0
        if form == 2 and whole and hi == 0:
            if not negative:
                form = 0
            elif lo <= np.uint64(0x8000000000000000):
                form = 1
        if negative:
            lo, hi = ~lo + np.uint64(1), ~hi + np.uint64(lo == 0)
        values[i, 0], values[i, 1] = lo, hi
        scales[i] = -exponent if form == 2 else 0
        forms[i] = form


def _read_numbers(source: npt.NDArray[np.uint8], starts: Offsets, ends: Offsets) -> Column:
    n = len(starts)
    values = np.empty((n, 2), np.uint64)
    scales, forms = np.empty(n, np.uint8), np.empty(n, np.uint8)
    _numbers(source, starts, ends, values, scales, forms)
    pieces: list[tuple[Offsets, Column]] = []
    for form, type in ((_UNSIGNED, UBIGINT), (_SIGNED, BIGINT)):
        rows = np.flatnonzero(forms == form)
        low = np.ascontiguousarray(values[rows, 0]).view(type.dtype)
        pieces.append((rows, wrap(Column(type, low))))
    for s in np.unique(scales[forms == _DECIMAL]).tolist():
        rows = np.flatnonzero((forms == _DECIMAL) & (scales == s))
        pieces.append((rows, wrap(Column(decimal(38, s), np.ascontiguousarray(values[rows])))))
    rows = np.flatnonzero(forms == _FLOAT)
    if len(rows):
        words = column_to_arrow(_slices(source, starts[rows], ends[rows])).cast(pa.float64())
        pieces.append((rows, wrap(column_from_arrow(DOUBLE, words))))
    return assemble(VARIANT, n, [p for p in pieces if len(p[0])])


def _slices(data: npt.NDArray[np.uint8], starts: Offsets, ends: Offsets) -> Column:
    """The VARCHARs data[starts[i]:ends[i]]."""
    lengths = ends - starts
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    order = np.repeat(starts - offsets[:-1], lengths) + np.arange(int(offsets[-1]))
    views, heaps = make_views(data[order], offsets, None)
    return Column(VARCHAR, views, None, heaps)


# parsing -------------------------------------------------------------------------------------


def parse_json(texts: Column) -> Column:
    """PARSE_JSON of a VARCHAR column; NULL where the text is no JSON."""
    tape = json_tape.tape(texts)
    if not len(tape.row):
        return assemble(VARIANT, len(texts), [])
    deepest = int(tape.depth.max())
    below, below_at = None, np.zeros(0, np.int64)
    for depth in range(deepest, -1, -1):
        at = np.flatnonzero(tape.depth == depth)
        below = _level(tape, at, below, below_at)
        below_at = at
    assert below is not None
    return assemble(VARIANT, len(texts), [(tape.row[below_at], below)])


def _level(tape: Tape, at: Offsets, below: Column | None, below_at: Offsets) -> Column:
    """The values of the nodes `at`, all of one depth; `below` are those one deeper."""
    kinds = tape.kind[at]

    def where(*wanted: int) -> Offsets:
        return np.flatnonzero(np.isin(kinds, wanted))

    nulls, numbers, booleans = where(NULL), where(INTEGER, NUMBER), where(json_tape.TRUE, FALSE)
    pieces = [(nulls, variant_null(len(nulls)))]
    truth = (kinds[booleans] == json_tape.TRUE).astype(np.uint8)
    pieces.append((booleans, wrap(Column(BOOLEAN, truth))))
    nodes = at[numbers]
    pieces.append((numbers, _read_numbers(tape.source, tape.start[nodes], tape.end[nodes])))
    strings = where(STRING, KEY)
    nodes = at[strings]
    words = _slices(tape.strings, tape.start[nodes], tape.end[nodes])
    pieces.append((strings, wrap(words)))
    pieces += _containers(tape, at, kinds, below, below_at)
    return assemble(VARIANT, len(at), [p for p in pieces if len(p[0])])


def _containers(
    tape: Tape,
    at: Offsets,
    kinds: npt.NDArray[np.uint8],
    below: Column | None,
    below_at: Offsets,
) -> list[tuple[Offsets, Column]]:
    if below is None:
        below = assemble(VARIANT, 0, [])
    # the nearest node in front of a child that is one less deep is what contains it
    parent = np.searchsorted(at, below_at) - 1
    pieces = []
    for kind in (ARRAY, OBJECT):
        rows = np.flatnonzero(kinds == kind)
        if not len(rows):
            continue
        mine = np.flatnonzero(kinds[parent] == kind) if len(parent) else np.zeros(0, np.int64)
        counts = np.bincount(parent[mine], minlength=len(at))[rows]
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        children = take_column(below, mine)
        if kind == ARRAY:
            pieces.append((rows, container(implode(VARIANT_ARRAY, offsets, (children,)))))
            continue
        # keys and values take turns
        keys, values = (take_column(children, np.arange(i, len(mine), 2)) for i in (0, 1))
        pieces.append((rows, container(build_map(VARIANT_MAP, offsets // 2, keys, values))))
    return pieces


# printing ------------------------------------------------------------------------------------


def to_json(column: Column) -> Column:
    """TO_JSON of a VARIANT column; NULL for NULL and for what JSON cannot say."""
    return column_from_arrow(VARCHAR, json_texts(column))


def json_texts(column: Column) -> pa.Array:
    """The same as an Arrow string array."""
    pieces = [(g.rows, _group_texts(g)) for g in groups(column)]
    at = np.full(len(column), -1, np.int64)
    base = 0
    for rows, texts in pieces:
        at[rows] = np.arange(base, base + len(rows))
        base += len(texts)
    joined = pa.concat_arrays([t for _, t in pieces]) if pieces else pa.array([], pa.utf8())
    return joined.take(pa.array(at, mask=at < 0))


def _group_texts(group: Group) -> pa.Array:
    kind = group.kind
    if kind is Kind.NULL:
        return pa.array(["null"]).take(pa.array(np.zeros(len(group.rows), np.int64)))
    if kind is Kind.ARRAY:
        x = explode(group.values)
        return _joined("[", x.offsets, _child_texts(x.columns[0]), "]")
    if kind is Kind.MAP:
        x = explode(group.values)
        keys, values = x.columns
        pairs = pc.binary_join_element_wise(json_texts(keys), _child_texts(values), ":")
        is_text = pa.array(tags(keys) == TAGS[Kind.VARCHAR])
        return _joined("{", x.offsets, pc.if_else(is_text, pairs, None), "}")
    return scalar_json(group.values)


def _child_texts(column: Column) -> pa.Array:
    """SQL's NULL inside a container is JSON's null; what cannot be said stays NULL."""
    texts = json_texts(column)
    return texts if column.valid is None else pc.if_else(pa.array(column.valid == 0), "null", texts)


def _joined(opening: str, offsets: Offsets, texts: pa.Array, closing: str) -> pa.Array:
    """The children of each container between brackets; NULL where one of them is."""
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), texts)
    return pc.binary_join_element_wise(opening, pc.binary_join(lists, ","), closing, "")


def scalar_json(column: Column) -> pa.Array:
    """JSON texts of a column of scalars without NULLs."""
    kind = column.type.kind
    array = column_to_arrow(column)
    if kind in (Kind.VARCHAR, Kind.CHAR):
        return _quoted(_escaped(array))
    if kind in BINARIES:
        raw, offsets = copy_out(np.ascontiguousarray(column.values))
        numbers = pa.array(raw).cast(pa.string())
        return _joined("[", offsets, numbers, "]")
    if kind in FLOATS:
        finite = pc.if_else(pc.is_finite(array), array, None).cast(pa.string())
        finite = pc.replace_substring(finite, "e+", "e")  # as CAST to VARCHAR writes it
        plain = pc.match_substring_regex(finite, "[.e]")
        return pc.if_else(plain, finite, pc.binary_join_element_wise(finite, ".0", ""))
    if kind is Kind.DECIMAL:
        return _decimal_texts(array)
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ):
        moment = column_to_arrow(column.with_type(TIMESTAMP)).cast(pa.string())
        text = pc.utf8_rtrim(pc.utf8_rtrim(moment, "0"), ".")
        if kind is Kind.TIMESTAMP_TZ:
            text = pc.binary_join_element_wise(text, "+00:00", "")
        return _quoted(text)
    if kind is Kind.TIME:
        return _quoted(pc.utf8_rtrim(pc.utf8_rtrim(array.cast(pa.string()), "0"), "."))
    if kind in (Kind.DATE, Kind.UUID):
        return _quoted(array.cast(pa.string()))
    return array.cast(pa.string())


def _decimal_texts(array: pa.Array) -> pa.Array:
    """Plain notation: Arrow turns to exponents for small values of large scale."""
    texts = array.cast(pa.string())
    if not pc.any(pc.match_substring(texts, "E")).as_py():
        return texts
    return pa.array([None if v is None else format(v, "f") for v in array.to_pylist()], pa.utf8())


def _quoted(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', texts, '"', "")


_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def _escaped(texts: pa.Array) -> pa.Array:
    if not pc.any(pc.match_substring_regex(texts, '[\\x00-\\x1f"\\\\]')).as_py():
        return texts
    texts = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    if pc.any(pc.match_substring_regex(texts, "[\\x00-\\x1f]")).as_py():
        for code in range(32):
            c = chr(code)
            texts = pc.replace_substring(texts, c, _SHORT.get(c, f"\\u{code:04x}"))
    return texts
