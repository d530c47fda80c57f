"""null_output obeys the same rules of who may write when; there are only its counts to look at."""

from __future__ import annotations

import pytest

from penstock.io.contracts import SinkContext, SinkRejected, StagingLost
from penstock.io.outputs.null_output import NullSink
from tests.contract.targets import SCHEMA
from tests.contract.test_sinks import batch, marker, reset, rows


@pytest.fixture
def sink() -> NullSink:
    owner = "11111111-1111-1111-1111-111111111111"
    made = NullSink(SinkContext(owner, "m", "c", SCHEMA, {}))
    made.open()
    return made


def test_it_counts_what_it_was_told(sink: NullSink) -> None:
    reset(sink, rows(1, 2, 3), 1, chunk_rows=2)
    sink.apply(batch((rows(1), -1), (rows(7), 1)), marker(1, 2, 3))
    sink.begin(2, "token-2", 3)
    sink.abort(2)

    assert dict(sink.phases) == {
        "begun": 2, "chunks": 2, "rows_staged": 3, "published": 1, "aborted": 1, "deltas": 1,
        "rows_applied": 2,
    }  # fmt: skip
    assert sink.marker() == marker(1, 2, 3)


def test_what_was_done_is_not_counted_again(sink: NullSink) -> None:
    reset(sink, rows(1), 1)
    sink.publish(1, marker(1, 1, 1))
    for _ in range(2):
        sink.apply(batch((rows(2), 1)), marker(1, 2, 2))

    assert (sink.phases["published"], sink.phases["deltas"]) == (1, 1)


def test_it_refuses_what_every_sink_refuses(sink: NullSink) -> None:
    reset(sink, rows(1), 3)
    with pytest.raises(SinkRejected, match="superseded"):
        sink.apply(batch((rows(2), 1)), marker(2, 9, 2))
    with pytest.raises(SinkRejected, match="token"):
        sink.apply(batch((rows(2), 1)), marker(3, 9, 2, token="another"))
    with pytest.raises(StagingLost):
        sink.publish(4, marker(4, 9, 0))
    sink.begin(4, "token-4", 4)
    with pytest.raises(StagingLost):
        sink.publish(4, marker(4, 9, 1))
    assert sink.marker() == marker(3, 1, 1)
