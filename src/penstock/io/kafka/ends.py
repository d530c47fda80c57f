"""Where the partitions of a topic end, and whether what was there before an end still is.

A partition that ended later than it does has lost records (an unclean election, a cluster put back
from a copy). One that others have filled up again tells that only by its leader: asked where the
records of an earlier leader ended, it answers with an earlier place than they did.

Not seen: a cluster that was put back from a copy and went on under the same leaders, if others
have filled its partitions up by the next look; records that go from a partition's beginning
(retention, deletion).

Cost: one request; a consumer of its own for partitions whose leader has changed since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.io.contracts import SinkUnavailable
from penstock.io.kafka.client import TRY_S, Cluster

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

BATCH = 1_000
_ELECTING = ("NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "UNKNOWN_TOPIC_OR_PART")


class End(NamedTuple):
    """The offset after a partition's last record, and the epoch of its leader (-1: unknown)."""

    offset: int
    epoch: int = -1


def latest_ends(cluster: Cluster, topic: str, partitions: int, isolation: Any) -> dict[int, End]:
    """Where each partition ends for readers of that isolation level."""
    from confluent_kafka.admin import OffsetSpec

    latest: Any = OffsetSpec.latest()
    wanted = {cluster.kafka.TopicPartition(topic, p): latest for p in range(partitions)}
    until = time.monotonic() + TRY_S
    while True:
        futures = cluster.admin().list_offsets(
            wanted, isolation_level=isolation, request_timeout=TRY_S
        )
        try:
            found = {tp.partition: f.result(TRY_S + 1) for tp, f in futures.items()}
            return {p: End(r.offset, epoch_of(r)) for p, r in found.items()}
        except cluster.kafka.KafkaException as e:
            # a topic that was just made is not known everywhere yet
            if e.args[0].name() not in _ELECTING or time.monotonic() > until:
                raise cluster.translated("looking for the topic's end", e.args[0]) from e
        time.sleep(0.05)


def epoch_of(told: Any) -> int:
    """The leader's epoch that came with an offset; -1 if none did."""
    return -1 if told.leader_epoch is None else int(told.leader_epoch)


def ends_now(cluster: Cluster, topic: str, partitions: int) -> dict[int, End]:
    """Where the partitions end, with what transactions have not decided yet."""
    uncommitted = cluster.kafka.IsolationLevel.READ_UNCOMMITTED
    return latest_ends(cluster, topic, partitions, uncommitted)


def place(cluster: Cluster, topic: str, partition: int, end: End, text: str = "") -> TopicPartition:
    """As the library has it, with a text that goes into the group."""
    made: TopicPartition = cluster.kafka.TopicPartition(
        topic, partition, end.offset, metadata=text, leader_epoch=end.epoch
    )
    return made


def overwritten(
    cluster: Cluster,
    topic: str,
    before: Mapping[int, End],
    now: Mapping[int, End],
    new_consumer: Callable[..., Consumer],
) -> int | None:
    """A partition that went up to `before` and, under a new leader, has other records there by
    now; None if none is known. Whose leader is the same, or unknown, is not asked."""
    known = {p: e for p, e in before.items() if e.epoch >= 0 and p in now}
    led_anew = {p: e for p, e in known.items() if e.epoch < now[p].epoch}
    left = set(led_anew)
    if not left:
        return None
    # one that knows nothing of the topic: only then the library asks the leaders
    consumer = new_consumer(**{"auto.offset.reset": "error", "enable.partition.eof": "true"})
    try:
        consumer.assign([place(cluster, topic, p, led_anew[p]) for p in left])
        until = time.monotonic() + TRY_S
        while left:
            if time.monotonic() > until:
                raise SinkUnavailable(f"topic '{topic}': partitions {sorted(left)} do not answer")
            for m in consumer.consume(BATCH, 0.05):
                p, error = m.partition() or 0, m.error()
                if error is None or error.name() == "_PARTITION_EOF":
                    left.discard(p)
                elif error.name() == "_AUTO_OFFSET_RESET":
                    with cluster.errors("looking for the topic's beginning"):
                        where = cluster.kafka.TopicPartition(topic, p)
                        first, _ = consumer.get_watermark_offsets(where, timeout=TRY_S)
                    if first <= led_anew[p].offset:
                        return p
                    left.discard(p)  # retention has taken them since
                elif not error.retriable():
                    raise cluster.translated("looking for what was written", error)
        return None
    finally:
        # it is in no group that it would have to leave
        consumer.unassign()
        consumer.close()
