"""The phases of an output connector, as one table.

A connector in snapshot_and_follow mode owes its sink a snapshot at the first start and after
every reset. What happens next is decided by this table alone; `pipeline.delivery_state` applies
it, `pipeline.delivery` performs it.

    event →      reset    cut      staged      published  unavailable rejected  cancel     abandon
    phase ↓
    waiting      waiting  staging  ·           ·          waiting     failed    following  waiting
    staging      waiting  ·        publishing  ·          waiting     failed    following  waiting
    publishing   waiting  ·        ·           following  unsure      failed    ·          ·
    unsure       waiting  ·        ·           following  unsure      failed    ·          · (lost)
    following    waiting  ·        ·           ·          following   failed    ·          ·
    failed       waiting  ·        ·           ·          ·           ·         ·          ·

    waiting     the snapshot is owed; what it waits for is below
    staging     step S is pinned; its rows go to the sink's staging area; later deltas queue
    publishing  the sink switches from the old contents to V(S), at one instant
    unsure      the reply to `publish` was lost: the sink's marker decides. "published": it got
                through; "lost": it did not, the snapshot is owed again → waiting
    following   the sink shows V(s); each delta moves it on
    failed      the sink refused for good; the old contents stay readable. What it refuses of a call
                that was under way when a newer reset came does not count

    cancel      the reset is called off and no delta was dropped meanwhile: the old contents go on
    abandon     it is called off (or the connector paused), but deltas are gone: the old contents
                stay as they are and the snapshot stays owed until somebody starts the connector

A reset's own states, which `reset_status` tells, follow from these:

    accepted ──► waiting ──► staging ──► publishing ──► done      (the connector is `following`)
        │ a newer reset           └──► cancelled │ failed         (the old contents stay)
        └──► superseded ──► what becomes of the newer one

`waiting` says what for (`waiting_for` of status and statistics):

    delivery    the call of the sink that was under way when the reset came
    sink        the target cannot be reached; it is tried again
    step        the step or the commit that is under way: a cut falls between two steps
    group       the other connectors of a group reset: all are cut at one step
    paused      the connector is paused

It never waits for the end of an open transaction: the cut shows the last committed state (rule 9).

Connectors in follow mode start in `following` and know only `unavailable` and `rejected`.

Invariants (spec/reset.md section 3):
* a reset is accepted in every phase (also in `failed`: that is what it is for);
* nothing is written to a sink between `waiting` and `publishing` that a reader could see;
* only `published` and `cancel` lead to `following`, and `cancel` never after `staged`.

Source: spec/reset.md section 3. `tests/unit/pipeline/test_reset_model.py` explores it.
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
    CANCEL = "cancel"
    ABANDON = "abandon"


class WaitingFor(Enum):
    DELIVERY = "delivery"
    SINK = "sink"
    STEP = "step"
    GROUP = "group"
    PAUSED = "paused"


P, E = Phase, Event
TABLE: dict[tuple[Phase, Event], Phase] = {
    **{(p, E.RESET): P.WAITING for p in Phase},
    **{(p, E.REJECTED): P.FAILED for p in Phase if p is not P.FAILED},
    (P.WAITING, E.CUT): P.STAGING,
    (P.WAITING, E.UNAVAILABLE): P.WAITING,
    (P.WAITING, E.CANCEL): P.FOLLOWING,
    (P.WAITING, E.ABANDON): P.WAITING,
    (P.STAGING, E.STAGED): P.PUBLISHING,
    (P.STAGING, E.UNAVAILABLE): P.WAITING,
    (P.STAGING, E.CANCEL): P.FOLLOWING,
    (P.STAGING, E.ABANDON): P.WAITING,
    (P.PUBLISHING, E.PUBLISHED): P.FOLLOWING,
    (P.PUBLISHING, E.UNAVAILABLE): P.UNSURE,
    (P.UNSURE, E.PUBLISHED): P.FOLLOWING,
    (P.UNSURE, E.LOST): P.WAITING,
    (P.UNSURE, E.UNAVAILABLE): P.UNSURE,
    (P.FOLLOWING, E.UNAVAILABLE): P.FOLLOWING,
}

#: phases in which the queue keeps deltas; in the others the owed snapshot will contain them
QUEUEING = frozenset((P.STAGING, P.PUBLISHING, P.UNSURE, P.FOLLOWING))
#: phases in which a reset can be called off: nothing that a reader sees has been asked for yet
CANCELLABLE = frozenset((P.WAITING, P.STAGING))


def next_phase(phase: Phase, event: Event) -> Phase:
    """The phase after `event` in `phase`; AssertionError if the table has no such entry."""
    assert (phase, event) in TABLE, f"{event.value} cannot happen while {phase.value}"
    return TABLE[phase, event]
