"""Parts of strings and bytes (sql-reference 2.7, 2.9): SUBSTRING, LEFT, TRIM, SPLIT_PART, …

    SUBSTRING('Thomas' FROM 2 FOR 3) → 'hom'      SPLIT_PART('a|b|c|', '|', -2) → 'c'

Positions and lengths count code points of text and bytes of binary, from 1. A start below 1:

    SUBSTRING of text      is a virtual place, which uses up part of the length
    SUBSTR                 counts from the end
    SUBSTRING of binary    is 1

Parts of long strings are not copied: they stay in the heap they are in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.build import column_from_python
from penstock.data.types import INTEGER, VARBINARY, VARCHAR, SqlType
from penstock.data.views import lengths_of
from penstock.functions import text, text_kernels, text_search
from penstock.functions.definition import Param, define
from penstock.functions.params import BYTES, INT, STRING
from penstock.functions.text_kernels import END, places

#: cuts units first … last, code points or bytes, from each string
Cut = Callable[[Column, Array, Array, SqlType], Column]
_ZERO, _END = np.zeros(1, np.int64), np.full(1, END)


def joined(*args: Column, type: SqlType) -> Column:
    """The strings of each row one after the other, NULL if one is."""
    rows = max(len(a) for a in args)
    arrays = [text.to_arrow(a) if len(a) == rows else text.to_arrow(a)[0] for a in args]
    separator = b"" if type is VARBINARY else ""
    return text.from_arrow(pc.binary_join_element_wise(*arrays, separator), type)


def _from(start: Array, length: Array | None) -> tuple[Array, Array]:
    """(first, last) unit of a part of `length` from the virtual place `start`."""
    first = np.maximum(start - 1, 0)
    if length is None:
        return first, _END
    return first, np.maximum(start - 1 + np.maximum(length, 0), first)


@define("SUBSTRING", [STRING, INT], VARCHAR)
def substring_from(s: Column, start: Column, n: int) -> Column:
    return text_kernels.cut_characters(s, *_from(places(start.values), None), VARCHAR)


@define("SUBSTRING", [STRING, INT, INT], VARCHAR)
def substring(s: Column, start: Column, length: Column, n: int) -> Column:
    part = _from(places(start.values), places(length.values))
    return text_kernels.cut_characters(s, *part, VARCHAR)


@define("SUBSTRING", [BYTES, INT], VARBINARY)
def binary_substring_from(b: Column, start: Column, n: int) -> Column:
    part = _from(np.maximum(places(start.values), 1), None)
    return text_kernels.cut_bytes(b, *part, VARBINARY)


@define("SUBSTRING", [BYTES, INT, INT], VARBINARY)
def binary_substring(b: Column, start: Column, length: Column, n: int) -> Column:
    part = _from(np.maximum(places(start.values), 1), places(length.values))
    return text_kernels.cut_bytes(b, *part, VARBINARY)


def _counted(s: Column, start: Column) -> Array:
    """A start that counts from the end where it is negative, from the beginning."""
    at = places(start.values)
    if at.min(initial=1) >= 0:
        return np.maximum(at, 1)
    return np.maximum(np.where(at < 0, text_kernels.code_points(s) + at + 1, at), 1)


@define("SUBSTR", [STRING, INT], VARCHAR)
def substr_from(s: Column, start: Column, n: int) -> Column:
    return text_kernels.cut_characters(s, *_from(_counted(s, start), None), VARCHAR)


@define("SUBSTR", [STRING, INT, INT], VARCHAR)
def substr(s: Column, start: Column, length: Column, n: int) -> Column:
    part = _from(_counted(s, start), places(length.values))
    return text_kernels.cut_characters(s, *part, VARCHAR)


def _declare(param: Param, type: SqlType, cut: Cut, size: Callable[[Column], Array]) -> None:
    """LEFT, RIGHT and OVERLAY, which treat text and bytes alike."""

    @define("LEFT", [param, INT], type)
    def left(s: Column, count: Column, n: int) -> Column:
        return cut(s, _ZERO, np.maximum(places(count.values), 0), type)

    @define("RIGHT", [param, INT], type)
    def right(s: Column, count: Column, n: int) -> Column:
        return cut(s, np.maximum(size(s) - np.maximum(places(count.values), 0), 0), _END, type)

    def placed(s: Column, new: Column, start: Array, length: Array) -> Column:
        """`length` units from `start` as `new`; nothing happens for a start below 1."""
        head = cut(s, _ZERO, np.where(start < 1, END, start - 1), type)
        middle = cut(new, _ZERO, np.where(start < 1, 0, END), type)
        tail_from = np.where(start < 1, END, start - 1 + np.maximum(length, 0))
        return joined(head, middle, cut(s, tail_from, _END, type), type=type)

    @define("OVERLAY", [param, param, INT], type)
    def overlay_from(s: Column, new: Column, start: Column, n: int) -> Column:
        return placed(s, new, places(start.values), size(new))

    @define("OVERLAY", [param, param, INT, INT], type)
    def overlay(s: Column, new: Column, start: Column, length: Column, n: int) -> Column:
        return placed(s, new, places(start.values), places(length.values))


_declare(STRING, VARCHAR, text_kernels.cut_characters, text_kernels.code_points)
_declare(BYTES, VARBINARY, text_kernels.cut_bytes, lambda b: lengths_of(b.values))


@define("SPLIT_PART", [STRING, STRING, INT], VARCHAR)
def split_part(s: Column, mark: Column, index: Column, n: int) -> Column:
    return text_search.split_part(s, mark, index.values, VARCHAR)


@define("POSITION", [STRING, STRING], INTEGER)
def position(part: Column, s: Column, n: int) -> Column:
    """POSITION(part IN s)."""
    return Column(INTEGER, text_search.find(s, part, characters=True).astype(np.int32))


@define("POSITION", [BYTES, BYTES], INTEGER)
def binary_position(part: Column, b: Column, n: int) -> Column:
    return Column(INTEGER, text_search.find(b, part, characters=False).astype(np.int32))


_BLANK = column_from_python(VARCHAR, [" "])


def _declare_trim(name: str | list[str], left: bool, right: bool) -> None:
    @define(name, [STRING], VARCHAR)
    def blanks(s: Column, n: int) -> Column:
        return text_search.strip(s, _BLANK, left, right, VARCHAR)

    @define(name, [STRING, STRING], VARCHAR)
    def characters(s: Column, chars: Column, n: int) -> Column:
        """TRIM(… chars FROM s) is called as (s, chars)."""
        return text_search.strip(s, chars, left, right, VARCHAR)


_declare_trim(["TRIM", "TRIM_BOTH"], left=True, right=True)
_declare_trim("TRIM_LEADING", left=True, right=False)
_declare_trim("TRIM_TRAILING", left=False, right=True)
