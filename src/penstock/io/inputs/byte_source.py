"""What inputs of bytes share: a parser for their table, positions, and waiting that can be
stopped."""

from __future__ import annotations

import time

from penstock.errors import UserError
from penstock.io.contracts import InputContext, Intake, Parser, Position
from penstock.io.formats import make_parser

#: how often a waiting connector looks whether it should stop (contracts: at least every 100 ms)
POLL_S = 0.05


def parser_of(context: InputContext) -> Parser:
    """The parser of the connector's `format`. Raises UserError (ConfigError.…)."""
    if not context.format:
        raise UserError(
            f"connector '{context.relation}.{context.connector}' needs a format: add "
            '"format": {"name": "json"} or {"name": "csv"}',
            code="ConfigError.InputFormatNotSpecified",
        )
    return make_parser(
        context.format, context.schema, context.key, context.defaults,
        append_only=context.relation if context.append_only else None,
    )  # fmt: skip


def position_of(offset: int, parser: Parser, **more: object) -> Position | None:
    """Where a source of bytes goes on when `offset` of them were fed to `parser`: at the first byte
    of the record that is not complete. None if the parser cannot tell."""
    state = parser.state()
    if state is None:
        return None
    return {"offset": offset - state.unread, "parser": dict(state.facts), **more}


def sleep(intake: Intake, seconds: float) -> None:
    """Sleep, but raise Stopped soon after the pipeline begins to stop."""
    until = time.monotonic() + seconds
    while True:
        if intake.stopping:
            raise Intake.Stopped
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, POLL_S))
