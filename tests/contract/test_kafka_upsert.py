"""kafka_output with an index, beyond what every sink must do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from penstock.errors import UserError
from penstock.io.contracts import SinkRejected, SinkUnavailable, StagingLost
from penstock.io.kafka.reading import Piece
from penstock.io.outputs import OUTPUTS
from penstock.io.outputs.kafka_upsert import KafkaUpsertSink
from tests.contract.kafka_targets import KafkaUpsertTarget, is_between_two, newest
from tests.contract.test_kafka import make_faulty
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.kafka_server import KafkaServer, TopicReader
from tests.registry_server import RegistryServer


@pytest.fixture
def target(kafka: KafkaServer) -> KafkaUpsertTarget:
    return KafkaUpsertTarget(kafka)


class Died(Exception):
    """The process ended here."""


def test_a_publish_of_many_transactions_moves_each_key_once_and_survives_a_crash(
    target: KafkaUpsertTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.io.outputs.kafka_upsert.FLUSH_RECORDS", 10)
    old, new = rows(*range(40), v="old"), rows(*range(20, 70), v="new")
    sink = target.sink()
    reset(sink, old, 1, chunk_rows=15)
    before = sink.marker()
    assert isinstance(sink, KafkaUpsertSink)
    write = sink._writer.write
    looks = []

    def until_the_fourth(plan: Any) -> Any:
        found = target.look()
        assert found is not None
        looks.append(found)
        if len(looks) == 4:
            raise Died
        return write(plan)

    monkeypatch.setattr(sink._writer, "write", until_the_fourth)
    sink.begin(2, "token-2", 5)
    sink.stage(2, 0, batch((new, 1)))
    with pytest.raises(Died):
        sink.publish(2, marker(2, 5, new.total()))
    assert before == marker(1, 1, 40)
    assert [r.total() for r in looks] == [40, 40, 40, 40 + 10]
    assert all(is_between_two(r, [old, new]) for r in looks)

    sink.close()
    heir = target.sink()
    assert heir.marker() == marker(2, 5, new.total(), phase="staging")
    with pytest.raises(SinkRejected, match="superseded"):
        heir.apply(batch((rows(3, v="stale"), 1)), marker(1, 9, 40))
    with pytest.raises(StagingLost):
        heir.publish(2, marker(2, 5, new.total()))
    reset(heir, new, 2, step=5)
    assert target.look() == new
    assert heir.marker() == marker(2, 5, new.total())
    heir.close()


def test_a_publish_that_cannot_read_the_topic_to_its_end_takes_nothing_back_and_is_owed(
    target: KafkaUpsertTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.io.outputs.kafka_upsert.FLUSH_RECORDS", 10)
    old, new = rows(*range(20), v="old"), rows(*range(10, 40), v="new")
    sink = target.sink()
    reset(sink, old, 1)
    assert isinstance(sink, KafkaUpsertSink)

    def breaks_off() -> Iterator[Piece]:
        raise SinkUnavailable("the broker is gone")
        yield

    with monkeypatch.context() as m:
        m.setattr(sink._writer, "scan", lambda: breaks_off)
        sink.begin(2, "token-2", 5)
        sink.stage(2, 0, batch((new, 1)))
        with pytest.raises(SinkUnavailable, match="the broker is gone"):
            sink.publish(2, marker(2, 5, new.total()))
    seen = target.look()
    assert seen is not None and is_between_two(seen, [old, new])
    assert rows(*range(10), v="old") <= seen
    assert sink.marker() == marker(2, 5, new.total(), phase="staging")
    sink.publish(2, marker(2, 5, new.total()))  # what was staged is there still
    assert target.look() == new
    sink.close()


def test_a_key_with_an_empty_value_is_there_until_a_reset_takes_it_back(
    target: KafkaUpsertTarget,
) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    gone, empty = b'{"k": 7}', b'{"k": 8}'
    target.kafka.produce(target.topic, {"key": gone, "value": None}, {"key": empty, "value": b""})
    reset(sink, rows(1), 2, step=2)
    with closing(TopicReader(target.kafka)) as reader:
        found = [m.key() for m in reader.read(target.topic) or [] if m.value() is None]
    assert Counter(found) == Counter([gone, empty])
    sink.close()


def test_a_reset_in_mode_diff_writes_only_what_differs(target: KafkaUpsertTarget) -> None:
    sink = target.sink()
    reset(sink, rows(*range(9)), 1)
    reader = TopicReader(target.kafka)
    before = reader.read(target.topic) or []
    sink.begin_diff(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(*range(8)) + rows(20), 1)))
    sink.publish(2, marker(2, 2, 9))
    after = reader.read(target.topic) or []
    reader.close()
    sink.close()

    assert newest(after) == rows(*range(8)) + rows(20)
    assert len(after) - len(before) == 2  # one value, one null value


@pytest.mark.parametrize("is_done", [True, False])
def test_a_lost_reply_neither_loses_nor_doubles_a_delta(
    target: KafkaUpsertTarget, is_done: bool
) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    make_faulty(sink, is_done=is_done, code=KafkaError._TIMED_OUT)
    delta, mark = batch((rows(1), -1), (rows(2), 1)), marker(1, 2, 1)
    with pytest.raises(SinkUnavailable):
        sink.apply(delta, mark)
    sink.close()
    sink = target.sink()
    sink.apply(delta, mark)
    reader = TopicReader(target.kafka)
    found = reader.read(target.topic) or []
    reader.close()
    sink.close()

    assert newest(found) == rows(2)
    assert len(found) == 3


def test_a_topic_that_forgets_records_is_refused(target: KafkaUpsertTarget) -> None:
    target.kafka.create(target.topic, cleanup_policy="delete")
    sink = target.sink()
    with pytest.raises(SinkRejected, match=r"cleanup\.policy=compact"):
        sink.validate()
    sink.close()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"name": "csv"}, "has no keys"),
        ({"name": "json", "config": {"update_format": "insert_delete"}}, "update_format 'raw'"),
        ({"name": "json", "config": {"array": True}}, "'array' cannot be true"),
    ],
)
def test_a_format_without_keys_is_refused(
    target: KafkaUpsertTarget, form: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        OUTPUTS["kafka_output"](replace(target.context(), format=form))


def test_a_row_that_is_too_large_is_refused_and_nothing_is_written(
    target: KafkaUpsertTarget,
) -> None:
    target.kafka.create(target.topic, cleanup_policy="compact", max_message_bytes="20000")
    sink = target.sink()
    reset(sink, rows(1), 1)
    with pytest.raises(SinkRejected, match="takes a message of"):
        sink.apply(batch((rows(2), 1), (rows(3, v="y" * 30_000), 1)), marker(1, 2, 3))
    assert target.look() == rows(1)
    sink.close()


def test_avro_rows_are_read_by_confluents_deserializers(target: KafkaUpsertTarget) -> None:
    with RegistryServer() as registry:
        config = {"update_format": "confluent_jdbc", "registry_urls": [registry.url]}
        sink = target.sink(format={"name": "avro", "config": config})
        reset(sink, rows(1, 2), 1)
        sink.apply(batch((rows(1), -1), (rows(3), 1)), marker(1, 2, 2))
        sink.begin_diff(2, "token-2", 3)
        sink.stage(2, 0, batch((rows(2, 4), 1)))
        sink.publish(2, marker(2, 3, 2))
        sink.close()
        reader = TopicReader(target.kafka)
        found = reader.read(target.topic) or []
        reader.close()
        assert set(registry.subjects) == {f"{target.topic}-key", f"{target.topic}-value"}
        read = AvroDeserializer(SchemaRegistryClient({"url": registry.url}))
        held: dict[int, Any] = {}
        for m in found:
            key = read(m.key(), SerializationContext(target.topic, MessageField.KEY))
            value = read(m.value(), SerializationContext(target.topic, MessageField.VALUE))
            held[key["k"]] = value and value["v"]

    assert held == {1: None, 2: "a", 3: None, 4: "a"}
    assert len(found) == 6  # two, two, and of the last reset one value and one null value


def test_deltas_damage_and_resets_end_in_the_view(target: KafkaUpsertTarget) -> None:
    sink = target.sink()
    sink.validate()
    assert target.look() is None and sink.marker() is None
    reset(sink, rows(*range(6)), 1)
    sink.apply(batch((rows(0, 1), -1), (rows(1, v="b"), 1), (rows(9), 1)), marker(1, 2, 6))
    sink.apply(batch((rows(0, 1), -1), (rows(1, v="b"), 1), (rows(9), 1)), marker(1, 2, 6))
    assert target.look() == rows(2, 3, 4, 5, 9) + rows(1, v="b")
    target.damage()
    damaged = target.look()
    sink.begin(2, "token-2", 3)
    sink.stage(2, 0, batch((rows(2, 3), 1)))
    assert target.look() == damaged != rows(2, 3)
    sink.abort(2)
    reset(sink, rows(2, 3), 3, step=3)
    assert target.look() == rows(2, 3) and sink.marker() == marker(3, 3, 2)
    reset(sink, rows(), 4, step=4)
    sink.close()
    assert target.look() == rows()
