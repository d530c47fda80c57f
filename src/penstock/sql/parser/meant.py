"""What was meant by a statement that does not parse: a misspelt keyword, or a mark that is missing.

    ACST(a AS INT)          the parse ends at AS, but it is CAST that is meant
    SELECT a b c FROM t     is a ',' missing before c?

A word is a misspelt keyword if the parse gets further with the keyword in its place, and a mark is
missing if all parses with it. Only a statement that has failed comes here.

Cost: a few more parses of that statement alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from penstock.errors import Span
from penstock.sql.diagnostics import alike
from penstock.sql.lexer import END, NUMBER, STRING, Tokens, TokenValue
from penstock.sql.parser.cursor import RESERVED, SyntaxFailure, words
from penstock.sql.parser.statements import StatementParser

_KEYWORDS = (
    *RESERVED,
    *words(
        """SAFE_CAST EXTRACT SUBSTRING OVERLAY PLACING POSITION TRIM BOTH LEADING TRAILING ILIKE
        RLIKE SYMMETRIC ASC DESC NULLS FIRST LAST CURRENT RANGE PRECEDING FOLLOWING UNBOUNDED
        EXCLUDE REPLACE ORDINALITY SETS PIVOT UNPIVOT APPLY DESCRIPTOR KEY LATENESS WATERMARK VIEW
        MATERIALIZED TYPE INDEX LINEAR AGGREGATE ARRAY MAP DATE TIME TIMESTAMP UUID DECIMAL
        VARCHAR UNSIGNED PRECISION VARYING ZONE UNKNOWN RESPECT IGNORE"""
    ),
    "GROUP BY",
    "ORDER BY",
    "PARTITION BY",
    "PRIMARY KEY",
)
_KNOWN = frozenset(_KEYWORDS)
#: how far before the place of the failure a misspelt word may be
_BACK = 3
#: how many joins before it are looked at
_JOINS = 8

Parse = Callable[[StatementParser], object]


def meant(
    parser: StatementParser, failure: SyntaxFailure, first: int, parse: Parse
) -> SyntaxFailure:
    """`failure` of what begins at token `first` and is read by `parse`, and what caused it."""
    if failure.told:
        return failure
    # what is refused with words of its own is well understood, but for a statement put right
    is_plain = failure.what.startswith("found ")
    least = parser.i if is_plain else len(parser.keys) - 1
    found = _misspelt(parser, first, parse, least)
    if found is not None:
        place, keyword = found
        span = Span(parser.starts[place], parser.ends[place])
        hint = f" (did you mean {keyword}?)"
        if span != failure.span:
            return SyntaxFailure(span, f"found {parser.shown(place)}, expected {keyword}{hint}")
        return failure if "did you" in failure.what else SyntaxFailure(span, failure.what + hint)
    if is_plain and "did you" not in failure.what:
        return _without_mark(parser, failure, first, parse) or failure
    return failure


def _without_mark(
    parser: StatementParser, failure: SyntaxFailure, first: int, parse: Parse
) -> SyntaxFailure | None:
    """`failure` with the mark that is missing at its place, or before the word in front of it,
    which was taken for an alias; None if no mark is."""
    at = parser.i
    begins = parser.is_word or parser.key in (STRING, NUMBER)
    marks = (
        ((at, ","), (at, ")"), (at, "("), (at - 1, ",")) if begins else ((at, ")"), (at - 1, ","))
    )
    for place, mark in marks:
        mended = _with(parser.tokens, max(place, first), mark, gone=0)
        if _reach(mended, first, parse) == len(mended.keys):
            hint = f" (is a '{mark}' missing before it?)"
            if place == at:
                return SyntaxFailure(failure.span, failure.what + hint)
            span = Span(parser.starts[place], parser.ends[place])
            return SyntaxFailure(span, f"found {parser.shown(place)}, expected ','{hint}")
    return None


def _misspelt(
    parser: StatementParser, first: int, parse: Parse, least: int
) -> tuple[int, str] | None:
    """(the index of a word, the keyword with which the parse gets furthest), beyond `least`."""
    best: tuple[int, int, str] | None = None
    for i in _suspects(parser.keys, parser.i, first):
        for keyword in alike(parser.keys[i], _KEYWORDS, 0.7, 3):
            mended = _with(parser.tokens, i, keyword, gone=1)
            end = _reach(mended, first, parse) - keyword.count(" ")
            # a keyword alone is not further yet
            if end > max(least, i + 1) and (best is None or end > best[0]):
                best = (end, i, keyword)
    return None if best is None else best[1:]


def _suspects(keys: Sequence[str], at: int, first: int) -> Iterator[int]:
    """The words around token `at`, those before and behind the bracket that is open there, and what
    may be an alias or a kind of join."""
    near = range(min(at + 1, len(keys) - 1), max(at - _BACK, first) - 1, -1)
    depth, opened = 0, first
    for i in range(at - 1, first, -1):
        if keys[i] in (")", "("):
            depth += 1 if keys[i] == ")" else -1
        if depth < 0:
            opened = i
            break
    joins = [i - 1 for i in range(first + 1, at) if keys[i] == "JOIN"][-_JOINS:]
    for i in dict.fromkeys((*near, opened - 1, opened + 1, *joins)):
        if (
            first <= i < len(keys)
            and len(keys[i]) > 1
            and keys[i][0].isalpha()
            and keys[i] not in _KNOWN
        ):
            yield i


def _with(tokens: Tokens, at: int, written: str, gone: int) -> Tokens:
    """The tokens with the words `written` in place of the `gone` ones from `at` on."""
    new, behind = written.split(), at + gone
    values: list[TokenValue] = [tokens.values[at] if gone else None] * len(new)
    places = [tokens.starts[at]] * len(new)
    return replace(
        tokens,
        keys=[*tokens.keys[:at], *new, *tokens.keys[behind:]],
        values=[*tokens.values[:at], *values, *tokens.values[behind:]],
        starts=[*tokens.starts[:at], *places, *tokens.starts[behind:]],
        ends=[*tokens.ends[:at], *places, *tokens.ends[behind:]],
    )


def _reach(tokens: Tokens, first: int, parse: Parse) -> int:
    """The token at which what begins at token `first` fails; behind the last one if it does not."""
    parser = StatementParser(tokens)
    parser.i, parser.key = first, tokens.keys[first]
    try:
        parser.guarded(lambda: parse(parser))
    except SyntaxFailure:
        return parser.i
    return len(tokens.keys) if parser.key in (";", END) else parser.i
