"""Strings as a whole (sql-reference 2.7): lengths, codes, case, putting together, REPLACE.

    CONCAT_WS(',', 'a', NULL, 'b') → 'a,b'      INITCAP('hi THOMAS') → 'Hi Thomas'

Everything works on whole columns, by Arrow, by kernels (`text_kernels`) or on code points.
Parts of strings are in `parts`, patterns in `patterns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.types import BINARIES, INTEGER, STRINGS, VARBINARY, VARCHAR
from penstock.data.views import lengths_of, make_views
from penstock.functions import text, text_kernels, text_search
from penstock.functions.definition import (
    Literals,
    Overload,
    Types,
    define,
    define_typed,
    fail_where,
)
from penstock.functions.distinct import per_distinct
from penstock.functions.params import ANY_TEXT, BYTES, INT, STRING
from penstock.functions.parts import joined

#: what REPEAT gives at most, as arrays have a most too
MAX_BYTES = 100_000_000
_END = np.full(1, text_kernels.END)

# lengths and codes ---------------------------------------------------------------------------


@define(["CHAR_LENGTH", "CHARACTER_LENGTH", "LENGTH", "LEN"], [STRING], INTEGER)
def char_length(s: Column, n: int) -> Column:
    return Column(INTEGER, text_kernels.code_points(s).astype(np.int32))


def replaced_length(args: Sequence[Column], n: int) -> Column:
    """CHAR_LENGTH(REPLACE(s, old, new))."""
    return Column(INTEGER, text_search.replaced_lengths(*args).astype(np.int32))


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


@cache
def _special(change: Callable[[str], str]) -> dict[str, str]:
    """Characters whose other case is not one character (Unicode's SpecialCasing): ß is SS."""
    return {c: change(c) for c in map(chr, range(128, 0x1FFFF)) if len(change(c)) > 1}


def _cased(
    s: Column, table: Array, change: Callable[[str], str], rest: Callable[[Any], Any]
) -> Column:
    out = text_kernels.mapped_ascii(s, table, VARCHAR)
    if out is not None:
        return out
    words = text.to_arrow(s)
    special = _special(change)
    odd = pc.match_substring_regex(words, f"[{''.join(special)}]").fill_null(False)
    if pc.any(odd).as_py():
        for character, cased in special.items():
            words = pc.replace_substring(words, character, cased)
    return text.from_arrow(rest(words))


@cache
def _final_sigma() -> str:
    """RE2's pattern of a Σ that ends a word: behind a letter that has a case and before none, marks
    and the like between them not counted (Unicode's Final_Sigma, here as Python has it)."""

    def is_final(before: str) -> bool:
        return (before + "Σ").lower().endswith("ς")

    letters, between = [], []
    for c in map(chr, (*range(0x20, 0xD800), *range(0xE000, 0x1FFFF))):
        if is_final("1" + c):
            letters.append(c)
        elif is_final("A" + c):
            between.append(c)
    cased, marks = _ranges(letters), _ranges(between)
    return f"([{cased}][{marks}]*)Σ([{marks}]*(?:[^{cased}{marks}]|$))"


def _ranges(characters: Sequence[str]) -> str:
    """The inside of RE2's class of these characters, which ascend."""
    out, start = "", 0
    codes = [ord(c) for c in characters]
    for i in range(1, len(codes) + 1):
        if i == len(codes) or codes[i] != codes[i - 1] + 1:
            out += rf"\x{{{codes[start]:x}}}-\x{{{codes[i - 1]:x}}}"
            start = i
    return out


def _lowered(words: Any) -> Any:
    if pc.any(pc.match_substring(words, "Σ")).as_py():
        words = pc.replace_substring_regex(words, _final_sigma(), r"\1ς\2")
    return pc.utf8_lower(words)


@define("LOWER", [STRING], VARCHAR)
def lower(s: Column, n: int) -> Column:
    return _cased(s, _LOWER, str.lower, _lowered)


@define("UPPER", [STRING], VARCHAR)
def upper(s: Column, n: int) -> Column:
    return _cased(s, _UPPER, str.upper, pc.utf8_upper)


@define("REVERSE", [STRING], VARCHAR)
def reverse(s: Column, n: int) -> Column:
    return text.from_arrow(pc.utf8_reverse(text.to_arrow(s)))


#: behind the last character that has a case or is a letter or a digit
_CHARACTERS = 0x32400


@cache
def _letters(pattern: str, ascii: bool) -> tuple[Array, Array, Array, Array]:
    """By code point: whether it matches `pattern`, its upper and its lower case, and whether one
    of them is several characters."""
    characters = [chr(c) for c in range(128 if ascii else _CHARACTERS)]
    inside = re.compile(pattern)
    found = np.array([inside.fullmatch(c) is not None for c in characters])
    several = np.array([len(c.upper()) > 1 or len(c.lower()) > 1 for c in characters])
    upper, lower = (
        np.array([ord(d) if len(d := change(c)) == 1 else ord(c) for c in characters])
        for change in (str.upper, str.lower)
    )
    width = np.uint8 if ascii else np.uint32
    return found, upper.astype(width), lower.astype(width), several


def _utf8_sizes(points: Array) -> Array:
    return 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)


