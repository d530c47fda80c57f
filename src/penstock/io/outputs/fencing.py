"""Who may write to a target, and whether a write has been done already.

Every sink reads the stored Marker in the same transaction (or under the same lock) as it writes,
and asks here first:

    stored marker            publish (g, token)             apply (g, token, step)
    ───────────────────────  ─────────────────────────────  ─────────────────────────────
    none                     write                          write
    another owner's          refused                        refused
    a newer generation       refused (fenced)               refused (fenced)
    g, another token         refused                        refused
    g, this token            write if staged anew, else     write if step is beyond the
                             it is done: nothing            stored one, else nothing
    an older generation      write                          write

Source: spec/reset.md section 3, rules 5-7 and "Marker".

Not here: how a sink stores its marker (each sink's file).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from penstock.io.contracts import (
    Marker,
    SinkContext,
    SinkRejected,
    SinkUnavailable,
    StagingLost,
)


@dataclass(slots=True)
class Staging:
    """What one Sink object has staged so far: `rows` counts copies, `next_chunk` is expected."""

    generation: int
    next_chunk: int = 0
    rows: int = 0

    def is_repetition(self, chunk: int) -> bool:
        """True if `chunk` is staged already. A gap means that staging was lost."""
        if chunk > self.next_chunk:
            raise StagingLost(
                f"chunk {chunk} of generation {self.generation} came before chunk "
                f"{self.next_chunk}: begin again"
            )
        return chunk < self.next_chunk

    def took(self, rows: int) -> None:
        self.next_chunk += 1
        self.rows += rows


def staging_of(staging: Staging | None, generation: int) -> Staging:
    """`staging` if it is that of `generation`; raises StagingLost if not."""
    if staging is None or staging.generation != generation:
        raise StagingLost(f"generation {generation} is not being staged: begin again")
    return staging


def check_complete(generation: int, staged: int, marker: Marker) -> None:
    """Refuse to publish fewer or more rows than the snapshot has."""
    if staged != marker.rows:
        raise StagingLost(
            f"generation {generation} has {staged} rows staged of {marker.rows}: begin again"
        )


def check_owner(stored: Marker | None, context: SinkContext, target: str) -> None:
    """Refuse a target whose marker names another connector."""
    mine = (context.pipeline_id, context.view, context.connector)
    if stored is not None and stored.owner != mine:
        raise SinkRejected(
            f"{target} belongs to view '{stored.view}', connector '{stored.connector}' of pipeline "
            f"{stored.pipeline_id}: give this connector a target of its own, or delete that "
            "marker if the other connector is gone for good",
            details={"owner": list(stored.owner)},
        )


def check_fence(stored: Marker | None, marker: Marker, target: str) -> bool:
    """True if `stored` is of the very generation and token of `marker`; raises if it is ahead."""
    if stored is None or stored.generation < marker.generation:
        return False
    if stored.generation > marker.generation:
        raise SinkRejected(
            f"{target} is at generation {stored.generation}; this writer of generation "
            f"{marker.generation} has been superseded and must not write any more",
            details={"stored": stored.generation, "mine": marker.generation},
        )
    if stored.token != marker.token:
        raise SinkRejected(
            f"{target} holds generation {stored.generation} under another token: begin generation "
            f"{stored.generation + 1}",
            details={"stored": stored.generation, "mine": marker.generation},
        )
    return True


def is_applied(stored: Marker | None, marker: Marker, target: str) -> bool:
    """True if the delta that `marker` describes is in the target already (see the table).

    Raises SinkUnavailable for a target that lost rows: whoever connects anew is told so."""
    if not check_fence(stored, marker, target) or stored is None:
        return False
    if stored.is_restored:
        raise SinkUnavailable(f"{target} has lost what was written to it up to step {stored.step}")
    return marker.step <= stored.step


class LastSeen:
    """What one Sink object knows a target to hold. One that holds less was restored, emptied or
    made anew behind its back: a delta more would be a mixture. Who connects anew finds out what is
    owed to it (reset.md section 3, "Marker")."""

    def __init__(self) -> None:
        self._at = (0, 0)

    def saw(self, marker: Marker) -> None:
        """That was written, and is there for good."""
        self._at = marker.generation, marker.step

    def found(self, stored: Marker | None) -> Marker | None:
        """`stored` is what the target says, to whoever decides by it how to go on."""
        if stored is not None:
            self.saw(stored)
        return stored

    def check(self, stored: Marker | None, target: str) -> None:
        """Raises SinkUnavailable if what was seen is there no more."""
        at = (0, 0) if stored is None else (stored.generation, stored.step)
        if at < self._at:
            raise SinkUnavailable(
                f"{target} has lost what was written to it: it was at generation {self._at[0]}, "
                f"step {self._at[1]}, and is at {at[0]}, {at[1]}"
            )


def marker_to_json(marker: Marker) -> dict[str, Any]:
    return asdict(marker)


def marker_from_json(fields: dict[str, Any]) -> Marker:
    """The inverse of `marker_to_json`; TypeError if the fields are not a marker's."""
    return Marker(**fields)
