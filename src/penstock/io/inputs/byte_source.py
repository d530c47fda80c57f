"""What inputs of bytes share: a parser for their table, and waiting that can be stopped."""

from __future__ import annotations

import time

from penstock.errors import UserError
from penstock.io.contracts import InputContext, Intake, Parser
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
    return make_parser(context.format, context.schema, context.key, context.defaults)


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
