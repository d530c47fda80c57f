"""The deltas of one view on their way to one sink.

    push ──► │ step 7 │ step 8 │ step 9 │ ──► head: the entries of the sink's next batch
                 └─ sent, not answered yet: sent again exactly as it was

Every entry carries the generation it belongs to, and `head` only gives out entries of the
generation that it is asked for (spec/reset.md rule 2).

A batch whose reply was lost is never merged with later entries: only then can the step in the
sink's marker tell whether it got through.

Cost: a push is O(1); `coalesce` costs the size of the queue and is called when it has doubled.

Not here: when deltas are queued at all (`delivery_state`), locks (its caller holds one).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from penstock.data.batch import Batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat


@dataclass(frozen=True, slots=True)
class Entry:
    """One step's delta of the view on its way to the sink. `rows` None: nothing changed.
    `processed`: input records that had gone through the circuit after that step; `queued_at`:
    monotonic seconds."""

    generation: int
    step: int
    processed: int
    rows: Batch | None
    queued_at: float

    @property
    def records(self) -> int:
        return 0 if self.rows is None else len(self.rows)


class DeltaQueue:
    """See the module. `records` is the number of rows queued."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = deque(entries)
        self.records = sum(e.records for e in self._entries)
        self._coalesced_records = 0
        #: last step of the batch that was sent and not answered yet
        self.sent_step: int | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @property
    def batches(self) -> int:
        """Entries that have rows."""
        return sum(e.rows is not None for e in list(self._entries))

    @property
    def byte_size(self) -> int:
        """Bytes of the rows that are queued. Walks the entries: for the statistics only."""
        return sum(_byte_size(e.rows) for e in list(self._entries) if e.rows is not None)

    @property
    def oldest(self) -> float | None:
        """When the first entry was queued; None if there is none."""
        return self._entries[0].queued_at if self._entries else None

    @property
    def oldest_rows(self) -> float | None:
        """When the first entry with rows was queued."""
        return next((e.queued_at for e in self._entries if e.rows is not None), None)

    def push(self, entry: Entry) -> None:
        """Add a later step. Of steps without rows one after the other only the last is kept."""
        if entry.rows is None and self._entries and self._entries[-1].rows is None:
            self._entries[-1] = entry
        else:
            self._entries.append(entry)
        self.records += entry.records

    def clear(self) -> None:
        self._entries.clear()
        self.records = self._coalesced_records = 0
        self.sent_step = None

    @property
    def has_doubled(self) -> bool:
        """Whether coalescing is worth its cost again."""
        return self.records > 2 * self._coalesced_records

    def coalesce(self) -> None:
        """Merge all entries into one, which is that of the last step. None may have been sent."""
        assert self.sent_step is None, "a batch that was sent must be sent again as it was"
        last, first = self._entries[-1], self._entries[0]
        batches = [e.rows for e in self._entries if e.rows is not None]
        rows = consolidate(concat(batches)) if batches else None
        self.clear()
        self._entries.append(replace(last, rows=rows, queued_at=first.queued_at))
        self.records = self._coalesced_records = 0 if rows is None else len(rows)

    def head(self, generation: int, *, one_step: bool) -> list[Entry]:
        """The entries of the sink's next batch: those of an attempt without an answer; else
        everything, or with `one_step` no more than one step that has rows."""
        mine = [e for e in self._entries if e.generation == generation]
        if self.sent_step is not None:
            return [e for e in mine if e.step <= self.sent_step]
        if not one_step:
            return mine
        head: list[Entry] = []
        for e in mine:
            if e.rows is not None and any(h.rows is not None for h in head):
                break
            head.append(e)
        return head

    def took(self, step: int) -> None:
        """The sink has everything up to `step`."""
        self.sent_step = None
        # by step: meanwhile a step without rows may have taken the place of the last entry
        while self._entries and self._entries[0].step <= step:
            self.records -= self._entries.popleft().records

    def then(self, later: DeltaQueue, generation: int) -> DeltaQueue:
        """This queue and after it `later`, all under `generation`."""
        both = DeltaQueue(replace(e, generation=generation) for e in (*self, *later))
        both.sent_step = self.sent_step
        return both


def _byte_size(rows: Batch) -> int:
    """Bytes of the arrays; heaps of long strings are counted for each column that shares them."""
    fixed = sum(c.values.nbytes + (0 if c.valid is None else len(c)) for c in rows.columns)
    return rows.weights.nbytes + fixed + sum(len(h) for c in rows.columns for h in c.heaps)
