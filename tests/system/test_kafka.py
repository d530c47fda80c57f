"""Kafka through the whole system: a real server, a real broker, the REST API."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Any

import pytest

from penstock.client import KafkaViewReader
from tests.kafka_server import KafkaServer, running_kafka
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
