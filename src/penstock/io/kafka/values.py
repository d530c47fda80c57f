"""Values of records → rows, each parsed on its own, but many at a time where that is the same.

    json, csv     the values are joined by line feeds and parsed at once, if each of them is plainly
                  whole; if not, or if anything was wrong, in halves, down to the one that it is
    others        one by one

A JSON value that ends in a bracket cannot be continued by one that begins with a bracket; a CSV
value with an even number of quotes ends its last record. So joining never makes one record of two.

Cost: that of the parser; k bad values of n make about 2·k·log2(n) pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.io.contracts import Parsed, ParseError, Parser
from penstock.io.formats.rows import merged


class ValueParser:
    def __init__(self, format: Mapping[str, Any] | None, parser: Parser) -> None:
        config = (format or {}).get("config") or {}
        name = (format or {}).get("name")
        self._parser = parser
        self._is_json = name == "json"
        self._is_csv = name == "csv" and str(config.get("headers", "false")).lower() != "true"
        self._quote = str(config.get("quote", '"')).encode()

    def parse(
        self,
        values: Sequence[bytes],
        before: Callable[[int], None] | None = None,
        place: Callable[[int], str] | None = None,
    ) -> Parsed:
        """The rows of all values in their order, and what did not parse. `before`: to be called
        with the number of each value before it is parsed; they are parsed one by one then.
        `place`: where a value with that number comes from, for messages."""
        if before is None:
            pieces = list(self._pieces(values, 0))
        else:
            pieces = []
            for i, value in enumerate(values):
                before(i)
                pieces.append((i, self._one(value)))
        return Parsed(
            merged([b for _, p in pieces for b in p.batches]),
            tuple(_at(e, i, place) for i, p in pieces for e in p.errors),
            sum(p.records for _, p in pieces),
        )

    def _pieces(self, values: Sequence[bytes], first: int) -> Iterator[tuple[int, Parsed]]:
        """Each with the number of its first value, which is its only one if it has errors."""
        if len(values) < 2 or not (self._is_json or self._is_csv):
            yield from ((first + i, self._one(v)) for i, v in enumerate(values))
            return
        if self._may_join(values):
            together = self._one(b"\n".join(values))
            if not together.errors:
                yield first, together
                return
        middle = len(values) // 2
        yield from self._pieces(values[:middle], first)
        yield from self._pieces(values[middle:], first + middle)

    def _one(self, data: bytes) -> Parsed:
        fed, left = self._parser.feed(data), self._parser.finish()
        return Parsed(
            merged((*fed.batches, *left.batches)),
            (*fed.errors, *left.errors),
            fed.records + left.records,
        )

    def _may_join(self, values: Sequence[bytes]) -> bool:
        if self._is_json:
            ends = ((v.lstrip()[:1], v.rstrip()[-1:]) for v in values)
            return all(first in (b"{", b"[") and last in (b"}", b"]") for first, last in ends)
        if self._is_csv:
            return all(v.count(self._quote) % 2 == 0 for v in values)
        return False


def _at(error: ParseError, value: int, place: Callable[[int], str] | None) -> ParseError:
    if place is None:
        return error
    return replace(error, description=f"{place(value)}: {error.description}")
