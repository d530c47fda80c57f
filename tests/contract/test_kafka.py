"""kafka_output beyond what every sink must do: topics, messages, readers, lost replies."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import fastavro
import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from penstock.client import KafkaViewReader
from penstock.errors import UserError
from penstock.io.contracts import Sink, SinkRejected, SinkUnavailable
from penstock.io.outputs import OUTPUTS
from penstock.io.outputs.kafka_log import KafkaLogSink
from penstock.io.outputs.kafka_upsert import KafkaUpsertSink
from tests.contract.kafka_targets import KafkaLogTarget, headers_of, row_of
from tests.contract.test_sinks import batch, marker, reset, row, rows, words
from tests.kafka_server import KafkaServer, TopicReader
from tests.registry_server import RegistryServer


@pytest.fixture
def target(kafka: KafkaServer) -> KafkaLogTarget:
    return KafkaLogTarget(kafka)


@pytest.fixture
def plain(kafka: KafkaServer) -> Iterator[TopicReader]:
    reader = TopicReader(kafka)
    yield reader
    reader.close()


def data(messages: list[Message] | None) -> list[Message]:
    assert messages is not None
    return [m for m in messages if "penstock-control" not in headers_of(m)]


def test_the_clients_reader_shows_every_whole_version_and_nothing_else(
    target: KafkaLogTarget,
) -> None:
    config = {**target.config(), "partitions": 3}
    sink = target.sink(config=config)
    versions = [rows(*range(40), v="0")]
    reset(sink, versions[0], 1, chunk_rows=7)
    seen: list[Counter[tuple[Any, ...]]] = []

    def note(found: Any, generation: int, step: int) -> None:
        seen.append(Counter({row_of(dict(r)): n for r, n in found.items()}))

    with KafkaViewReader(target.kafka.client(), target.topic, on_view=note) as reader:
        reader.wait_for_generation(1)
        for g in range(2, 5):
            new = versions[-1] + rows(100 * g, v="delta")
            sink.apply(batch((rows(100 * g, v="delta"), 1)), marker(g - 1, 10 * g, 41))
            versions.append(new)
            sink.begin(g, "given up", 1)
            sink.stage(g, 0, batch((rows(*range(900, 930)), 1)))
            versions.append(rows(*range(g, 40 + g), v=str(g)))
            reset(sink, versions[-1], g, step=10 * g + 1, chunk_rows=7)
        reader.wait_for_generation(4)
        sink.close()
        target.kafka.add_partitions(target.topic, 5)
        sink = target.sink()
        versions.append(rows(*range(50), v="wider"))
        reset(sink, versions[-1], 5, step=60, chunk_rows=7)
        reader.wait_for_generation(5)
    sink.close()

    assert seen == versions
    assert target.look() == versions[-1]


def test_what_was_just_committed_is_read_back(target: KafkaLogTarget) -> None:
    # brokers answer a commit before the topic's partitions have heard of it
    sink = target.sink()
    for g in range(1, 6):
        reset(sink, rows(*range(g, g + 6)), g)
        held, wanted = words(sink, rows(*range(g, g + 6)))
        assert held == wanted
    sink.close()


def test_changes_of_another_generation_are_of_no_account_to_readers_and_audits(
    target: KafkaLogTarget,
) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 3)
    target.forge(generation=2)
    sink.apply(batch((rows(5), 1)), marker(3, 2, 3))

    assert target.look() == rows(1, 2, 5)
    held, wanted = words(sink, rows(1, 2, 5))
    assert held == wanted
    with KafkaViewReader(target.kafka.client(), target.topic) as reader:
        reader.wait_for(lambda r: r.step == 2)
        assert reader.rows().total() == 3
    target.forge(generation=3)
    held, _ = words(sink, Counter())
    assert held.total() == 4
    sink.close()


def test_messages_stay_within_what_the_topic_takes(
    target: KafkaLogTarget, plain: TopicReader
) -> None:
    target.kafka.create(target.topic, max_message_bytes="20000")
    form = {"name": "json", "config": {"update_format": "insert_delete", "array": True}}
    sink = target.sink(format=form)
    sink.validate()
    many = rows(*range(2000), v="x" * 50) + Counter({row(3000): 500})
    reset(sink, many, 1, chunk_rows=5000)
    found = data(plain.read(target.topic))
    assert len(found) > 10
    assert max(len(m.value() or b"") for m in found) <= 20_000
    with pytest.raises(SinkRejected, match="a row takes a message of 4"):
        sink.apply(batch((rows(1, v="y" * 40_000), 1)), marker(1, 2, 1))
    sink.apply(batch((rows(1, v="z"), 1)), marker(1, 2, 1))
    sink.close()
    assert len(data(plain.read(target.topic))) == len(found) + 1


def test_every_message_carries_the_headers_asked_for(
    target: KafkaLogTarget, plain: TopicReader
) -> None:
    wanted = [{"key": "source", "value": "café"}, {"key": "raw", "value": [0, 255]}, {"key": "no"}]
    sink = target.sink(config={**target.config(), "headers": wanted})
    reset(sink, rows(1, 2, 3), 1)
    sink.close()
    for m in data(plain.read(target.topic)):
        assert (m.headers() or [])[:3] == [
            ("source", "café".encode()), ("raw", b"\0\xff"), ("no", None),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"topic": None}, "'topic' is required"),
        ({"bootstrap.servers": None}, "'bootstrap.servers' is required"),
        ({"no.such.option": "1"}, "No such configuration property"),
        ({"compression.type": "rar"}, "compression.codec"),
        ({"linger.ms": [1]}, "a string, a number or a boolean"),
        ({"isolation.level": "read_uncommitted"}, "cannot be chosen"),
        ({"log_level": "loud"}, "must be one of emerg"),
        ({"partitions": 0}, "at least 1"),
        ({"headers": [{"key": "penstock-step", "value": "1"}]}, "connector's own"),
        ({"headers": [{"value": "1"}]}, "is expected"),
        ({"fault_tolerance": {"producers": {}}}, "'producers' is unknown"),
        ({"topic_config": "x"}, "must be an object"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(
    target: KafkaLogTarget, config: dict[str, Any], message: str
) -> None:
    context = target.context()
    with pytest.raises(UserError, match=message):
        OUTPUTS["kafka_output"](replace(context, config={**context.config, **config}))


def test_a_topic_that_does_not_fit_is_refused_before_anything_is_written(
    target: KafkaLogTarget, plain: TopicReader
) -> None:
    target.kafka.create(target.topic, cleanup_policy="compact")
    sink = target.sink()
    with pytest.raises(SinkRejected, match="is compacted"):
        sink.validate()
    impossible = target.sink(
        config={**target.config(), "topic": "another", "replication_factor": 9}
    )
    with pytest.raises(SinkRejected, match="replication"):
        impossible.validate()
    assert plain.read(target.topic) == []
    assert plain.read("another") is None
    sink.close()
    impossible.close()


def test_a_broker_that_does_not_answer_is_worth_another_try(
    target: KafkaLogTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.io.kafka.writer.CONNECT_S", 0.3)
    with pytest.raises(SinkUnavailable, match="refused"):
        target.sink(config={**target.config(), "bootstrap.servers": "127.0.0.1:1"})


class Faulty:
    """A producer whose commit fails after it was done, or instead of being done, once."""

    def __init__(self, producer: Any, *, is_done: bool, code: int) -> None:
        self._producer, self._is_done, self._code = producer, is_done, code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, timeout: float) -> None:
        if self._is_done:
            self._producer.commit_transaction(timeout)
        raise KafkaException(KafkaError(self._code, "the reply was lost"))


def make_faulty(sink: Sink, *, is_done: bool, code: int) -> None:
    assert isinstance(sink, KafkaLogSink | KafkaUpsertSink)
    sink._writer._producer = Faulty(  # type: ignore[assignment]
        sink._writer._producer, is_done=is_done, code=code
    )


@pytest.mark.parametrize("is_done", [True, False])
@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError.UNKNOWN])
def test_a_lost_reply_neither_loses_nor_doubles_a_delta(
    target: KafkaLogTarget, plain: TopicReader, is_done: bool, code: int
) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    make_faulty(sink, is_done=is_done, code=code)
    delta, mark = batch((rows(2), 1)), marker(1, 2, 2)
    try:
        sink.apply(delta, mark)
    except SinkUnavailable:
        sink.close()
        sink = target.sink()
        assert sink.marker() == (mark if is_done else marker(1, 1, 1))
        sink.apply(delta, mark)

    assert target.look() == rows(1, 2)
    assert len(data(plain.read(target.topic))) == 2
    assert sink.marker() == mark
    sink.close()


@pytest.mark.parametrize("is_done", [True, False])
def test_a_lost_reply_to_publish_is_told_by_the_marker(
    target: KafkaLogTarget, is_done: bool
) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.begin(2, "token-2", 5)
    sink.stage(2, 0, batch((rows(7, 8), 1)))
    make_faulty(sink, is_done=is_done, code=KafkaError._TIMED_OUT)
    with pytest.raises(SinkUnavailable):
        sink.publish(2, marker(2, 5, 2))
    sink.close()
    sink = target.sink()
    assert sink.marker() == (marker(2, 5, 2) if is_done else marker(1, 1, 1))
    if not is_done:
        reset(sink, rows(7, 8), 2, step=5)

    assert target.look() == rows(7, 8)
    sink.close()


def test_a_writer_that_died_in_a_transaction_does_not_hold_up_the_next(
    target: KafkaLogTarget,
) -> None:
    dead = target.sink()
    reset(dead, rows(1), 1)
    assert isinstance(dead, KafkaLogSink)
    producer = dead._writer._producer
    consumer = dead._writer._consumer
    assert producer is not None and consumer is not None
    producer.begin_transaction()
    producer.produce(target.topic, b'{"insert": {}}', headers={"penstock-generation": b"1"})
    assert producer.flush(10) == 0
    sink = target.sink()
    assert sink.marker() == marker(1, 1, 1)
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))

    assert target.look() == rows(1, 2)
    sink.close()


def test_a_delta_that_fails_half_way_leaves_no_trace_for_who_reads_committed(
    target: KafkaLogTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    assert isinstance(sink, KafkaLogSink)
    encoded = sink._encoded

    def half(*arguments: Any) -> Iterator[Any]:
        yield from list(encoded(*arguments))[:1]
        assert sink._writer._producer is not None
        assert sink._writer._producer.flush(10) == 0
        raise ZeroDivisionError

    monkeypatch.setattr(sink, "_encoded", half)
    with pytest.raises(ZeroDivisionError):
        sink.apply(batch((rows(2, 3, 4), 1)), marker(1, 2, 4))
    uncommitted = TopicReader(target.kafka, "read_uncommitted")
    assert len(data(uncommitted.read(target.topic))) == 2
    uncommitted.close()
    assert target.look() == rows(1)
    monkeypatch.undo()
    sink.apply(batch((rows(5), 1)), marker(1, 2, 2))

    assert target.look() == rows(1, 5)
    sink.close()


def test_a_topic_that_gets_more_partitions_while_records_are_written_takes_them_at_another_try(
    target: KafkaLogTarget, plain: TopicReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = {"name": "json", "config": {"update_format": "debezium", "key_fields": ["k"]}}
    sink = target.sink(format=form)
    reset(sink, rows(1), 1)
    assert isinstance(sink, KafkaLogSink)
    encoded = sink._encoded

    def growing(*arguments: Any) -> Iterator[Any]:
        found = list(encoded(*arguments))
        yield from found[:5]
        target.kafka.add_partitions(target.topic, 6)
        assert sink._writer._producer is not None
        sink._writer._producer.list_topics(target.topic, timeout=30)
        yield from found[5:]

    delta = batch((rows(*range(10, 60)), 1))
    monkeypatch.setattr(sink, "_encoded", growing)
    with pytest.raises(SinkUnavailable, match="more partitions"):
        sink.apply(delta, marker(1, 2, 51))
    monkeypatch.undo()
    sink.apply(delta, marker(1, 2, 51))
    sink.close()

    found = data(plain.read(target.topic))
    assert len(found) == 51
    assert max(m.partition() or 0 for m in found) > 2
    with KafkaViewReader(target.kafka.client(), target.topic) as reader:
        reader.wait_for(lambda r: r.step == 2)
        assert reader.rows().total() == 51


def test_debezium_records_carry_the_key_asked_for(
    target: KafkaLogTarget, plain: TopicReader
) -> None:
    form = {"name": "json", "config": {"update_format": "debezium", "key_fields": ["k"]}}
    sink = target.sink(format=form)
    reset(sink, rows(1, 2), 1)
    sink.apply(batch((rows(1), -1)), marker(1, 2, 1))
    sink.close()
    found = data(plain.read(target.topic))

    keys = Counter((json.loads(m.key() or b"")["payload"]["k"], m.partition()) for m in found)
    assert sorted(k for k, _ in keys) == [1, 2] and keys.total() == 3
    gone = [json.loads(m.value() or b"")["payload"] for m in found][-1]
    assert {json.loads(m.value() or b"")["payload"]["op"] for m in found} == {"c", "d"}
    assert "after" in gone or "before" in gone


def test_avro_changes_carry_their_operation_and_count_as_whole_snapshots(
    target: KafkaLogTarget, plain: TopicReader
) -> None:
    with RegistryServer() as registry:
        form = {"name": "avro", "config": {"registry_urls": [registry.url]}}
        sink = target.sink(format=form)
        reset(sink, rows(1, 2), 1)
        sink.apply(batch((rows(1), -1), (rows(3), 1)), marker(1, 2, 2))
        sink.close()
        schema = json.loads(registry.schemas[0])
        assert list(registry.subjects) == [f"{target.topic}-value"]
    told = Counter(
        (dict(m.headers() or ())["op"], fastavro.schemaless_reader(
            io.BytesIO((m.value() or b"")[5:]), schema, None)["k"])
        for m in data(plain.read(target.topic))
    )  # fmt: skip
    assert told == Counter([(b"insert", 1), (b"insert", 2), (b"delete", 1), (b"insert", 3)])
