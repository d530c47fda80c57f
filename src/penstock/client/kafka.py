"""A view in a Kafka append topic as its reader wants it: whole, at every instant.

    partition 0  …│ r r r │ end │ r step │      "here is the view" is said once per end and step,
    partition 1  …│ r r   │ end │ r      │      after the records of both partitions are there

The topic's guarantee is `marked` (docs/connectors/kafka.md): a reset replays a snapshot between
begin and end records, while the old contents stay valid. This reader collects a snapshot aside
until it is whole in all partitions, then swaps; it applies a step when all its records are there.
Whoever asks `rows` sees V(s) for some step s, never a mixture.

It reads the topic from its beginning, committed records only, in no consumer group.

Memory: the view, and what is not whole yet.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from penstock.errors import TransientError, UserError

Row = tuple[tuple[str, Any], ...]
#: a record's value → (row, weight) pairs
Decode = Callable[[bytes], Iterable[tuple[Row, int]]]


def decode_json(value: bytes) -> Iterator[tuple[Row, int]]:
    """The changes in a record of the json format: insert_delete (lines or an array) or debezium."""
    text = value.decode()
    events = json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())
    for event in events:
        event = event.get("payload", event)
        for name, weight in (("delete", -1), ("before", -1), ("insert", 1), ("after", 1)):
            if event.get(name) is not None:
                yield _frozen(event[name]), weight


@dataclass(slots=True)
class _Part:
    """The data records read so far of one snapshot attempt or one step, by partition; `ended`:
    partitions in which the attempt's end has been read."""

    changes: dict[int, Counter[Row]] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    ended: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Control:
    kind: str
    key: tuple[str, ...]
    generation: int
    step: int
    counts: tuple[int, ...]


class ViewAssembler:
    """The reader's rule, without Kafka: records in, whole views out. Not thread-safe."""

    def __init__(self, decode: Decode = decode_json) -> None:
        self._decode = decode
        self._parts: dict[tuple[str, ...], _Part] = {}
        self._waiting: deque[_Control] = deque()
        self._waiting_ends = 0
        self.shown: Counter[Row] = Counter()
        #: how many the topic has, as far as control records tell
        self.partitions = 0
        self.generation = 0
        self.step = 0

    def take(self, partition: int, headers: Mapping[str, str], value: bytes | None) -> bool:
        """Take in one record; records of a partition in their order. True if `shown` changed."""
        if "penstock-generation" not in headers:
            return False
        generation = headers["penstock-generation"]
        attempt = headers.get("penstock-attempt")
        key = ("step", generation, headers.get("penstock-step", ""))
        if attempt is not None:
            key = ("attempt", generation, attempt)
        kind = headers.get("penstock-control")
        if kind is None:
            part = self._parts.setdefault(key, _Part())
            part.counts[partition] += 1
            changes = part.changes.setdefault(partition, Counter())
            for row, weight in self._decode(value or b""):
                changes[row] += weight
        elif kind == "begin":
            self._forget(partition, key, int(generation))
        elif kind == "end":
            self._parts.setdefault(key, _Part()).ended.add(partition)
        if kind in ("end", "step") and partition == 0:
            counts = tuple(map(int, headers.get("penstock-counts", "0").split(",")))
            step = int(headers.get("penstock-step", self.step))
            self.partitions = max(self.partitions, len(counts))
            self._waiting.append(_Control(kind, key, int(generation), step, counts))
            self._waiting_ends += kind == "end"
        return self._advance()

    def _advance(self) -> bool:
        """Do what has become possible: the newest whole snapshot, then the whole steps after it."""
        has_changed = False
        for _ in range(self._overtaken()):
            self._parts.pop(self._next().key, None)
        while self._waiting and self._is_whole(self._waiting[0]):
            c = self._next()
            part = self._parts.pop(c.key, _Part())
            if c.kind == "end":
                self.shown = Counter()
            for changes in part.changes.values():
                for row, weight in changes.items():
                    self.shown[row] += weight
                    if self.shown[row] == 0:
                        del self.shown[row]
            self.generation, self.step = c.generation, c.step
            has_changed = True
        return has_changed

    def _next(self) -> _Control:
        c = self._waiting.popleft()
        self._waiting_ends -= c.kind == "end"
        return c

    def _overtaken(self) -> int:
        """How many of the waiting a later whole snapshot makes moot."""
        if self._waiting_ends == 0:
            return 0
        ends = [i for i, c in enumerate(self._waiting) if c.kind == "end" and self._is_whole(c)]
        return ends[-1] if ends else 0

    def _is_whole(self, c: _Control) -> bool:
        counts = self._parts.get(c.key, _Part()).counts
        return all(counts[p] == n for p, n in enumerate(c.counts))

    def _forget(self, partition: int, begun: tuple[str, ...], generation: int) -> None:
        """An attempt has begun in `partition`: others without an end there will get none."""
        for key, part in list(self._parts.items()):
            is_older = key[0] == "attempt" and key != begun and int(key[1]) <= generation
            if is_older and partition not in part.ended:
                part.changes.pop(partition, None)
                del part.counts[partition]
            if is_older and not part.changes:
                del self._parts[key]


