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

What a partition has lost (an unclean leader election, a cluster restored from a copy) is noticed
before anything is added to it (`ends`): the state, the group being on another partition, tells
which topic it was, where each partition ended and under which leader.

After a lost reply nothing is guessed: the next claim settles the transaction, and the state says
whether it got through. Brokers forget the offsets of a group without commits after
offsets.retention.minutes (7 days by default); the marker is then gone, which is the case "marker
lost" of the recovery rules.

Cost: a claim is about 30 ms, a transaction about 35 ms on one broker, whatever its size.

Not here: which records (`messages`, `records`), when to write (the sinks).
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice, repeat
from operator import length_hint
from typing import TYPE_CHECKING, Any

from penstock.errors import PenstockError
from penstock.io.contracts import RESTORED, SinkRejected, SinkUnavailable
from penstock.io.kafka.client import CONNECT_S, TRY_S, Cluster
from penstock.io.kafka.ends import End, ends_now, epoch_of, overwritten, place
from penstock.io.kafka.messages import OVERHEAD_BYTES, Keyed, Message
from penstock.io.kafka.reading import Piece, Scan, ends_of, scan
from penstock.io.kafka.state import TopicState
from penstock.io.kafka.topic import Topic, is_another

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

#: how often one write claims the topic again before it gives up for this time
CLAIMS = 40
COMMIT_S = 60.0
JAVAS_PARTITIONER = "murmur2_random"
#: after how many records the producer is asked what became of earlier ones
POLL_RECORDS = 1_000
#: how often a wait for the brokers looks whether any of them is there
SLICE_S = 1.0
#: how long to wait for a transaction that is about to end before the state is claimed
STABLE_S = 2.0
#: UNKNOWN is what brokers answer to a commit that meets a claim half-way
_UNDECIDED = frozenset(
    ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH", "_FATAL", "UNKNOWN")
)


@dataclass(frozen=True, slots=True)
class Write:
    """One transaction: `records`, then what `tail` makes of how many of them went to each
    partition, and the topic's state after it."""

    records: Iterable[Message | Keyed]
    state: TopicState
    tail: Callable[[Sequence[int]], Iterable[Message]] | None = None


class _Undecided(Exception):
    """Another writer has claimed the topic since we did, or the broker cannot say how the
    transaction ended: the next claim settles it."""


