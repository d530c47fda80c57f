"""The pipelines of one server as they are on record: what is stored of each, its log, its events.

Invariants: a record changes only in `put` and `change`, under `lock`, and is on disk before the
lock is released; each change that a monitor can see is an event. Cost: one SQLite commit per
change.

Where the disk is full, what somebody wants is refused (`put`), but what has become of a pipeline
is true nevertheless (`change`): it is written with the next record that the disk takes. A server
that is killed before takes such a pipeline for what it was.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from penstock.errors import NotFound, TransientError
from penstock.manager.logs import LogBuffer, manager_line
from penstock.manager.records import PipelineRecord
from penstock.manager.store import Store
from penstock.wire.stamps import now_rfc3339, uuid7

MAX_EVENTS = 720


class Roster:
    """Records by id. Methods take `lock` themselves; hold it (it is re-entrant) where what was
    looked up must still be true when it is changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.lock = threading.RLock()
        self._records: dict[str, PipelineRecord] = {}
        #: ids of records of which the disk has an earlier state
        self._unwritten: set[str] = set()
        self._logs: dict[str, LogBuffer] = {}
        self._events: dict[str, deque[dict[str, Any]]] = {}

    def load(self) -> list[PipelineRecord]:
        """All that an earlier server left in the store."""
        found = list(self._store.pipelines())
        for record in found:
            self._adopt(record)
        return found

    # looking up

    def find(self, tenant_id: str, name: str) -> PipelineRecord:
        """Raises NotFound `UnknownPipelineName`, also for another tenant's pipeline."""
        with self.lock:
            for record in self._records.values():
                if record.name == name and record.tenant_id == tenant_id:
                    return record
        raise NotFound(
            f"Unknown pipeline name '{name}'",
            code="UnknownPipelineName",
            details={"pipeline_name": name},
        )

    def get(self, pipeline_id: str) -> PipelineRecord | None:
        with self.lock:
            return self._records.get(pipeline_id)

    def __getitem__(self, pipeline_id: str) -> PipelineRecord:
        with self.lock:
            return self._records[pipeline_id]

    def all_of(self, tenant_id: str) -> list[PipelineRecord]:
        """The tenant's pipelines in order of creation."""
        with self.lock:
            mine = [r for r in self._records.values() if r.tenant_id == tenant_id]
        return sorted(mine, key=lambda record: record.id)

    def log_of(self, record: PipelineRecord) -> LogBuffer:
        with self.lock:
            return self._logs[record.id]

    def events_of(self, record: PipelineRecord) -> list[dict[str, Any]]:
        """Newest first, with all keys."""
        with self.lock:
            return list(self._events[record.id])

    # changing

    def add(self, record: PipelineRecord) -> None:
        with self.lock:
            self._store.put(record)
            self._adopt(record)

    def change(self, record: PipelineRecord, **changes: Any) -> PipelineRecord:
        """What has become of a pipeline, on disk as soon as the disk takes it."""
        record = record.changed(**changes)
        with self.lock:
            try:
                return self.put(record)
            except TransientError as problem:
                if record.id not in self._unwritten:
                    self._unwritten.add(record.id)
                    self.say(record, "ERROR", f"Its state is not on disk yet: {problem.message}")
                return self._take(record)

    def put(self, record: PipelineRecord) -> PipelineRecord:
        """What somebody wants it to be. Raises TransientError where the disk takes nothing."""
        with self.lock:
            self._store.put(record)
            self._unwritten.discard(record.id)
            self._take(record)
            self._catch_up()
            return record

    def _take(self, record: PipelineRecord) -> PipelineRecord:
        before = self._records[record.id].monitored()
        self._records[record.id] = record
        if before != record.monitored():
            self._record_event(record)
        return record

    def _catch_up(self) -> None:
        for pipeline_id in list(self._unwritten):
            try:
                self._store.put(self._records[pipeline_id])
            except TransientError:
                return
            self._unwritten.discard(pipeline_id)

    def remove(self, record: PipelineRecord) -> None:
        with self.lock:
            self._store.delete(record.id)
            self._unwritten.discard(record.id)
            del self._records[record.id], self._events[record.id]
            self._logs.pop(record.id).close()

    def say(self, record: PipelineRecord, level: str, text: str) -> None:
        """A line of the pipeline's log."""
        self.log_of(record).append(manager_line(level, text, record.id, record.name))

    def close(self) -> None:
        """End the logs, and with them who follows them."""
        with self.lock:
            self._catch_up()
            for log in self._logs.values():
                log.close()

    def _adopt(self, record: PipelineRecord) -> None:
        self._records[record.id] = record
        self._logs[record.id] = LogBuffer()
        self._events[record.id] = deque(maxlen=MAX_EVENTS)
        self._record_event(record)

    def _record_event(self, record: PipelineRecord) -> None:
        event = {"event_id": uuid7(), "recorded_at": now_rfc3339(), **record.monitored()}
        self._events[record.id].appendleft(event)
