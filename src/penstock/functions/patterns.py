"""LIKE, ILIKE, RLIKE, REGEXP_REPLACE (sql-reference 2.8).

    like(s, pattern[, escape])    _ one character, % any run; no escape unless given
    ilike(s, pattern)             the same, whatever the case
    rlike(s, regex)               an unanchored search

LIKE is a kernel, whether its pattern is a constant or a column. Regular expressions are Arrow's
(RE2), run once over all the rows that have the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.types import BOOLEAN, VARBINARY, VARCHAR
from penstock.errors import RuntimeSqlError
from penstock.functions import regex, text, text_kernels, text_search
from penstock.functions.definition import Literals, define
from penstock.functions.distinct import in_groups, per_distinct
from penstock.functions.params import STRING
from penstock.functions.text_search import ANY_ONE, ANY_RUN

_WILD = np.arange(256, dtype=np.uint8)
_WILD[ord("%")], _WILD[ord("_")] = ANY_RUN, ANY_ONE


def _wild(pattern: Column) -> text_kernels.Flat:
    data, offsets = text_kernels.flat(pattern)
    return _WILD[data], offsets


def _unescaped(pattern: str, escape: str) -> bytes:
    """The pattern with % and _ as bytes of their own where they are not escaped."""
    if len(escape) != 1 or escape in "%_":
        raise ValueError(f"ESCAPE must be one character other than % and _, not {escape!r}")
    out = bytearray()
    characters = iter(pattern)
    for c in characters:
        if c == escape:
            c = next(characters, "")
            if c not in ("%", "_", escape) or not c:
                raise ValueError(f"nothing to escape after {escape!r} in the pattern {pattern!r}")
            out += c.encode()
        else:
            out += {"%": bytes((ANY_RUN,)), "_": bytes((ANY_ONE,))}.get(c) or c.encode()
    return bytes(out)


@define("like", [STRING, STRING], BOOLEAN)
def like(s: Column, pattern: Column, n: int) -> Column:
    return Column(BOOLEAN, text_search.like(s, _wild(pattern)))


@define("like", [STRING, STRING, STRING], BOOLEAN, can_fail=True)
def like_escape(s: Column, pattern: Column, escape: Column, n: int) -> Column:
    wild = per_distinct(_unescaped, (pattern, escape), VARBINARY)
    return Column(BOOLEAN, text_search.like(s, text_kernels.flat(wild)))


def _folded(s: Column) -> Column:
    return text.from_arrow(pc.utf8_lower(text.to_arrow(s)))


@define("ilike", [STRING, STRING], BOOLEAN)
def ilike(s: Column, pattern: Column, n: int) -> Column:
    return Column(BOOLEAN, text_search.like(_folded(s), _wild(_folded(pattern))))


# regular expressions -------------------------------------------------------------------------


def _searches(pattern: str) -> Callable[[pa.Array], pa.Array]:
    spelled = regex.parsed(pattern).pattern()
    return lambda words: pc.match_substring_regex(words, spelled)


def _replaces(pattern: str, replacement: str = "") -> Callable[[pa.Array], pa.Array]:
    spelled, by = regex.rewrite(regex.parsed(pattern), replacement)
    return lambda words: pc.replace_substring_regex(words, spelled, by)


def _by_pattern(
    prepare: Callable[..., Callable[[pa.Array], pa.Array]], s: Column, given: Sequence[Column]
) -> pa.Array:
    """`prepare(*constants)` applied to all the rows with these constants, in one call each.

    Rows in which something is NULL come out as anything. A bad pattern fails its first row.
    """
    n = max(len(s), *map(len, given))
    words = text.to_arrow(s)
    if len(words) < n:
        words = pa.repeat(words[0], n)
    known = np.ones(n, np.bool_) if s.valid is None else np.broadcast_to(s.valid == 1, n)

    def compute(values: tuple[Any, ...], rows: Array) -> pa.Array:
        some = words if len(rows) == n else words.take(pa.array(rows))
        if None in values or not known[rows].any():
            return prepare(*("" for _ in values))(some)
        try:
            return prepare(*values)(some)
        except (ValueError, pa.ArrowInvalid) as e:
            told = str(e)
            if not told.startswith("invalid regular"):
                told = f"invalid regular expression {values[0]!r}: {told.rpartition(': ')[2]}"
            raise RuntimeSqlError(told, row=int(rows[np.argmax(known[rows])])) from None

    return in_groups(compute, given, n)


def _may_be_bad(literals: Literals) -> bool:
    """Whether the pattern and what else is constant may turn out wrong for some row."""
    if not all(isinstance(v, str) for v in literals[1:]):  # no constant, or not one of text
        return True
    prepare = _searches if len(literals) == 2 else _replaces
    try:
        prepare(*literals[1:])(pa.array([""]))
    except (ValueError, pa.ArrowInvalid):
        return True
    return False


@define("rlike", [STRING, STRING], BOOLEAN, can_fail=_may_be_bad)
def rlike(s: Column, pattern: Column, n: int) -> Column:
    hits = _by_pattern(_searches, s, (pattern,)).fill_null(False)
    return Column(BOOLEAN, hits.to_numpy(zero_copy_only=False).astype(np.uint8))


@define(
    "REGEXP_REPLACE", [STRING, STRING], VARCHAR, can_fail=lambda given: _may_be_bad((*given, ""))
)
def regexp_remove(s: Column, pattern: Column, n: int) -> Column:
    return text.from_arrow(_by_pattern(_replaces, s, (pattern,)))


@define("REGEXP_REPLACE", [STRING, STRING, STRING], VARCHAR, can_fail=_may_be_bad)
def regexp_replace(s: Column, pattern: Column, replacement: Column, n: int) -> Column:
    return text.from_arrow(_by_pattern(_replaces, s, (pattern, replacement)))
