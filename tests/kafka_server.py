"""A real Apache Kafka for tests: one KRaft node that is broker and controller, on free ports.

    mvn dependency:copy-dependencies (tests/kafka/pom.xml) ──► .penstock/kafka/<version>/*.jar
    StorageTool format ──► kafka.Kafka server.properties

The jars are fetched once; the folder is git-ignored. Java 17 and Maven come from the system
(`.ci/run` installs them).
"""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)

from tests.proxy import Proxy
from tests.servers import Unavailable, free_port

ROOT = Path(__file__).parent.parent
POM = Path(__file__).parent / "kafka" / "pom.xml"
START_S = 180.0
#: how long a reader of committed records waits for what is about to be decided
SETTLE_S = 1.0
#: client options that spare tests the back-offs meant for networks
#: the user of the listener that asks for one, who may do what `grant` says; others may everything
USER, PASSWORD = "ada", "correct-horse-battery"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
QUICK = {"retry.backoff.ms": 5, "reconnect.backoff.ms": 10, "log_level": 0}
#: what a broker says of a partition that has no leader for a moment, as one that was just made
_ELECTING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl_port},CONTROLLER://127.0.0.1:{controller}{doors}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl_port}{advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT{protocols}
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config={login} required user_ada="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs={data}
# records whose times are of years ago stay, whenever the broker looks for old ones
log.retention.ms=-1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
group.initial.rebalance.delay.ms=0
"""


class KafkaServer:
    """A cluster of one. `new_topic` gives every test a name of its own.

    `doors`: proxies; who comes in by one of them is sent there again by the broker's metadata, so
    that nothing of his goes past it."""

    def __init__(
        self,
        folder: Path,
        properties: Mapping[str, Any] | None = None,
        doors: Sequence[Proxy] = (),
    ) -> None:
        self._libs = broker_jars()
        self._folder = folder
        self.port = free_port()
        self.sasl_port = free_port()
        self._names = count(1)
        text = PROPERTIES.format(
            port=self.port, sasl_port=self.sasl_port, controller=free_port(),
            data=folder / "data", login=LOGIN, password=PASSWORD,
            doors="".join(f",DOOR{i}://127.0.0.1:{d.to}" for i, d in enumerate(doors)),
            advertised="".join(f",DOOR{i}://127.0.0.1:{d.port}" for i, d in enumerate(doors)),
            protocols="".join(f",DOOR{i}:PLAINTEXT" for i in range(len(doors))),
        )  # fmt: skip
        text += "".join(f"{k}={v}\n" for k, v in (properties or {}).items())
        self._config = folder / "server.properties"
        self._config.write_text(text)
        # not with a "-" at its beginning, which the tool would take for an option
        number = bytes([1, *uuid.uuid4().bytes[1:]])
        cluster = base64.urlsafe_b64encode(number).decode().rstrip("=")
        subprocess.run(
            [*self._java("64m"), "kafka.tools.StorageTool", "format", "-t", cluster,
             "-c", str(self._config)],
            check=True, capture_output=True,
        )  # fmt: skip
        self.start()

    def _java(self, heap: str) -> list[str]:
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        flags = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", quiet]
        return ["java", *flags, "-cp", f"{self._libs}/*"]

    def start(self) -> None:
        log_path = self._folder / "log"
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._java("384m"), "kafka.Kafka", str(self._config)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        self.admin = AdminClient(self.client())
        while True:
            try:
                self.admin.list_topics(timeout=1)
                return
            except KafkaException:
                assert self.process.poll() is None, log_path.read_text()[-4000:]
                assert time.monotonic() < deadline, log_path.read_text()[-4000:]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM shuts down; SIGKILL is a crash."""
        self.process.send_signal(how)
        self.process.wait(30)

    def client(self, **options: Any) -> dict[str, Any]:
        return {"bootstrap.servers": f"127.0.0.1:{self.port}", **QUICK, **options}

    def grant(self, kind: ResourceType, name: str, *operations: AclOperation) -> None:
        """Let USER do `operations` on whatever `name` begins the name of."""
        acls = [
            AclBinding(kind, name, ResourcePatternType.PREFIXED, f"User:{USER}", "*", operation,
                       AclPermissionType.ALLOW)
            for operation in operations
        ]  # fmt: skip
        for made in self.admin.create_acls(acls).values():
            made.result(30)
        # the controller has them; the broker, which is the one that is asked, a little later
        deadline = time.monotonic() + 30
        for acl in acls:
            wanted = AclBindingFilter(
                kind, name, acl.resource_pattern_type, acl.principal, "*", acl.operation,
                acl.permission_type,
            )  # fmt: skip
            while not self.admin.describe_acls(wanted).result(30):
                assert time.monotonic() < deadline, f"{acl} did not come into force"

    def new_name(self, stem: str = "topic") -> str:
        return f"{stem}.{next(self._names)}"

    def new_topic(self, partitions: int = 1, **config: str) -> str:
        name = self.new_name()
        self.create(name, partitions, **config)
        return name

    def create(self, name: str, partitions: int = 1, **config: str) -> None:
        named = {k.replace("_", "."): v for k, v in config.items()}
        self.admin.create_topics([NewTopic(name, partitions, 1, config=named)])[name].result(30)

    def add_partitions(self, name: str, total: int) -> None:
        """Returns when the topic has them."""
        self.admin.create_partitions([NewPartitions(name, total)])[name].result(30)
        until = time.monotonic() + START_S
        while self.partitions(name) < total:
            assert time.monotonic() < until, f"topic {name} gets no more partitions"

    def delete(self, name: str) -> None:
        self.admin.delete_topics([name], operation_timeout=30)[name].result(30)

    def cut_short(self, topic: str, partition: int) -> None:
        """Take away the second half of a partition's bytes, as an election of a broker that lacks
        them does; only while stopped."""
        data = self._folder / "data"
        for file in (data / f"{topic}-{partition}").iterdir():
            if file.suffix == ".log":
                os.truncate(file, file.stat().st_size // 2)
            elif file.suffix in (".index", ".timeindex", ".snapshot"):
                file.unlink()
        (data / ".kafka_cleanshutdown").unlink(missing_ok=True)

    def partitions(self, name: str) -> int:
        return len(self.admin.list_topics(name, timeout=30).topics[name].partitions)

    def produce(self, topic: str, *messages: Mapping[str, Any]) -> None:
        """Messages by hand, each the arguments of `Producer.produce`, in their order: without
        idempotence a retry (the topic is new) may fall behind a later message."""
        options = {"partitioner": "murmur2_random", "enable.idempotence": True}
        producer = Producer(self.client(**options))
        for m in messages:
            producer.produce(topic, **m)
        assert producer.flush(30) == 0


class TopicReader:
    """A plain consumer that reads whole topics, over and over, on one connection."""

    def __init__(self, server: KafkaServer, isolation: str = "read_committed") -> None:
        self._server = server
        self._consumer = Consumer(
            server.client(
                **{
                    "group.id": "tests",
                    "isolation.level": isolation,
                    "enable.partition.eof": True,
                    "enable.auto.commit": False,
                    "fetch.wait.max.ms": 10,
                }
            )
        )

    def read(self, topic: str) -> list[Message] | None:
        """Every message from the beginning to the end as it is now; None if there is no topic."""
        found = self._consumer.list_topics(topic, timeout=30).topics[topic]
        if found.error is not None:
            return None
        ends = dict.fromkeys(found.partitions, False)
        self._wait_until_decided(topic, list(found.partitions))
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in ends])
        out: list[Message] = []
        deadline = time.monotonic() + 60
        while not all(ends.values()):
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            got = self._consumer.consume(1000, 0.02)
            if got:  # a long topic takes long on a busy machine; only standing still is a fault
                deadline = time.monotonic() + 60
            for m in got:
                error = m.error()
                if error is None:
                    out.append(m)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ends[m.partition()] = True
                elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return None
        return out

    def _wait_until_decided(self, topic: str, partitions: list[int]) -> None:
        """Brokers answer a commit before its partitions know of it; open transactions stay open."""
        wanted = {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions}

        def ends(isolation: IsolationLevel) -> list[int]:
            found = self._server.admin.list_offsets(wanted, isolation_level=isolation)
            return [f.result(30).offset for f in found.values()]

        deadline = time.monotonic() + SETTLE_S
        written: list[int] | None = None
        while time.monotonic() < deadline:
            try:
                written = written or ends(IsolationLevel.READ_UNCOMMITTED)
                decided = ends(IsolationLevel.READ_COMMITTED)
            except KafkaException as e:
                if e.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return
                if e.args[0].code() not in _ELECTING:
                    raise
                continue
            if all(d >= w for d, w in zip(decided, written, strict=True)):
                return

    def close(self) -> None:
        self._consumer.close()