def _declare_initcap(name: str, letter: str) -> None:
    """`letter` matches a character of a word; between words nothing changes."""
    pattern = re.compile(f"(?:{letter})+")

    def capitalised(s: str) -> str:
        return pattern.sub(lambda m: m[0][0].upper() + m[0][1:].lower(), s)

    @define(name, [STRING], VARCHAR)
    def initcap(s: Column, n: int) -> Column:
        data, offsets = text_kernels.flat(s)
        ascii = bool((data < 128).all())
        points = known = data
        if not ascii:
            points = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), "<u4")
            known = np.minimum(points, _CHARACTERS - 1)  # the last one is no letter
            offsets = np.concatenate(([0], np.cumsum(text_kernels.code_points(s))))
        is_letter, upper, lower, several = _letters(letter, ascii)
        if several[known].any():
            return per_distinct(capitalised, (s,))
        inside = is_letter[known]
        begins = inside.copy()
        begins[1:] &= ~inside[:-1]
        starts = offsets[:-1][offsets[:-1] < len(points)]
        begins[starts] = inside[starts]
        out = np.where(begins, upper[known], np.where(inside, lower[known], points))
        if not ascii:
            out = np.where(known == points, out, points)
            offsets = np.concatenate(([0], np.cumsum(_utf8_sizes(out))))[offsets]
            out = np.frombuffer(out.astype("<u4").tobytes().decode("utf-32-le").encode(), np.uint8)
        views, heaps = make_views(out, offsets, None)
        return Column(VARCHAR, views, None, heaps)


_declare_initcap("INITCAP", r"[^\W_]")
_declare_initcap("INITCAP_SPACES", r"[^ ]")


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
    accepted = [STRING.accept(t) for t in types]
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


@define("REPEAT", [STRING, INT], VARCHAR, can_fail=True)
def repeat(s: Column, times: Column, n: int) -> Column:
    counts = np.maximum(text_kernels.places(times.values), 0)
    sizes = lengths_of(s.values).astype(np.float64) * counts
    too_long = sizes > MAX_BYTES
    fail_where(too_long, (s, times), f"a text of more than {MAX_BYTES} bytes")
    counts = np.where(too_long, 0, counts)  # where one is NULL
    words = text.to_arrow(s)
    if sizes.sum() >= 2**31:
        words = words.cast(pa.large_string())
    if len(s) < len(counts):
        words = pa.repeat(words[0], len(counts))
    return text.from_arrow(pc.binary_repeat(words, pa.array(np.broadcast_to(counts, len(words)))))


@define("REPLACE", [STRING, STRING, STRING], VARCHAR)
def replace(s: Column, old: Column, new: Column, n: int) -> Column:
    return text_search.replaced(s, old, new, VARCHAR)
