"""Reading a topic back: every committed record up to an instant, and what an append topic shows.

    pass 1   headers only: which attempts and steps the reader's rule of `records` lets be shown
    pass 2   the values of those

Memory: one batch of records; pass 1 keeps a few hundred bytes for each step since the newest
whole snapshot. Cost: the topic is read twice.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.io.contracts import SinkUnavailable
from penstock.io.kafka.client import TRY_S, Cluster
from penstock.io.kafka.ends import latest_ends
from penstock.io.kafka.records import END

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

#: records taken from the consumer at once
BATCH = 10_000
#: how long nothing may come of a topic that is not at its end
QUIET_S = 60.0
PartKey = tuple[str, ...]


class Piece(NamedTuple):
    """Records, and where each of them is."""

    messages: list[Message]
    partitions: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    def only(self, chosen: npt.NDArray[np.bool_]) -> Piece:
        messages = list(compress(self.messages, chosen))
        return Piece(messages, self.partitions[chosen], self.offsets[chosen])

    def keys(self) -> list[Any]:
        """bytes, or None where a record has none."""
        return [m.key() for m in self.messages]

    def has_value(self) -> npt.NDArray[np.bool_]:
        """Which records have one, be it empty; a look at its length spares the others' value."""
        found = np.fromiter(map(len, self.messages), np.int64, len(self.messages)) > 0
        for at in np.flatnonzero(~found).tolist():
            found[at] = self.messages[at].value() is not None
        return found


def ends_of(cluster: Cluster, topic: str, partitions: int) -> dict[int, int]:
    """For each partition, the offset after its last record, once every transaction up to there is
    decided.

    A commit answers when the coordinator has it; the partitions, and with them readers of
    committed records, learn of it a moment later. So what was just committed is waited for.
    Raises SinkUnavailable if a transaction stays open for TRY_S."""
    from confluent_kafka import IsolationLevel

    ends = latest_ends(cluster, topic, partitions, IsolationLevel.READ_UNCOMMITTED)
    until = time.monotonic() + TRY_S
    while True:
        decided = latest_ends(cluster, topic, partitions, IsolationLevel.READ_COMMITTED)
        if all(decided[p].offset >= end.offset for p, end in ends.items()):
            return {p: end.offset for p, end in ends.items()}
        if time.monotonic() > until:
            raise SinkUnavailable(
                f"topic '{topic}': a transaction has been open for {TRY_S:.0f} s, and no reader of "
                "committed records gets past it: wait until its producer ends it, or abort it with "
                "kafka-transactions.sh"
            )
        time.sleep(0.005)


class Scan(NamedTuple):
    """The records that are committed now: `pieces()` reads them, each time anew, up to `ends`, the
    offset after the last of each partition; of no topic there is neither."""

    ends: Sequence[int]
    pieces: Callable[[], Iterator[Piece]]


def scan(
    cluster: Cluster,
    consumer: Consumer,
    topic: str,
    ends: Mapping[int, int],
    since: Sequence[int] = (),
) -> Iterator[Piece]:
    """Committed records before `ends`, from the offsets `since` on or from the beginning, in
    pieces; those of a partition in their order.

    `consumer` reads committed records, reports the end of partitions, and begins with the first
    record where the one that it is to begin with is gone."""
    kafka = cluster.kafka
    error_of, partition_of, offset_of = (
        kafka.Message.error, kafka.Message.partition, kafka.Message.offset
    )  # fmt: skip
    cluster.is_down = False
    end_of = np.zeros(max(ends, default=0) + 1, np.int64)
    end_of[list(ends)] = list(ends.values())
    start = dict(enumerate(since)) or dict.fromkeys(ends, kafka.OFFSET_BEGINNING)
    left = {p for p, end in ends.items() if end > max(0, start[p])}
    consumer.assign([kafka.TopicPartition(topic, p, start[p]) for p in left])
    heard = time.monotonic()
    try:
        while left:
            with cluster.errors("reading the topic back"):
                messages = consumer.consume(BATCH, 0.05)
            if messages:
                heard = time.monotonic()
            elif cluster.is_down or time.monotonic() - heard > QUIET_S:
                raise SinkUnavailable(f"topic '{topic}': no broker can be reached to read it back")
            errors = list(map(error_of, messages))
            for m, error in zip(messages, errors, strict=True):
                if error is None:
                    continue
                if error.code() == kafka.KafkaError._PARTITION_EOF:
                    left.discard(m.partition() or 0)
                elif not error.retriable():
                    raise cluster.translated("reading the topic back", error)
            if any(errors):
                messages = [m for m in messages if error_of(m) is None]
            partitions = np.fromiter(map(partition_of, messages), np.int64, len(messages))
            offsets = np.fromiter(map(offset_of, messages), np.int64, len(messages))
            piece = Piece(messages, partitions, offsets)
            left -= set(np.unique(partitions[offsets >= end_of[partitions] - 1]).tolist())
            is_before = offsets < end_of[partitions]
            if not is_before.all():
                piece = piece.only(is_before)
            if piece.messages:
                yield piece
    finally:
        consumer.unassign()


def marks_of(message: Message) -> dict[str, str]:
    """Our headers of a record, without their prefix."""
    found: Any = message.headers() or ()
    return {
        name.removeprefix("penstock-"): (value or b"").decode()
        for name, value in found
        if name.startswith("penstock-")
    }


def part_of(marks: Mapping[str, str]) -> PartKey | None:
    """Which attempt or step a record belongs to; None for records that are not ours."""
    if "generation" not in marks:
        return None
    if "attempt" in marks:
        return ("attempt", marks["attempt"])
    return ("step", marks["generation"], marks.get("step", ""))


class _Control(NamedTuple):
    """An end or a step record."""

    kind: str
    key: PartKey
    generation: str
    counts: list[int]


class Shown:
    """Which parts of an append topic are shown, from the marks of its records."""

    def __init__(self) -> None:
        self._read: dict[PartKey, Counter[int]] = defaultdict(Counter)
        self._controls: list[_Control] = []

    def take(self, partition: int, marks: Mapping[str, str]) -> None:
        key = part_of(marks)
        if key is None:
            return
        kind = marks.get("control")
        if kind is None:
            self._read[key][partition] += 1
        elif partition == 0 and "counts" in marks:
            counts = [int(n) for n in marks["counts"].split(",")]
            control = _Control(kind, key, marks["generation"], counts)
            self._controls.append(control)
            if self._is_whole_end(control):
                for passed in self._controls[:-1]:
                    self._read.pop(passed.key, None)
                del self._controls[:-1]

    def parts(self) -> set[PartKey]:
        """The newest whole snapshot and the steps of its generation after it, up to one that is
        not whole; all steps where there are no snapshots."""
        controls = self._controls
        whole_ends = [i for i, c in enumerate(controls) if self._is_whole_end(c)]
        first = whole_ends[-1] if whole_ends else 0
        shown = set()
        for c in controls[first:]:
            if not self._is_whole(c):
                break
            if not whole_ends or c.generation == controls[first].generation:
                shown.add(c.key)
        return shown

    def _is_whole_end(self, c: _Control) -> bool:
        return c.kind == END and self._is_whole(c)

    def _is_whole(self, c: _Control) -> bool:
        read = self._read[c.key]
        return all(read[p] == n for p, n in enumerate(c.counts))
