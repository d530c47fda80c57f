"""Options of librdkafka, clients made from them, and what their errors mean to a connector.

    {"topic": "orders", "partitions": 3, "bootstrap.servers": "host:9092", "linger.ms": "5"}
      └─── the connector's own ───────┘   └─── every other key: librdkafka's ─────────────┘

Source: contract sections 7.3 and 7.4; librdkafka's CONFIGURATION.md.

Cost: a client is a thread and a connection a broker; making one takes about 20 ms.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from penstock.errors import PenstockError, UserError
from penstock.io.contracts import SinkRejected, SinkUnavailable
from penstock.io.formats.options import TRANSPORT_ERROR, Options

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer
    from confluent_kafka.admin import AdminClient

log = logging.getLogger("penstock.io.kafka")

#: seconds that one try of anything may take; the controllers of connectors try again
TRY_S = 10.0
#: seconds for the first contact: requests to reset wait for it, so it is shorter
CONNECT_S = 3.0
_LEVELS = {
    "emerg": 0, "alert": 1, "critical": 2, "error": 3, "warning": 4, "notice": 5, "info": 6,
    "debug": 7,
}  # fmt: skip
#: ours unless the program says otherwise: a commit is followed by a new transaction at once, and
#: librdkafka would wait 100 ms while the broker still finishes the old one
_DEFAULTS = {"retry.backoff.ms": "10", "client.id": "penstock"}
#: what no retry mends
_FINAL = (
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    "MSG_SIZE_TOO_LARGE",
    "RECORD_LIST_TOO_LARGE",
    "INVALID_CONFIG",
    "INVALID_REPLICATION_FACTOR",
    "INVALID_PARTITIONS",
    "INVALID_RECORD",
    "INVALID_TRANSACTION_TIMEOUT",
    "TOPIC_EXCEPTION",
    "POLICY_VIOLATION",
    "UNSUPPORTED_VERSION",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    "SASL_AUTHENTICATION_FAILED",
)
_ADVICE = {
    "TOPIC_AUTHORIZATION_FAILED": "grant the user Describe, Read, Write (and Create) on the topic",
    "GROUP_AUTHORIZATION_FAILED": "grant the user Read on the consumer group",
    "CLUSTER_AUTHORIZATION_FAILED": "grant the user Create on the cluster, or make the topic",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "grant the user Describe and Write on the "
    "transactional id",
    "MSG_SIZE_TOO_LARGE": "raise max.message.bytes of the topic, or lower buffer_size_records",
    "INVALID_RECORD": "the topic is compacted: give the connector an index, or change "
    "cleanup.policy",
}


def library() -> Any:
    """The module `confluent_kafka`; UserError if it is not installed."""
    try:
        import confluent_kafka
    except ImportError as e:
        raise UserError(
            "Kafka needs the package confluent-kafka: pip install 'penstock[kafka]'",
            code=TRANSPORT_ERROR,
        ) from e
    return confluent_kafka


def client_options(o: Options, ours: tuple[str, ...]) -> dict[str, str]:
    """librdkafka's options in `o`: all keys but `ours`. Numbers and booleans become text.

    Raises UserError for values that are no scalars and a missing `bootstrap.servers`."""
    o.required_text("bootstrap.servers")
    level = str(o.raw("log_level", "warning"))
    if level not in _LEVELS and level not in map(str, _LEVELS.values()):
        raise o.fail("log_level", f"must be one of {', '.join(_LEVELS)}, not {level!r}")
    for key in ("kafka_service", "region"):
        if o.raw(key, None) is not None:
            raise o.fail(key, "is not supported yet: give the brokers as bootstrap.servers")
    options = dict(_DEFAULTS) | {"log_level": str(_LEVELS.get(level, level))}
    for key, value in o.values.items():
        if key in ours or key in ("log_level", "kafka_service", "region"):
            continue
        options[key] = _text(o, key, value)
    return options


def nested_options(o: Options, key: str, value: Any) -> dict[str, str]:
    """An object of librdkafka options inside another option."""
    if not isinstance(value, Mapping):
        raise o.fail(key, f"must be an object of librdkafka options, not {value!r}")
    return {k: _text(o, key, v) for k, v in value.items()}


def _text(o: Options, key: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise o.fail(key, f"must be a string, a number or a boolean, not {value!r}")


class Cluster:
    """Makes clients of one cluster and remembers what went wrong last on their connections."""

    def __init__(self, options: Mapping[str, str], where: str) -> None:
        """`where` names the topic in messages ("topic 'orders'")."""
        self.options = dict(options)
        self.where = where
        self.kafka = library()
        self._lock = threading.Lock()
        self._trouble = ""
        self._admin: AdminClient | None = None
        #: no broker could be reached, some time since this was last set to False
        self.is_down = False
        #: how often that was so
        self.outages = 0

    def producer(self, **options: Any) -> Producer:
        with self.rejecting_options():
            made: Producer = self.kafka.Producer(self._with(options), logger=log)
            return made

    def consumer(self, **options: Any) -> Consumer:
        with self.rejecting_options():
            made: Consumer = self.kafka.Consumer(self._with(options), logger=log)
            return made

    def admin(self) -> AdminClient:
        """One for all questions; a request of an admin client that is let go is cancelled."""
        from confluent_kafka import admin

        if self._admin is None:
            with self.rejecting_options():
                self._admin = admin.AdminClient(self._with({}), logger=log)
        return self._admin

    def _with(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"error_cb": self._remember, **self.options, **options}

    def _remember(self, error: KafkaError) -> None:
        with self._lock:
            if error.name() == "_ALL_BROKERS_DOWN":
                self.is_down = True
                self.outages += 1
            else:
                self._trouble = error.str()

    @contextmanager
    def rejecting_options(self) -> Iterator[None]:
        """librdkafka refuses unknown options and bad values when a client is made."""
        try:
            yield
        except self.kafka.KafkaException as e:
            raise UserError(
                f"{self.where}: {e.args[0].str()}",
                code=TRANSPORT_ERROR,
                details={"option": "config"},
            ) from e

    @contextmanager
    def errors(self, call: str) -> Iterator[None]:
        """Turn the library's errors into SinkUnavailable or SinkRejected."""
        try:
            yield
        except self.kafka.KafkaException as e:
            raise self.translated(call, e.args[0]) from e

    def translated(self, call: str, error: KafkaError) -> PenstockError:
        name = error.name()
        message = f"{self.where}: {call}: {error.str()}"
        if name in _FINAL:
            advice = _ADVICE.get(name)
            return SinkRejected(message + (f": {advice}" if advice else ""), details={"code": name})
        with self._lock:
            if self._trouble and error.code() < 0:
                message += f" (last seen: {self._trouble})"
        return SinkUnavailable(message, details={"code": name})
