"""Partitions read side by side: a record waits until none can come before it from elsewhere.

    partition 0   …  t=3  t=7         3 and 4 may pass: of each partition something as late is
    partition 1   …  t=4              known. 7 waits for what comes behind 4.

A record counts as late as the latest before it in its partition, so that a partition keeps its
own order. A partition that was read to its end holds nobody up.

Memory: up to `LIMIT` records a partition; one that has them is paused.
Cost: a step of a heap a record.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from itertools import takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import Message

LIMIT = 10_000


class Lockstep:
    def __init__(self) -> None:
        #: of each partition what waits, and as how late it counts
        self._waiting: dict[int, deque[tuple[int, Message]]] = defaultdict(deque)
        self._latest: dict[int, int] = {}

    def add(self, messages: Iterable[Message]) -> None:
        for m in messages:
            p = m.partition() or 0
            late = max(m.timestamp()[1], self._latest.get(p, 0))
            self._latest[p] = late
            self._waiting[p].append((late, m))

    def pass_on(self, partitions: Collection[int], ended: Collection[int]) -> list[Message]:
        """What may pass, in its order; `partitions` are all that are read."""
        open_ = [p for p in partitions if p not in ended]
        if any(not self._waiting[p] for p in open_):
            return []
        until = min((self._latest[p] for p in open_), default=None)
        queues = list(self._waiting.values())
        if until is not None:
            limit = until
            queues = [deque(takewhile(lambda x: x[0] <= limit, q)) for q in queues]
        passing = [m for _, m in heapq.merge(*queues, key=itemgetter(0))]
        for p, m in zip(list(self._waiting), queues, strict=True):
            self._drop(p, len(m))
        return passing

    def drain(self, partition: int) -> list[Message]:
        """All of a partition that waits, whether or not it may pass."""
        found = [m for _, m in self._waiting[partition]]
        self._drop(partition, len(found))
        return found

    def _drop(self, partition: int, n: int) -> None:
        queue = self._waiting[partition]
        for _ in range(n):
            queue.popleft()

    def full(self) -> set[int]:
        """The partitions that nothing more is to be read of for now."""
        return {p for p, q in self._waiting.items() if len(q) >= LIMIT}
