"""A sink whose target is a dictionary: it honours the contract, and fails when told to.

The target (`Target`) outlives the sink object, as a table outlives a connection. `fail` names a
call ("stage", "publish", …), how often it fails, and whether the work is done before the reply is
lost. `looks` is every content a reader could have seen, in order.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.io.contents import Contents
from penstock.io.contracts import Capabilities, Marker, Sink, SinkContext, SinkUnavailable
from penstock.io.outputs.fencing import check_complete, check_fence, check_owner, is_applied


@dataclass
class Target:
    """The outside system."""

    rows: Counter[Any] = field(default_factory=Counter)
    #: by generation what is staged: it outlives a connection, as tables and files do
    stages: dict[int, Counter[Any]] = field(default_factory=dict)
    marker: Marker | None = None
    is_down: bool = False
    failures: list[tuple[str, bool]] = field(default_factory=list)
    looks: list[tuple[int, Counter[Any]]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    #: up to which generation what was staged is gone, by call of `sweep`
    swept: list[int] = field(default_factory=list)
    #: every `apply` takes one permit of it first, if there is one
    gate: threading.Semaphore | None = None

    def shown(self) -> None:
        generation = 0 if self.marker is None else self.marker.generation
        self.looks.append((generation, Counter(self.rows)))


class MemorySink(Sink):
    def __init__(self, context: SinkContext, target: Target) -> None:
        super().__init__(context)
        self.target = target
        self._generation: int | None = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="atomic", stores_marker=True)

    def _enter(self, call: str) -> bool:
        """True when this call must do its work and then lose the reply."""
        self.target.calls.append(call)
        if self.target.is_down:
            raise SinkUnavailable(f"{call}: the target is down")
        if self.target.failures and self.target.failures[0][0] == call:
            _, is_applied_first = self.target.failures.pop(0)
            if not is_applied_first:
                raise SinkUnavailable(f"{call} failed")
            return True
        return False

    def _leave(self, call: str, is_lost: bool) -> None:
        if is_lost:
            raise SinkUnavailable(f"{call}: the reply was lost")

    def open(self) -> None:
        self._leave("open", self._enter("open"))

    def validate(self) -> None:
        if self.target.is_down:
            raise SinkUnavailable("validate: the target is down")
        check_owner(self.target.marker, self.context, "memory")

    def marker(self) -> Marker | None:
        return self.target.marker

    def begin(self, generation: int, token: str, step: int) -> None:
        is_lost = self._enter("begin")
        self._drop(generation)
        self._generation, self.target.stages[generation] = generation, Counter()
        self._leave("begin", is_lost)

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        is_lost = self._enter("stage")
        for row, weight in batch_to_rows(rows):
            self._staged(generation)[row] += weight
        self._leave("stage", is_lost)

    def publish(self, generation: int, marker: Marker) -> None:
        is_lost = self._enter("publish")
        check_fence(self.target.marker, marker, "memory")
        staged = self._staged(generation)
        check_complete(generation, staged.total(), marker)
        self.target.rows, self.target.marker = staged, marker
        del self.target.stages[generation]
        self.target.shown()
        self._leave("publish", is_lost)

    def _staged(self, generation: int) -> Counter[Any]:
        assert self._generation == generation, "staged without a beginning on this connection"
        return self.target.stages[generation]

    def _drop(self, generation: int) -> None:
        for older in [g for g in self.target.stages if g <= generation]:
            del self.target.stages[older]

    def abort(self, generation: int) -> None:
        is_lost = self._enter("abort")
        self.target.stages.pop(generation, None)
        self._leave("abort", is_lost)

    def sweep(self, generation: int) -> None:
        is_lost = self._enter("sweep")
        self._drop(generation)
        self.target.swept.append(generation)
        self._leave("sweep", is_lost)

    def apply(self, rows: Batch, marker: Marker) -> None:
        is_lost = self._enter("apply")
        if self.target.gate is not None:
            self.target.gate.acquire()
        if not is_applied(self.target.marker, marker, "memory"):
            for row, weight in batch_to_rows(rows):
                self.target.rows[row] += weight
                if self.target.rows[row] == 0:
                    del self.target.rows[row]
            self.target.marker = marker
            self.target.shown()
        self._leave("apply", is_lost)

    def read(self) -> Contents:
        rows = list(self.target.rows.items())
        made = batch_from_rows(self.context.schema, [r for r, _ in rows], [n for _, n in rows])
        return Contents(self.context.schema, (0,), iter([made]), lambda rows: rows)

    def close(self) -> None:
        """What is staged stays."""
