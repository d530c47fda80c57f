"""What the binder has to complain about, collected with positions.

    raise BindError(span, "…")      inside one item: a column, a select item, a condition
    report.attempt()                around an item: records the error, lets the next item go on

so that a program with five mistakes gets five messages. An item that failed leaves a *poisoned*
expression or relation behind; whoever meets it raises `Poisoned`, which says nothing, since the
cause has been reported.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from penstock.errors import CompilerMessage, Span
from penstock.sql import diagnostics

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


def did_you_mean(name: str, known: Iterable[str], share: float = 0.6) -> str:
    """ "; did you mean x?" or nothing; `share`: how much of both names must agree."""
    candidates = list(known)
    for candidate in candidates:
        if candidate.lower() == name.lower() and candidate != name:
            if candidate == candidate.lower():
                return f"; did you mean {candidate} (without quotes)?"
            return f'; did you mean "{candidate}" (with quotes)?'
    close = diagnostics.alike(name, candidates, share)
    return f"; did you mean {close[0]}?" if close else ""


class Report:
    """Messages about one program text, in the order found."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.messages: list[CompilerMessage] = []

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
        self.messages.append(
            diagnostics.message(self.text, span, message, warning=warning, error_type=error_type)
        )

    def settle(self, ignored: Container[str], warnings_are_errors: bool) -> None:
        """Put messages in order of position, each once; drop warnings whose type (in lower case)
        is ignored, make the others errors if asked to."""
        self.messages = [
            replace(m, warning=m.warning and not warnings_are_errors)
            for m in self.messages
            if not (m.warning and m.error_type.lower() in ignored)
        ]
        self.messages.sort(key=lambda m: (m.start_line, m.start_column))
        # GROUP BY 1 and ORDER BY 1 read an item again
        self.messages = list(dict.fromkeys(self.messages))
