"""Every error this package raises on purpose.

    PenstockError
    ├── UserError              the caller can fix it; never retried
    │   ├── SqlError           one or more compiler messages with positions
    │   ├── RuntimeSqlError    a row made an expression fail (overflow, x/0, bad cast)
    │   ├── NotFound           404
    │   ├── Conflict           409: wrong state for this request
    │   ├── Gone               410: it existed in an earlier incarnation
    │   ├── Unauthorized       401
    │   └── Forbidden          403
    ├── TransientError         503: the same call may succeed later
    └── CorruptState           stored bytes are not what we wrote; stop, never guess
        └── StateCorrupt       a file of a checkpoint; an older checkpoint may be whole

`code` is the `error_code` of the REST contract, `details` its `details`, `str()` its `message`.
A bug is not in this tree: a broken invariant is an `assert` or a bare exception, loud and with
its traceback.

Libraries repeat in their messages what they were given, so a password that stood where a number
was expected, or in a URL, would be shown. What is told to `hide` is in no message of this tree:
dots stand for it. Logs and lists of errors, which also have messages of others, ask
`without_hidden` themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: longest first, so that no part of one is replaced before the whole
_hidden: list[str] = []
#: shorter ones would be found everywhere
_LEAST_HIDDEN = 4
_PASSWORD_IN_URL = re.compile(r"(://[^\s/:@'\"]*):[^\s/@'\"]+@")


def hide(text: str) -> None:
    """From now on no message of this process shows `text`."""
    if len(text) >= _LEAST_HIDDEN and text not in _hidden:
        _hidden[:] = sorted([*_hidden, text], key=len, reverse=True)


def without_hidden(value: Any) -> Any:
    """Text, or mappings and lists with texts in them, without what is hidden, and without the
    passwords of URLs."""
    if isinstance(value, Mapping):
        return {k: without_hidden(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_hidden(v) for v in value]
    if not isinstance(value, str):
        return value
    for text in _hidden:
        value = value.replace(text, "…")
    return _PASSWORD_IN_URL.sub(r"\1:…@", value)


class PenstockError(Exception):
    """Root of the tree. `code` names the error for machines, `details` carries its facts."""

    default_code = "Error"

    def __init__(
        self, message: str, *, code: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(without_hidden(message))
        self.code = code or self.default_code
        self.details: Mapping[str, Any] | None = without_hidden(details)

    @property
    def message(self) -> str:
        return str(self)


class UserError(PenstockError):
    default_code = "InvalidParam"


class NotFound(UserError):
    default_code = "NotFound"


class Conflict(UserError):
    default_code = "Conflict"


class Gone(UserError):
    default_code = "Gone"


class Unauthorized(UserError):
    default_code = "AuthenticationFailed"


class Forbidden(UserError):
    default_code = "InsufficientPermissions"


class TransientError(PenstockError):
    default_code = "Unavailable"


class CorruptState(PenstockError):
    default_code = "CorruptState"


class StateCorrupt(CorruptState):
    """A file of operator state is damaged or missing. `file` is its id."""

    def __init__(self, message: str, *, file: str) -> None:
        super().__init__(message, details={"file": file})
        self.file = file


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of a program's text, by character offset (0-based)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CompilerMessage:
    """One message of the SQL compiler. Lines and columns are 1-based and inclusive.

    `snippet` is an excerpt of the program with a caret line, or None. The REST contract
    (section 1.2, SqlCompilerMessage) gives the JSON shape, which is `to_json`.
    """

    message: str
    start_line: int = 1
    start_column: int = 1
    end_line: int = 1
    end_column: int = 1
    warning: bool = False
    error_type: str = "Compilation error"
    snippet: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "start_line_number": self.start_line,
            "start_column": self.start_column,
            "end_line_number": self.end_line,
            "end_column": self.end_column,
            "warning": self.warning,
            "error_type": self.error_type,
            "message": self.message,
            "snippet": self.snippet,
        }


class SqlError(UserError):
    """A program that does not compile. Carries all messages of the failing phase, in order."""

    default_code = "SqlError"

    def __init__(self, messages: Sequence[CompilerMessage]) -> None:
        first = next((m for m in messages if not m.warning), messages[0])
        more = sum(not m.warning for m in messages) - 1
        tail = f" (and {more} more)" if more > 0 else ""
        super().__init__(f"{first.start_line}:{first.start_column}: {first.message}{tail}")
        self.messages = tuple(messages)


class RuntimeSqlError(UserError):
    """A row made an expression fail. It stops the pipeline (contract 10.4).

    Raised by scalar kernels with `row` = index of the first failing row in the batch at hand;
    the compiler's evaluation wraps it with the view, the expression's text and the row's values.
    """

    default_code = "RuntimeError.EvaluationError"

    def __init__(
        self,
        message: str,
        *,
        row: int | None = None,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.row = row
