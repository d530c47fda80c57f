"""Where an output was, and what its sink's marker means for where it goes on.

A checkpoint of step S keeps an `OutputPosition`. After a restart the circuit is at S; with a
journal the steps up to J are then made again, exactly as they were. So what a sink may hold is
certain up to the horizon: J with a journal, S without. The first time that the sink answers, its
marker (generation, token, step M) is laid beside the record of resets, which is never older than
the sink, and `judge` says how to go on:

    the sink's marker               the sink showed our           the snapshot of our
                                    generation (following)        generation was owed
    ─────────────────────────────   ───────────────────────────   ─────────────────────────────
    another owner's                 fatal, touch nothing          fatal, touch nothing
    ours, M ≤ horizon               GO_ON behind M                PUBLISHED: go on behind M
    ours, M > horizon               RENEW "sink_ahead"            RENEW "sink_ahead"
    ours, in phase "staging": a     RENEW "sink_behind"           OWED: stage (again)
      publish is half done; or in
      "restored": rows were lost
    ours, M before what we noted    RENEW "sink_behind"           ·
    of an older generation          RENEW "sink_behind"           OWED: stage (again)
    of a generation that our        RENEW beyond it               RENEW beyond it
      record does not know
    none                            RENEW "marker_lost"           OWED: stage (again)
    the sink keeps none             GO_ON                         OWED: stage (again)

RENEW begins a new generation: for a snapshot_and_follow sink with a fresh snapshot, for one in
follow mode with what is queued (which its target may then hold twice: at least once). Where a
target that lost its marker shall not be overwritten, `"on_lost_marker": "fail"` makes "marker_lost"
and "sink_behind" fatal instead.

What is staged of an unpublished generation is discarded by the sink's `begin`, under the same
token. Steps up to M that are made again are not delivered again.

Source: spec/reset.md, "Recovery" and rules 4 and 5.

Not here: what a verdict does to the endpoint (`delivery_state`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from penstock.io.contracts import FOLLOWING, Marker
from penstock.pipeline.delta_queue import Entry


@dataclass(frozen=True, slots=True)
class KeptWay:
    """What a pending reset could be cancelled to (`way_back`): a generation, the step of its
    marker, and the deltas that the sink had not got when the reset was accepted or since."""

    generation: int
    token: str
    marker_step: int | None
    queue: tuple[Entry, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class OutputPosition:
    """How far one output is with its sink.

    `is_owed`: the snapshot of `generation` is not known to be published; `must_begin`: a
    follow-mode target was not taken yet; `marker_step`: the step of the marker last written, None
    for none; `queue`: deltas of this generation that the sink has not taken, at most up to the
    checkpoint's step; `is_failed`: the sink had refused for good; `config`, `schema`: digests, to
    tell whether the connector or its view has changed since; `way_back`: of a pending reset."""

    generation: int
    token: str
    is_owed: bool
    must_begin: bool
    completed_step: int
    completed_records: int
    marker_step: int | None
    rows: int
    digest: int
    is_paused: bool
    is_failed: bool
    transmitted_records: int
    config: str
    schema: str
    queue: tuple[Entry, ...] = field(default=(), repr=False)
    way_back: KeptWay | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything but the queues."""
        return {n: getattr(self, n) for n in _PLAIN}

    @staticmethod
    def from_json(
        found: Mapping[str, Any], queue: Sequence[Entry], way_back: KeptWay | None
    ) -> OutputPosition:
        plain = {n: found[n] for n in _PLAIN}
        return OutputPosition(**plain, queue=tuple(queue), way_back=way_back)


_PLAIN = [f.name for f in fields(OutputPosition) if f.name not in ("queue", "way_back")]


@dataclass(frozen=True, slots=True)
class Recovered:
    """An output's position and the horizon of certainty (see the module); `step` and `processed`:
    of the checkpoint, and the input records that had gone through the circuit then."""

    position: OutputPosition
    horizon: int
    step: int = 0
    processed: int = 0


class Verdict(Enum):
    GO_ON = "go_on"
    PUBLISHED = "published"
    OWED = "owed"
    RENEW = "renew"


def judge(
    stored: Marker | None,
    *,
    generation: int,
    token: str,
    is_owed: bool,
    marker_step: int | None,
    horizon: int,
    stores_marker: bool,
) -> tuple[Verdict, str]:
    """(verdict, reason of a renewal) for a sink of ours whose marker is `stored`.

    `generation` and `token` are those of the newest record of resets; `marker_step` is that of
    the marker we last noted under them."""
    if stored is None:
        if is_owed:
            return Verdict.OWED, ""
        if not stores_marker or marker_step is None:
            return Verdict.GO_ON, ""
        return Verdict.RENEW, "marker_lost"
    if stored.token == token and stored.generation == generation:
        if stored.phase != FOLLOWING:
            return (Verdict.OWED, "") if is_owed else (Verdict.RENEW, "sink_behind")
        if stored.step > horizon:
            return Verdict.RENEW, "sink_ahead"
        if is_owed:
            return Verdict.PUBLISHED, ""
        if marker_step is not None and stored.step < marker_step:
            return Verdict.RENEW, "sink_behind"
        return Verdict.GO_ON, ""
    if stored.generation < generation:
        if is_owed:
            return Verdict.OWED, ""
        if marker_step is None:
            return Verdict.GO_ON, ""  # follow mode, and nothing was written under this record yet
        return Verdict.RENEW, "sink_behind"
    return Verdict.RENEW, "unknown_generation"
