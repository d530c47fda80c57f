"""What the binder has to complain about, collected with positions.

    raise BindError(span, "…")      inside one item: a column, a select item, a condition
    report.attempt()                around an item: records the error, lets the next item go on

so that a program with five mistakes gets five messages. An item that failed leaves a *poisoned*
expression or relation behind; whoever meets it raises `Poisoned`, which says nothing, since the
cause has been reported.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from penstock.errors import CompilerMessage, Span

COMPILATION = "Compilation error"
NOT_SUPPORTED = "Not supported"


class BindError(Exception):
    """One mistake in the program, at `span` (None: the statement at large)."""

    def __init__(self, span: Span | None, message: str, error_type: str = COMPILATION) -> None:
        super().__init__(message)
        self.span = span
        self.message = message
        self.error_type = error_type


class Poisoned(BindError):
    """The consequence of a mistake that has been reported already."""

    def __init__(self) -> None:
        super().__init__(None, "")


def unsupported(span: Span | None, feature: str, instead: str = "") -> BindError:
    """The error for a feature of the dialect that this version does not have."""
    hint = f"; {instead}" if instead else ""
    return BindError(span, f"{feature} is not supported yet{hint}", NOT_SUPPORTED)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean x?" or nothing."""
    candidates = list(known)
    for candidate in candidates:
        if candidate.lower() == name.lower() and candidate != name:
            return f'; did you mean "{candidate}" (with quotes)?'
    close = get_close_matches(name, candidates, n=1)
    return f"; did you mean {close[0]}?" if close else ""


class Report:
    """Messages about one program text, in the order found."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.messages: list[CompilerMessage] = []
        self._starts = [0]
        for i, c in enumerate(text):
            if c == "\n":
                self._starts.append(i + 1)

    @property
    def has_errors(self) -> bool:
        return any(not m.warning for m in self.messages)

    @property
    def warnings(self) -> tuple[CompilerMessage, ...]:
        return tuple(m for m in self.messages if m.warning)

    @contextmanager
    def attempt(self, span: Span | None = None) -> Iterator[None]:
        """Record a BindError of the block and go on behind it; `span` if it has none."""
        try:
            yield
        except Poisoned:
            assert self.has_errors, "poison without a reported cause"
        except BindError as e:
            self.add(e.span or span, e.message, e.error_type)

    def error(self, span: Span | None, message: str) -> None:
        self.add(span, message, COMPILATION)

    def add(
        self, span: Span | None, message: str, error_type: str, *, warning: bool = False
    ) -> None:
        self.messages.append(self.message(span, message, error_type, warning))

    def message(
        self, span: Span | None, message: str, error_type: str, warning: bool = False
    ) -> CompilerMessage:
        span = span or Span(0, 0)
        line, column = self.position(span.start)
        end_line, end_column = self.position(max(span.start, span.end - 1))
        return CompilerMessage(
            message, line, column, end_line, end_column, warning, error_type,
            self._snippet(line, column, end_line, end_column),
        )  # fmt: skip

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, 1-based, of a character offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def _snippet(self, line: int, column: int, end_line: int, end_column: int) -> str:
        """The line and a caret under the range, or under its first line's rest."""
        source = self._line(line)
        last = end_column if end_line == line else len(source)
        carets = "^" * max(1, last - column + 1)
        margin = f"{line:>5}|"
        return f"{margin}{source}\n{' ' * (len(margin) + column - 1)}{carets}\n"

    def _line(self, line: int) -> str:
        start = self._starts[line - 1]
        end = self._starts[line] - 1 if line < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r")
