"""Kafka with passwords and access control: the documented privileges are those that are needed,
and what is missing is said without a secret."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation as Op
from confluent_kafka.admin import ResourceType

from penstock.io.contracts import SinkRejected, SinkUnavailable
from penstock.io.outputs import OUTPUTS
from tests.contract.targets import KafkaLogTarget, KafkaUpsertTarget
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.kafka_server import PASSWORD, USER, KafkaServer

KINDS = (KafkaLogTarget, KafkaUpsertTarget)


def signed_in(target: KafkaLogTarget, password: str = PASSWORD) -> dict[str, Any]:
    """The target's configuration on the listener that asks who is there."""
    return target.config() | {
        "bootstrap.servers": f"127.0.0.1:{target.kafka.sasl_port}",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": password,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_privileges_of_the_page_are_enough_and_each_is_asked_for_by_its_name(
    kafka: KafkaServer, kind: type[KafkaLogTarget]
) -> None:
    target = kind(kafka)
    topic, transaction = target.topic, f"penstock.{target.topic}"

    def refusal() -> str:
        """What a new connector is refused for; every one begins with a connection of its own."""
        sink = target.sink(config=signed_in(target))
        with pytest.raises(SinkRejected) as e:
            reset(sink, rows(1), 1)
        sink.close()
        return str(e.value)

    assert "grant the user Describe, Read, Write (and Create) on the topic" in refusal()
    kafka.grant(ResourceType.TOPIC, topic, Op.DESCRIBE, Op.READ, Op.WRITE, Op.CREATE)
    assert "grant the user" in refusal()
    kafka.grant(ResourceType.GROUP, transaction, Op.READ)
    assert "grant the user Describe and Write on the transactional id" in refusal()
    kafka.grant(ResourceType.TRANSACTIONAL_ID, transaction, Op.DESCRIBE, Op.WRITE)

    sink = target.sink(config=signed_in(target))
    reset(sink, rows(1, 2), 1)
    sink.apply(batch((rows(3), 1)), marker(1, 2, 3))
    assert target.look() == rows(1, 2, 3)
    sink.close()


def test_a_wrong_password_is_said_to_be_wrong_and_not_repeated(kafka: KafkaServer) -> None:
    target = KafkaLogTarget(kafka)
    context = replace(target.context(), config=signed_in(target, "a-wrong-secret"))
    made = OUTPUTS[target.transport](context)
    # passing, as passwords change: it is tried again, and says why it cannot go on
    with pytest.raises(SinkUnavailable) as e:
        made.open()
    assert e.value.code == "OutputTransportError"
    assert "Authentication failed" in str(e.value) and "sasl" in str(e.value).lower()
    assert "a-wrong-secret" not in f"{e.value} {e.value.details}"
    made.close()
