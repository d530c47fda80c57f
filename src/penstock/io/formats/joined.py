"""Rows as text, joined from the texts of whole columns: no Python value is made of any of them.

    columns   ["1", "22"], ["\\"a\\"", "null"]       one Arrow array of texts each, no NULLs
    between   '{"id":', ',"name":', '}'            text before, between and after them
        ──►   {"id":1,"name":"a"} {"id":22,"name":null}

Texts are Arrow's large_utf8, so a batch may be larger than 2 GB as text.

    json_column(column, flavor)   the JSON text of each value, as orjson writes it
    json_rows(rows, flavor)       each row as an object of its columns

Cost: 20 to 60 ns a value; DECIMAL, times and texts with escapes more; nested values and binary ones
are spelled one by one (`spelling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.arrow import column_to_arrow
from penstock.data.batch import Batch, Column
from penstock.data.types import FLOATS, INTEGERS, STRINGS, Kind
from penstock.io.formats.flavors import Flavor
from penstock.io.formats.spelling import json_values, text_array

TEXT = pa.large_utf8()
#: what JSON writes as an escape
_ESCAPED = '[\\x00-\\x1f"\\\\]'
_NUMPY = orjson.OPT_SERIALIZE_NUMPY


def join(columns: Sequence[pa.Array], between: Sequence[str], n: int) -> pa.Array:
    """`n` texts: between[0], a text of the first column, between[1], … between[-1]."""
    if not columns:
        return pa.repeat(pa.scalar("".join(between), TEXT), n)
    fixed = [pa.scalar(t, TEXT) for t in between]
    parts = chain(*zip(fixed, columns, strict=False), fixed[-1:])
    return pc.binary_join_element_wise(*parts, pa.scalar("", TEXT))


def in_one(texts: pa.Array, start: int = 0, stop: int | None = None) -> bytes:
    """The texts from `start` to before `stop`, one after the other."""
    offsets, data = _buffers(texts)
    stop = len(texts) if stop is None else min(stop, len(texts))
    first, end = int(offsets[start]), int(offsets[stop])
    return b"" if first == end else data[first:end].to_pybytes()


def each(texts: pa.Array) -> list[bytes]:
    """Every text by itself."""
    found: list[bytes] = texts.cast(pa.large_binary()).to_pylist()
    return found


def _buffers(texts: pa.Array) -> tuple[npt.NDArray[np.int64], pa.Buffer]:
    _, offsets, data = texts.buffers()
    found = np.zeros(1, np.int64) if offsets is None else np.frombuffer(offsets, np.int64)
    return found[texts.offset : texts.offset + len(texts) + 1], data or pa.py_buffer(b"")


def json_rows(rows: Batch, flavor: Flavor, before: str = "", after: str = "") -> pa.Array:
    """Each row, weights ignored, as an object of its columns, with text before and after it."""
    names = [f"{orjson.dumps(name).decode()}:" for name in rows.schema.names]
    inner = [f",{name}" for name in names[1:]]
    between = [f"{before}{{{names[0]}", *inner, f"}}{after}"] if names else [f"{before}{{}}{after}"]
    return join([json_column(c, flavor) for c in rows.columns], between, len(rows))


def json_column(column: Column, flavor: Flavor) -> pa.Array:
    """The JSON text of each value; a NULL is null."""
    kind = column.type.kind
    if kind in INTEGERS:
        return _or_null(column_to_arrow(column).cast(TEXT))
    if kind is Kind.BOOLEAN:
        return _or_null(column_to_arrow(column).cast(TEXT))
    if kind in FLOATS:
        return _floats(column)
    if kind in STRINGS or kind is Kind.UUID:
        return _quoted(column_to_arrow(column).cast(TEXT))
    plain = text_array(column, flavor)
    if plain is not None:
        spell = _bare if kind is Kind.DECIMAL and not flavor.decimal_text else _quoted
        return spell(plain.cast(TEXT))
    values = json_values(column, flavor)
    return pa.array([orjson.dumps(v, option=_NUMPY).decode() for v in values], TEXT)


def _or_null(texts: pa.Array) -> pa.Array:
    return texts.fill_null("null") if texts.null_count else texts


_bare = _or_null


def _quoted(texts: pa.Array) -> pa.Array:
    """Texts as JSON strings."""
    mark = pa.scalar('"', TEXT)
    quoted = pc.binary_join_element_wise(mark, texts, mark, pa.scalar("", TEXT))
    if _has_escapes(texts):
        mask = pc.match_substring_regex(texts, _ESCAPED).fill_null(False)
        spelled = [orjson.dumps(t).decode() for t in texts.filter(mask).to_pylist()]
        quoted = pc.replace_with_mask(quoted, mask, pa.array(spelled, TEXT))
    return _or_null(quoted)


def _has_escapes(texts: pa.Array) -> bool:
    offsets, data = _buffers(texts)
    raw = np.frombuffer(data, np.uint8)[int(offsets[0]) : int(offsets[-1])]
    return bool(((raw < 0x20) | (raw == 0x22) | (raw == 0x5C)).any())


def _floats(column: Column) -> pa.Array:
    """orjson writes the whole array, `[1.0,2.5,null]`; its commas are the ends of the texts."""
    n = len(column)
    if n == 0:
        return pa.array([], TEXT)
    raw = orjson.dumps(np.ascontiguousarray(column.values), option=_NUMPY)
    body = np.frombuffer(raw, np.uint8)[1:]
    offsets = np.zeros(n + 1, np.int64)
    offsets[1:-1] = np.flatnonzero(body == ord(",")) + 1
    offsets[-1] = len(body)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(body)]
    texts = pc.utf8_rtrim(pa.Array.from_buffers(TEXT, n, buffers), ",]")
    if column.valid is None:
        return texts
    return pc.if_else(pa.array(column.valid.astype(bool)), texts, pa.scalar("null", TEXT))
