"""A look at a target before it is reset: does it answer, is it ours, may it be written?

On a connection of its own, in a thread of its own: a target may take longer to refuse than
whoever asks for a reset can wait (spec/reset.md rule 7).

Not here: what a refusal means to the one who asked (`reset_desk`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from penstock.errors import TransientError
from penstock.io.contracts import Sink
from penstock.pipeline.delivery import Identity
from penstock.pipeline.eventlog import event

log = logging.getLogger("penstock.pipeline.outputs")

#: how long a reset waits for its target's answer before it is accepted all the same
PROBE_S = 3.0


@dataclass(frozen=True, slots=True)
class Look:
    """The privileges that a target must grant, or why it does not answer."""

    privileges: tuple[str, ...] = ()
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class TargetProbe:
    """Looks at the target of the endpoint `name`, whose `identity` is this."""

    name: str
    identity: Identity
    make_sink: Callable[[], Sink]

    def look(self) -> Look:
        """Raises SinkRejected if the target may not be reset. One that does not answer now is
        waited for by a reset."""
        answer = Future[Look]()

        def run() -> None:
            try:
                answer.set_result(self._look())
            except BaseException as e:
                answer.set_exception(e)

        threading.Thread(target=run, name=f"probe {self.name}", daemon=True).start()
        try:
            return answer.result(PROBE_S)
        except TimeoutError:
            event(log, "probe_slow", endpoint=self.name, seconds=PROBE_S)
            return Look(trouble=f"no answer in {PROBE_S:.0f} s")

    def _look(self) -> Look:
        sink = self.make_sink()
        try:
            sink.open()
            sink.validate()
            self.identity.check_owner(sink.marker())
            return Look(tuple(sink.privileges()))
        except TransientError as e:
            event(log, "probe_unreachable", endpoint=self.name, error=e)
            return Look(trouble=str(e))
        finally:
            sink.close()
