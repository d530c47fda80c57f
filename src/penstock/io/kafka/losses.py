"""What a topic has lost of what was written to it: what its state tells against what is there.

    the topic's id           another: it was deleted and made anew
    a partition's end        earlier than it was: an unclean election, a cluster copied back
    its leader, if new       asked where the records of its predecessors ended, it answers with an
                             earlier place than they did: others were written over them

Not seen: a cluster that was put back from a copy and went on under the same leaders, if others
have filled its partitions up by the next look; records that go from a partition's beginning
(retention, deletion).

Cost: one request; a consumer of its own for partitions whose leader has changed since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from penstock.io.contracts import SinkUnavailable
from penstock.io.kafka.client import TRY_S, Cluster
from penstock.io.kafka.reading import End, latest_ends
from penstock.io.kafka.state import TopicState
from penstock.io.kafka.topic import Topic, is_another

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

BATCH = 1_000


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


def lost(
    cluster: Cluster, topic: Topic, state: TopicState, new_consumer: Callable[..., Consumer]
) -> str:
    """In words; "" if nothing is known of it. `topic` was just looked at."""
    if is_another(topic.id, state.topic):
        return "it was deleted and made anew"
    if not state.ends:
        return ""
    ends = ends_now(cluster, topic.name, len(state.ends))
    return state.lost(ends) or _overwritten(cluster, topic.name, state.led_anew(ends), new_consumer)


def _overwritten(
    cluster: Cluster, topic: str, led_anew: Mapping[int, End], new_consumer: Callable[..., Consumer]
) -> str:
    """The first partition whose new leader does not have what its predecessor had."""
    left = set(led_anew)
    if not left:
        return ""
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
                    before = led_anew[p].offset
                    if first <= before:
                        return f"partition {p} holds other records than it did before {before}"
                    left.discard(p)  # retention has taken them since
                elif not error.retriable():
                    raise cluster.translated("looking for what was written", error)
        return ""
    finally:
        # it is in no group that it would have to leave
        consumer.unassign()
        consumer.close()
