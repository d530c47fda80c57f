"""The reader's rule for append topics, record by record, without Kafka."""

from __future__ import annotations

import json
import random
from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.client.assembler import ViewAssembler, decode_json
from penstock.client.rows import Row, frozen
from penstock.io.kafka import records
from tests.examples import examples

Record = tuple[records.Headers, bytes | None]


def row(k: int) -> Row:
    return (("k", k),)


def data(marks: records.Headers, *events: tuple[str, int]) -> Record:
    return marks, b"".join(json.dumps({kind: {"k": k}}).encode() + b"\n" for kind, k in events)


class Topic:
    """What a writer puts into `n` partitions."""

    def __init__(self, n: int, rng: random.Random) -> None:
        self.partitions: list[list[Record]] = [[] for _ in range(n)]
        self.rng = rng
        self.versions: list[Counter[Row]] = [Counter()]

    def spread(self, marks: records.Headers, events: list[tuple[str, int]]) -> list[int]:
        counts = [0] * len(self.partitions)
        for event in events:
            p = self.rng.randrange(len(self.partitions))
            self.partitions[p].append(data(marks, event))
            counts[p] += 1
        return counts

    def everywhere(self, marks: records.Headers) -> None:
        for p in self.partitions:
            p.append((marks, None))

    def snapshot(self, generation: int, ks: list[int], *, is_whole: bool = True) -> None:
        attempt = f"{self.rng.getrandbits(32):x}"
        self.everywhere(records.begin(generation, attempt))
        counts = self.spread(records.of_snapshot(generation, attempt), [("insert", k) for k in ks])
        if is_whole:
            self.everywhere(records.end(generation, attempt, 0, "t", len(ks), counts))
            self.versions.append(Counter(map(row, ks)))

    def step(self, generation: int, number: int, events: list[tuple[str, int]]) -> None:
        counts = self.spread(records.of_delta(generation, number), events)
        self.partitions[0].append((records.step(generation, number, counts), None))
        view = Counter(self.versions[-1])
        for kind, k in events:
            view[row(k)] += 1 if kind == "insert" else -1
        self.versions.append(Counter({r: n for r, n in view.items() if n}))


def feed(a: ViewAssembler, partition: int, record: Record) -> bool:
    marks, value = record
    return a.take(partition, {k: bytes(v or b"").decode() for k, v in marks}, value)  # type: ignore[arg-type]


@settings(max_examples=examples(60), deadline=None)
@given(seed=st.integers(0, 2**32), partitions=st.integers(1, 4))
def test_every_version_shown_is_one_that_was_written_and_the_last_is_shown(
    seed: int, partitions: int
) -> None:
    rng = random.Random(seed)
    topic = Topic(partitions, rng)
    generation = 0
    for number in range(1, rng.randrange(2, 20)):
        if generation == 0 or rng.random() < 0.3:
            generation += 1
            if rng.random() < 0.4:
                topic.snapshot(generation, [rng.randrange(9)], is_whole=False)
            topic.snapshot(generation, [rng.randrange(9) for _ in range(rng.randrange(6))])
        else:
            here = list(topic.versions[-1].elements())
            gone = rng.sample(here, min(len(here), 2))
            events = [("delete", int(r[0][1])) for r in gone]
            events += [("insert", rng.randrange(9)) for _ in range(rng.randrange(3))]
            topic.step(generation, number, events)
    assembler = ViewAssembler()
    seen: list[Counter[Row]] = [Counter()]
    left = [list(p) for p in topic.partitions]
    while any(left):
        p = rng.choice([i for i, records in enumerate(left) if records])
        if feed(assembler, p, left[p].pop(0)):
            seen.append(Counter(assembler.shown))

    assert seen[-1] == topic.versions[-1]
    at = 0
    for version in seen:  # a subsequence: none invented, none out of order
        at = next(i for i in range(at, len(topic.versions)) if topic.versions[i] == version)


def test_records_lost_from_a_step_hold_the_view_until_a_snapshot_mends_it() -> None:
    topic = Topic(1, random.Random(0))
    topic.snapshot(1, [1, 2])
    topic.step(1, 1, [("insert", 3)])
    topic.step(1, 2, [("insert", 4)])
    (log,) = topic.partitions
    del log[next(i for i, r in enumerate(log) if r[1] and b"3" in r[1])]
    assembler = ViewAssembler()
    for record in log:
        feed(assembler, 0, record)
    assert assembler.shown == Counter([row(1), row(2)])
    log.clear()
    topic.snapshot(2, [7])
    for record in log:
        feed(assembler, 0, record)

    assert assembler.shown == Counter([row(7)])


def test_steps_whose_snapshot_has_gone_are_not_shown_until_the_next_one() -> None:
    topic = Topic(1, random.Random(0))
    topic.snapshot(1, [1, 2])
    topic.step(1, 5, [("insert", 3)])
    (log,) = topic.partitions
    del log[:-2]  # as retention does
    assembler = ViewAssembler(is_from_beginning=False)
    assert not any(feed(assembler, 0, record) for record in log)
    assert (assembler.generation, assembler.lacks_snapshot_of) == (0, 1)
    log.clear()
    topic.snapshot(2, [7])
    topic.step(2, 6, [("insert", 8)])
    for record in log:
        feed(assembler, 0, record)
    assert assembler.shown == Counter([row(7), row(8)]) and assembler.lacks_snapshot_of is None


def test_steps_of_a_later_snapshot_do_not_change_an_earlier_one() -> None:
    topic = Topic(1, random.Random(0))
    topic.snapshot(1, [1, 2])
    topic.step(4, 5, [("insert", 3)])
    assembler = ViewAssembler()
    for record in topic.partitions[0]:
        feed(assembler, 0, record)
    assert assembler.shown == Counter([row(1), row(2)])


def test_a_topic_without_snapshots_is_the_sum_of_its_steps() -> None:
    topic = Topic(1, random.Random(0))
    topic.step(1, 1, [("insert", 1), ("insert", 2)])
    topic.step(2, 2, [("delete", 1)])
    assembler = ViewAssembler()
    for record in topic.partitions[0]:
        feed(assembler, 0, record)
    assert assembler.shown == Counter([row(2)])


def test_rows_that_differ_in_the_last_digit_are_two() -> None:
    record = b"""{"insert": {"x": 12345678901234567890.12, "y": [0.10]}}
                 {"insert": {"x": 12345678901234567890.13, "y": [0.10]}}"""
    first, second = [row for row, _ in decode_json(record)]
    assert first != second
    assert first == (("x", Decimal("12345678901234567890.12")), ("y", "[0.10]"))
    assert frozen({"a": {"b": [1, None, 'c"', True]}}) == (("a", '{"b": [1, null, "c\\"", true]}'),)


def test_records_of_others_are_left_alone() -> None:
    assembler = ViewAssembler()
    assert not assembler.take(0, {}, b"not even JSON")
    assert not assembler.take(0, {"penstock": "x"}, None)
    assert assembler.shown == Counter()


def test_changes_are_read_from_lines_arrays_and_debezium() -> None:
    events: list[dict[str, Any]] = [{"insert": {"k": 1}}, {"delete": {"k": 2}}]
    lines = "\n".join(map(json.dumps, events)).encode()
    assert list(decode_json(lines)) == [(row(1), 1), (row(2), -1)]
    assert list(decode_json(json.dumps(events).encode())) == [(row(1), 1), (row(2), -1)]
    update = {"payload": {"op": "u", "before": {"k": 1}, "after": {"k": 2}}}
    assert list(decode_json(json.dumps(update).encode())) == [(row(1), -1), (row(2), 1)]
