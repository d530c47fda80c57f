"""Where the targets of a history are: in a folder, or at a real server behind a door.

    sink ──► Door (a TCP proxy) ──► server ◄── the reader, and whoever does damage

The target of a server is down when its door is: "refused" cuts connections and hangs up on new
ones; "silent" lets nothing pass either way, and once it is up again what was held comes late,
even if its sender is dead by then. One in a folder is down by its failpoints (`World`).

A server is started when a history first needs it, once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.kafka_targets import KafkaLogTarget, KafkaUpsertTarget
from tests.contract.lake_targets import (
    AppendedDeltaTarget,
    DeltaTarget,
    ParquetFolderTarget,
    TruncatedDeltaTarget,
)
from tests.contract.redis_targets import RedisTarget
from tests.contract.target import Target
from tests.contract.targets import (
    CountedPostgresTarget,
    CsvFileTarget,
    JsonFileTarget,
    KeyedSqliteTarget,
    LoggedPostgresTarget,
    PostgresTarget,
    SqliteTarget,
)
from tests.kafka_server import KafkaServer, running_kafka
from tests.proxy import Proxy
from tests.servers import (
    PostgresServer,
    RedisServer,
    free_port,
    running_postgres,
    running_redis,
)
from tests.system.fault_targets import AtomicRedisTarget, RealDuckDbTarget

HOST = "127.0.0.1"


class RealDuckDbRowsTarget(RealDuckDbTarget):
    is_keyed = False


@dataclass(frozen=True, slots=True)
class Kind:
    """What a target can be. `is_per_key`: its guarantee; the others' readers see whole views."""

    target: type[Target]
    can_diff: bool = False
    is_per_key: bool = False


KINDS: Mapping[str, Kind] = {
    "sqlite": Kind(KeyedSqliteTarget, can_diff=True),
    "file": Kind(JsonFileTarget),
    "sqlite rows": Kind(SqliteTarget, can_diff=True),
    "file csv": Kind(CsvFileTarget),
    "parquet": Kind(ParquetFolderTarget),
    "duckdb": Kind(RealDuckDbTarget, can_diff=True),
    "duckdb rows": Kind(RealDuckDbRowsTarget),
    "delta": Kind(DeltaTarget),
    "delta truncate": Kind(TruncatedDeltaTarget),
    "delta append": Kind(AppendedDeltaTarget),
    "postgres": Kind(PostgresTarget, can_diff=True),
    "postgres rows": Kind(CountedPostgresTarget, can_diff=True),
    "postgres cdc": Kind(LoggedPostgresTarget),
    "redis": Kind(RedisTarget, is_per_key=True),
    "redis gen": Kind(AtomicRedisTarget),
    "kafka": Kind(KafkaLogTarget),
    "kafka upsert": Kind(KafkaUpsertTarget, can_diff=True, is_per_key=True),
}
#: of a Kafka, as its metadata names one door for all topics
KAFKA_KINDS = ("kafka", "kafka upsert")
SERVER_KINDS = tuple(name for name, kind in KINDS.items() if kind.target.server)
FILE_KINDS = tuple(name for name, kind in KINDS.items() if not kind.target.server)


class Place:
    """A target of one history, and the door to it if it is at a server."""

    def __init__(self, target: Target, door: Proxy | None, kafka: KafkaServer | None) -> None:
        self.target, self.door, self._kafka = target, door, kafka

    def config(self) -> dict[str, Any]:
        """The target's, for a sink: through the door."""
        config = self.target.config()
        if self.door is None:
            return config
        server, door = f"{HOST}:{self.door.to}", f"{HOST}:{self.door.port}"
        if isinstance(self.target, KafkaLogTarget):
            return {**config, "bootstrap.servers": door}
        return {k: v.replace(server, door) for k, v in config.items()}

    def down(self, how: str) -> None:
        assert self.door is not None
        self.up()
        if how == "refused":
            self.door.shut()
        else:
            self.door.requests.hold()
            self.door.replies.hold()

    def up(self) -> None:
        assert self.door is not None
        self.door.reopen()
        self.door.requests.release()
        self.door.replies.release()

    def close(self) -> None:
        """The pipeline is dead by now."""
        if self.door is None:
            return
        if self._kafka is None:
            self.door.__exit__(None, None, None)
            return
        self.up()
        self.door.cut()
        assert isinstance(self.target, KafkaLogTarget)
        self.target.close()


class Servers:
    """See the module."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._postgres: PostgresServer | None = None
        self._redis: RedisServer | None = None
        self._kafka: KafkaServer | None = None
        self._doors: dict[str, Proxy] = {}

    def start(self) -> None:
        """All of them. Raises Unavailable if this machine cannot run one."""
        self._postgres = self._postgres or self._start(running_postgres())
        self._redis = self._redis or self._start(running_redis())
        self._kafka = self._kafka or self._start_kafka()

    def place(self, name: str, folder: Path) -> Place:
        """A new target of the kind; one in a folder is in this one."""
        target = KINDS[name].target
        match target.server:
            case None:
                folder.mkdir()
                return Place(target(folder), None, None)
            case "postgres":
                server = self._postgres = self._postgres or self._start(running_postgres())
                return Place(target(server), Proxy(server.port), None)
            case "redis_server":
                found = self._redis = self._redis or self._start(running_redis())
                return Place(target(found), Proxy(found.port), None)
        kafka = self._kafka = self._kafka or self._start_kafka()
        return Place(target(kafka), self._doors[name], kafka)

    def _start(self, running: Any) -> Any:
        return self._stack.enter_context(running)

    def _start_kafka(self) -> Any:
        for name in KAFKA_KINDS:
            self._doors[name] = self._stack.enter_context(Proxy(free_port()))
        return self._start(running_kafka(doors=tuple(self._doors.values())))

    def close(self) -> None:
        self._stack.close()
