"""The reader of append topics at each fault: whole versions only, and what is wrong is said."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from penstock.client import KafkaViewReader
from penstock.client import kafka as reading
from penstock.errors import TransientError, UserError
from tests.contract.kafka_targets import KafkaLogTarget, row_of
from tests.contract.test_kafka_security import signed_in
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.kafka_server import KafkaServer


def said(reader: KafkaViewReader, words: str) -> None:
    """Returns when the reader's last error has these words."""
    reader.wait_for(lambda r: words in (r.last_error or ""))


def test_a_topic_is_waited_for_and_one_made_anew_is_read_from_its_beginning(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LOOK_S", 0.2)
    target = KafkaLogTarget(kafka)
    seen: list[Counter[Any]] = []

    def note(found: Any, generation: int, step: int) -> None:
        seen.append(Counter({row_of(dict(r)): n for r, n in found.items()}))

    with KafkaViewReader(kafka.client(), target.topic, on_view=note) as reader:
        said(reader, "waiting for it")
        old = target.sink()
        reset(old, rows(*range(50)), 1)
        old.close()
        reader.wait_for_generation(1)
        assert reader.last_error is None
        target.remove()
        new = target.sink()
        reset(new, rows(1), 2)
        new.apply(batch((rows(2), 1)), marker(2, 3, 2))
        new.close()
        reader.wait_for(lambda r: (r.generation, r.step) == (2, 3))

    assert seen == [rows(*range(50)), rows(1), rows(1, 2)]


def test_changes_whose_snapshot_has_gone_are_not_shown_and_that_is_said(kafka: KafkaServer) -> None:
    target = KafkaLogTarget(kafka)
    sink = target.sink(config={**target.config(), "partitions": 1})
    reset(sink, rows(1, 2), 1)
    there = TopicPartition(target.topic, 0)
    end = max(m.offset() for m in target._reader.read(target.topic) or [])
    sink.apply(batch((rows(3), 1)), marker(1, 2, 3))
    kafka.admin.delete_records([TopicPartition(target.topic, 0, end + 1)])[there].result(30)

    with KafkaViewReader(kafka.client(), target.topic) as reader:
        said(reader, "no longer the snapshot of generation 1")
        assert reader.generation == 0 and not reader.rows()
        with pytest.raises(TransientError, match="reset the connector"):
            reader.wait_for_generation(1, timeout_s=0)
        reset(sink, rows(4), 2)
        reader.wait_for_generation(2)
        assert reader.rows().total() == 1 and reader.last_error is None
    sink.close()


def test_a_wrong_password_and_a_wrong_option_are_said(kafka: KafkaServer) -> None:
    target = KafkaLogTarget(kafka)
    kafka.create(target.topic)
    ours = ("topic", "partitions")
    wrong = {k: v for k, v in signed_in(target, "a-wrong-secret").items() if k not in ours}
    with KafkaViewReader(wrong, target.topic) as reader:
        said(reader, "Authentication failed")
        assert "a-wrong-secret" not in str(reader.last_error)
    wrong["no.such"] = 1
    with (
        KafkaViewReader(wrong, target.topic) as reader,
        pytest.raises(UserError, match="No such configuration property"),
    ):
        reader.wait_for_generation(1)
