"""Intervals as text, and text as intervals: the fields of their unit (sql-reference 1.5, 2.10.5).

    INTERVAL '1-3' YEAR TO MONTH           ↔  '+1-03'
    INTERVAL '10 10:30:40.999' DAY TO SECOND  →  '+10 10:30:40.999000'

The first field is as long as it is, those behind it have two digits, a second six of a fraction;
there is always a sign (the way of the dialect's base library).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pyarrow as pa

from penstock.data.batch import Array, Column
from penstock.data.types import VARCHAR, Kind, SqlType
from penstock.functions import text, text_print
from penstock.functions.interval_units import MICROSECONDS, MONTHS
from penstock.functions.parts import joined

_SHORT = ("DAY", "HOUR", "MINUTE", "SECOND")
_LONG = ("YEAR", "MONTH")
#: how many of a field make one of the field before it
_FULL = {"HOUR": 24, "MINUTE": 60, "SECOND": 60, "MONTH": 12}


def fields_of(interval: SqlType) -> tuple[str, ...]:
    """DAY_MINUTE → (DAY, HOUR, MINUTE)."""
    order = _LONG if interval.kind is Kind.INTERVAL_LONG else _SHORT
    first, _, last = (interval.unit or order[-1]).partition("_")
    start = order.index(first) if first in order else len(order) - 1
    stop = order.index(last) if last in order else start
    return order[start : stop + 1]


def _separator(field: str) -> str:
    return {"HOUR": " ", "MONTH": "-"}.get(field, ":")


def printer(interval: SqlType) -> Callable[[Column], Column]:
    fields = fields_of(interval)
    sizes = {**MICROSECONDS, **MONTHS}

    def constant(word: str) -> Column:
        return text.from_list([word])

    def pieces(magnitude: Array) -> list[Column]:
        out: list[Column] = []
        for i, field in enumerate(fields):
            value = magnitude // sizes[field]
            if i:
                out += [
                    constant(_separator(field)),
                    text_print.padded(value % _FULL[field], 2, "0"),
                ]
            else:
                out.append(text_print.integers(value))
            if field == "SECOND":
                fraction = text_print.padded(magnitude % 1_000_000, 6, "0")
                out += [constant("."), fraction]
        return out

    def spell(column: Column) -> Column:
        values = column.values.astype(np.int64)
        signs = text.from_arrow(pa.array(["+", "-"]).take(pa.array((values < 0).astype(np.int8))))
        # the size as uint64: the least one has it there too
        size = np.where(values < 0, -values, values).view(np.uint64)
        return joined(signs, *pieces(size), type=VARCHAR)

    return spell


def reader(interval: SqlType) -> Callable[[str], int | None]:
    """Text → µs or months; None for what is not of the interval's unit."""
    fields = fields_of(interval)
    sizes = {**MICROSECONDS, **MONTHS}
    pattern = r"([+-]?)\s*"
    for i, field in enumerate(fields):
        number = r"(\d+(?:\.\d+)?)" if field == "SECOND" else r"(\d+)"
        pattern += (re.escape(_separator(field)) if i else "") + number
    grammar = re.compile(pattern, re.ASCII)
    limit = np.iinfo(interval.dtype).max

    def read(word: str) -> int | None:
        m = grammar.fullmatch(word.strip())
        if m is None:
            return None
        values = [Decimal(g) for g in m.groups()[1:]]
        if any(v >= _FULL[f] for v, f in zip(values[1:], fields[1:], strict=True)):
            return None
        total = int(sum(v * sizes[f] for v, f in zip(values, fields, strict=True)))
        if total > limit:
            return None
        return -total if m[1] == "-" else total

    return read
