"""LIKE, ILIKE, RLIKE, REGEXP_REPLACE (sql-reference 2.8).

    like(s, pattern[, escape])    _ one character, % any run; no escape unless given
    ilike(s, pattern)             the same, whatever the case
    rlike(s, regex)               an unanchored search

A pattern is translated once per distinct text. Regular expressions use Python's engine behind a
translation of what differs: POSIX classes, `(?<name>`, `$` at the very end; look-around and
back-references are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow.compute as pc

from penstock.data.batch import Column
from penstock.data.types import BOOLEAN, VARCHAR
from penstock.errors import RuntimeSqlError
from penstock.functions import text
from penstock.functions.definition import define
from penstock.functions.params import STRING


@lru_cache(maxsize=4096)
def _like(pattern: str, escape: str | None, fold: bool) -> re.Pattern[str]:
    """The regular expression of a LIKE pattern; ValueError for a bad escape."""
    if escape is not None and (len(escape) != 1 or escape in "%_"):
        raise ValueError(f"ESCAPE must be one character other than % and _, not {escape!r}")
    out: list[str] = []
    characters = iter(pattern)
    for c in characters:
        if c == escape:
            c = next(characters, "")
            if c not in ("%", "_", escape) or not c:
                raise ValueError(f"nothing to escape after {escape!r} in the pattern {pattern!r}")
            out.append(re.escape(c))
        else:
            out.append({"%": ".*", "_": "."}.get(c) or re.escape(c))
    return re.compile("".join(out), re.DOTALL | (re.IGNORECASE if fold else 0))


_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~",
    "space": r"\t-\r ", "upper": "A-Z", "word": r"\w", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_FOREIGN = re.compile(
    r"(?P<look>\(\?<?[=!])|(?P<back>\\[1-9]|\(\?P=)|(?P<named>\(\?<(?=\w))"
    r"|\[:(?P<posix>\w+):\]|(?P<pair>\\.)|(?P<end>\$)",
    re.DOTALL,
)


@lru_cache(maxsize=1024)
def compile_regex(pattern: str) -> re.Pattern[str]:
    """The pattern for Python's engine; ValueError for what the dialect does not have."""

    def translate(m: re.Match[str]) -> str:
        if m["look"] or m["back"]:
            raise ValueError(f"look-around and back-references are not supported: {pattern!r}")
        if m["named"]:
            return "(?P<"
        if m["posix"]:
            if m["posix"] not in _POSIX:
                raise ValueError(f"unknown character class [:{m['posix']}:] in {pattern!r}")
            return _POSIX[m["posix"]]
        if m["pair"]:
            return {r"\z": r"\Z"}.get(m[0], m[0])
        return r"\Z" if not _inside_class(pattern, m.start()) and "(?m" not in pattern else "$"

    try:
        return re.compile(_FOREIGN.sub(translate, pattern))
    except re.error as e:
        raise ValueError(f"invalid regular expression {pattern!r}: {e}") from None


def _inside_class(pattern: str, at: int) -> bool:
    head = re.sub(r"\\.", "  ", pattern[:at])
    return head.rfind("[") > head.rfind("]")


def _rows(compute: Callable[..., Any], args: Sequence[Column]) -> list[Any]:
    """`compute` per row without NULLs; a ValueError becomes the failure of that row."""
    n = max(len(a) for a in args)
    lists = [text.to_list(a) if len(a) == n else text.to_list(a) * n for a in args]
    out: list[Any] = []
    for i, row in enumerate(zip(*lists, strict=True)):
        try:
            out.append(None if None in row else compute(*row))
        except ValueError as e:
            raise RuntimeSqlError(str(e), row=i) from None
    return out


def _matches(compute: Callable[..., bool], args: Sequence[Column]) -> Column:
    found = _rows(compute, args)
    return Column(BOOLEAN, np.fromiter(map(bool, found), np.uint8, len(found)))


def _match_all(s: Column, pattern: re.Pattern[str]) -> Column:
    """Whole-string matches of one pattern, by Arrow's engine."""
    flags = "is" if pattern.flags & re.IGNORECASE else "s"
    found = pc.match_substring_regex(text.to_arrow(s), rf"(?{flags})\A(?:{pattern.pattern})\z")
    hits = found.fill_null(False).to_numpy(zero_copy_only=False)
    return Column(BOOLEAN, hits.astype(np.uint8))


def _constant(column: Column, s: Column) -> str | None:
    """The value of a constant argument beside a whole column, if it is worth the difference."""
    if len(column) != 1 or len(s) == 1 or column.valid is not None:
        return None
    return str(text.to_list(column)[0])


@define("like", [STRING, STRING], BOOLEAN)
def like(s: Column, pattern: Column, n: int) -> Column:
    fixed = _constant(pattern, s)
    if fixed is not None:
        return _match_all(s, _like(fixed, None, False))
    return _matches(lambda v, p: _like(p, None, False).fullmatch(v) is not None, (s, pattern))


@define("like", [STRING, STRING, STRING], BOOLEAN, can_fail=True)
def like_escape(s: Column, pattern: Column, escape: Column, n: int) -> Column:
    return _matches(
        lambda v, p, e: _like(p, e, False).fullmatch(v) is not None, (s, pattern, escape)
    )


@define("ilike", [STRING, STRING], BOOLEAN)
def ilike(s: Column, pattern: Column, n: int) -> Column:
    fixed = _constant(pattern, s)
    if fixed is not None:
        return _match_all(s, _like(fixed, None, True))
    return _matches(lambda v, p: _like(p, None, True).fullmatch(v) is not None, (s, pattern))


@define("rlike", [STRING, STRING], BOOLEAN, can_fail=True)
def rlike(s: Column, pattern: Column, n: int) -> Column:
    return _matches(lambda v, p: compile_regex(p).search(v) is not None, (s, pattern))


_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


def _replace(s: str, pattern: str, replacement: str = "") -> str:
    regex = compile_regex(pattern)

    def expand(m: re.Match[str]) -> str:
        def group(r: re.Match[str]) -> str:
            name = r[1] or r[2]
            if name is None:
                return "$"
            key: int | str = int(name) if name.isdigit() else name
            known = key <= regex.groups if isinstance(key, int) else key in regex.groupindex
            return (m[key] or "") if known else ""

        return _REFERENCE.sub(group, replacement)

    return regex.sub(expand, s)


@define("REGEXP_REPLACE", [STRING, STRING], VARCHAR, can_fail=True)
def regexp_remove(s: Column, pattern: Column, n: int) -> Column:
    return text.from_list(_rows(_replace, (s, pattern)))


@define("REGEXP_REPLACE", [STRING, STRING, STRING], VARCHAR, can_fail=True)
def regexp_replace(s: Column, pattern: Column, replacement: Column, n: int) -> Column:
    return text.from_list(_rows(_replace, (s, pattern, replacement)))
