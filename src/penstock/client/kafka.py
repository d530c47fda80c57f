"""A view in a Kafka append topic as its reader wants it: whole, at every instant.

The topic's guarantee is `marked` (docs/connectors/kafka.md): a reset replays a snapshot between
begin and end records, while the old contents stay valid. This reader collects a snapshot aside
until it is whole in all partitions, then swaps; it applies a step when all its records are there.
Whoever asks `rows` sees V(s) for some step s, never a mixture.

It reads the topic from its beginning, committed records only, in no consumer group.

    brokers away, a wrong password, no topic yet    waited for; `last_error` says which
    the topic was removed and made again, or
      records went before they were read            read from its beginning; the old contents stay
                                                    until what is there is whole
    the records of the snapshot are gone            what came after them is not shown; `last_error`
                                                    asks for a reset
    the user may not read the topic, a bad option   `rows` raises it

Memory: the view, and what is not whole yet; a second view while a topic is read anew.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from penstock.client.assembler import Decode, ViewAssembler, decode_json
from penstock.client.rows import Row
from penstock.errors import TransientError, UserError

#: seconds that a question to the brokers may take; before they are asked again; between two looks
#: at whether the topic is still the same
TRY_S, RETRY_S, LOOK_S = 5.0, 0.5, 30.0


class KafkaViewReader:
    """Follow the view in `topic`. A context manager; reads in a thread of its own.

    `options` are librdkafka's (bootstrap.servers at least). `on_view(rows, generation, step)`, if
    given, is called from that thread each time the view is whole at a new step. `last_error`: what
    keeps it from reading, None while nothing does."""

    def __init__(
        self,
        options: Mapping[str, Any],
        topic: str,
        *,
        decode: Decode = decode_json,
        on_view: Callable[[Counter[Row], int, int], None] | None = None,
    ) -> None:
        self._options, self._topic, self._decode = dict(options), topic, decode
        #: what is shown
        self._view = ViewAssembler(decode)
        self._topic_id: str | None = None
        self._on_view = on_view
        self._cond = threading.Condition()
        self._error: Exception | None = None
        self.last_error: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"read {topic}", daemon=True)

    def __enter__(self) -> KafkaViewReader:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join(2 * TRY_S)

    def rows(self) -> Counter[Row]:
        """The whole view as rows ((column, value), …) with their multiplicity; empty before the
        first snapshot is whole."""
        with self._cond:
            self._check()
            return Counter(self._view.shown)

    @property
    def generation(self) -> int:
        return self._view.generation

    @property
    def step(self) -> int:
        """The last step that the contents include; within a generation it only grows."""
        return self._view.step

    def wait_for(self, condition: Callable[[KafkaViewReader], bool], timeout_s: float = 30) -> None:
        """Until `condition` holds of this reader; TransientError after `timeout_s`."""
        with self._cond:
            met = self._cond.wait_for(lambda: self._error is not None or condition(self), timeout_s)
            self._check()
            if not met:
                why = "" if self.last_error is None else f": {self.last_error}"
                raise TransientError(
                    f"topic '{self._topic}' is at generation {self.generation}, step {self.step} "
                    f"after {timeout_s} s{why}"
                )

    def wait_for_generation(self, generation: int, timeout_s: float = 30) -> None:
        self.wait_for(lambda r: r.generation >= generation, timeout_s)

    def _tell(self, error: str | None) -> None:
        with self._cond:
            self.last_error = error
            self._cond.notify_all()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                _Reading(self).run()
            except TransientError as e:
                self._tell(str(e))
            except Exception as e:
                with self._cond:
                    self._error = e
                    self._cond.notify_all()
                return
            self._closing.wait(RETRY_S)


class _NoTopic(TransientError):
    """It does not exist, or no longer."""


class _Reading:
    """One time through the topic, from its beginning for as long as it stays the same."""

    def __init__(self, reader: KafkaViewReader) -> None:
        import confluent_kafka as kafka
        from confluent_kafka.admin import AdminClient

        self._kafka, self._reader, self._topic = kafka, reader, reader._topic
        ours = {
            "group.id": "penstock-view-reader",
            **reader._options,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            # what went before it was read is said, instead of being left out
            "auto.offset.reset": "error",
            "error_cb": self._note_trouble,
        }
        try:
            self._consumer = kafka.Consumer(ours)
            self._admin = AdminClient({**reader._options, "log_level": 0})  # the other one tells
        except kafka.KafkaException as e:
            raise UserError(f"topic '{self._topic}': {e.args[0].str()}") from e
        self._assembler = ViewAssembler(reader._decode)
        self._known: list[int] = []
        self._looked = time.monotonic()

    def run(self) -> None:
        """Returns when the topic has to be read anew, or the reader ends."""
        try:
            r = self._reader
            found = self._begin()
            if found is None:
                return
            id, partitions, is_whole = found
            self._assembler = ViewAssembler(r._decode, is_from_beginning=is_whole)
            is_same = id is not None and id == r._topic_id
            r._topic_id = id
            #: of the same topic nothing older is shown than what is
            self._floor = (r.generation, r.step) if is_same else (0, -1)
            self._assign(partitions)
            while not r._closing.is_set() and self._read(id):
                pass
        finally:
            self._consumer.close()

    def _begin(self) -> tuple[str | None, list[int], bool] | None:
        """The topic's id, its partitions, and whether none of its records has gone; as soon as the
        brokers tell. None if the reader ends before."""
        while not self._reader._closing.is_set():
            try:
                id, partitions = self._look()
                return id, partitions, all(self._first(p) == 0 for p in partitions)
            except TransientError as e:
                self._reader._tell(str(e))
                self._reader._closing.wait(RETRY_S)
        return None

    def _read(self, id: str | None) -> bool:
        """What has come; False if the topic is another or lacks what was to be read next."""
        for message in self._consumer.consume(1000, 0.1):
            error = message.error()
            if error is None:
                self._take(message)
            elif error.name() in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
                self._reader._tell(
                    f"topic '{self._topic}': records of partition {message.partition()} went "
                    "before they were read; reading it from its beginning"
                )
                return False
            elif error.name() == "UNKNOWN_TOPIC_OR_PART":
                self._looked = 0.0
            elif not error.retriable() and error.code() >= 0:
                raise self._translated(error)
            else:
                self._note_trouble(error)
        # a topic may get more partitions, and a snapshot is not whole without theirs
        self._assign(range(self._assembler.partitions))
        if time.monotonic() - self._looked < LOOK_S:
            return True
        self._looked = time.monotonic()
        try:
            now, partitions = self._look()
        except _NoTopic as e:
            self._reader._tell(str(e))
            return False
        except TransientError as e:
            self._reader._tell(str(e))
            return True
        self._assign(partitions)
        return now == id

    def _assign(self, partitions: Sequence[int]) -> None:
        more = [p for p in partitions if p not in self._known]
        if more:
            self._consumer.incremental_assign(
                [self._kafka.TopicPartition(self._topic, p, self._kafka.OFFSET_BEGINNING)
                 for p in more]
            )  # fmt: skip
            self._known += more

    def _look(self) -> tuple[str | None, list[int]]:
        """The topic's id, which one made anew under its name has not (None: the brokers give
        none), and its partitions."""
        asked = self._admin.describe_topics(
            self._kafka.TopicCollection([self._topic]), request_timeout=TRY_S
        )
        try:
            found = asked[self._topic].result(TRY_S + 1)
        except TimeoutError as e:  # the library itself is late
            self._consumer.poll(0)  # calls `_note_trouble`
            raise self._translated(self._kafka.KafkaError(self._kafka.KafkaError._TIMED_OUT)) from e
        except self._kafka.KafkaException as e:
            self._consumer.poll(0)  # calls `_note_trouble`
            raise self._translated(e.args[0]) from e
        self._reader._tell(self._missing())
        id = str(found.topic_id)
        return None if id == _NO_ID else id, [p.id for p in found.partitions]

    def _first(self, partition: int) -> int:
        """The offset of the oldest record."""
        tp = self._kafka.TopicPartition(self._topic, partition)
        try:
            low, _ = self._consumer.get_watermark_offsets(tp, timeout=TRY_S)
        except self._kafka.KafkaException as e:
            raise self._translated(e.args[0]) from e
        return int(low)

    def _translated(self, error: Any) -> TransientError | UserError:
        message = f"topic '{self._topic}': {error.str()}"
        if error.name().endswith("AUTHORIZATION_FAILED"):
            return UserError(f"{message}: grant the user Describe and Read on the topic")
        if error.name() == "UNKNOWN_TOPIC_OR_PART":
            return _NoTopic(f"{message}: waiting for it")
        seen = self._reader.last_error
        is_told = error.code() >= 0 or seen is None or seen.startswith(message)
        return TransientError(message if is_told else f"{message} ({seen})")

    def _note_trouble(self, error: Any) -> None:
        if error.name() != "_ALL_BROKERS_DOWN":  # the ones before it say why
            self._reader._tell(error.str())

    def _missing(self) -> str | None:
        lacked = self._assembler.lacks_snapshot_of
        if lacked is None:
            return None
        return (
            f"topic '{self._topic}' has no longer the snapshot of generation {lacked}, so what "
            "came after it is not shown: reset the connector"
        )

    def _take(self, message: Any) -> None:
        headers = {
            k: (v or b"").decode() for k, v in message.headers() or () if k.startswith("penstock-")
        }
        a, r = self._assembler, self._reader
        with r._cond:
            has_changed = a.take(message.partition(), headers, message.value())
            r.last_error = self._missing()
            if has_changed and (a is r._view or (a.generation, a.step) > self._floor):
                r._view = a
                if r._on_view is not None:
                    r._on_view(Counter(a.shown), a.generation, a.step)
                r._cond.notify_all()


#: the id that brokers tell which give topics none
_NO_ID = "A" * 22
