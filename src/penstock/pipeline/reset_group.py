"""Several connectors cut at one step: whoever is ready waits for the others.

    m.db      ──open, validate──► ready ─┐
    m.file    ──open, validate──► ready ─┼─► all cuts under one hold of the step lock
    n.pg      ──open … (slow) ──► ready ─┘

Then each stages and publishes by itself. A member that is reset again, cancelled, paused, refused
or stopped leaves the group, and the others no longer wait for it. A member whose sink fails after
the cut takes another one by itself: its snapshot is then of a later step, as its status says.

While a member's target is down the others wait, follow nothing and keep their old contents.

Not here: what a cut is (`delivery_state`), who asks for groups (`reset_desk`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from penstock.pipeline.delivery_facts import Cut

Begin = Callable[[Cut], bool]


class ResetGroup:
    """One group reset. Thread-safe; call it without an endpoint's lock."""

    def __init__(
        self,
        members: Iterable[str],
        *,
        between_steps: AbstractContextManager[object],
        take_cut: Callable[[str, Begin], bool],
    ) -> None:
        """`members` are endpoint names; `between_steps` is the step lock, which is reentrant."""
        self._lock = threading.Lock()
        self._missing = set(members)
        self._ready: dict[str, tuple[str, Begin]] = {}
        self._between_steps = between_steps
        self._take_cut = take_cut

    def arrive(self, member: str, relation: str, begin: Begin) -> None:
        """`member` is ready to begin with a cut of `relation`; the last to come cuts for all."""
        with self._lock:
            self._missing.discard(member)
            self._ready[member] = (relation, begin)
        self._cut_if_complete()

    def leave(self, member: str) -> None:
        """`member` is not to be waited for any more."""
        with self._lock:
            self._missing.discard(member)
            self._ready.pop(member, None)
        self._cut_if_complete()

    def _cut_if_complete(self) -> None:
        with self._lock:
            if self._missing:
                return
            ready: Mapping[str, tuple[str, Begin]] = self._ready
            self._ready = {}
        with self._between_steps:
            for relation, begin in ready.values():
                self._take_cut(relation, begin)
