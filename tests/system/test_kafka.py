"""Kafka through the whole system: a real server, a real broker, the REST API."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from typing import Any

import pytest
from confluent_kafka import Message

from penstock.client import KafkaViewReader
from tests.kafka_server import KafkaServer, TopicReader, running_kafka
from tests.system.conftest import Pipeline, System


def program(kafka: KafkaServer, topic: str) -> str:
    address = kafka.client()["bootstrap.servers"]
    config = {"topic": topic, "bootstrap.servers": address, "partitions": 2}
    sink = {
        "name": "log",
        "mode": "snapshot_and_follow",
        "transport": {"name": "kafka_output", "config": config},
        "format": {"name": "json", "config": {"update_format": "insert_delete"}},
    }
    return (
        "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR);"
        f"CREATE MATERIALIZED VIEW m WITH ('connectors' = '{json.dumps([sink])}') AS "
        "SELECT id, v FROM t WHERE id < 1000;"
    )


def expected(p: Pipeline) -> Counter[Any]:
    return Counter(tuple(r.items()) for r in p.query("SELECT id, v FROM m"))


def test_a_topic_is_reset_while_rows_arrive(system: System, kafka: KafkaServer) -> None:
    topic = kafka.new_name("orders")
    p = system.pipeline(program(kafka, topic))
    p.send("t", *({"id": i, "v": f"v{i}"} for i in range(50)))
    views: list[Counter[Any]] = []
    with KafkaViewReader(
        kafka.client(), topic, on_view=lambda rows, *_: views.append(rows)
    ) as reader:
        reader.wait_for(lambda r: r.rows().total() == 50)
        before = len(views)
        kafka.produce(topic, {"value": b"rubbish"}, {"value": None, "key": b"more"})
        token = p.reset("m", "log").json()["token"]
        p.send("t", {"id": 7, "v": "changed"}, {"id": 77, "v": "new"})
        assert p.wait_reset(token)["status"] == "complete"
        reader.wait_for(lambda r: r.generation == 2 and r.rows() == expected(p))
    p.stop()

    assert all(rows.total() in (50, 51) for rows in views[before - 1 :])


@pytest.mark.slow
def test_a_reset_waits_for_a_broker_that_is_down(system: System) -> None:
    with running_kafka() as kafka:
        topic = kafka.new_name("orders")
        p = system.pipeline(program(kafka, topic))
        p.send("t", *({"id": i, "v": f"v{i}"} for i in range(50)))
        kafka.stop(signal.SIGKILL)
        p.send("t", {"id": 8, "v": "while it was down"}, wait=False)
        token = p.reset("m", "log").json()["token"]
        assert p.get("/reset_status", params={"token": token}).json()["status"] == "inprogress"
        kafka.start()
        assert p.wait_reset(token, 120)["status"] == "complete"
        with KafkaViewReader(kafka.client(), topic) as reader:
            reader.wait_for(lambda r: r.generation == 2 and r.rows() == expected(p))
        p.stop()


ROUNDS = 5


@pytest.mark.slow
@pytest.mark.parametrize("model", ["exactly_once", "at_least_once"])
def test_from_topic_to_topics_through_kills_nothing_is_lost_and_nothing_twice(
    system: System, kafka: KafkaServer, model: str
) -> None:
    """Records keep coming while the pipeline's process is killed, checkpointed and reset."""
    source, log, state = kafka.new_topic(2), kafka.new_name("log"), kafka.new_name("state")
    p = Pipeline.create(
        system,
        relay(kafka, source, log, state),
        fault_tolerance={"model": model, "checkpoint_interval_secs": None},
    )
    rng = random.Random(5)
    sent: Counter[int] = Counter()
    views: list[Counter[Any]] = []
    with KafkaViewReader(
        kafka.client(), kafka_made(kafka, log), on_view=lambda rows, *_: views.append(rows)
    ) as reader:
        for _ in range(ROUNDS):
            p.start()
            for _ in range(rng.randrange(2, 6)):
                keys = [rng.randrange(40) for _ in range(200)]
                sent.update(keys)
                kafka.produce(
                    source, *({"value": b'{"k": %d}' % k, "partition": k % 2} for k in keys)
                )
                act = rng.choice(["nothing", "reset", "checkpoint"])
                if act == "reset":
                    p.reset("counts", rng.choice(["log", "state"]))
                elif act == "checkpoint":
                    p.post("/checkpoint")
            p.kill()
        p.start()
        wanted = Counter((("k", k), ("n", n)) for k, n in sent.items())
        reader.wait_for(lambda r: r.rows() == wanted, 90)
        plain = TopicReader(kafka)
        deadline = time.monotonic() + 90
        while held(plain.read(state) or []) != dict(sent):
            assert time.monotonic() < deadline, "the compacted topic is not the view"
        plain.close()
        # whatever was shown in between was counts of one instant: each key once
        for rows in views:
            assert max(rows.values(), default=1) == 1
            assert len({dict(r)["k"] for r in rows}) == len(rows)
    p.stop()


def held(messages: list[Message]) -> dict[int, int]:
    rows: dict[int, int | None] = {}
    for m in messages:
        value = m.value()
        rows[json.loads(m.key() or b"")["k"]] = value and json.loads(value)["n"]
    return {k: n for k, n in rows.items() if n is not None}


def kafka_made(kafka: KafkaServer, topic: str) -> str:
    """The topic, made already: the reader wants it from the start."""
    kafka.create(topic, 2)
    return topic


def relay(kafka: KafkaServer, source: str, log: str, state: str) -> str:
    address = {"bootstrap.servers": kafka.client()["bootstrap.servers"]}
    raw = {"name": "json", "config": {"update_format": "raw"}}
    reading = {"topic": source, "start_from": "earliest", **address}
    given = [{"name": "in", "format": raw, "transport": {"name": "kafka_input", "config": reading}}]
    made = [
        {
            "name": name, "mode": "snapshot_and_follow", "format": {"name": "json"}, **more,
            "transport": {"name": "kafka_output", "config": {"topic": topic, **address}},
        }
        for name, topic, more in (
            ("log", log, {}), ("state", state, {"index": "by_k"})
        )
    ]  # fmt: skip
    return (
        f"CREATE TABLE t (k INT) WITH ('connectors' = '{json.dumps(given)}');"
        f"CREATE MATERIALIZED VIEW counts WITH ('connectors' = '{json.dumps(made)}') AS "
        "SELECT k, COUNT(*) AS n FROM t GROUP BY k; CREATE INDEX by_k ON counts (k);"
    )