class KafkaViewReader:
    """Follow the view in `topic`. A context manager; reads in a thread of its own.

    `options` are librdkafka's (bootstrap.servers at least). `on_view(rows, generation, step)`, if
    given, is called from that thread each time the view is whole at a new step."""

    def __init__(
        self,
        options: Mapping[str, Any],
        topic: str,
        *,
        decode: Decode = decode_json,
        on_view: Callable[[Counter[Row], int, int], None] | None = None,
    ) -> None:
        self._options, self._topic = dict(options), topic
        self._assembler = ViewAssembler(decode)
        self._on_view = on_view
        self._cond = threading.Condition()
        self._error: Exception | None = None
        self._closing = False
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
        self._closing = True
        self._thread.join(10)

    def rows(self) -> Counter[Row]:
        """The whole view as rows ((column, value), …) with their multiplicity; empty before the
        first snapshot is whole."""
        with self._cond:
            self._check()
            return Counter(self._assembler.shown)

    @property
    def generation(self) -> int:
        return self._assembler.generation

    @property
    def step(self) -> int:
        """The last step that the contents include; within a generation it only grows."""
        return self._assembler.step

    def wait_for(self, condition: Callable[[KafkaViewReader], bool], timeout_s: float = 30) -> None:
        """Until `condition` holds of this reader; TransientError after `timeout_s`."""
        with self._cond:
            met = self._cond.wait_for(lambda: self._error is not None or condition(self), timeout_s)
            self._check()
            if not met:
                raise TransientError(
                    f"topic '{self._topic}' is at generation {self.generation}, step {self.step} "
                    f"after {timeout_s} s"
                )

    def wait_for_generation(self, generation: int, timeout_s: float = 30) -> None:
        self.wait_for(lambda r: r.generation >= generation, timeout_s)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._read()
        except Exception as e:
            with self._cond:
                self._error = e
                self._cond.notify_all()

    def _read(self) -> None:
        import confluent_kafka as kafka

        consumer = kafka.Consumer(
            {
                "group.id": "penstock-view-reader",
                **self._options,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        try:
            found = consumer.list_topics(self._topic, timeout=30).topics[self._topic]
            if found.error is not None:
                raise UserError(f"topic '{self._topic}': {found.error.str()}")
            known = 0
            while not self._closing:
                # a topic may get more partitions, and a snapshot is not whole without theirs
                more = range(known, max(self._assembler.partitions, len(found.partitions)))
                if more:
                    consumer.incremental_assign(
                        [kafka.TopicPartition(self._topic, p, kafka.OFFSET_BEGINNING) for p in more]
                    )
                    known = more.stop
                for message in consumer.consume(1000, 0.1):
                    self._take(message)
        finally:
            consumer.close()

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is not None:
            if error.retriable() or error.code() < 0:
                return  # librdkafka goes on by itself
            raise TransientError(f"topic '{self._topic}': {error.str()}")
        headers = {
            k: (v or b"").decode() for k, v in message.headers() or () if k.startswith("penstock-")
        }
        with self._cond:
            if self._assembler.take(message.partition(), headers, message.value()):
                if self._on_view is not None:
                    a = self._assembler
                    self._on_view(Counter(a.shown), a.generation, a.step)
                self._cond.notify_all()


def _frozen(row: Mapping[str, Any]) -> Row:
    return tuple((k, json.dumps(v) if isinstance(v, list | dict) else v) for k, v in row.items())
