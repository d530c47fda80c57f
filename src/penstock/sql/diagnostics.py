"""From a span of program text to a compiler message with line, column and an excerpt.

    Span(7, 11) of "SELECT FORM t"   ──►   1:8-1:11
                                           SELECT FORM t
                                                  ^^^^

Lines and columns are 1-based and inclusive, columns count characters. An empty span (the end of
the input) is reported as one character.

Cost: O(length of the text) per message; messages are few.

Not here: raising. A phase collects its messages and raises `errors.SqlError` once.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from unicodedata import combining, east_asian_width

from penstock.errors import CompilerMessage, Span

#: an excerpt shows at most so many lines of a long construct, and so many columns of a line
_MAX_LINES = 3
_MAX_COLUMNS = 160


def source_text(text: str, span: Span | None) -> str:
    """The program text of `span` on one line, for error messages; empty without a span.

    >>> source_text("SELECT a +\\n  b FROM t", Span(7, 14))
    'a + b'
    """
    return "" if span is None else " ".join(text[span.start : span.end].split())


def position(text: str, offset: int) -> tuple[int, int]:
    """1-based (line, column) of a character offset."""
    offset = min(max(offset, 0), len(text))
    start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - start + 1


def snippet(text: str, span: Span) -> str:
    """The lines of `span`, each numbered and underlined; long constructs are cut after 3 lines."""
    first, start_column = position(text, span.start)
    last, end_column = position(text, max(span.start, span.end - 1))
    lines = text.split("\n")
    out = []
    for number in range(first, min(last, first + _MAX_LINES - 1) + 1):
        line = lines[number - 1].rstrip("\r").replace("\t", " ")
        left = start_column if number == first else 1 + len(line) - len(line.lstrip())
        right = end_column if number == last else max(len(line.rstrip()), left)
        cut = max(0, left - _MAX_COLUMNS // 2) if len(line) > _MAX_COLUMNS else 0
        line, left, right = line[cut : cut + _MAX_COLUMNS], left - cut, right - cut
        out.append(f"{number:5d}|{line}")
        before, under = line[: left - 1], line[left - 1 : right]
        # a place behind the end of the line has no character, and is one column wide
        carets = "^" * max(1, _width(under) + min(right, _MAX_COLUMNS) - len(line[:right]))
        out.append(f"      {' ' * (_width(before) + left - 1 - len(before))}{carets}")
    if last >= first + _MAX_LINES:
        out.append("      ...")
    return "\n".join(out)


def _width(text: str) -> int:
    """How many columns a terminal gives `text`: two for each character of East Asian scripts."""
    if text.isascii():
        return len(text)
    wide = sum(east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(combining(c) > 0 for c in text)


def message(
    text: str,
    span: Span | None,
    what: str,
    *,
    warning: bool = False,
    error_type: str = "Compilation error",
) -> CompilerMessage:
    """A compiler message about `span` of `text`; without a span it points at 1:1."""
    if span is None:
        return CompilerMessage(what, warning=warning, error_type=error_type)
    start_line, start_column = position(text, span.start)
    end_line, end_column = position(text, max(span.start, span.end - 1))
    return CompilerMessage(
        what,
        start_line=start_line,
        start_column=start_column,
        end_line=end_line,
        end_column=end_column,
        warning=warning,
        error_type=error_type,
        snippet=snippet(text, span),
    )


def alike(name: str, known: Iterable[str], share: float, most: int = 1) -> list[str]:
    """Those of `known`, in any case, that `name` may be a misspelling of, likely ones first: with
    the same letters in another order, then where `share` of both agree.

    >>> alike("nit", ["int", "unit"], 0.7, 2)
    ['int', 'unit']
    """
    folded, by_fold = name.lower(), {k.lower(): k for k in known}
    letters = sorted(folded)
    found = [k for k in by_fold if len(k) == len(letters) > 2 and sorted(k) == letters]
    found += get_close_matches(folded, list(by_fold), n=most, cutoff=share)
    return [by_fold[k] for k in dict.fromkeys(found)][:most]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean x?)` for the closest of `known`, or the empty string.

    >>> did_you_mean("custmer", ["customer", "orders"])
    ' (did you mean customer?)'
    >>> did_you_mean("zzz", ["customer", "orders"])
    ''
    """
    close = alike(name, known, 0.7)
    return f" (did you mean {close[0]}?)" if close else ""
