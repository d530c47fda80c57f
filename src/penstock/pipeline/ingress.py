"""One ingress request: bytes in, a completion token out (contract section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.errors import TransientError, UserError
from penstock.io.contracts import Intake, Parsed, ParseError, Parser
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.tokens import CompletionToken

#: parse errors that one ingress request reports (contract section 3)
REPORTED_ERRORS = 1000


class IngressSession:
    """One request. Good rows are taken even when others of it fail."""

    def __init__(
        self,
        endpoint: InputEndpoint,
        parser: Parser,
        *,
        life: str,
        force: bool,
        is_durable: bool,
        done: Callable[[], None],
    ) -> None:
        """`life`: what tokens are good for; `is_durable`: answer only once the rows are."""
        self._endpoint, self._parser, self._force = endpoint, parser, force
        self._life, self._is_durable = life, is_durable
        self._done: Callable[[], None] | None = done
        self._errors: list[ParseError] = []
        self._num_errors = 0

    def feed(self, data: bytes) -> None:
        """Parse and queue; waits while the queue is full or the pipeline paused (unless forced)."""
        self._take(self._parser.feed(data), len(data))

    def finish(self) -> dict[str, Any]:
        """End of the request. Raises UserError ParseErrors when some records failed."""
        self._take(self._parser.finish(), 0)
        e = self._endpoint
        count = e.total_records
        if self._is_durable:
            try:
                e.wait_durable(count)
            except Intake.Stopped:
                raise _stopping() from None
        if self._num_errors:
            raise parse_errors(self._errors, self._num_errors)
        return {"token": CompletionToken(self._life, e.name, count).encode()}

    def close(self) -> None:
        """Always call this last, also after an error."""
        done, self._done = self._done, None
        if done is not None:
            done()

    def _take(self, parsed: Parsed, byte_count: int) -> None:
        try:
            self._endpoint.push(parsed, byte_count, force=self._force)
        except Intake.Stopped:
            raise _stopping() from None
        self._num_errors += len(parsed.errors)
        self._errors.extend(parsed.errors[: REPORTED_ERRORS - len(self._errors)])


def _stopping() -> TransientError:
    return TransientError(
        "the pipeline is stopping and takes in no more", code="PipelineUnavailable"
    )


def parse_errors(errors: list[ParseError], count: int) -> UserError:
    """The ParseErrors answer of an ingress request (contract section 3)."""
    lines = "\n".join(e.sentence for e in errors)
    return UserError(
        f"Errors parsing input data ({count} errors):\n{lines}",
        code="ParseErrors",
        details={"num_errors": count, "errors": [e.to_json() for e in errors]},
    )
