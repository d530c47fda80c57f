"""Transactions on one topic under a fence, each with the topic's state in it.

    claim          init_transactions(id of the topic)   aborts what another writer left open and
                                                        fences that writer off
                   read the state                       nobody else can change it now
    write          begin ─ records ─ state ─ commit     at one instant for readers of committed data
    fenced?        another writer has claimed meanwhile: claim again, look at the state again

The state (marker, open snapshots) is the metadata text of an offset that the transaction commits
for partition 0 in the consumer group `penstock.<topic>`. So it changes in the very transaction
that writes the records, is read in one request, and disappears with the topic. There is one
transactional id per topic, `penstock.<topic>`, so that all who ever write to the topic exclude
each other; whether one may is decided by the state that it finds (`io.outputs.fencing`).

After a lost reply nothing is guessed: the next claim settles the transaction, and the state says
whether it got through. Brokers forget the offsets of a group without commits after
offsets.retention.minutes (7 days by default); the marker is then gone, which is the case "marker
lost" of the recovery rules.

Cost: a claim is about 30 ms, a transaction about 35 ms on one broker, whatever its size.

Not here: which records (`messages`, `records`), when to write (the sinks).
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from penstock.errors import PenstockError
from penstock.io.contracts import Marker, SinkRejected, SinkUnavailable
from penstock.io.kafka.client import CONNECT_S, TRY_S, Cluster
from penstock.io.kafka.messages import OVERHEAD_BYTES, Message
from penstock.io.kafka.reading import ends_of, scan
from penstock.io.outputs.fencing import marker_from_json, marker_to_json

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer

#: how often one write claims the topic again before it gives up for this time
CLAIMS = 40
COMMIT_S = 60.0
#: how long to wait for a transaction that is about to end before the state is claimed
STABLE_S = 2.0
#: open snapshots remembered; more than one only while writers of one connector compete
_OPEN = 8
DEFAULT_MAX_BYTES = 1_000_000
#: UNKNOWN is what brokers answer to a commit that meets a claim half-way
_UNDECIDED = frozenset(
    ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH", "_FATAL", "UNKNOWN")
)


@dataclass(frozen=True, slots=True)
class TopicState:
    """`marker`: what is published. `open`: generation → attempt of snapshots being staged.
    `write`: the name of the transaction that left this state."""

    marker: Marker | None = None
    open: Mapping[int, str] = field(default_factory=dict)
    write: str = ""

    def to_text(self) -> str:
        marker = None if self.marker is None else marker_to_json(self.marker)
        newest = sorted(self.open)[-_OPEN:]
        still_open = {str(g): self.open[g] for g in newest}
        return json.dumps({"marker": marker, "open": still_open, "write": self.write})

    @staticmethod
    def from_text(text: str | None) -> TopicState:
        """ValueError, KeyError or TypeError if it is not ours."""
        if not text:
            return TopicState()
        found = json.loads(text)
        marker = found["marker"] and marker_from_json(found["marker"])
        still_open = {int(g): str(a) for g, a in found["open"].items()}
        return TopicState(marker, still_open, found["write"])


@dataclass(frozen=True, slots=True)
class Write:
    """One transaction: `records`, then what `tail` makes of how many of them went to each
    partition, and the topic's state after it."""

    records: Iterable[Message]
    state: TopicState
    tail: Callable[[Sequence[int]], Sequence[Message]] | None = None


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be, and how it is made if it is absent (−1: the broker's default)."""

    name: str
    is_compacted: bool
    partitions: int = -1
    replication_factor: int = -1
    config: Mapping[str, str] = field(default_factory=dict)


class _Undecided(Exception):
    """Another writer has claimed the topic since we did, or the broker cannot say how the
    transaction ended: the next claim settles it."""


class TopicWriter:
    """See the module. Used by one thread."""

    def __init__(
        self,
        cluster: Cluster,
        spec: TopicSpec,
        *,
        transactional_id: str,
        producer_options: Mapping[str, str],
        consumer_options: Mapping[str, str],
    ) -> None:
        self.spec = spec
        self._cluster = cluster
        self._id = transactional_id
        self._producer_options = producer_options
        self._consumer_options = consumer_options
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None
        self._state = TopicState()
        self._delivery_error: KafkaError | None = None
        self.partitions = 0
        self.max_bytes = DEFAULT_MAX_BYTES
        self.bytes_written = 0

    def check_options(self) -> None:
        """Raise UserError for options that librdkafka does not take. Makes no connection last."""
        self._cluster.producer(**{**self._producer_options, "transactional.id": self._id})
        self._new_consumer().close()

    # looking

    def open(self) -> None:
        """Connect; raises SinkUnavailable if no broker answers. Changes nothing."""
        self.close()
        self._consumer = self._new_consumer()
        with self._cluster.errors("connecting"):
            try:
                self._consumer.list_topics(timeout=CONNECT_S)
            finally:
                self._consumer.poll(0)  # lets it say why

    def validate(self) -> None:
        """Check that the topic is what it must be, or can be made; raise SinkRejected if not."""
        if self._look_at_topic():
            return
        with self._cluster.errors("creating the topic"):
            self._create(validate_only=True)

    def state(self) -> TopicState:
        """The topic's state. What another writer left undecided is settled first."""
        if self._producer is not None:
            return self._state
        if not self._exists():
            return TopicState()
        try:
            return self._read_state()
        except SinkUnavailable:
            # a writer died between its records and its commit: claiming aborts what it left
            self._claim()
            return self._state

    def _new_consumer(self, **options: str) -> Consumer:
        return self._cluster.consumer(
            **{
                **self._consumer_options,
                "group.id": f"penstock.{self.spec.name}",
                "isolation.level": "read_committed",
                "enable.auto.commit": "false",
                **options,
            }
        )

    def _exists(self) -> bool:
        return self._partition_count() is not None

    def _partition_count(self) -> int | None:
        from confluent_kafka import TopicCollection

        name = self.spec.name
        admin = self._cluster.admin()
        futures = admin.describe_topics(TopicCollection([name]), request_timeout=TRY_S)
        try:
            return len(futures[name].result(TRY_S + 1).partitions)
        except self._cluster.kafka.KafkaException as e:
            if e.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
                return None
            raise self._cluster.translated("describing the topic", e.args[0]) from e

    def _look_at_topic(self) -> bool:
        """Learn the topic's shape; False if there is none."""
        found = self._partition_count()
        if found is None:
            return False
        self.partitions = found
        config = self._topic_config()
        if config is None:
            return True
        policies = config["cleanup.policy"].split(",")
        name = self.spec.name
        if self.spec.is_compacted and "compact" not in policies:
            raise SinkRejected(
                f"topic '{name}' has cleanup.policy={config['cleanup.policy']}: with an index the "
                "connector keeps one record a key, which needs cleanup.policy=compact; alter the "
                "topic or leave out the index",
                details={"topic": name},
            )
        if not self.spec.is_compacted and "compact" in policies:
            raise SinkRejected(
                f"topic '{name}' is compacted: changes without a key would be lost; give the "
                "connector an index (and the json format or avro with update_format "
                "confluent_jdbc), or alter the topic to cleanup.policy=delete",
                details={"topic": name},
            )
        mine = int(self._cluster.options.get("message.max.bytes", DEFAULT_MAX_BYTES))
        self.max_bytes = min(mine, int(config["max.message.bytes"]))
        return True

    def _topic_config(self) -> dict[str, str] | None:
        """None if we may not read it: the broker will then refuse what does not fit."""
        from confluent_kafka.admin import ConfigResource, ResourceType

        resource = ConfigResource(ResourceType.TOPIC, self.spec.name)
        admin = self._cluster.admin()
        futures = admin.describe_configs([resource], request_timeout=TRY_S)
        try:
            found = futures[resource].result(TRY_S + 1)
        except self._cluster.kafka.KafkaException as e:
            if e.args[0].name() in ("TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"):
                return None
            raise self._cluster.translated("describing the topic", e.args[0]) from e
        return {k: str(v.value) for k, v in found.items()}

    def _create(self, *, validate_only: bool) -> None:
        from confluent_kafka.admin import NewTopic

        spec = self.spec
        policy = {"cleanup.policy": "compact"} if spec.is_compacted else {}
        topic = NewTopic(
            spec.name, spec.partitions, spec.replication_factor, config={**policy, **spec.config}
        )
        admin = self._cluster.admin()
        try:
            admin.create_topics(
                [topic],
                operation_timeout=TRY_S,
                request_timeout=TRY_S,
                validate_only=validate_only,
            )[spec.name].result(TRY_S + 1)
        except self._cluster.kafka.KafkaException as e:
            if e.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise

    def _read_state(self) -> TopicState:
        assert self._consumer is not None, "open first"
        kafka = self._cluster.kafka
        where = kafka.TopicPartition(self.spec.name, 0)
        with self._cluster.errors("reading the marker"):
            (found,) = self._consumer.committed([where], timeout=STABLE_S)
            if found.error is not None:
                raise kafka.KafkaException(found.error)
        try:
            return TopicState.from_text(found.metadata)
        except (ValueError, KeyError, TypeError) as e:
            raise SinkRejected(
                f"consumer group 'penstock.{self.spec.name}' has an offset of topic "
                f"'{self.spec.name}' that is not ours: give the connector a topic of its own, or "
                "delete that group",
                details={"metadata": found.metadata},
            ) from e

    def scan(self) -> Callable[[], Iterator[list[Any]]]:
        """Makes iterators over the records that are committed now, in pieces; empty if there is no
        topic. Each call reads them anew."""
        partitions = self._partition_count()
        ends = ends_of(self._cluster, self.spec.name, partitions) if partitions else {}

        def pieces() -> Iterator[list[Any]]:
            if not ends:
                return
            consumer = self._new_consumer(**{"enable.partition.eof": "true"})
            try:
                yield from scan(self._cluster, consumer, self.spec.name, ends)
            finally:
                consumer.close()

        return pieces

    def privileges(self) -> Sequence[str]:
        name = self.spec.name
        return (
            f"Describe, Read and Write on topic '{name}'",
            f"Create on topic '{name}' unless it exists",
            f"Read on group 'penstock.{name}'",
            f"Describe and Write on transactional id '{self._id}'",
        )

    # writing

    def write(self, plan: Callable[[TopicState], Write | None]) -> list[int] | None:
        """Do what `plan` makes of the topic's state, in one transaction; the number of records in
        each partition. None if the plan was to do nothing.

        `plan` may be called again when another writer came in between, and raises what forbids the
        write. After SinkUnavailable the outcome is unknown until `state` or `write` is called."""
        counts: list[int] = []
        sent: TopicState | None = None
        for attempt in range(CLAIMS):
            if self._producer is None:
                self._claim()
            if sent is not None and self._state.write == sent.write:
                return counts  # the undecided transaction got through
            write = plan(self._state)
            if write is None:
                return None
            sent = replace(write.state, write=secrets.token_hex(6))
            counts = [0] * self.partitions
            try:
                self._commit(write, sent, counts)
            except _Undecided:
                # the claimers back off by chance, so that each gets a transaction through
                time.sleep(random.uniform(0, 0.02) * min(attempt, 10))
                continue
            self._state = sent
            return counts
        raise SinkUnavailable(
            f"topic '{self.spec.name}': other writers of the same transactional id '{self._id}' "
            f"came in between {CLAIMS} times",
        )

    def _claim(self) -> None:
        """Fence off every other writer and learn the state that they left."""
        self._ensure_topic()
        # brokers hold batches, not only messages, against the topic's max.message.bytes
        batch_bytes = str(max(1, self.max_bytes - OVERHEAD_BYTES))
        producer = self._cluster.producer(
            **{
                "batch.size": self._cluster.options.get("batch.size", batch_bytes),
                **self._producer_options,
                "transactional.id": self._id,
            }
        )  # fmt: skip
        with self._cluster.errors("claiming the topic"):
            # on a connection that is up already, the claim takes a few ms instead of half a second
            producer.list_topics(self.spec.name, timeout=TRY_S)
            producer.init_transactions(TRY_S)
        self._state = self._read_state()
        self._producer = producer

    def _ensure_topic(self) -> None:
        if self._look_at_topic():
            return
        with self._cluster.errors("creating the topic"):
            self._create(validate_only=False)
        until = time.monotonic() + TRY_S
        while not self._look_at_topic():
            if time.monotonic() > until:
                raise SinkUnavailable(f"topic '{self.spec.name}' was made and does not show up")
            time.sleep(0.02)

    def _commit(self, write: Write, state: TopicState, counts: list[int]) -> None:
        """Also fills in `counts`."""
        producer = self._producer
        assert producer is not None and self._consumer is not None
        self._delivery_error = None
        try:
            producer.begin_transaction()
            for m in write.records:
                self._produce(producer, m, counts)
            if write.tail is not None:
                producer.flush(COMMIT_S)  # only then it is known who went where
                for m in write.tail(counts):
                    self._produce(producer, m, None)
            offset = self._cluster.kafka.TopicPartition(self.spec.name, 0, 0, state.to_text())
            group = self._consumer.consumer_group_metadata()
            producer.send_offsets_to_transaction([offset], group, TRY_S)
            producer.commit_transaction(COMMIT_S)
        except self._cluster.kafka.KafkaException as e:
            raise self._failed(e.args[0]) from e
        except BaseException:
            # the records could not be made; what was sent of them is void
            with suppress(self._cluster.kafka.KafkaException):
                producer.abort_transaction(TRY_S)
            self._drop_producer()
            raise

    def _produce(self, producer: Producer, m: Message, counts: list[int] | None) -> None:
        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                self._delivery_error = self._delivery_error or error
            elif counts is not None:
                counts[message.partition()] += 1

        until = time.monotonic() + COMMIT_S
        while True:
            try:
                producer.produce(
                    self.spec.name, m.value, m.key, m.partition, on_delivery=delivered,
                    headers=m.headers,
                )  # fmt: skip
                break
            except BufferError as e:
                producer.poll(0.1)
                if time.monotonic() > until:
                    raise SinkUnavailable(
                        f"topic '{self.spec.name}': the brokers take no records"
                    ) from e
        producer.poll(0)
        self.bytes_written += m.size

    def _failed(self, error: KafkaError) -> PenstockError | _Undecided:
        """The transaction failed, or its outcome is unknown. Give the producer up in any case:
        the next claim settles it."""
        producer = self._producer
        if error.txn_requires_abort() and producer is not None:
            with suppress(self._cluster.kafka.KafkaException):
                producer.abort_transaction(TRY_S)
        self._drop_producer()
        cause = self._delivery_error or error
        if error.fatal() or {error.name(), cause.name()} & _UNDECIDED:
            return _Undecided()
        return self._cluster.translated("writing", cause)

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()

    def close(self) -> None:
        self._drop_producer()
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = None
