"""kafka_input against a real broker."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.data.types import BIGINT, VARBINARY, VARCHAR, Schema, schema
from penstock.errors import PenstockError, UserError
from penstock.io.contracts import InputContext
from penstock.io.formats import make_parser
from penstock.io.inputs import kafka_input
from penstock.io.inputs.kafka_input import KafkaInput
from penstock.io.kafka.lockstep import Lockstep
from penstock.io.kafka.topic import NO_ID, is_another
from penstock.io.kafka.values import ValueParser
from penstock.pipeline.connectors import make_input
from penstock.pipeline.pipeline import Pipeline
from penstock.sql.program import compile_program
from tests.examples import examples
from tests.kafka_server import KafkaServer, running_kafka
from tests.servers import free_port
from tests.unit.io.conftest import KeepingIntake, until

TABLE = schema(id=BIGINT, name=VARCHAR)
JSON = {"name": "json", "config": {"update_format": "raw"}}


def connector(
    kafka: KafkaServer, topic: str, format: Any = JSON, table: Schema = TABLE, **config: Any
) -> KafkaInput:
    config = {"topic": topic, "start_from": "earliest", **kafka.client(), **config}
    made = KafkaInput(InputContext("t", "c", table, (), config, format))
    made.validate()
    return made


def to_the_end(kafka: KafkaServer, topic: str, **config: Any) -> KafkaInput:
    return connector(kafka, topic, **{"enable.partition.eof": True, **config})


def message(i: int, partition: int = 0, **more: Any) -> dict[str, Any]:
    return {"value": b'{"id": %d, "name": "n"}' % i, "partition": partition, **more}


def ids(intake: KeepingIntake) -> list[int]:
    return sorted(r[0] for r in intake.rows)


def test_a_topic_is_read_from_its_beginning_to_its_end(
    kafka: KafkaServer, intake: KeepingIntake
) -> None:
    topic = kafka.new_topic(2)
    kafka.produce(topic, *(message(i, i % 2) for i in range(500)), {"value": None, "key": b"gone"})
    to_the_end(kafka, topic).run(intake)

    assert ids(intake) == list(range(500))
    assert intake.ended.is_set() and not intake.errors
    assert intake.positions[0] is not None and intake.positions[-1] is not None
    assert intake.positions[0]["offsets"] == {"0": 0, "1": 0}
    assert sum(intake.positions[-1]["offsets"].values()) == 501


def test_partitions_in_lockstep_hand_records_on_in_the_order_of_their_times(
    kafka: KafkaServer, intake: KeepingIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.io.kafka.lockstep.LIMIT", 7)
    topic = kafka.new_topic(3)
    kafka.produce(
        topic,
        # the last ones of partition 0 come after all of partition 1; partition 2 has none
        *(message(i, 0, timestamp=1_000 + i) for i in range(0, 600, 2)),
        *(message(i, 1, timestamp=1_000 + i) for i in range(1, 400, 2)),
    )
    to_the_end(kafka, topic, synchronize_partitions=True).run(intake)

    assert [r[0] for r in intake.rows] == [*range(400), *range(400, 600, 2)]
    assert intake.positions[-1] is not None
    assert intake.positions[-1]["offsets"] == {"0": 300, "1": 200, "2": 0}


def test_a_record_passes_once_each_partition_that_is_not_at_its_end_has_one_as_late() -> None:
    class Record:
        def __init__(self, partition: int, time: int) -> None:
            self.p, self.t = partition, time

        def partition(self) -> int:
            return self.p

        def timestamp(self) -> tuple[int, int]:
            return 1, self.t

    def passing(*ended: int) -> list[tuple[int, int]]:
        return [(m.p, m.t) for m in steps.pass_on((0, 1), ended)]  # type: ignore[attr-defined]

    steps = Lockstep()
    steps.add([Record(0, 3), Record(0, 7), Record(0, 5)])  # type: ignore[list-item]
    assert passing() == []
    steps.add([Record(1, 4)])  # type: ignore[list-item]
    assert passing() == [(0, 3), (1, 4)]
    assert passing() == []
    assert passing(1) == [(0, 7), (0, 5)]  # a partition keeps its own order
    steps.add([Record(0, 8)])  # type: ignore[list-item]
    assert [m.timestamp()[1] for m in steps.drain(0)] == [8]
    assert passing(0, 1) == []


def test_it_goes_on_where_it_was_and_reads_new_partitions_from_their_beginning(
    kafka: KafkaServer, intake: KeepingIntake
) -> None:
    topic = kafka.new_topic(2)
    kafka.produce(topic, *(message(i, i % 2) for i in range(20)))
    # positions of an earlier release, and of brokers that gave topics no ids
    for position in ({"offsets": {"0": 7}}, {"offsets": {"0": 7}, "topic": NO_ID}):
        again = to_the_end(kafka, topic, start_from="latest")
        again.resume(position)
        again.run(intake)

    expected = [i for i in range(20) if i % 2 == 1 or i // 2 >= 7]
    assert ids(intake) == sorted(2 * expected)


def test_a_topic_is_another_one_only_where_both_ids_are_known() -> None:
    assert is_another("a", "b")
    for known in (None, "", NO_ID, "a"):
        assert not is_another("a", known) and not is_another(known, "a")


def test_a_topic_that_was_made_again_is_fatal_or_read_from_its_beginning(
    kafka: KafkaServer, intake: KeepingIntake
) -> None:
    """Though it is longer than what was read of the one before it."""
    topic = kafka.new_topic()
    kafka.produce(topic, message(1))
    to_the_end(kafka, topic).run(intake)
    position = intake.positions[-1]
    assert position is not None
    kafka.delete(topic)
    until(lambda: topic not in kafka.admin.list_topics(timeout=30).topics, 30)
    kafka.create(topic)
    kafka.produce(topic, message(2), message(3))
    strict = to_the_end(kafka, topic)
    strict.resume(position)
    with pytest.raises(PenstockError, match="removed and made again"):
        strict.run(intake)
    lenient = to_the_end(kafka, topic, resume_earliest_if_data_expires=True)
    lenient.resume(position)
    lenient.run(intake)

    assert ids(intake) == [1, 2, 3]
    assert [fatal for _, fatal in intake.errors] == [False]


@pytest.mark.slow
def test_records_that_others_took_the_place_of_are_not_read_over(intake: KeepingIntake) -> None:
    """A leader that lacked records has others at their offsets; a new leader alone is no matter."""
    with running_kafka() as kafka:
        topic = kafka.new_topic(2)
        kafka.produce(topic, *(message(i, i % 2) for i in range(40)))
        to_the_end(kafka, topic).run(intake)
        position = intake.positions[-1]
        assert position is not None and position["epochs"] == {"0": 0, "1": 0}
        kafka.stop()
        kafka.cut_short(topic, 1)
        kafka.start()
        kafka.produce(topic, *(message(100 + i, 1) for i in range(40)), message(200, 0))

        strict = to_the_end(kafka, topic)
        strict.resume(position)
        with pytest.raises(PenstockError, match=r"partition 1 of .* has other records"):
            strict.run(intake)
        whole = to_the_end(kafka, topic, partitions=[0])
        whole.resume(position)
        intake.parsed = []
        whole.run(intake)
        assert ids(intake) == [200]


def test_a_topic_that_is_made_again_while_it_is_read_is_read_from_its_beginning(
    kafka: KafkaServer, intake: KeepingIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_input, "LOOK_S", 0.1)
    topic = kafka.new_topic()
    kafka.produce(topic, message(1))
    intake.run(connector(kafka, topic, resume_earliest_if_data_expires=True))
    until(lambda: ids(intake) == [1])
    kafka.delete(topic)
    until(lambda: topic not in kafka.admin.list_topics(timeout=30).topics, 30)
    kafka.create(topic)
    kafka.produce(topic, message(2), message(3))
    until(lambda: ids(intake) == [1, 2, 3], 60)


def test_where_to_begin_is_latest_an_offset_or_a_time(
    kafka: KafkaServer, intake: KeepingIntake
) -> None:
    topic = kafka.new_topic(2)
    now = int(time.time() * 1000)
    old, new = now - 100_000, now - 1_000
    kafka.produce(topic, *(message(i, i % 2, timestamp=old) for i in range(6)))
    kafka.produce(topic, *(message(10 + i, 1, timestamp=new) for i in range(3)))
    to_the_end(kafka, topic, start_from={"timestamp": now - 50_000}).run(intake)
    assert ids(intake) == [10, 11, 12]
    intake.parsed = []
    to_the_end(kafka, topic, start_from={"offsets": [2, 5]}).run(intake)
    assert ids(intake) == [4, 12]
    intake.parsed = []
    to_the_end(kafka, topic, partitions=[0]).run(intake)
    assert ids(intake) == [0, 2, 4]
    intake.parsed, intake.positions = [], []
    intake.run(connector(kafka, topic, start_from="latest"))
    until(lambda: intake.positions)
    kafka.produce(topic, message(99, 1))
    until(lambda: intake.rows)
    assert ids(intake) == [99]


def test_a_bad_record_does_not_spoil_its_neighbours(
    kafka: KafkaServer, intake: KeepingIntake
) -> None:
    topic = kafka.new_topic()
    bad = [b'{"id": 3, "na', b'{"id": "x"}', b"}", b'{"id": 4} {"id"']
    good = [b'{"id": 1}', b'{"id": 2}\n', b'{"id": 5}{"id": 6}']
    values = [good[0], bad[0], good[1], bad[1], bad[2], good[2], bad[3]]
    kafka.produce(topic, *({"value": v} for v in values))
    to_the_end(kafka, topic).run(intake)

    assert ids(intake) == [1, 2, 4, 5, 6]
    places = [e.description.partition(": ")[0] for e in intake.parse_errors]
    assert places == [f"partition 0, offset {o}" for o in (1, 3, 4, 6)]


def test_records_are_chosen_by_their_headers(kafka: KafkaServer, intake: KeepingIntake) -> None:
    topic = kafka.new_topic()
    kafka.produce(
        topic,
        message(1, headers={"kind": b"order", "region": b"eu"}),
        message(2, headers={"kind": b"orders", "region": b"us"}),
        message(3, headers={"kind": b"order", "region": b"us"}),
        message(4),
    )
    kind = {"header": {"name": "kind", "pattern": "order"}}
    region = {"header": {"name": "region", "pattern": "u."}}
    for f, expected in (
        (kind, [1, 3]),
        ({"and": [kind, region]}, [3]),
        ({"or": [kind, region]}, [1, 2, 3]),
        ({"not": kind}, [2, 4]),
    ):
        intake.parsed = []
        to_the_end(kafka, topic, header_filter=f).run(intake)
        assert ids(intake) == expected


def test_data_that_expired_before_they_were_read_are_fatal_unless_they_may_be_skipped(
    kafka: KafkaServer, intake: KeepingIntake
) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, *(message(i) for i in range(10)))
    kafka.admin.delete_records([TopicPartition(topic, 0, 6)])[TopicPartition(topic, 0, 6)].result(
        30
    )
    strict = to_the_end(kafka, topic)
    strict.resume({"offsets": {"0": 2}})
    with pytest.raises(PenstockError, match="has the offsets 6 to 10, the next one to read is 2"):
        strict.run(intake)
    lenient = to_the_end(kafka, topic, resume_earliest_if_data_expires=True)
    lenient.resume({"offsets": {"0": 2}})
    lenient.run(intake)

    assert ids(intake) == [6, 7, 8, 9]
    assert [fatal for _, fatal in intake.errors] == [False]


def test_brokers_that_are_away_are_waited_for_and_it_is_said_why(
    kafka: KafkaServer, intake: KeepingIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.io.inputs.kafka_input.TRY_S", 3.0)
    away = {**kafka.client(), "bootstrap.servers": f"127.0.0.1:{free_port()}"}
    intake.run(connector(kafka, "orders", **away))
    until(lambda: intake.errors, 30)
    assert "Connection refused" in intake.errors[0][0] and not intake.errors[0][1]


def test_a_topic_that_comes_later_is_waited_for(kafka: KafkaServer, intake: KeepingIntake) -> None:
    """What came between its beginning and our next look is of after we began to read the latest."""
    topic = kafka.new_name()
    for start in ("earliest", "latest"):
        intake.run(connector(kafka, topic, start_from=start))
    until(lambda: len(intake.errors) == 2)
    kafka.create(topic)
    kafka.produce(topic, message(1))
    until(lambda: len(intake.rows) == 2)
    assert [fatal for _, fatal in intake.errors] == [False, False]


@pytest.mark.parametrize(
    ("model", "comes_before"), [("at_least_once", True), ("exactly_once", False)]
)
def test_after_a_crash_the_latest_is_still_what_it_was_at_the_first_start(
    kafka: KafkaServer, tmp_path: Path, model: str, comes_before: bool
) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, message(1))
    config = {"topic": topic, **kafka.client()}
    source = {"transport": {"name": "kafka_input", "config": config}, "format": JSON}
    program = (
        f"CREATE TABLE t (id BIGINT) WITH ('connectors' = '{json.dumps([source])}');"
        "CREATE MATERIALIZED VIEW v AS SELECT id FROM t;"
    )

    def start() -> Pipeline:
        fault_tolerance = {"model": model, "checkpoint_interval_secs": None}
        p = Pipeline(
            {
                "pipeline_id": "p", "name": "p", "program_code": program,
                "runtime_config": {"workers": 1, "fault_tolerance": fault_tolerance},
                "storage_dir": str(tmp_path / "storage"),
            }
        )  # fmt: skip
        p.start()
        return p

    def rows(p: Pipeline) -> list[Any]:
        _, chunks = p.query("SELECT id FROM v ORDER BY id", "json")
        return [json.loads(line)["id"] for line in b"".join(chunks).splitlines()]

    p = start()
    # the first has nothing of the source, the second where it begins
    until(lambda: len(p.checkpoints()) == 2, 30)
    if comes_before:
        kafka.produce(topic, message(2))
        until(lambda: rows(p) == [2], 30)
    p.stop()  # as a crash does, without a checkpoint
    kafka.produce(topic, message(3))
    p = start()
    until(lambda: rows(p) == [2, 3][not comes_before :], 30)
    p.stop()


def test_raw_records_are_rows_as_they_are(kafka: KafkaServer, intake: KeepingIntake) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, {"value": b"\xff\0"}, {"value": b"a\nb"}, {"value": b""})
    to_the_end(kafka, topic, format={"name": "raw"}, table=schema(data=VARBINARY)).run(intake)
    assert Counter(intake.rows) == Counter([(b"\xff\0",), (b"a\nb",), (b"",)])
    intake.parsed = []
    text = {"name": "raw", "config": {"mode": "lines", "column_name": "name"}}
    to_the_end(kafka, topic, format=text).run(intake)
    assert Counter(intake.rows) == Counter([(None, "a"), (None, "b")])
    assert "VARBINARY" in str(intake.parse_errors[0].suggestion)


TOLD = """CREATE TABLE t (
    id BIGINT,
    part INT DEFAULT CAST(CONNECTOR_METADATA()['kafka_partition'] AS INT),
    at BIGINT DEFAULT CAST(CONNECTOR_METADATA()['kafka_offset'] AS BIGINT),
    made TIMESTAMP DEFAULT CAST(CONNECTOR_METADATA()['kafka_timestamp'] AS TIMESTAMP),
    topic VARCHAR DEFAULT UPPER(CAST(CONNECTOR_METADATA()['kafka_topic'] AS VARCHAR)),
    kind VARBINARY DEFAULT CAST(CONNECTOR_METADATA()['kafka_headers']['kind'] AS VARBINARY),
    gone BOOLEAN DEFAULT CAST(CONNECTOR_METADATA()['is_delete'] AS BOOLEAN)
) WITH ('connectors' = '[%s]');"""


@pytest.mark.parametrize("soft_delete", [False, True])
def test_a_default_has_what_is_told_of_each_record(
    kafka: KafkaServer, intake: KeepingIntake, soft_delete: bool
) -> None:
    topic = kafka.new_topic(2)
    made = 1_700_000_000_000
    deletion = b'{"delete": {"id": 9}}' if soft_delete else b'{"insert": {"id": 9}}'
    kafka.produce(
        topic,
        {"value": b'{"insert": {"id": 1}}{"insert": {"id": 2, "at": 70}}', "partition": 0,
         "timestamp": made, "headers": {"kind": b"\xff"}},
        {"value": b'{"insert"', "partition": 0, "timestamp": made},
        {"value": deletion, "partition": 0, "timestamp": made + 2},
        {"value": b'{"insert": {"id": 4}}', "partition": 1, "timestamp": made + 3},
    )  # fmt: skip
    keys = ("headers", "topic", "partition", "offset", "timestamp")
    config = {"topic": topic, "start_from": "earliest", "enable.partition.eof": True,
              **kafka.client(), **{f"include_{k}": True for k in keys}}  # fmt: skip
    given = {"name": "c", "transport": {"name": "kafka_input", "config": config},
             "format": {"name": "json", "config": {"update_format": "insert_delete"}},
             "soft_delete": soft_delete}  # fmt: skip
    plan = compile_program(TOLD % json.dumps(given))
    _, source = make_input(plan, plan.inputs[0], is_running=lambda: True, wake=lambda: None)
    source.run(intake)

    name = topic.upper()
    assert sorted(intake.rows) == [
        (1, 0, 0, made * 1000, name, b"\xff", None),
        (2, 0, 70, made * 1000, name, b"\xff", None),
        (4, 1, 0, (made + 3) * 1000, name, None, None),
        (9, 0, 2, (made + 2) * 1000, name, None, True if soft_delete else None),
    ]
    assert len(intake.parse_errors) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"topic": None}, "'topic' is required"),
        ({"topic": None, "topics": ["a", "b"]}, "a list of one topic"),
        ({"start_from": "yesterday"}, "start_from"),
        ({"start_from": {"offsets": [-1]}}, "start_from"),
        ({"partitions": [0, -1]}, "partition numbers"),
        ({"header_filter": {"header": {"name": "x"}}}, "is expected"),
        ({"header_filter": {"header": {"name": "x", "pattern": "("}}}, "pattern"),
        ({"include_headers": "yes"}, "include_headers"),
        ({"synchronize_partitions": "yes"}, "synchronize_partitions"),
        ({"no.such.option": 1}, "No such configuration property"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(
    kafka: KafkaServer, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        connector(kafka, **{"topic": "t", **config})


def test_partitions_and_offsets_that_do_not_fit_the_topic_are_fatal(
    kafka: KafkaServer, intake: KeepingIntake
) -> None:
    topic = kafka.new_topic(2)
    with pytest.raises(PenstockError, match="2 partitions to read, start_from has 1 offsets"):
        connector(kafka, topic, start_from={"offsets": [0]}).run(intake)
    with pytest.raises(PenstockError, match=r"has partitions \[0, 1\], but not \[7\]"):
        connector(kafka, topic, partitions=[0, 7]).run(intake)


@settings(max_examples=examples(150), deadline=None)
@given(
    values=st.lists(
        st.sampled_from(
            [b'{"id": 1}', b'{"id": 2', b'"name": "x"}', b"[", b"]", b"}", b'{"id": 3} ', b"",
             b'{"id":', b', "x": {}}', b"7", b'{"id": 4}{"id": 5}', b'"a,b', b'1,"x"', b'2,"y',
             b'z"']
        ),
        max_size=6,
    ),
    name=st.sampled_from(["json", "csv"]),
)  # fmt: skip
@example([b'{"other": {}', b', "id": 2}'], "json")
def test_parsing_many_values_at_once_is_parsing_each(values: list[bytes], name: str) -> None:
    form = {"name": name, "config": {"update_format": "raw"} if name == "json" else {}}
    at_once = KeepingIntake()
    at_once.push(ValueParser(form, make_parser(form, TABLE)).parse(values), 0)
    one_by_one = KeepingIntake()
    for value in values:
        one_by_one.push(ValueParser(form, make_parser(form, TABLE)).parse([value]), 0)

    assert at_once.rows == one_by_one.rows
    assert len(at_once.parse_errors) == len(one_by_one.parse_errors)
