"""kafka_output: a view as a Kafka topic (contract section 7.4).

    topic                the topic; made at the first write if it is absent
    bootstrap.servers    the brokers; every key that is not listed here is librdkafka's
    headers              [{"key": …, "value": text | [bytes] | null}], added to every data record
    partitions, replication_factor, topic_config     for a topic that we make; ours
    fault_tolerance      {"producer_options": {…}, "consumer_options": {…}}: librdkafka's, for the
                         one client only
    log_level            librdkafka's log: emerg … debug
    initialization_timeout_secs      accepted; we try again for as long as it takes

    format                                    index   topic is     guarantee
    ────────────────────────────────────────  ──────  ───────────  ─────────
    json, csv, avro raw (this one also keyed)  –       appended to  marked     `kafka_log`
    json, avro confluent_jdbc                 yes     compacted    per_key    `kafka_upsert`

Everything is written in transactions, so a reader with isolation.level=read_committed sees
nothing twice and nothing that was taken back.
"""

from __future__ import annotations

from typing import Any

from penstock.errors import UserError
from penstock.io.contracts import Sink, SinkContext
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.kafka.client import Cluster, client_options, nested_options
from penstock.io.kafka.encoders import is_upsert
from penstock.io.kafka.records import Headers
from penstock.io.kafka.topic import Topic, TopicSpec
from penstock.io.kafka.writer import JAVAS_PARTITIONER, TopicWriter
from penstock.io.outputs.kafka_log import KafkaLogSink
from penstock.io.outputs.kafka_upsert import KafkaUpsertSink

OURS = (
    "topic", "headers", "partitions", "replication_factor", "topic_config", "fault_tolerance",
    "initialization_timeout_secs",
)  # fmt: skip

#: ours unless the connector says otherwise. Java's partitioner: other writers of the topic put a
#: key into the same partition
_PRODUCER = {"partitioner": JAVAS_PARTITIONER, "linger.ms": "50"}


def kafka_output(context: SinkContext) -> Sink:
    """The sink for the connector's format and index. Raises UserError for a bad configuration."""
    o = Options.of("kafka_output", TRANSPORT_ERROR, context.config)
    topic = o.required_text("topic")
    headers = _headers(o)
    o.integer("initialization_timeout_secs", 60)
    if context.format is None:
        raise UserError(
            f"connector '{context.connector}': kafka_output needs a 'format'",
            code="ConfigError.OutputFormatNotSpecified",
        )
    spec = TopicSpec(
        topic,
        is_compacted=is_upsert(context.format, context.key),
        partitions=_count(o, "partitions"),
        replication_factor=_count(o, "replication_factor"),
        config=nested_options(o, "topic_config", o.raw("topic_config", {})),
    )
    kind = KafkaUpsertSink if spec.is_compacted else KafkaLogSink
    return kind(context, _writer(o, spec), headers)


def _writer(o: Options, spec: TopicSpec) -> TopicWriter:
    both = client_options(o, OURS)
    # a transaction belongs to one writer of one topic, whatever else the program shares
    prefix = both.pop("transactional.id", "penstock")
    for key in ("group.id", "isolation.level", "enable.idempotence", "delivery.report.only.error"):
        if key in both:
            raise o.fail(key, "cannot be chosen: the connector's transactions depend on it")
    extra = Options.of("fault_tolerance", TRANSPORT_ERROR, o.raw("fault_tolerance", {}))
    producer = nested_options(extra, "producer_options", extra.raw("producer_options", {}))
    consumer = nested_options(extra, "consumer_options", extra.raw("consumer_options", {}))
    extra.done()
    # a consumer would warn of them
    producer = {k: both.pop(k, default) for k, default in _PRODUCER.items()} | producer
    cluster = Cluster(both, f"topic '{spec.name}'")
    writer = TopicWriter(
        cluster,
        Topic(cluster, spec),
        transactional_id=f"{prefix}.{spec.name}",
        producer_options=producer,
        consumer_options=consumer,
        is_counted=not spec.is_compacted,
    )
    writer.check_options()
    return writer


def _count(o: Options, key: str) -> int:
    """A positive number; −1, the broker's default, if it is not given."""
    return -1 if o.raw(key, None) is None else o.integer(key, 1)


def _headers(o: Options) -> Headers:
    given = o.raw("headers", [])
    if not isinstance(given, list):
        raise o.fail("headers", 'must be an array of {"key": …, "value": …}')
    return [_header(o, h) for h in given]


def _header(o: Options, given: Any) -> tuple[str, bytes | None]:
    key = given.get("key") if isinstance(given, dict) else None
    if not isinstance(key, str) or not key or set(given) - {"key", "value"}:
        raise o.fail("headers", f'has {given!r} where {{"key": …, "value": …}} is expected')
    if key.startswith("penstock-"):
        raise o.fail("headers", f"has the key {key!r}; penstock-… are the connector's own")
    value = given.get("value")
    if value is None:
        return key, None
    if isinstance(value, str):
        return key, value.encode()
    if isinstance(value, list) and all(type(b) is int and 0 <= b < 256 for b in value):
        return key, bytes(value)
    raise o.fail("headers", f"has the value {value!r} for {key!r}: text, bytes or null is expected")
