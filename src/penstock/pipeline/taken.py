"""What a step takes in: of each input endpoint some batches, and how far it is with them.

Not here: when a step takes (`loop`), what an endpoint queues (`inputs`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.data.batch import InputBatch
from penstock.pipeline.inputs import InputEndpoint, InputProgress
from penstock.pipeline.journal import JournalledInput


@dataclass(frozen=True, slots=True)
class Taken:
    """What one endpoint gave to a step, and how far it is with that."""

    endpoint: InputEndpoint
    batches: tuple[InputBatch, ...]
    progress: InputProgress

    def journalled(self) -> JournalledInput:
        e = self.endpoint
        config = e.config if e.is_implicit else None
        return JournalledInput(e.name, e.relation, config, e.schema, self.progress, self.batches)

    @property
    def rows(self) -> int:
        return sum(len(b) for b in self.batches)


def take(endpoints: Iterable[InputEndpoint], max_records: int) -> tuple[Taken, ...]:
    """What has arrived, at most about `max_records` rows of each endpoint; those that have
    nothing and are no further than before are left out."""
    found = []
    for e in endpoints:
        before = e.taken
        batches = tuple(e.take(max_records))
        if e.taken is not before:
            found.append(Taken(e, batches, e.taken))
    return tuple(found)
