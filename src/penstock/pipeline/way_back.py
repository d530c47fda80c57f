"""What a cancelled reset goes back to: the generation that the sink still shows, and the deltas
that it has not got.

    reset ──► the dropped queue ─┐
    push while it waits ─────────┼──► WayBack ──cancel──► follow the old generation, nothing lost
    what queued behind a cut ────┘        └─ publish, pause, too many rows: given up

It survives a restart. The checkpoint keeps it (`Kept`), or what the output followed before the
reset came; the steps behind the checkpoint are made again; and the sink's marker says up to which
step the old contents go. Only a sink that keeps a marker can tell that, so without one there is
none after a restart.

Not here: when there is one (`delivery_state`), what the marker means (`output_position`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from penstock.io.contracts import Marker
from penstock.pipeline.delta_queue import DeltaQueue, Entry
from penstock.pipeline.output_position import KeptWay, OutputPosition
from penstock.pipeline.resets import ResetRecord


@dataclass(slots=True)
class WayBack:
    """`record`: of the generation that the sink still shows; `marker_step`: of its marker, None
    for none; `taken`: (step, processed) that the sink took while the reset was pending; `skip_to`:
    steps up to this one are in the sink, though they are made again."""

    record: ResetRecord
    queue: DeltaQueue
    marker_step: int | None
    taken: tuple[int, int] | None = None
    skip_to: int = 0

    def push(self, entry: Entry) -> None:
        """One more step that the sink does not get while the reset is pending, unless it has it
        already and the step is made again."""
        if entry.step > self.skip_to:
            self.queue.push(entry)
        else:
            self.taken = entry.step, entry.processed

    def add(self, later: DeltaQueue) -> None:
        """What had queued behind a cut that is given up belongs to the way back again."""
        self.queue = self.queue.then(later, self.record.generation)

    def begin_behind(self, stored: Marker) -> None:
        """After a restart: the sink has the steps up to that of its marker."""
        processed = 0
        for e in self.queue:
            if e.step <= stored.step:
                processed = e.processed
        self.queue.took(stored.step)
        self.marker_step = self.skip_to = stored.step
        if processed:
            self.taken = stored.step, processed

    def leads_to(self, stored: Marker | None, horizon: int) -> bool:
        """Whether the sink, by its marker, holds what this way begins at, and nothing that a
        restart cannot make again (`output_position`)."""
        return (
            stored is not None
            and stored.token == self.record.token
            and (self.marker_step or 0) <= stored.step <= horizon
        )

    def kept(self) -> KeptWay:
        """For a checkpoint."""
        r = self.record
        return KeptWay(r.generation, r.token, self.marker_step, tuple(self.queue))


def way_of(position: OutputPosition, is_newer: bool, old: ResetRecord | None) -> WayBack | None:
    """The way back of a reset that a restart finds pending; None if there is none. `is_newer`: it
    was accepted after the checkpoint; `old`: the record of `way_token`."""
    if position.is_paused or old is None or old.state != "done":
        return None
    if is_newer and not position.is_owed and not position.must_begin:
        return WayBack(old, _queue(position.queue, old), position.marker_step)
    way = position.way_back
    if way is None:
        return None
    back = WayBack(old, _queue(way.queue, old), way.marker_step)
    if is_newer:
        back.add(DeltaQueue(position.queue))
    return back


def way_token(position: OutputPosition, is_newer: bool) -> str:
    """The token of the generation that `way_of` would lead to."""
    if is_newer and not position.is_owed:
        return position.token
    return "" if position.way_back is None else position.way_back.token


def gone_back(position: OutputPosition) -> OutputPosition | None:
    """Where an output is whose reset was pending in the checkpoint, and cancelled after it."""
    way = position.way_back
    if way is None:
        return None
    # those that came while the reset was pending carry its generation
    queue = (replace(e, generation=way.generation) for e in (*way.queue, *position.queue))
    return replace(
        position,
        generation=way.generation,
        token=way.token,
        is_owed=False,
        marker_step=way.marker_step,
        queue=tuple(queue),
        way_back=None,
    )


def _queue(entries: Iterable[Entry], record: ResetRecord) -> DeltaQueue:
    return DeltaQueue(replace(e, generation=record.generation) for e in entries)
