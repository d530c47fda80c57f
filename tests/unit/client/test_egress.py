"""The reader of HTTP egress, fed by the real sink: the old view or the new one, nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from penstock.client import EgressReader
from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows
from penstock.data.types import INTEGER, schema
from penstock.errors import TransientError
from penstock.io.contracts import Marker, SinkContext, StagingLost
from penstock.io.outputs.http_egress import HttpEgressSink

SCHEMA = schema(id=INTEGER)


class Stream:
    """A sink, its reader, and the chunks between them."""

    def __init__(self) -> None:
        self.sink = HttpEgressSink(
            SinkContext("p", "m", "api-1", SCHEMA, {"backpressure": True},
                        {"name": "json", "config": {"array": True}})
        )  # fmt: skip
        self.sink.open()
        self.reader = EgressReader("http://nowhere", "p", "m")
        self.chunks: Iterator[bytes] = self.sink.chunks()
        self.reader.take(json.loads(next(self.chunks)))  # the heartbeat at once

    def shown(self) -> list[int]:
        """What the reader shows once it has taken in everything sent."""
        while not self.sink._chunks.empty():
            self.reader.take(json.loads(next(self.chunks)))
        return sorted(dict(row)["id"] for row in self.reader.rows().elements())

    def snapshot(self, generation: int, *ids: int) -> None:
        self.sink.begin(generation, "t", 1)
        self.sink.stage(generation, 0, rows(*ids))
        self.sink.publish(generation, marker(generation, 1, len(ids)))

    def retry(self) -> None:
        """What the delivery does after a passing failure."""
        self.sink.close()
        self.sink.open()


def rows(*ids: int, weight: int = 1) -> Batch:
    counted = Counter(ids)
    return batch_from_rows(SCHEMA, [(i,) for i in counted], [n * weight for n in counted.values()])


def marker(generation: int, step: int, rows: int = 0) -> Marker:
    return Marker("p", "m", "api-1", generation, "t", "following", step, rows, "hash")


def test_a_snapshot_shows_at_its_end_and_not_before() -> None:
    s = Stream()
    s.snapshot(1, 1, 2, 2)
    assert s.shown() == [1, 2, 2]
    s.sink.begin(2, "t", 5)
    assert s.shown() == [1, 2, 2]
    s.sink.stage(2, 0, rows(7))
    assert s.shown() == [1, 2, 2] and s.reader.generation == 1
    s.sink.publish(2, marker(2, 5, 1))
    assert s.shown() == [7] and s.reader.generation == 2


def test_an_empty_snapshot_empties_the_view() -> None:
    s = Stream()
    s.snapshot(1, 1, 2)
    assert s.shown() == [1, 2]
    s.snapshot(2)
    assert s.shown() == [] and s.reader.generation == 2


def test_a_second_snapshot_takes_the_place_of_one_that_is_not_whole() -> None:
    s = Stream()
    s.snapshot(1, 1)
    s.sink.begin(2, "t", 5)
    s.sink.stage(2, 0, rows(8))
    s.snapshot(3, 9)
    assert s.shown() == [9]


def test_after_a_cancelled_reset_the_deltas_go_to_the_old_view() -> None:
    s = Stream()
    s.snapshot(1, 1, 2)
    s.sink.begin(2, "t", 5)
    s.sink.stage(2, 0, rows(8))
    s.sink.abort(2)
    s.sink.apply(rows(3), marker(1, 6))
    s.sink.apply(rows(1, weight=-1), marker(1, 7))
    s.sink.progress(7)

    assert s.shown() == [2, 3]
    assert s.reader.generation == 1 and s.reader.processed_step == 7
    s.snapshot(3, 4)
    assert s.shown() == [4]


def test_deltas_count_copies() -> None:
    s = Stream()
    s.snapshot(1, 1, 1)
    s.sink.apply(rows(1, 1, weight=-1), marker(1, 2))
    s.sink.apply(rows(1), marker(1, 3))
    assert s.shown() == [1]


def test_a_gap_ends_the_reading() -> None:
    s = Stream()
    s.snapshot(1, 1)
    next(s.chunks)
    with pytest.raises(TransientError, match="dropped"):
        s.shown()


def test_calls_that_are_made_twice_are_seen_once() -> None:
    s = Stream()
    for _ in range(2):
        s.sink.begin(1, "t", 1)
    for _ in range(2):
        s.sink.stage(1, 0, rows(1, 2))
    for _ in range(2):
        s.sink.publish(1, marker(1, 1, 2))
    for _ in range(2):
        s.sink.apply(rows(3), marker(1, 2))
    assert s.shown() == [1, 2, 3] and s.reader.snapshots == 1


def test_a_passing_failure_does_not_end_the_stream() -> None:
    s = Stream()
    s.snapshot(1, 1)
    s.sink.begin(2, "t", 5)
    s.sink.stage(2, 0, rows(8))
    s.retry()
    s.sink.apply(rows(2), marker(1, 6))
    assert s.shown() == [1, 2], "the reset was called off meanwhile"
    s.retry()
    s.sink.apply(rows(2), marker(1, 6))
    assert s.shown() == [1, 2], "the reply to that delta was lost"
    s.snapshot(3, 9)
    s.retry()
    assert s.shown() == [9] and s.sink.marker() == marker(3, 1, 1)


def test_a_snapshot_that_is_not_whole_is_not_shown() -> None:
    s = Stream()
    s.snapshot(1, 1)
    s.sink.begin(2, "t", 5)
    s.sink.stage(2, 0, rows(8))
    with pytest.raises(StagingLost):
        s.sink.publish(2, marker(2, 5, 2))
    assert s.shown() == [1]


def test_a_stream_ends_with_what_was_sent_last() -> None:
    s = Stream()
    s.snapshot(1, 1)
    s.sink.end()
    for chunk in s.chunks:
        s.reader.take(json.loads(chunk))
    assert s.shown() == [1]
