"""What a node remembers, as parts that can be written and read back.

    capture ──► Pin ──► write ──► JSON that names files ──► restore
    in the step lock    any thread                          on a fresh part

A pin holds what the part was at the time of `capture`, whatever happens to the part afterwards.
Everything large lives in immutable pieces that are written once in their life, so a checkpoint
costs what is new since the last one.

Not here: the files (`storage`), the parts (`spine`, `groups`, `changes`).
"""

from __future__ import annotations

from typing import Any, Protocol

from penstock.state.storage import StateStore


class Pin(Protocol):
    """A part as it was."""

    def write(self, store: StateStore) -> Any:
        """Write what is not in `store` yet; a JSON value for `Part.restore`. Any thread, but one
        at a time. Raises OSError; what was not written then is left to the next pin."""


class Part(Protocol):
    """Something a node remembers. A part is written to one store in its life."""

    def capture(self) -> Pin:
        """Pin the state, between two steps. Cost: what changed since the last capture."""

    def restore(self, store: StateStore, saved: Any) -> None:
        """Replace the state by a saved one. Raises StateCorrupt."""
