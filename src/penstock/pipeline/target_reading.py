"""A target and its view, read as of one step, while deliveries go on.

    pin the view at step S ─► deliver up to S and no further ─► stand still ─► read the target
                                                                    │ as soon as it is pinned
                                                                    ▼
                                                                deliveries go on

The target is read on a connection of its own. A target that cannot pin what is read from it is
read to the end before deliveries go on; the circuit does not wait for that unless the queue fills.

Not here: what is done with the rows (`audit`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from penstock.errors import Conflict
from penstock.io.contents import Contents
from penstock.io.contracts import Marker, Sink
from penstock.pipeline.delivery import Identity, TakeCut
from penstock.pipeline.delivery_facts import Cut, Hold
from penstock.pipeline.delivery_state import DeliveryState


@dataclass(frozen=True, slots=True)
class TargetReading:
    """Reads the target of the endpoint whose parts these are."""

    identity: Identity
    state: DeliveryState
    cond: threading.Condition
    make_sink: Callable[[], Sink]

    @contextmanager
    def at_one_step(
        self, take_cut: TakeCut, timeout_s: float
    ) -> Iterator[tuple[Contents, Marker | None, Cut]]:
        """What the target holds, its marker, and the view at the same step.

        Raises what the sink raises, NotSupported if it cannot be read back, and Conflict
        ConnectorBehind if the target does not get to that step in `timeout_s`. A paused or
        failed connector is read as it is."""
        sink = self.make_sink()
        try:
            sink.open()
            self.identity.check_owner(sink.marker())
            with self._hold(take_cut) as (hold, cut):
                self._stand_still(hold, timeout_s)
                marker, contents = sink.marker(), sink.read()
                if sink.capabilities.pins_reads:
                    self._release(hold)
                yield contents, marker, cut
        finally:
            sink.close()

    @contextmanager
    def _hold(self, take_cut: TakeCut) -> Iterator[tuple[Hold, Cut]]:
        """Pin the view; nothing later than it is delivered until the hold is released."""
        cuts: list[tuple[Hold, Cut]] = []

        def begin(cut: Cut) -> bool:
            with self.cond:
                hold = Hold(cut.step)
                self.state.holds.append(hold)
                self.state.is_flush_asked = True
                self.cond.notify_all()
            cuts.append((hold, cut))
            return False  # nothing is published from it, so it needs no checkpoint

        take_cut(self.identity.view, begin)
        try:
            yield cuts[0]
        finally:
            self._release(cuts[0][0])

    def _release(self, hold: Hold) -> None:
        with self.cond:
            self.state.holds = [h for h in self.state.holds if h is not hold]
            self.cond.notify_all()

    def _stand_still(self, hold: Hold, timeout_s: float) -> None:
        """Wait until the target is at the hold's step; from then on the sink is not called."""
        s = self.state
        with self.cond:
            if not self.cond.wait_for(lambda: s.shows(hold.step), timeout_s):
                waiting_for = s.waiting_for
                detail = "" if waiting_for is None else f", waiting for: {waiting_for.value}"
                why = "it may have much to deliver: try again later"
                if s.unhealthy is not None:
                    why = f"its target does not take what is delivered: {s.unhealthy}"
                raise Conflict(
                    f"output connector '{s.name}' is not at step {hold.step} after {timeout_s:g} s "
                    f"(it is {s.phase.value}{detail}), so its target cannot be compared with the "
                    f"view; {why}",
                    code="ConnectorBehind",
                )
            hold.is_still = True
