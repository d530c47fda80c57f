"""Strings as a whole (sql-reference 2.7): lengths, codes, case, putting together, REPLACE.

    CONCAT_WS(',', 'a', NULL, 'b') → 'a,b'      INITCAP('hi THOMAS') → 'Hi Thomas'

Everything works on whole columns, by Arrow or by kernels (`text_kernels`); INITCAP of text that is
not ASCII runs once a distinct value. Parts of strings are in `parts`, patterns in `patterns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.types import BINARIES, INTEGER, STRINGS, VARBINARY, VARCHAR
from penstock.data.views import lengths_of, make_views
from penstock.functions import text, text_kernels, text_search
from penstock.functions.definition import Literals, Overload, Types, define, define_typed
from penstock.functions.distinct import per_distinct
from penstock.functions.params import ANY_TEXT, BYTES, INT, STRING
from penstock.functions.parts import joined

_END = np.full(1, text_kernels.END)

# lengths and codes ---------------------------------------------------------------------------


@define(["CHAR_LENGTH", "CHARACTER_LENGTH", "LENGTH", "LEN"], [STRING], INTEGER)
def char_length(s: Column, n: int) -> Column:
    return Column(INTEGER, text_kernels.code_points(s).astype(np.int32))


@define("ASCII", [STRING], INTEGER)
def ascii_(s: Column, n: int) -> Column:
    return Column(INTEGER, text_kernels.first_code_points(s))


@define("CHR", [INT], VARCHAR)
def chr_(code: Column, n: int) -> Column:
    return text_kernels.characters(code.values, VARCHAR)


# case ----------------------------------------------------------------------------------------


def _table(change: Callable[[str], str]) -> Array:
    """What a byte of ASCII becomes."""
    return np.array([ord(change(chr(c))) for c in range(128)], np.uint8)


_UPPER, _LOWER = _table(str.upper), _table(str.lower)


def _special(change: Callable[[str], str]) -> dict[str, str]:
    """Characters whose other case is not one character (Unicode's SpecialCasing): ß is SS."""
    return {c: change(c) for c in map(chr, range(128, 0x1FFFF)) if len(change(c)) > 1}


_SPECIAL_UPPER, _SPECIAL_LOWER = _special(str.upper), _special(str.lower)


def _cased(s: Column, table: Array, special: dict[str, str], rest: Callable[[Any], Any]) -> Column:
    out = text_kernels.mapped_ascii(s, table, VARCHAR)
    if out is not None:
        return out
    words = text.to_arrow(s)
    odd = pc.match_substring_regex(words, f"[{''.join(special)}]").fill_null(False)
    if pc.any(odd).as_py():
        for character, cased in special.items():
            words = pc.replace_substring(words, character, cased)
    return text.from_arrow(rest(words))


@define("LOWER", [STRING], VARCHAR)
def lower(s: Column, n: int) -> Column:
    return _cased(s, _LOWER, _SPECIAL_LOWER, pc.utf8_lower)


@define("UPPER", [STRING], VARCHAR)
def upper(s: Column, n: int) -> Column:
    return _cased(s, _UPPER, _SPECIAL_UPPER, pc.utf8_upper)


@define("REVERSE", [STRING], VARCHAR)
def reverse(s: Column, n: int) -> Column:
    return text.from_arrow(pc.utf8_reverse(text.to_arrow(s)))


def _declare_initcap(name: str, words: str) -> None:
    pattern = re.compile(words)
    in_word = np.array([pattern.fullmatch(chr(c)) is not None for c in range(128)])

    def capitalised(s: str) -> str:
        return pattern.sub(lambda m: m[0][0].upper() + m[0][1:].lower(), s)

    @define(name, [STRING], VARCHAR)
    def initcap(s: Column, n: int) -> Column:
        data, offsets = text_kernels.flat(s)
        if (data >= 128).any():
            return per_distinct(capitalised, (s,))
        inside = in_word[data]
        begins = inside.copy()
        begins[1:] &= ~inside[:-1]
        starts = offsets[:-1][offsets[:-1] < len(data)]
        begins[starts] = inside[starts]
        out = np.where(begins, _UPPER[data], np.where(inside, _LOWER[data], data))
        views, heaps = make_views(out, offsets, None)
        return Column(VARCHAR, views, None, heaps)


_declare_initcap("INITCAP", r"[^\W_]+")
_declare_initcap("INITCAP_SPACES", r"[^ ]+")


# putting together ----------------------------------------------------------------------------


@define_typed("||", "string || string", "binary || binary")
def concatenate(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 2:
        return None
    if any(t.kind in BINARIES for t in types):
        if not all(BYTES.exact(t) for t in types):
            return None
        wanted = tuple(BYTES.exact(t) or VARBINARY for t in types)
        return Overload(wanted, VARBINARY, lambda a, n: joined(*a, type=VARBINARY))
    if not any(t.kind in STRINGS for t in types):
        return None
    accepted = [ANY_TEXT.accept(t) for t in types]
    if None in accepted:
        return None
    wanted = tuple(t for t in accepted if t is not None)
    return Overload(wanted, VARCHAR, lambda a, n: joined(*a, type=VARCHAR))


@define("CONCAT", [ANY_TEXT], VARCHAR, rest=ANY_TEXT)
def concat(*args: Any) -> Column:
    *columns, _n = args
    return joined(*columns, type=VARCHAR)


def _nothing_for_null(column: Column) -> Column:
    """'' instead of NULL, which has the same bytes."""
    return Column(VARCHAR, column.values, None, column.heaps)


@define(
    "CONCAT_WS",
    [ANY_TEXT, ANY_TEXT],
    VARCHAR,
    rest=ANY_TEXT,
    strict=False,
    nullable=lambda types: types[0].nullable,
)
def concat_ws(*args: Any) -> Column:
    """NULL only if the separator is; other NULLs are left out."""
    separator, *columns, _n = args
    # every word with the separator before it, nothing for NULL; then the first separator goes
    pieces = [_nothing_for_null(joined(separator, c, type=VARCHAR)) for c in columns]
    words = joined(*pieces, type=VARCHAR)
    out = text_kernels.cut_bytes(words, lengths_of(separator.values), _END, VARCHAR)
    valid = separator.valid
    if valid is not None and len(valid) < len(out):
        valid = np.repeat(valid, len(out))
    return Column(VARCHAR, out.values, valid, out.heaps)


@define("REPEAT", [STRING, INT], VARCHAR)
def repeat(s: Column, times: Column, n: int) -> Column:
    counts = np.maximum(text_kernels.places(times.values), 0)
    words = text.to_arrow(s)
    if len(s) < len(counts):
        words = pa.repeat(words[0], len(counts))
    return text.from_arrow(pc.binary_repeat(words, pa.array(np.broadcast_to(counts, len(words)))))


@define("REPLACE", [STRING, STRING, STRING], VARCHAR)
def replace(s: Column, old: Column, new: Column, n: int) -> Column:
    return text_search.replaced(s, old, new, VARCHAR)
