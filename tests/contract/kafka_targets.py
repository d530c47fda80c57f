"""Kafka topics as targets of the contract suite, read by a plain consumer of committed records.

The reader's rule is written down here a second time, from the documentation
(`docs/connectors/kafka.md`), so that the sink and the client's reader are both held to it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

from confluent_kafka import Message

from tests.contract.target import SCHEMA, Rows, Target
from tests.kafka_server import KafkaServer, TopicReader


def headers_of(message: Message) -> dict[str, str]:
    return {k: (v or b"").decode() for k, v in message.headers() or () if k.startswith("penstock-")}


def row_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    values = [row[n] for n in SCHEMA.names]
    values[2] = None if values[2] is None else f"{float(values[2]):.2f}"
    values[4] = None if values[4] is None else int(values[4])
    return tuple(values)


class KafkaLogTarget(Target):
    """An append topic with two partitions."""

    transport = "kafka_output"
    server = "kafka"
    histories = 2
    format: ClassVar[Mapping[str, Any] | None] = {
        "name": "json",
        "config": {"update_format": "insert_delete", "buffer_size_records": 2},
    }

    def __init__(self, server: KafkaServer) -> None:
        self.kafka = server
        self.topic = server.new_name("contract")
        self._reader = TopicReader(server)

    def config(self) -> dict[str, Any]:
        address = self.kafka.client()["bootstrap.servers"]
        return {"topic": self.topic, "partitions": 2, "bootstrap.servers": address}

    def look(self) -> Rows | None:
        found = self._reader.read(self.topic)
        return None if found is None else shown(found)

    def damage(self) -> None:
        """A forged step of what is shown: a row invented."""
        found = self._reader.read(self.topic) or []
        ends = [h for h in map(headers_of, found) if h.get("penstock-control") == "end"]
        self.forge(max((int(h["penstock-generation"]) for h in ends), default=0))

    def forge(self, generation: int) -> None:
        row = {"k": -7, "v": "invented", "n": 1, "d": None, "b": None, "x": None}
        mark = {"penstock-generation": str(generation), "penstock-step": "666"}
        forged = {"penstock-control": "step", "penstock-counts": "1,0"}
        self.kafka.produce(
            self.topic,
            {"value": json.dumps({"insert": row}), "partition": 0, "headers": mark},
            {"value": None, "partition": 0, "headers": mark | forged},
        )

    def remove(self) -> None:
        self.kafka.delete(self.topic)

    def close(self) -> None:
        """The reader and, if there is one, the topic."""
        is_there = self._reader.read(self.topic) is not None
        self._reader.close()
        if is_there:
            self.remove()


class KafkaUpsertTarget(KafkaLogTarget):
    """A compacted topic with two partitions, a record a key."""

    is_keyed = True
    is_slow = True
    format: ClassVar[Mapping[str, Any] | None] = {"name": "json"}

    def look(self) -> Rows | None:
        found = self._reader.read(self.topic)
        return None if found is None else newest(found)

    def damage(self) -> None:
        """Keys deleted, changed and invented, by another producer with Java's partitioner."""
        held = self._reader.read(self.topic)
        assert held is not None
        changes: dict[bytes, bytes | None] = {b'{"k":-7}': json.dumps(made_up(-7)).encode()}
        for row in newest(held):
            k = row[0]
            if k % 3 == 0:
                changes[b'{"k":%d}' % k] = None
            elif k % 3 == 1:
                changes[b'{"k":%d}' % k] = json.dumps(made_up(k)).encode()
        self.kafka.produce(self.topic, *({"key": k, "value": v} for k, v in changes.items()))


def made_up(k: int) -> dict[str, Any]:
    return {"k": k, "v": "damaged", "n": None, "d": None, "b": None, "x": None}


def newest(messages: list[Message]) -> Rows:
    """What a compacted topic holds: the newest value of each key that has one."""
    rows: dict[bytes, tuple[Any, ...] | None] = {}
    for m in messages:
        key, value = m.key(), m.value()
        assert key is not None
        rows[key] = None if value is None else row_of(json.loads(value))
        assert value is None or json.loads(key) == {"k": json.loads(value)["k"]}
    return Counter(r for r in rows.values() if r is not None)


def is_between_two(seen: Rows, versions: list[Rows]) -> bool:
    """Each key has its row of one of two versions in succession, and none is missing or doubled."""

    def fits(old: Rows, new: Rows) -> bool:
        keys = [r[0] for r in seen]
        kept = {r[0] for r in old} & {r[0] for r in new}
        return not seen - (old | new) and len(set(keys)) == len(keys) and kept <= set(keys)

    return any(fits(old, new) for old, new in pairwise(versions))


def shown(messages: list[Message]) -> Rows:
    """The view that an append topic shows, by the documented rule."""
    rows: dict[Any, Rows] = defaultdict(Counter)
    read: dict[Any, Counter[int]] = defaultdict(Counter)
    controls: list[dict[str, str]] = []
    for m in messages:
        h = headers_of(m)
        if "penstock-generation" not in h:
            continue
        if "penstock-control" in h:
            if m.partition() == 0:
                controls.append(h)
            continue
        part_of = h.get("penstock-attempt") or (h["penstock-generation"], h["penstock-step"])
        read[part_of][m.partition()] += 1
        value = m.value()
        assert value is not None
        for line in value.splitlines():
            for kind, row in json.loads(line).items():
                rows[part_of][row_of(row)] += 1 if kind == "insert" else -1

    def part(h: dict[str, str]) -> Any:
        return h.get("penstock-attempt") or (h["penstock-generation"], h["penstock-step"])

    def is_complete(h: dict[str, str]) -> bool:
        counts = list(map(int, h["penstock-counts"].split(",")))
        return [read[part(h)][p] for p in range(len(counts))] == counts

    controls = [h for h in controls if h["penstock-control"] != "begin"]
    ends = [i for i, h in enumerate(controls) if h["penstock-control"] == "end" and is_complete(h)]
    now: Rows = Counter()
    first = ends[-1] if ends else 0
    for h in controls[first:]:
        if not is_complete(h):
            break  # what is shown stays as it was
        if ends and h["penstock-generation"] != controls[first]["penstock-generation"]:
            continue
        for row, n in rows[part(h)].items():
            now[row] += n
    return Counter({r: n for r, n in now.items() if n})
