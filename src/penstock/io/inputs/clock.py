"""clock: the time of day as a table of one row, for programs that use NOW() (contract 10.4).

    {"clock_resolution_usecs": 1000000, "timezone_offset_ms": 0, "http_driven": false}

Every tick replaces the row, whose second column is its key. Times are whole ticks, and never fall,
also across a restart. Driven over HTTP the clock stands still until it is told to move on.

Position: the time that the table holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import column_from_python
from penstock.io.contracts import InputConnector, InputContext, Intake, Parsed, Position
from penstock.io.formats.options import TRANSPORT_ERROR, Options


class Clock(InputConnector):
    can_resume = True

    def __init__(
        self, context: InputContext, now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        super().__init__(context)
        o = Options.of("clock", TRANSPORT_ERROR, context.config)
        self.resolution_us = o.integer("clock_resolution_usecs", 1_000_000, least=1)
        self._offset_us = o.integer("timezone_offset_ms", 0, least=-86_400_000) * 1000
        self.is_driven = bool(o.raw("http_driven", False))
        start_ms = o.raw("now_offset_ms", None)
        o.done()
        self._now_us = now_us
        self._moved = threading.Condition()
        self._shown: int | None = None
        self._target = self._tick(now_us() if start_ms is None else int(start_ms) * 1000)

    def validate(self) -> None:
        """Its config is made by the pipeline."""

    def resume(self, position: Position) -> None:
        self._shown = int(position["now"])
        self._target = max(self._target, self._shown)

    @property
    def now(self) -> int:
        """The time that is shown or about to be, in µs since the epoch."""
        with self._moved:
            return self._target

    def advance(self, delta_us: int | None) -> int:
        """Move a driven clock on by whole ticks (None: one); the new time."""
        with self._moved:
            step = self.resolution_us if delta_us is None else delta_us
            self._target += -(-step // self.resolution_us) * self.resolution_us
            self._moved.notify_all()
            return self._target

    def run(self, intake: Intake) -> None:
        while not intake.stopping:
            intake.wait_while_paused()
            with self._moved:
                if not self.is_driven:
                    self._target = max(self._target, self._tick(self._now_us()))
                target = self._target
            if self._shown is None or target > self._shown:
                self._show(intake, target)
            self._wait()

    def _wait(self) -> None:
        """Until the next tick, a tenth of a second at the most."""
        left_s = 0.1
        if not self.is_driven:
            passed = self._now_us() % self.resolution_us
            left_s = min(left_s, (self.resolution_us - passed) / 1e6)
        with self._moved:
            if self._target == self._shown:
                self._moved.wait(left_s)

    def _tick(self, now_us: int) -> int:
        return (now_us + self._offset_us) // self.resolution_us * self.resolution_us

    def _show(self, intake: Intake, target: int) -> None:
        schema = self.context.schema
        columns = tuple(
            column_from_python(t, [v]) for t, v in zip(schema.types, (target, True), strict=True)
        )
        batch = InputBatch(schema, columns, np.array([INSERT], np.uint8))
        intake.push(Parsed((batch,), (), 1), 0, position={"now": target})
        self._shown = target
