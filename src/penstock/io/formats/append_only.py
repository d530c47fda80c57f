"""A parser for a table with `append_only`: what is not an insertion is an error of its record.

    insert a, delete b, insert c     ──►     rows a, c; "record deletes a row …"

The promise that such a table's rows stay is what lets state go, so a broken one is told at the
door (sql-reference 4.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.gather import take_column
from penstock.io.contracts import Parsed, ParseError, Parser, ParserState


class AppendOnly(Parser):
    """What `parser` reads, without what takes rows away."""

    def __init__(self, parser: Parser, relation: str) -> None:
        self._parser, self._relation = parser, relation

    def feed(self, data: bytes) -> Parsed:
        return self._kept(self._parser.feed(data))

    def finish(self) -> Parsed:
        return self._kept(self._parser.finish())

    def state(self) -> ParserState | None:
        return self._parser.state()

    def restore(self, facts: Mapping[str, Any]) -> None:
        self._parser.restore(facts)

    def _kept(self, parsed: Parsed) -> Parsed:
        refused = [op for b in parsed.batches for op in b.ops[b.ops != INSERT].tolist()]
        if not refused:
            return parsed
        batches = tuple(b for b in map(_insertions, parsed.batches) if len(b.ops))
        errors = tuple(self._error("deletes" if op == DELETE else "changes") for op in refused)
        return replace(parsed, batches=batches, errors=(*parsed.errors, *errors))

    def _error(self, does: str) -> ParseError:
        return ParseError(
            f"table {self._relation} is append_only, but this record {does} a row of it",
            suggestion="leave 'append_only' out of the table's properties",
        )


def _insertions(batch: InputBatch) -> InputBatch:
    at = np.flatnonzero(batch.ops == INSERT)
    columns = tuple(take_column(c, at) for c in batch.columns)
    return InputBatch(batch.schema, columns, batch.ops[at])
