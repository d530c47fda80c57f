"""A view in an append topic: snapshots and deltas, marked so that a reader can tell them apart.

    begin     an attempt gets a name; nothing is written
    stage     records collect; each FLUSH_BYTES or FLUSH_RECORDS of them are a transaction (the
              first begins with `begin` control records), which readers hold back
    publish   the rest, `end` control records in every partition, the marker     ◄── the instant
    apply     a delta, a `step` control record, the marker: one transaction

Guarantee: marked. A reader that follows the rule of `io.kafka.records` (the client's
KafkaViewReader does) sees the old contents until the end records and then V(S). A small snapshot
is one transaction.

Fencing: snapshots of several generations may be open side by side, each under its attempt; a
writer that was fenced off goes on only if the topic's state still knows its attempt.

Memory: FLUSH_BYTES of records and what librdkafka buffers (queue.buffering.max.kbytes).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence

from penstock.data.batch import Batch
from penstock.io.contents import Contents
from penstock.io.contracts import (
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkUnavailable,
    StagingLost,
    not_supported,
)
from penstock.io.kafka import records
from penstock.io.kafka.encoders import log_encoder
from penstock.io.kafka.messages import LogMessages, Message
from penstock.io.kafka.reading import PartKey, Shown, marks_of, part_of
from penstock.io.kafka.records import Headers
from penstock.io.kafka.state import TopicState
from penstock.io.kafka.writer import TopicWriter, Write
from penstock.io.outputs.fencing import (
    LastSeen,
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    staging_of,
)
from penstock.io.outputs.file_output import log_format
from penstock.io.outputs.words import RECORD, of_records

#: a transaction takes tens of milliseconds, whatever its size
FLUSH_BYTES = 64 << 20
#: small messages take more than their bytes
FLUSH_RECORDS = 50_000


class KafkaLogSink(Sink):
    def __init__(self, context: SinkContext, writer: TopicWriter, headers: Headers) -> None:
        super().__init__(context)
        assert context.format is not None
        self._writer = writer
        self._headers = headers
        self._format = context.format
        self._encoder = log_encoder(context, writer.topic.name)
        self._messages = LogMessages(self._encoder)
        self._where = f"topic '{writer.topic.name}'"
        self._last_seen = LastSeen()
        self._staging: Staging | None = None
        self._attempt = ""
        self._has_begun = False
        self._held: list[Message] = []
        self._held_bytes = 0
        self._counts: list[int] = []
        self._next_partition = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="marked", stores_marker=True, is_log=True)

    def open(self) -> None:
        self._forget()
        self._writer.open()

    def validate(self) -> None:
        self._writer.validate()
        check_owner(self._writer.state().marker, self.context, self._where)

    def marker(self) -> Marker | None:
        return self._last_seen.found(self._writer.state().marker)

    # a snapshot

    def begin(self, generation: int, token: str, step: int) -> None:
        self._forget()
        check_owner(self._writer.state().marker, self.context, self._where)
        self._staging, self._attempt = Staging(generation), secrets.token_hex(8)

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        marks = records.of_snapshot(generation, self._attempt)
        try:
            for m in self._encoded(rows, marks):
                self._held.append(m)
                self._held_bytes += m.size
                if self._held_bytes >= FLUSH_BYTES or len(self._held) >= FLUSH_RECORDS:
                    self._flush(generation)
        except BaseException:
            self._forget()  # a part of the chunk may be written
            raise
        staging.took(int(rows.weights.sum()))

    def _flush(self, generation: int) -> None:
        """Write what is held in a transaction of its own."""

        def plan(state: TopicState) -> Write:
            check_owner(state.marker, self.context, self._where)
            self._check_attempt(state, generation)
            newer = {g: a for g, a in state.open.items() if g > generation}
            after = TopicState(state.marker, newer | {generation: self._attempt})
            return Write([*self._begins(generation), *self._held], after)

        self._took(self._writer.write(plan))

    def publish(self, generation: int, marker: Marker) -> None:
        def plan(state: TopicState) -> Write | None:
            check_owner(state.marker, self.context, self._where)
            if check_fence(state.marker, marker, self._where) and self._staging is None:
                return None
            check_complete(generation, staging_of(self._staging, generation).rows, marker)
            self._check_attempt(state, generation)
            newer = {g: a for g, a in state.open.items() if g > generation}
            return Write(
                [*self._begins(generation), *self._held],
                TopicState(marker, newer),
                lambda counts: self._ends(generation, marker, counts),
            )

        self._writer.write(plan)
        self._last_seen.saw(marker)
        self._forget()

    def _check_attempt(self, state: TopicState, generation: int) -> None:
        if self._has_begun and state.open.get(generation) != self._attempt:
            raise StagingLost(
                f"{self._where}: another writer began generation {generation} or a later one anew"
            )

    def _begins(self, generation: int) -> Iterator[Message]:
        if self._has_begun:
            return
        marks = records.begin(generation, self._attempt)
        for p in range(self._writer.topic.partitions):
            yield Message(None, None, marks, p)

    def _ends(self, generation: int, marker: Marker, counts: Sequence[int]) -> list[Message]:
        all_counts = self._added(counts)
        marks = records.end(
            generation, self._attempt, marker.step, marker.token, marker.rows, all_counts
        )
        return [Message(None, None, marks, p) for p in range(len(counts))]

    def _added(self, counts: Sequence[int]) -> list[int]:
        """Data records a partition so far, with the `counts` of the transaction at hand."""
        begins = 0 if self._has_begun else 1
        before = self._counts or [0] * len(counts)
        if len(before) != len(counts):
            raise SinkUnavailable(
                f"{self._where} has got more partitions: the snapshot begins anew"
            )
        return [b + c - begins for b, c in zip(before, counts, strict=True)]

    def _took(self, counts: list[int] | None) -> None:
        assert counts is not None
        self._counts = self._added(counts)
        self._has_begun = True
        self._held, self._held_bytes = [], 0

    def abort(self, generation: int) -> None:
        """What was written stays in the topic; without an end record no reader shows it."""
        self._forget()

    def _forget(self) -> None:
        self._staging, self._has_begun = None, False
        self._held, self._held_bytes, self._counts = [], 0, []

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        def plan(state: TopicState) -> Write | None:
            check_owner(state.marker, self.context, self._where)
            self._last_seen.check(state.marker, self._where)
            if is_applied(state.marker, marker, self._where):
                return None
            marks = records.of_delta(marker.generation, marker.step)
            return Write(
                self._encoded(rows, marks),
                TopicState(marker, state.open),
                lambda counts: [
                    Message(None, None, records.step(marker.generation, marker.step, counts), 0)
                ],
            )

        self._writer.write(plan)
        self._last_seen.saw(marker)

    def _encoded(self, rows: Batch, marks: Headers) -> Iterator[Message]:
        own = [*self._headers, *marks]
        for m in self._messages.of(rows, self._writer.topic.max_bytes):
            if m.key is None:
                # in turn: each partition gets its share, whatever the partitioner
                m = Message(None, m.value, m.headers, self._next_partition)
                self._next_partition = (self._next_partition + 1) % max(
                    1, self._writer.topic.partitions
                )
            yield m.with_headers(own)

    # reading back

    def read(self) -> Contents:
        """What the reader's rule shows of the records committed by now."""
        told = log_format(self._format)
        if told is None:
            raise not_supported(
                f"connector '{self.context.connector}': a topic in this format cannot be read back "
                "line by line: use csv, or json without array"
            )
        pieces = self._writer.scan().pieces
        shown = Shown()
        for piece in pieces():
            for m in piece.messages:
                shown.take(m.partition(), marks_of(m))
        parts = shown.parts()

        def rows() -> Iterator[Batch]:
            for piece in pieces():
                values = [m.value() for m in piece.messages if self._is_data_of(parts, marks_of(m))]
                if values:
                    yield of_records(b"".join(v or b"" for v in values), told)

        def spell(rows: Batch) -> Batch:
            return of_records(b"".join(self._encoder.encode(rows)), told)

        return Contents(schema=RECORD, key=(), rows=rows(), spell=spell)

    @staticmethod
    def _is_data_of(parts: set[PartKey], marks: Mapping[str, str]) -> bool:
        return "control" not in marks and part_of(marks) in parts

    def privileges(self) -> Sequence[str]:
        return self._writer.privileges()

    def transmitted_bytes(self) -> int:
        return self._writer.bytes_written

    def close(self) -> None:
        """What was staged stays in the topic without an end; no reader shows it."""
        self._forget()
        self._writer.close()
