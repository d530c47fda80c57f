"""What a topic is and must be: its shape, its policy, and how it is made.

Looking needs Describe (and DescribeConfigs, without which the policy is left to the broker to
insist on); making needs Create.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.io.contracts import SinkRejected, SinkUnavailable
from penstock.io.kafka.client import TRY_S, Cluster

DEFAULT_MAX_BYTES = 1_000_000
#: the id that brokers tell which give topics none (before 2.8, or not upgraded yet): all zeros
NO_ID = "A" * 22


def is_another(id: str | None, known: str | None) -> bool:
    """Whether two ids of one name are of two topics, the older one having been removed. An id that
    is unknown (None, or `NO_ID`) says nothing: the broker may have learnt ids meanwhile."""
    return id != known and is_known(id) and is_known(known)


def is_known(id: str | None) -> bool:
    return id not in (None, "", NO_ID)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be, and how it is made if it is absent (−1: the broker's default)."""

    name: str
    is_compacted: bool
    partitions: int = -1
    replication_factor: int = -1
    config: Mapping[str, str] = field(default_factory=dict)


class _Gone(Exception):
    """There is no such topic any more."""


class Topic:
    """One topic of a cluster. `partitions`, `max_bytes` and `id` (which a topic that is made anew
    under the same name has not) are as last looked at."""

    def __init__(self, cluster: Cluster, spec: TopicSpec) -> None:
        self.spec, self.name = spec, spec.name
        self._cluster = cluster
        self.partitions = 0
        self.id = ""
        #: the largest batch of records that the topic takes
        self.max_bytes = DEFAULT_MAX_BYTES

    def count_partitions(self) -> int | None:
        """None if there is no such topic."""
        from confluent_kafka import TopicCollection

        admin = self._cluster.admin()
        futures = admin.describe_topics(TopicCollection([self.name]), request_timeout=TRY_S)
        try:
            found = futures[self.name].result(TRY_S + 1)
        except self._cluster.kafka.KafkaException as e:
            if e.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
                return None
            raise self._cluster.translated("describing the topic", e.args[0]) from e
        self.id = str(found.topic_id)
        return len(found.partitions)

    def look(self) -> bool:
        """Learn the topic's shape; False if there is none. SinkRejected if it cannot serve."""
        found = self.count_partitions()
        if found is None:
            return False
        try:
            config = self._config()
        except _Gone:
            return False
        self.partitions = found
        if config is not None:
            self._check_policy(config["cleanup.policy"])
            mine = int(self._cluster.options.get("message.max.bytes", DEFAULT_MAX_BYTES))
            self.max_bytes = min(mine, int(config["max.message.bytes"]))
        return True

    def _check_policy(self, policy: str) -> None:
        is_compacted = "compact" in policy.split(",")
        if self.spec.is_compacted and not is_compacted:
            raise SinkRejected(
                f"topic '{self.name}' has cleanup.policy={policy}: with an index the connector "
                "keeps one record a key, which needs cleanup.policy=compact; alter the topic or "
                "leave out the index",
                details={"topic": self.name},
            )
        if not self.spec.is_compacted and is_compacted:
            raise SinkRejected(
                f"topic '{self.name}' is compacted: changes without a key would be lost; give the "
                "connector an index (and the json format, or avro with update_format "
                "confluent_jdbc), or alter the topic to cleanup.policy=delete",
                details={"topic": self.name},
            )

    def _config(self) -> dict[str, str] | None:
        """None if we may not read it. Raises _Gone."""
        from confluent_kafka.admin import ConfigResource, ResourceType

        resource = ConfigResource(ResourceType.TOPIC, self.name)
        futures = self._cluster.admin().describe_configs([resource], request_timeout=TRY_S)
        try:
            found = futures[resource].result(TRY_S + 1)
        except self._cluster.kafka.KafkaException as e:
            if e.args[0].name() in ("TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"):
                return None
            if e.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
                # a topic that is being deleted is described for a moment longer than it is there
                raise _Gone from e
            raise self._cluster.translated("describing the topic", e.args[0]) from e
        return {k: str(v.value) for k, v in found.items()}

    def create(self, *, validate_only: bool) -> None:
        """Make the topic, or only ask whether it could be made."""
        from confluent_kafka.admin import NewTopic

        spec = self.spec
        policy = {"cleanup.policy": "compact"} if spec.is_compacted else {}
        topic = NewTopic(
            spec.name, spec.partitions, spec.replication_factor, config={**policy, **spec.config}
        )
        futures = self._cluster.admin().create_topics(
            [topic], operation_timeout=TRY_S, request_timeout=TRY_S, validate_only=validate_only
        )
        try:
            futures[spec.name].result(TRY_S + 1)
        except self._cluster.kafka.KafkaException as e:
            if e.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise self._cluster.translated("creating the topic", e.args[0]) from e

    def ensure(self) -> None:
        """Look at the topic, and make it if there is none."""
        if self.look():
            return
        self.create(validate_only=False)
        until = time.monotonic() + TRY_S
        while not self.look():
            if time.monotonic() > until:
                raise SinkUnavailable(f"topic '{self.name}' was made and does not show up")
            time.sleep(0.02)