class TopicWriter:
    """See the module. Used by one thread."""

    def __init__(
        self,
        cluster: Cluster,
        topic: Topic,
        *,
        transactional_id: str,
        producer_options: Mapping[str, str],
        consumer_options: Mapping[str, str],
        is_counted: bool,
    ) -> None:
        """`is_counted`: how many records went to each partition is told; it costs a call for each
        record."""
        self.topic = topic
        self._is_counted = is_counted
        self._cluster = cluster
        self._id = transactional_id
        self._producer_options = producer_options
        self._consumer_options = consumer_options
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None
        self._state = TopicState()
        self._delivery_error: KafkaError | None = None
        #: a record went to a partition that was not there when the topic was claimed
        self._has_grown = False
        self.bytes_written = 0

    def check_options(self) -> None:
        """Raise UserError for options that librdkafka does not take."""
        nowhere = {"bootstrap.servers": ""}
        producer = {**self._producer_options, "transactional.id": self._id}
        consumer = self._of_group(self._consumer_options)
        _check_options(
            self._cluster.where,
            frozenset({**self._cluster.options, **producer, **nowhere}.items()),
            frozenset({**self._cluster.options, **consumer, **nowhere}.items()),
        )

    # looking

    def open(self) -> None:
        """Connect; raises SinkUnavailable if no broker answers. Changes nothing."""
        self.close()
        self._consumer = self.new_consumer()
        with self._cluster.errors("connecting"):
            try:
                self._consumer.list_topics(timeout=CONNECT_S)
            finally:
                self._consumer.poll(0)  # lets it say why

    def validate(self) -> None:
        """Check that the topic is what it must be, or can be made; raise SinkRejected if not."""
        if not self.topic.look():
            self.topic.create(validate_only=True)

    def state(self) -> TopicState:
        """The topic's state. What another writer left undecided is settled first."""
        if self._producer is not None:
            return self._state
        if self.topic.count_partitions() is None:
            return TopicState()
        try:
            return self._read_state()
        except SinkUnavailable:
            # a writer died between its records and its commit: claiming aborts what it left
            self._claim()
            return self._state

    def new_consumer(self, **options: str) -> Consumer:
        """A consumer of committed records in the topic's own group."""
        return self._cluster.consumer(**self._of_group({**self._consumer_options, **options}))

    def _of_group(self, options: Mapping[str, str]) -> dict[str, str]:
        return {
            **options,
            "group.id": f"penstock.{self.topic.name}",
            "isolation.level": "read_committed",
            "enable.auto.commit": "false",
        }

    def _read_state(self) -> TopicState:
        assert self._consumer is not None, "open first"
        kafka = self._cluster.kafka
        where = kafka.TopicPartition(self.topic.name, 0)
        with self._cluster.errors("reading the marker"):
            (found,) = self._consumer.committed([where], timeout=STABLE_S)
            if found.error is not None:
                raise kafka.KafkaException(found.error)
        try:
            state = TopicState.from_group(found.metadata, self._group_ends)
        except (ValueError, KeyError, TypeError) as e:
            raise SinkRejected(
                f"consumer group 'penstock.{self.topic.name}' has an offset of topic "
                f"'{self.topic.name}' that is not ours: give the connector a topic of its own, or "
                "delete that group",
                details={"metadata": found.metadata},
            ) from e
        if not self._lost(state):
            return state
        # the marker tells it from now on; the next write may be as short as it is
        marker = None if state.marker is None else replace(state.marker, phase=RESTORED)
        return replace(state, marker=marker, topic="", ends=())

    def _group_ends(self, partitions: int) -> list[End]:
        """Where the group says that they ended."""
        assert self._consumer is not None, "open first"
        kafka = self._cluster.kafka
        asked = [kafka.TopicPartition(self.topic.name, p) for p in range(partitions)]
        with self._cluster.errors("reading where the topic ended"):
            found = self._consumer.committed(asked, timeout=STABLE_S)
            for tp in found:
                if tp.error is not None:
                    raise kafka.KafkaException(tp.error)
        return [End(max(0, tp.offset), epoch_of(tp)) for tp in found]

    def scan(self, since: Sequence[int] = ()) -> Scan:
        """What is committed now, from the offsets `since` on or from the beginning."""
        name, partitions = self.topic.name, self.topic.count_partitions()
        ends = ends_of(self._cluster, name, partitions) if partitions else {}

        def pieces() -> Iterator[Piece]:
            if ends:
                # at its end a partition is asked once more, and would answer after half a second
                consumer = self.new_consumer(
                    **{
                        "auto.offset.reset": "earliest",
                        "enable.partition.eof": "true",
                        "fetch.wait.max.ms": "10",
                        # with enough read ahead it would stand still for a second
                        "fetch.queue.backoff.ms": "1",
                    }
                )
                try:
                    yield from scan(self._cluster, consumer, name, ends, since)
                finally:
                    _end(consumer)

        return Scan([end for _, end in sorted(ends.items())], pieces)

    def outages(self) -> int:
        """How often no broker could be reached so far. What brokers have when they are back need
        not be what they had."""
        for client in (self._producer, self._consumer):
            if client is not None:
                client.poll(0)  # lets it say so
        return self._cluster.outages

    @property
    def is_javas_partitioner(self) -> bool:
        """A key goes to the partition that its `data.murmur2` says."""
        return self._producer_options.get("partitioner") == JAVAS_PARTITIONER

    def privileges(self) -> Sequence[str]:
        name = self.topic.name
        return (
            f"Describe, Read and Write on topic '{name}'",
            f"Create on topic '{name}' unless it exists",
            f"Read on group 'penstock.{name}'",
            f"Describe and Write on transactional id '{self._id}'",
        )

    # writing

    def write(self, plan: Callable[[TopicState], Write | None]) -> list[int] | None:
        """Do what `plan` makes of the topic's state, in one transaction; the number of records in
        each partition, zeros if they are not counted. None if the plan was to do nothing.

        `plan` may be called again when another writer came in between, and raises what forbids the
        write. After SinkUnavailable the outcome is unknown until `state` or `write` is called."""
        counts: list[int] = []
        sent: TopicState | None = None
        for attempt in range(CLAIMS):
            if self._producer is None:
                self._claim()
            elif attempt == 0:
                self._check_whole()
            if sent is not None and self._state.write == sent.write:
                return counts  # the undecided transaction got through
            write = plan(self._state)
            if write is None:
                return None
            sent = replace(write.state, write=secrets.token_hex(6))
            counts = [0] * self.topic.partitions
            try:
                sent = self._commit(write, sent, counts)
            except _Undecided:
                # the claimers back off by chance, so that each gets a transaction through
                time.sleep(random.uniform(0, 0.02) * min(attempt, 10))
                continue
            self._state = sent
            return counts
        raise SinkUnavailable(
            f"topic '{self.topic.name}': other writers of the same transactional id '{self._id}' "
            f"came in between {CLAIMS} times",
        )

    def _check_whole(self) -> None:
        """The client goes on in a topic that was deleted and made anew, or that lost records, as if
        nothing had happened; and learns of more partitions minutes later. A look at the topic takes
        a millisecond or two."""
        claimed = self.topic.id
        what = "it was deleted"
        found = self.topic.count_partitions()
        if found is not None and not is_another(self.topic.id, claimed):
            try:
                what = self._lost(self._state)
            except SinkUnavailable:
                # a topic that is being deleted is described for a moment longer than it is there
                if self.topic.count_partitions() is not None:
                    raise
        if what:
            raise SinkUnavailable(
                f"topic '{self.topic.name}' has lost what was written to it: {what}"
            )
        if found != self.topic.partitions:
            self._drop_producer()
            self._claim()

    def _lost(self, state: TopicState) -> str:
        """In words; "" if nothing is known of it. The topic was just looked at."""
        cluster, name, ends = self._cluster, self.topic.name, state.ends
        if is_another(self.topic.id, state.topic):
            return "it was deleted and made anew"
        now = ends_now(cluster, name, len(ends)) if ends else {}
        if shorter := state.lost(now):
            return shorter
        p = overwritten(cluster, name, dict(enumerate(ends)), now, self.new_consumer)
        return "" if p is None else f"partition {p} has other records before {ends[p].offset}"

    def claim(self) -> TopicState:
        """Make sure that the topic is claimed, and whole; its state, which nobody else changes then
        without `write` noticing."""
        if self._producer is None:
            self._claim()
        else:
            self._check_whole()
        return self._state

    def _claim(self) -> None:
        """Fence off every other writer and learn the state that they left."""
        self.topic.ensure()
        # brokers hold batches, not only messages, against the topic's max.message.bytes
        batch_bytes = str(max(1, self.topic.max_bytes - OVERHEAD_BYTES))
        producer = self._cluster.producer(
            **{
                "batch.size": self._cluster.options.get("batch.size", batch_bytes),
                **self._producer_options,
                "transactional.id": self._id,
                "delivery.report.only.error": not self._is_counted,
            }
        )  # fmt: skip
        with self._cluster.errors("claiming the topic"):
            # on a connection that is up already, the claim takes a few ms instead of half a second
            producer.list_topics(self.topic.name, timeout=TRY_S)
            producer.init_transactions(TRY_S)
        self._state = self._read_state()
        self._producer = producer

    def _commit(self, write: Write, state: TopicState, counts: list[int]) -> TopicState:
        """`state`, with where the partitions end. Also fills in `counts`."""
        producer = self._producer
        assert producer is not None and self._consumer is not None
        self._delivery_error, self._has_grown = None, False
        self._cluster.is_down = False
        try:
            producer.begin_transaction()
            self._produce(producer, write.records, counts)
            if write.tail is not None:
                self._flush(producer)  # only then it is known who went where
                self._produce(producer, write.tail(counts), None)
            self._flush(producer)
            ends = ends_now(self._cluster, self.topic.name, self.topic.partitions)
            state = replace(
                state, topic=self.topic.id, ends=tuple(end for _, end in sorted(ends.items()))
            )
            group = self._consumer.consumer_group_metadata()
            producer.send_offsets_to_transaction(self._offsets(state), group, TRY_S)
            self._finish(producer)
            return state
        except self._cluster.kafka.KafkaException as e:
            raise self._failed(e.args[0]) from e
        except BaseException:
            # the records could not be made; what was sent of them is void
            self._abort(producer)
            raise

    def _offsets(self, state: TopicState) -> list[TopicPartition]:
        text, ends = state.to_group()
        texts = (text, *repeat("", len(ends) - 1))
        places = enumerate(zip(ends, texts, strict=True))
        return [place(self._cluster, self.topic.name, p, end, text) for p, (end, text) in places]

    def _flush(self, producer: Producer) -> None:
        """Wait for the records to be delivered, as long as a broker can be reached."""
        until = time.monotonic() + COMMIT_S
        while producer.flush(SLICE_S) > 0:
            if self._cluster.is_down or time.monotonic() > until:
                raise SinkUnavailable(f"topic '{self.topic.name}': the brokers take no records")
        if self._has_grown:
            raise SinkUnavailable(
                f"topic '{self.topic.name}' has got more partitions while it was written to"
            )

    def _finish(self, producer: Producer) -> None:
        """Commit; a commit that takes its time is asked for again while a broker can be reached."""
        until = time.monotonic() + COMMIT_S
        while True:
            try:
                producer.commit_transaction(SLICE_S)
                return
            except self._cluster.kafka.KafkaException as e:
                is_slow = e.args[0].name() == "_TIMED_OUT" and e.args[0].retriable()
                if not is_slow or self._cluster.is_down or time.monotonic() > until:
                    raise

    def _produce(
        self, producer: Producer, records: Iterable[Message | Keyed], counts: list[int] | None
    ) -> None:
        """Hand over `records`; `counts`, if given and they are counted, learns where they went.

        What is not counted has no report of its own: a record that cannot be delivered fails the
        transaction, which says why."""

        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                self._delivery_error = self._delivery_error or error
            elif counts is not None and message.partition() < len(counts):
                counts[message.partition()] += 1
            elif counts is not None:
                self._has_grown = True  # what is raised in here would be raised by any call

        more: dict[str, Any] = {"on_delivery": delivered} if self._is_counted else {}
        for piece in records:
            columns: tuple[list[Any], ...]
            if isinstance(piece, Message):
                columns = [piece.value], [piece.key], [piece.partition]
            else:
                where = piece.partitions
                columns = (
                    piece.values.to_pylist(), piece.keys.to_pylist(),
                    [-1] * len(piece.keys) if where is None else where.to_pylist(),
                )  # fmt: skip
            produce = producer.produce
            if options := {**more, **({"headers": piece.headers} if piece.headers else {})}:
                produce = partial(produce, **options)  # without, it takes half as long
            self._produce_columns(producer, produce, columns)
            self.bytes_written += piece.size
        producer.poll(0)

    def _produce_columns(
        self, producer: Producer, produce: Callable[..., object], columns: tuple[list[Any], ...]
    ) -> None:
        """`produce` for each value, key and partition, with no step of Python between two."""
        topic, n = self.topic.name, len(columns[0])
        left = iter(columns[0])
        calls = map(produce, repeat(topic), left, *columns[1:])
        while length_hint(left):
            try:
                deque(islice(calls, POLL_RECORDS), maxlen=0)
            except BufferError:
                at = n - length_hint(left) - 1  # the one that there was no room for
                self._wait_for_room(producer, partial(produce, topic, *(c[at] for c in columns)))
            producer.poll(0)

    def _wait_for_room(self, producer: Producer, produce: Callable[[], object]) -> None:
        """Call `produce` until the producer's queue takes the record."""
        until = time.monotonic() + COMMIT_S
        while True:
            # what is delivered is not reported, so that a longer wait would wait for nothing
            producer.poll(0.005)
            try:
                produce()
                return
            except BufferError as e:
                if self._cluster.is_down or time.monotonic() > until:
                    raise SinkUnavailable(
                        f"topic '{self.topic.name}': the brokers take no records"
                    ) from e

    def _failed(self, error: KafkaError) -> PenstockError | _Undecided:
        """The transaction failed, or its outcome is unknown. Give the producer up in any case:
        the next claim settles it."""
        if error.txn_requires_abort() and self._producer is not None:
            self._abort(self._producer)
        self._drop_producer()
        cause = self._delivery_error or error
        if error.fatal() or {error.name(), cause.name()} & _UNDECIDED:
            return _Undecided()
        return self._cluster.translated("writing", cause)

    def _abort(self, producer: Producer) -> None:
        """Spare readers the wait for the transaction's time-out, if a broker can be told."""
        if not self._cluster.is_down:
            with suppress(self._cluster.kafka.KafkaException):
                producer.abort_transaction(TRY_S)
        self._drop_producer()

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()

    def close(self) -> None:
        self._drop_producer()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            _end(consumer)


@lru_cache(maxsize=64)
def _check_options(
    where: str, producer: frozenset[tuple[str, str]], consumer: frozenset[tuple[str, str]]
) -> None:
    """Make the clients and let them go, without a connection. Once for the same options: each
    request to reset makes a sink, and these two can take a second to end."""
    Cluster(dict(producer), where).producer()
    Cluster(dict(consumer), where).consumer().close()


def _end(consumer: Consumer) -> None:
    """Close it while nobody waits: it is in no group that it would have to leave, and takes a
    second to end where it is about to connect."""
    threading.Thread(target=consumer.close, name="kafka close", daemon=True).start()
