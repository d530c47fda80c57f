"""The phases of an output connector, as one table.

A connector in snapshot_and_follow mode owes its sink a snapshot at the first start and after
every reset. What happens next is decided by this table alone; `pipeline.outputs` performs it.

    event →       reset      cut        staged      published   unavailable  rejected
    phase ↓
    waiting       waiting    staging    ·           ·           waiting      failed
    staging       waiting    ·          publishing  ·           waiting      failed
    publishing    waiting    ·          ·           following   unsure       failed
    unsure        waiting    ·          ·           following   unsure       failed     (lost)
    following     waiting    ·          ·           ·           following    failed
    failed        waiting    ·          ·           ·           ·            ·

    waiting     the snapshot is owed; deltas are dropped, since the snapshot will contain them
    staging     step S is pinned; its rows go to the sink's staging area; later deltas queue
    publishing  the sink switches from the old contents to V(S), at one instant
    unsure      the reply to `publish` was lost: the sink's marker decides. "published": it got
                through; "lost": it did not, the snapshot is owed again → waiting
    following   the sink shows V(s); each delta moves it on
    failed      the sink refused for good; the old contents stay readable

Connectors in follow mode start in `following` and know only `unavailable` and `rejected`.

Invariants (spec/reset.md section 3):
* a reset is accepted in every phase (also in `failed`: that is what it is for);
* nothing is written to a sink between `waiting` and `publishing` that a reader could see;
* only `published` leads to `following`.
"""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    WAITING = "waiting"
    STAGING = "staging"
    PUBLISHING = "publishing"
    UNSURE = "unsure"
    FOLLOWING = "following"
    FAILED = "failed"


class Event(Enum):
    RESET = "reset"
    CUT = "cut"
    STAGED = "staged"
    PUBLISHED = "published"
    LOST = "lost"
    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"


P, E = Phase, Event
TABLE: dict[tuple[Phase, Event], Phase] = {
    **{(p, E.RESET): P.WAITING for p in Phase},
    **{(p, E.REJECTED): P.FAILED for p in Phase if p is not P.FAILED},
    (P.WAITING, E.CUT): P.STAGING,
    (P.WAITING, E.UNAVAILABLE): P.WAITING,
    (P.STAGING, E.STAGED): P.PUBLISHING,
    (P.STAGING, E.UNAVAILABLE): P.WAITING,
    (P.PUBLISHING, E.PUBLISHED): P.FOLLOWING,
    (P.PUBLISHING, E.UNAVAILABLE): P.UNSURE,
    (P.UNSURE, E.PUBLISHED): P.FOLLOWING,
    (P.UNSURE, E.LOST): P.WAITING,
    (P.UNSURE, E.UNAVAILABLE): P.UNSURE,
    (P.FOLLOWING, E.UNAVAILABLE): P.FOLLOWING,
}

#: phases in which the queue keeps deltas; in the others the owed snapshot will contain them
QUEUEING = frozenset((P.STAGING, P.PUBLISHING, P.UNSURE, P.FOLLOWING))


def next_phase(phase: Phase, event: Event) -> Phase:
    """The phase after `event` in `phase`; AssertionError if the table has no such entry."""
    assert (phase, event) in TABLE, f"{event.value} cannot happen while {phase.value}"
    return TABLE[phase, event]