def broker_jars() -> Path:
    """The folder with the broker's jars, fetched if they are not there yet."""
    if shutil.which("java") is None:
        raise Unavailable("there is no Java to run Kafka with")
    versions = [str(e.text) for e in ElementTree.parse(POM).iter() if e.tag.endswith("}version")]
    folder = ROOT / ".penstock" / "kafka" / versions[1]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    if shutil.which("mvn") is None:
        raise Unavailable("there is no Maven to fetch Kafka's jars with")
    new = Path(tempfile.mkdtemp(dir=folder.parent))
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
         "-DincludeScope=runtime", f"-DoutputDirectory={new}"],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if done.returncode != 0:
        shutil.rmtree(new)
        raise Unavailable(f"Maven could not fetch Kafka's jars: {done.stdout[-2000:]}")
    os.replace(new, folder)


@contextmanager
def running_kafka(
    properties: Mapping[str, Any] | None = None, doors: Sequence[Proxy] = ()
) -> Iterator[KafkaServer]:
    folder = Path(tempfile.mkdtemp(prefix="penstock-kafka-"))
    try:
        server = KafkaServer(folder, properties, doors)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """A Kafka for the session; skips, saying why, where there cannot be one."""
    try:
        with running_kafka() as server:
            yield server
    except Unavailable as e:
        pytest.skip(str(e))
