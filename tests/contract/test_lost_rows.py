"""A target that is restored or emptied between two deltas of one connection."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import deltalake
import pytest
import redis
from confluent_kafka import Consumer, TopicPartition

from penstock.io.contracts import RESTORED, Sink, SinkUnavailable
from penstock.io.kafka.ends import End
from tests.contract.kafka_targets import KafkaLogTarget, KafkaUpsertTarget
from tests.contract.lake_targets import (
    AppendedDeltaTarget,
    DeltaTarget,
    DuckDbTarget,
    ParquetFolderTarget,
)
from tests.contract.redis_targets import RedisTarget
from tests.contract.target import Target
from tests.contract.targets import JsonFileTarget, PostgresTarget, SqliteTarget
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.kafka_server import KafkaServer, running_kafka
from tests.servers import RedisServer
from tests.unit.pipeline.test_delivery import wait_until


def _run(target: Target, sql: str) -> None:
    if isinstance(target, SqliteTarget):
        with sqlite3.connect(target.path) as db:
            db.execute(sql)
    else:
        run: Callable[[str], Any] = target.run  # type: ignore[attr-defined]
        run(sql)


def _marker_table(target: Target) -> str:
    schema = target.table.rpartition(".")[0] if isinstance(target, PostgresTarget) else ""
    return f"{schema}.__penstock_marker".lstrip(".")


@pytest.mark.parametrize("kind", [SqliteTarget, PostgresTarget, DuckDbTarget])
@pytest.mark.parametrize("loss", ["UPDATE {} SET step = 1", "DELETE FROM {}"])
def test_no_delta_is_added_to_a_target_that_has_lost_one(
    kind: type[Target], loss: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = request.getfixturevalue(kind.server) if kind.server else tmp_path
    target = kind(where)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    _run(target, loss.format(_marker_table(target)))

    with pytest.raises(SinkUnavailable, match=r"lost .*: it was at generation 1, step 2, and is"):
        sink.apply(batch((rows(3), 1)), marker(1, 3, 3))
    assert target.look() == rows(1, 2)
    sink.close()

    anew = target.sink()
    reset(anew, rows(1, 2, 3), 2, step=3)
    anew.apply(batch((rows(4), 1)), marker(2, 4, 4))
    assert target.look() == rows(1, 2, 3, 4)
    anew.close()


@pytest.mark.parametrize("kind", [SqliteTarget, PostgresTarget, DuckDbTarget])
def test_no_delta_is_added_to_a_table_that_was_dropped_with_its_marker_left(
    kind: type[Target], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The next delta would make it anew, with nothing else in it."""
    target = kind(request.getfixturevalue(kind.server) if kind.server else tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    target.remove()

    with pytest.raises(SinkUnavailable, match="lost"):
        sink.apply(batch((rows(3), 1)), marker(1, 3, 3))
    assert target.look() is None
    sink.close()
    anew = target.sink()
    anew.validate()
    assert anew.marker() == replace(marker(1, 2, 2), phase=RESTORED)
    reset(anew, rows(1, 2, 3), 2, step=3)
    assert target.look() == rows(1, 2, 3)
    anew.close()


def _check_refused_and_made_anew(target: Target, sink: Sink) -> None:
    """`sink` has applied delta 2, which its target has lost: it does not add delta 3 to that."""
    with pytest.raises(SinkUnavailable, match="lost"):
        sink.apply(batch((rows(3), 1)), marker(1, 3, 3))
    sink.close()

    anew = target.sink()
    anew.validate()
    stored = anew.marker()
    assert stored is None or stored.step < 2 or stored.phase == RESTORED
    reset(anew, rows(1, 2, 3), 2, step=3)
    anew.apply(batch((rows(4), 1)), marker(2, 4, 4))
    assert target.look() == rows(1, 2, 3, 4)
    anew.close()


@pytest.mark.parametrize(
    "kind",
    [
        JsonFileTarget,
        ParquetFolderTarget,
        DeltaTarget,
        KafkaLogTarget,
        KafkaUpsertTarget,
    ],
)
def test_no_delta_is_added_to_a_target_that_was_removed(
    kind: type[Target], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    target = kind(request.getfixturevalue(kind.server) if kind.server else tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    target.remove()

    _check_refused_and_made_anew(target, sink)


@pytest.mark.parametrize(
    "kind",
    [
        SqliteTarget,
        PostgresTarget,
        DuckDbTarget,
        JsonFileTarget,
        ParquetFolderTarget,
        DeltaTarget,
        KafkaLogTarget,
        KafkaUpsertTarget,
    ],
)
def test_no_delta_is_added_to_a_target_that_lost_what_was_only_looked_at(
    kind: type[Target], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A restarted process has looked at the marker, and nothing was to be written for a while."""
    target = kind(request.getfixturevalue(kind.server) if kind.server else tmp_path)
    first = target.sink()
    reset(first, rows(1), 1)
    first.apply(batch((rows(2), 1)), marker(1, 2, 2))
    first.close()
    sink = target.sink()
    sink.validate()
    assert sink.marker() == marker(1, 2, 2)
    if isinstance(target, (SqliteTarget, PostgresTarget, DuckDbTarget)):
        _run(target, f"DELETE FROM {_marker_table(target)}")
    else:
        target.remove()

    with pytest.raises(SinkUnavailable, match="lost"):
        sink.apply(batch((rows(3), 1)), marker(1, 3, 3))
    sink.close()
    anew = target.sink()
    assert anew.marker() is None
    anew.close()


def test_a_topic_that_goes_while_it_is_looked_at_is_none(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = KafkaLogTarget(kafka)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.close()
    sink = target.sink()
    sink.validate()
    topic = sink._writer.topic  # type: ignore[attr-defined]
    assert topic.look()
    partitions = topic.count_partitions()
    target.remove()
    monkeypatch.setattr(topic, "count_partitions", lambda: partitions)
    wait_until(lambda: not topic.look())
    sink.close()


@pytest.mark.parametrize("kind", [KafkaLogTarget, KafkaUpsertTarget])
def test_no_delta_is_added_to_a_topic_that_is_shorter_than_it_was(
    kind: type[KafkaLogTarget], kafka: KafkaServer
) -> None:
    """An unclean leader election forgets records; what the group knows is on another partition."""
    target = kind(kafka)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    writer = sink._writer  # type: ignore[attr-defined]
    writer._state = replace(writer._state, ends=(End(0), End(1000)))
    with pytest.raises(SinkUnavailable, match=r"lost .* partition 1 ended at 1000"):
        sink.apply(batch((rows(3), 1)), marker(1, 3, 3))
    sink.close()
    _pretend_that_it_was_longer(kafka, target.topic)

    sink = target.sink()
    told = sink.marker()
    assert told is not None and told.phase == RESTORED
    with pytest.raises(SinkUnavailable, match="lost"):
        sink.apply(batch((rows(3), 1)), marker(1, 3, 3))
    reset(sink, rows(1, 2, 3), 2, step=3)
    sink.apply(batch((rows(4), 1)), marker(2, 4, 4))
    assert sink.marker() == marker(2, 4, 4)
    assert target.look() == rows(1, 2, 3, 4)
    sink.close()


def _pretend_that_it_was_longer(kafka: KafkaServer, topic: str) -> None:
    """What is left after an election: the state of a longer topic than there is."""

    def longer(told: dict[str, Any]) -> None:
        told["ends"][1] += 10

    _change_state(kafka, topic, longer)


def _change_state(
    kafka: KafkaServer, topic: str, change: Callable[[dict[str, Any]], object]
) -> None:
    group = Consumer(kafka.client(**{"group.id": f"penstock.{topic}"}))
    (found,) = group.committed([TopicPartition(topic, 0)], timeout=30)
    told = json.loads(found.metadata)
    change(told)
    changed = TopicPartition(topic, 0, found.offset, json.dumps(told))
    group.commit(offsets=[changed], asynchronous=False)
    group.close()


def test_no_delta_is_added_to_a_topic_that_was_made_anew_while_nobody_looked(
    kafka: KafkaServer,
) -> None:
    """It may be longer than the one before it; brokers forget a removed topic's group later."""
    target = KafkaLogTarget(kafka)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.close()
    _change_state(kafka, target.topic, lambda told: told.update(topic="another one's"))

    sink = target.sink()
    told = sink.marker()
    assert told is not None and told.phase == RESTORED
    reset(sink, rows(1, 2), 2, step=2)
    sink.close()
    sink = target.sink()
    assert sink.marker() == marker(2, 2, 2)
    sink.close()


def test_the_ends_of_more_partitions_than_a_text_holds_are_offsets_of_the_group(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.io.kafka.state._MOST_BYTES", 100)
    target = KafkaLogTarget(kafka)
    sink = target.sink()
    reset(sink, rows(1, 2, 3), 1)
    sink.close()
    sink = target.sink()
    assert sink.marker() == marker(1, 1, 3)
    group = Consumer(kafka.client(**{"group.id": f"penstock.{target.topic}"}))
    both = [TopicPartition(target.topic, p) for p in range(2)]
    ends = [tp.offset for tp in group.committed(both, timeout=30)]
    # two records of ours in each at least: the snapshot's beginning and its end
    assert min(ends) >= 2
    both[1].offset = ends[1] + 10
    group.commit(offsets=both[1:], asynchronous=False)
    group.close()
    sink.close()
    sink = target.sink()
    told = sink.marker()
    assert told is not None and told.phase == RESTORED
    sink.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KafkaLogTarget, KafkaUpsertTarget])
def test_no_delta_is_added_to_a_partition_that_others_have_filled_up_again(
    kind: type[KafkaLogTarget],
) -> None:
    """Its end tells nothing then; what its new leader says of the one before does."""
    with running_kafka() as kafka:
        target, whole = kind(kafka), kind(kafka)
        for one in (target, whole):
            sink = one.sink()
            reset(sink, rows(*range(20)), 1)
            sink.close()
        kafka.stop()
        kafka.cut_short(target.topic, 1)
        kafka.start()
        many = ({"key": b"k%d" % i, "value": b"{}", "partition": 1} for i in range(200))
        kafka.produce(target.topic, *many)

        sink = target.sink()
        told = sink.marker()
        assert told is not None and told.phase == RESTORED
        sink.close()
        sink = whole.sink()
        assert sink.marker() == marker(1, 1, 20)
        sink.apply(batch((rows(50), 1)), marker(1, 2, 21))
        sink.close()


@pytest.mark.parametrize("kind", [JsonFileTarget, ParquetFolderTarget, DeltaTarget])
def test_no_delta_is_added_to_files_that_were_restored_from_a_copy(
    kind: type[Target], tmp_path: Path
) -> None:
    place, copy = tmp_path / "place", tmp_path / "copy"
    place.mkdir()
    target = kind(place)
    sink = target.sink()
    reset(sink, rows(1), 1)
    shutil.copytree(place, copy, symlinks=True)
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    shutil.rmtree(place)
    shutil.copytree(copy, place, symlinks=True)
    assert target.look() == rows(1)

    _check_refused_and_made_anew(target, sink)


@pytest.mark.parametrize("kind", [DeltaTarget, AppendedDeltaTarget])
def test_no_delta_is_added_to_a_table_that_was_restored_to_an_earlier_version(
    kind: type[DeltaTarget], tmp_path: Path
) -> None:
    target = kind(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    deltalake.DeltaTable(target.uri).restore(0)
    assert target.look() == rows(1)
    other = target.sink()
    assert other.marker() == replace(marker(1, 2, 2), phase=RESTORED)
    other.close()

    _check_refused_and_made_anew(target, sink)


def test_no_delta_is_added_to_a_redis_that_was_restored(redis_server: RedisServer) -> None:
    target = RedisTarget(redis_server)
    sink = target.sink()
    reset(sink, rows(1), 1)
    with redis.Redis.from_url(target.url) as db:
        copies = {key: db.dump(key) for key in db.scan_iter()}
        sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
        db.flushdb()
        for key, copy in copies.items():
            db.restore(key, 0, copy)
    assert target.look() == rows(1)

    _check_refused_and_made_anew(target, sink)
