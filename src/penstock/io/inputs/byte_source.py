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


#: how data begin that are no text in UTF-8
_NO_TEXT = {
    b"\x1f\x8b": "compressed with gzip", b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xfd7zXZ\x00": "compressed with xz", b"PK\x03\x04": "a zip archive",
    b"PAR1\x15": "a Parquet file", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}  # fmt: skip


def check_text(beginning: bytes, context: InputContext) -> None:
    """Raises UserError if a text format is asked for and the data are plainly something else, of
    which every line would be an error."""
    name = (context.format or {}).get("name")
    for mark, what in _NO_TEXT.items() if name in ("csv", "json") else ():
        if beginning.startswith(mark):
            raise UserError(
                f"the data are {what}, and {name} is expected: convert them to plain text in "
                "UTF-8, or set another format",
                code="ConfigError.ParserConfigParseError",
            )


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
