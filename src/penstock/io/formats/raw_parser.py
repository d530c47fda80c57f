"""The raw parser: bytes as they are, into one column of a table (contract section 7.5).

    mode          blob (default): a whole message or object is a row; lines: each line is one
    column_name   the column; needed if the table has several (the others are NULL or their DEFAULT)

The column is VARBINARY or VARCHAR; text must be UTF-8. A line feed, with or without a carriage
return before it, is no part of a line.

Cost: one pass over the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penstock.data.batch import INSERT, Column
from penstock.data.types import BINARIES, STRINGS, Schema
from penstock.errors import UserError
from penstock.io.contracts import Parsed, ParseError, Parser, ParserState
from penstock.io.formats.columns import all_null, from_canonical
from penstock.io.formats.options import PARSER_ERROR, Options
from penstock.io.formats.rows import input_batch, plain_table


class RawParser(Parser):
    def __init__(
        self,
        config: Mapping[str, Any] | None,
        schema: Schema,
        key: tuple[int, ...] = (),
        defaults: Sequence[Column | None] = (),
    ) -> None:
        o = Options.of("raw parser", PARSER_ERROR, config)
        self._has_lines = o.choice("mode", "blob", ("blob", "lines")) == "lines"
        name = o.text("column_name", "")
        o.done()
        self._table = plain_table(schema, key, defaults)
        self._at = _column(o, schema, name)
        kind = schema.types[self._at].kind
        if kind not in STRINGS and kind not in BINARIES:
            raise UserError(
                f"raw parser: column '{schema.names[self._at]}' is {schema.types[self._at]}; raw "
                "data go into a VARBINARY or VARCHAR column",
                code="ConfigError.InvalidParserConfig",
                details={"column": schema.names[self._at]},
            )
        self._is_text = kind in STRINGS
        for i, f in enumerate(schema.fields):
            if i != self._at and not self._table.may_lack(INSERT, i):
                raise UserError(
                    f"raw parser: column '{f.name}' is NOT NULL and has no DEFAULT, and raw data "
                    "fill one column only",
                    code="ConfigError.InvalidParserConfig",
                    details={"column": f.name},
                )
        self._pending = b""
        self._has_begun = False
        self._records = 0

    def feed(self, data: bytes) -> Parsed:
        self._pending += data
        self._has_begun = True
        if not self._has_lines:
            return Parsed(())
        *lines, self._pending = self._pending.split(b"\n")
        return self._rows([line.removesuffix(b"\r") for line in lines])

    def finish(self) -> Parsed:
        rest, self._pending = self._pending, b""
        has_row = bool(rest) if self._has_lines else self._has_begun
        parsed = self._rows([rest.removesuffix(b"\r") if self._has_lines else rest] * has_row)
        self._has_begun, self._records = False, 0
        return parsed

    def state(self) -> ParserState | None:
        return ParserState(len(self._pending), {"records": self._records})

    def restore(self, facts: Mapping[str, Any]) -> None:
        self._records = int(facts.get("records", 0))

    def _rows(self, values: list[bytes]) -> Parsed:
        errors: list[ParseError] = []
        texts: list[Any] = values
        if self._is_text:
            texts = []
            for i, value in enumerate(values):
                try:
                    texts.append(value.decode())
                except UnicodeDecodeError as e:
                    errors.append(
                        ParseError(
                            f"not UTF-8: {e.reason} at byte {e.start}",
                            self._records + i + 1,
                            field=self._table.schema.names[self._at],
                            invalid_bytes=list(value[:100]),
                            suggestion="use a VARBINARY column",
                        )
                    )
        self._records += len(values)
        if not texts:
            return Parsed((), tuple(errors), len(values))
        n = len(texts)
        columns = [
            from_canonical(t, texts) if i == self._at else all_null(t, n)
            for i, t in enumerate(self._table.schema.types)
        ]
        absent = np.ones(n, bool)
        missing = [None if i == self._at else absent for i in range(len(columns))]
        batch = input_batch(self._table, columns, missing, np.full(n, INSERT, np.uint8))
        return Parsed((batch,), tuple(errors), len(values))


def _column(o: Options, schema: Schema, name: str) -> int:
    if name:
        folded = [i for i, n in enumerate(schema.names) if name in (n, n.lower(), n.upper())]
        if not folded:
            raise o.fail("column_name", f"names no column; known are {', '.join(schema.names)}")
        return folded[0]
    if len(schema) != 1:
        raise o.fail("column_name", "is required for a table of several columns")
    return 0
