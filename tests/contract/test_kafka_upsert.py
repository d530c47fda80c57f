"""kafka_output with an index, beyond what every sink must do."""

from __future__ import annotations

import json
import random
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from confluent_kafka import KafkaError
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from penstock.data.murmur2 import hashes
from penstock.errors import UserError
from penstock.io.contracts import Sink, SinkRejected, SinkUnavailable, StagingLost
from penstock.io.kafka.keyed_store import KeyedStore
from penstock.io.kafka.reading import Piece, Scan
from penstock.io.outputs import OUTPUTS
from penstock.io.outputs.kafka_upsert import KafkaUpsertSink
from tests.contract.kafka_targets import KafkaUpsertTarget, is_between_two, made_up, newest
from tests.contract.target import Rows
from tests.contract.test_kafka import make_faulty
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.kafka_server import KafkaServer, TopicReader, running_kafka
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
        m.setattr(sink._writer, "scan", lambda since: Scan([0, 0], breaks_off))
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


# what is known of the topic from one publish to the next


class Looking:
    """Which offsets the scans of a sink began with: none where it read the whole topic."""

    def __init__(self, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
        assert isinstance(sink, KafkaUpsertSink)
        self.since: list[Sequence[int]] = []
        scan = sink._writer.scan

        def noted(since: Sequence[int] = ()) -> Scan:
            self.since.append(since)
            return scan(since)

        monkeypatch.setattr(sink._writer, "scan", noted)

    @property
    def whole(self) -> list[bool]:
        return [not since for since in self.since]


def live(target: KafkaUpsertTarget) -> dict[tuple[int, bytes], Rows]:
    """By partition and key what a reader of that partition alone takes to be there."""
    with closing(TopicReader(target.kafka)) as reader:
        found = {(m.partition(), m.key()): m for m in reader.read(target.topic) or []}
    return {at: newest([m]) for at, m in found.items() if m.value() is not None}  # type: ignore[misc]


def nulls(messages: list[Any] | None) -> Counter[bytes]:
    """The keys that are taken back, and how often."""
    return Counter(m.key() for m in messages or [] if m.value() is None)


def test_keys_go_where_javas_partitioner_puts_them(target: KafkaUpsertTarget) -> None:
    target.kafka.create(target.topic, 7, cleanup_policy="compact")
    sink = target.sink()
    contents = rows(*range(100), -1, 10**6, -(10**9))
    reset(sink, contents, 1)
    ours = set(live(target))
    target.kafka.produce(target.topic, *({"key": k, "value": None} for _, k in ours))
    assert len(ours) == contents.total() and not live(target)
    reset(sink, contents, 2)  # by an offset, all of them in their partitions again
    assert set(live(target)) == ours
    sink.close()


def test_another_partitioner_is_what_the_connector_says(target: KafkaUpsertTarget) -> None:
    target.kafka.create(target.topic, 7, cleanup_policy="compact")
    sink = target.sink(config=target.config() | {"partitioner": "consistent"})
    reset(sink, rows(*range(50)), 1)
    sink.close()
    assert all(p == zlib.crc32(key) % 7 for p, key in live(target))


def test_a_second_reset_reads_only_what_came_since_the_first(
    target: KafkaUpsertTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.io.outputs.kafka_upsert.FLUSH_RECORDS", 7)
    sink = target.sink()
    looking = Looking(sink, monkeypatch)
    reset(sink, rows(*range(40)), 1)
    sink.apply(batch((rows(0, 1), -1), (rows(41), 1)), marker(1, 2, 39))
    target.damage()
    with closing(TopicReader(target.kafka)) as reader:
        before = nulls(reader.read(target.topic))
        reset(sink, rows(*range(30)), 2, step=3)
        after = nulls(reader.read(target.topic))
    reset(sink, rows(*range(20)), 3, step=4)
    assert target.look() == rows(*range(20))
    assert looking.whole == [True, False, False]
    # all but what the delta and the damage took back already
    gone = {k for k in (*range(30, 40), 41) if k % 3 != 0} | {-7}
    assert after - before == Counter(b'{"k":%d}' % k for k in gone)
    sink.close()


@pytest.mark.parametrize("at", range(5))
def test_who_writes_during_a_publish_is_noticed_and_the_next_reset_reads_the_whole_topic(
    target: KafkaUpsertTarget, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """One record, before one of the four transactions, or before none."""
    monkeypatch.setattr("penstock.io.outputs.kafka_upsert.FLUSH_RECORDS", 5)
    target.kafka.create(target.topic, 3, cleanup_policy="compact")
    sink = target.sink()
    assert isinstance(sink, KafkaUpsertSink)
    reset(sink, rows(*range(12)), 1)
    looking = Looking(sink, monkeypatch)
    commit = sink._writer._commit
    calls = []

    def beside_another(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == at + 1:
            invented = json.dumps(made_up(77)).encode()
            message = {"key": b'{"k":77}', "value": invented, "partition": at % 3}
            target.kafka.produce(target.topic, message)
        return commit(*args)

    with monkeypatch.context() as m:
        m.setattr(sink._writer, "_commit", beside_another)
        reset(sink, rows(*range(15)), 2, step=2)
    assert len(calls) == 4
    if at < 4:
        seen = target.look()
        assert seen is not None and seen.total() == 16
    reset(sink, rows(*range(10)), 3, step=3)
    assert target.look() == rows(*range(10))
    assert looking.whole == [False, at < 4]
    sink.close()


def test_a_stray_record_of_a_key_that_stays_is_taken_back_when_the_key_goes(
    target: KafkaUpsertTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = target.sink()
    looking = Looking(sink, monkeypatch)
    reset(sink, rows(*range(4)), 1)
    own = {json.loads(key)["k"]: p for p, key in live(target)}
    stray = json.dumps(made_up(2)).encode()
    message = {"key": b'{"k":2}', "value": stray, "partition": 1 - own[2]}
    target.kafka.produce(target.topic, message)
    reset(sink, rows(*range(4)), 2, step=2)
    assert len(live(target)) == 5
    reset(sink, rows(*range(3)), 3, step=3)
    assert len(live(target)) == 4
    reset(sink, rows(0), 4, step=4)
    assert target.look() == rows(0) and len(live(target)) == 1
    assert looking.whole == [True, False, False, False]
    sink.close()


def test_another_sink_a_diff_another_partitioner_and_a_full_disk_read_the_whole_topic(
    target: KafkaUpsertTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = target.sink()
    looking = Looking(sink, monkeypatch)
    reset(sink, rows(*range(6)), 1)
    sink.begin_diff(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(*range(1, 7)), 1)))
    sink.publish(2, marker(2, 2, 6))
    assert looking.whole == [True, True]
    reset(sink, rows(*range(2, 8)), 3, step=3)
    assert looking.whole == [True, True, False]

    def full(store: KeyedStore) -> None:
        raise duckdb.OutOfMemoryException("failed to offload data block")

    with monkeypatch.context() as m:
        m.setattr(KeyedStore, "keep", full)
        reset(sink, rows(*range(3, 9)), 4, step=4)
    reset(sink, rows(*range(4, 10)), 5, step=5)
    assert looking.whole == [True, True, False, False, True]
    assert target.look() == rows(*range(4, 10))
    sink.close()

    heir = target.sink(config=target.config() | {"partitioner": "consistent"})
    looking = Looking(heir, monkeypatch)
    for generation in (6, 7):
        kept = rows(*range(generation, 10))
        reset(heir, kept, generation, step=generation)
    assert looking.whole == [True, True]
    assert target.look() == kept
    heir.close()


@pytest.mark.parametrize("during", [False, True])
def test_a_topic_that_gets_more_partitions_is_read_whole_and_keys_go_where_they_belong_now(
    target: KafkaUpsertTarget, monkeypatch: pytest.MonkeyPatch, during: bool
) -> None:
    """Between two resets, or within the second."""
    monkeypatch.setattr("penstock.io.outputs.kafka_upsert.FLUSH_RECORDS", 9)
    sink = target.sink()
    assert isinstance(sink, KafkaUpsertSink)
    reset(sink, rows(*range(40)), 1)
    looking = Looking(sink, monkeypatch)
    if not during:
        target.kafka.add_partitions(target.topic, 5)
    with monkeypatch.context() as m:
        commit = sink._writer._commit
        calls = []

        def grown(*args: Any) -> Any:
            calls.append(args)
            if during and len(calls) == 2:
                target.kafka.add_partitions(target.topic, 5)
            return commit(*args)

        m.setattr(sink._writer, "_commit", grown)
        reset(sink, rows(*range(30)), 2, step=2)
    assert {json.loads(key)["k"] for _, key in live(target)} == set(range(30))
    assert at_home(target, 5) == set(range(30))
    assert looking.whole == [False, True] if during else [True]

    sink.apply(batch((rows(*range(100, 120)), 1)), marker(2, 3, 50))
    assert at_home(target, 5) == {*range(30), *range(100, 120)}
    reset(sink, rows(*range(10)), 3, step=4)
    assert {json.loads(key)["k"] for _, key in live(target)} == set(range(10))
    assert at_home(target, 5) == set(range(10))
    sink.close()


def test_a_delta_after_a_topic_got_more_partitions_goes_where_it_belongs_now(
    target: KafkaUpsertTarget,
) -> None:
    sink = target.sink()
    reset(sink, rows(0), 1)
    target.kafka.add_partitions(target.topic, 5)
    sink.apply(batch((rows(*range(1, 30)), 1)), marker(1, 2, 30))
    assert at_home(target, 5) >= set(range(1, 30))
    sink.close()


def at_home(target: KafkaUpsertTarget, partitions: int) -> set[int]:
    """The keys that are there where Java's partitioner puts them."""
    found = live(target)
    keys = pa.array([key for _, key in found], pa.binary())
    homes = ((hashes(keys) & 0x7FFFFFFF) % partitions).tolist()
    return {json.loads(k)["k"] for (p, k), home in zip(found, homes, strict=True) if p == home}


def test_after_the_brokers_were_away_a_reset_reads_the_whole_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They may have been put back from a copy."""
    with running_kafka() as kafka:
        target = KafkaUpsertTarget(kafka)
        sink = target.sink()
        reset(sink, rows(*range(6)), 1)
        looking = Looking(sink, monkeypatch)
        reset(sink, rows(*range(5)), 2, step=2)
        kafka.stop()
        kafka.start()
        reset(sink, rows(*range(4)), 3, step=3)
        reset(sink, rows(*range(3)), 4, step=4)
        assert looking.whole == [False, True, False]
        assert target.look() == rows(*range(3))
        sink.close()


@pytest.mark.parametrize("seed", range(3))
def test_any_history_of_resets_deltas_and_strangers_ends_in_the_view_alone(
    target: KafkaUpsertTarget, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """After each reset no partition has a key that the view lacks, nor an older value of one where
    it belongs."""
    chance = random.Random(seed)
    monkeypatch.setattr("penstock.io.outputs.kafka_upsert.FLUSH_RECORDS", 6)
    sink = target.sink()
    held = rows()
    generation, step = 0, 1

    def some() -> Rows:
        return rows(*chance.sample(range(16), chance.randrange(12)), v=chance.choice("abc"))

    def stranger() -> None:
        for _ in range(chance.randrange(4)):
            k = chance.randrange(-2, 16)
            value = chance.choice([None, b"", json.dumps(made_up(k)).encode()])
            message = {"key": b'{"k":%d}' % k, "value": value}
            where = chance.choice([{}, {"partition": 0}, {"partition": 1}])
            target.kafka.produce(target.topic, {**message, **where})

    for _ in range(14):
        what = chance.choice(["reset", "reset", "diff", "delta", "stranger", "beside", "heir"])
        step += 1
        if what == "stranger":
            if generation:
                stranger()
            continue
        if what == "heir":
            sink.close()
            sink = target.sink()
            continue
        if what == "delta" and generation:
            new = Counter({r: 1 for r in held if chance.random() < 0.6})
            delta = batch((held - new, -1))
            sink.apply(delta, marker(generation, step, new.total()))
            held = new
            continue
        assert isinstance(sink, KafkaUpsertSink)
        generation, held = generation + 1, some()
        begin = sink.begin_diff if what == "diff" else sink.begin
        begin(generation, f"token-{generation}", step)
        if held:
            sink.stage(generation, 0, batch((held, 1)))
        with monkeypatch.context() as m:
            if what == "beside":
                plain = sink._writer.write

                def beside(plan: Any, write: Any = plain) -> Any:
                    stranger()
                    return write(plan)

                m.setattr(sink._writer, "write", beside)
            sink.publish(generation, marker(generation, step, held.total()))
        if what != "beside":
            found = live(target)
            keys = {r[0]: Counter([r]) for r in held}
            assert {json.loads(key)["k"] for _, key in found} == set(keys), what
            assert all(list(found.values()).count(row) >= 1 for row in keys.values()), what
    sink.close()
