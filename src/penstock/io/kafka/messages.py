"""Rows → messages of a topic: key, value, headers; bounded in size.

    append, format without keys   a message a buffer of the encoder        key null
    append, debezium, key_fields  a message a row                          key from the row
    upsert (connector has index)  a message a key, deletions are null      key from the index;
                                  thousands at a time, by columns (`Keyed`)

Deletes come before inserts. A buffer that is larger than the topic takes is encoded again from
fewer rows; a single row that is too large is an error that says so.

Cost: that of the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Batch
from penstock.data.gather import slice_batch, take
from penstock.io.contracts import Encoder, SinkRejected
from penstock.io.formats.ordering import deletes_first
from penstock.io.kafka.records import Headers

#: rows encoded at a time
SLICE_ROWS = 10_000
#: room for a record's headers and framing within the largest message
OVERHEAD_BYTES = 2_048


class Message(NamedTuple):
    """One record to produce. `partition` −1: the partitioner's choice by key."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int = -1

    @property
    def size(self) -> int:
        return len(self.key or b"") + len(self.value or b"")

    def with_headers(self, headers: Headers) -> Message:
        return self._replace(headers=[*self.headers, *headers])


class Keyed(NamedTuple):
    """Records to produce by columns of bytes, with the same headers. A null value takes its key
    back. `partitions` None: the partitioner's choice by key."""

    keys: pa.Array
    values: pa.Array
    headers: Headers
    partitions: pa.Array | None = None

    def cut(self, start: int, stop: int) -> Keyed:
        where = None if self.partitions is None else self.partitions[start:stop]
        return Keyed(self.keys[start:stop], self.values[start:stop], self.headers, where)

    @property
    def size(self) -> int:
        return int(sum(pc.sum(pc.binary_length(c)).as_py() or 0 for c in (self.keys, self.values)))

    def largest(self) -> tuple[bytes, int]:
        """The key of the largest record, and its size."""
        sizes = pc.add(*(pc.coalesce(pc.binary_length(c), 0) for c in (self.keys, self.values)))
        at = pc.index(sizes, pc.max(sizes)).as_py()
        return self.keys[at].as_py(), sizes[at].as_py()


class LogMessages:
    """Messages for an append topic: the encoder's buffers, with its keys if it has them."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._slice_rows = SLICE_ROWS

    def of(self, rows: Batch, max_bytes: int) -> Iterator[Message]:
        """The batch as messages of at most `max_bytes`; SinkRejected if a row is larger."""
        limit = max_bytes - OVERHEAD_BYTES
        waiting = [take(rows, deletes_first(rows))]
        while waiting:
            part = waiting.pop()
            if len(part) > self._slice_rows:
                waiting.append(slice_batch(part, self._slice_rows, len(part)))
                part = slice_batch(part, 0, self._slice_rows)
            messages = [Message(k, v, list(h)) for k, v, h in self._encoder.messages(part)]
            largest = max((m.size for m in messages), default=0)
            if largest <= limit:
                yield from messages
                continue
            waiting += reversed(_halves(part, largest, max_bytes))
            self._slice_rows = min(self._slice_rows, max(1, len(part) // 2))


def _halves(rows: Batch, largest: int, max_bytes: int) -> tuple[Batch, Batch]:
    """The rows, or the copies of the one row, in two parts; SinkRejected for a single copy."""
    n = len(rows)
    if n > 1:
        return slice_batch(rows, 0, n // 2), slice_batch(rows, n // 2, n)
    half = rows.weights // 2
    rest = rows.weights - half
    if half[0] == 0 or rest[0] == 0:
        raise SinkRejected(
            f"a row takes a message of {largest} bytes, the topic takes {max_bytes}: raise "
            "max.message.bytes of the topic and message.max.bytes of the connector, or leave "
            "large columns out of the view",
            details={"bytes": largest, "limit": max_bytes},
        )
    return replace(rows, weights=half), replace(rows, weights=rest)
