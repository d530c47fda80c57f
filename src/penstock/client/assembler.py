"""The rule by which a view is read from an append topic, without Kafka.

    partition 0  …│ r r r │ end │ r step │      "here is the view" is said once per end and step,
    partition 1  …│ r r   │ end │ r      │      after the records of both partitions are there

Source of the rule and of the headers: `penstock.io.kafka.records`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from penstock.client.rows import Row, frozen, parsed

#: a record's value → (row, weight) pairs
Decode = Callable[[bytes], Iterable[tuple[Row, int]]]


def decode_json(value: bytes) -> Iterator[tuple[Row, int]]:
    """The changes in a record of the json format: insert_delete (lines or an array) or debezium."""
    text = value.decode()
    events = parsed(text) if text.startswith("[") else map(parsed, text.splitlines())
    for event in events:
        event = event.get("payload", event)
        for name, weight in (("delete", -1), ("before", -1), ("insert", 1), ("after", 1)):
            if event.get(name) is not None:
                yield frozen(event[name]), weight


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
    """The reader's rule, without Kafka: records in, whole views out. Not thread-safe.

    Steps are changes of a snapshot, and shown on top of that one only. A topic without any (a
    connector in follow mode) is the sum of its steps, `is_from_beginning`: if none of them has
    gone."""

    def __init__(self, decode: Decode = decode_json, *, is_from_beginning: bool = True) -> None:
        self._decode = decode
        self._is_from_beginning = is_from_beginning
        self._has_snapshot = False
        #: the generation whose steps are left out because its snapshot is not there
        self.lacks_snapshot_of: int | None = None
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
                self.shown, self._has_snapshot, self.lacks_snapshot_of = Counter(), True, None
            elif not self._follows(c.generation):
                self.lacks_snapshot_of = c.generation
                continue
            for changes in part.changes.values():
                for row, weight in changes.items():
                    self.shown[row] += weight
                    if self.shown[row] == 0:
                        del self.shown[row]
            self.generation, self.step = c.generation, c.step
            has_changed = True
        return has_changed

    def _follows(self, generation: int) -> bool:
        """Whether a step of `generation` changes what is shown."""
        return generation == self.generation if self._has_snapshot else self._is_from_beginning

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
