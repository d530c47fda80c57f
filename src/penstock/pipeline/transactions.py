"""The transaction of a pipeline (contract 6.4): what is taken in is held until it is committed.

    begin ──► held … held ──commit asked──► released as one step ──► none open

The caller holds the step lock wherever something changes; what is read for the statistics may be
a step old.

Not here: the step that a commit makes (`loop`), its record in the journal (`journal`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from penstock.errors import Conflict, UserError
from penstock.pipeline.taken import Taken


class Transactions:
    """One after the other; at most one is open."""

    def __init__(self) -> None:
        #: how many there have been
        self.count = 0
        self.is_committing = False
        #: rows held
        self.records = 0
        self._open: int | None = None
        self._began = 0.0
        self._held: list[Taken] = []

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def is_holding(self) -> bool:
        """Whether what is taken in now waits for the commit."""
        return self._open is not None and not self.is_committing

    @property
    def id(self) -> int:
        """Number of the open one; 0 for none."""
        return self._open or 0

    @property
    def status(self) -> str:
        if self._open is None:
            return "NoTransaction"
        return "CommitInProgress" if self.is_committing else "TransactionInProgress"

    @property
    def msecs(self) -> int | None:
        """How long the open one has been, in this process."""
        return None if self._open is None else int((time.monotonic() - self._began) * 1000)

    @property
    def held(self) -> tuple[Taken, ...]:
        return tuple(self._held)

    def require_none(self) -> None:
        """Raise Conflict while one is open."""
        if self._open is not None:
            raise Conflict(
                f"transaction {self._open} is in progress: commit it first",
                code="TransactionInProgress",
            )

    def begin(self) -> int:
        """Its number."""
        self.require_none()
        self.count += 1
        self.open_again(self.count)
        return self.count

    def open_again(self, number: int) -> None:
        """Number `number` is open: it has begun, or a replay is within it."""
        self._open, self._began = number, time.monotonic()

    def ask_commit(self) -> None:
        """The next step is the commit."""
        if self._open is None:
            raise UserError("there is no transaction to commit", code="NoTransactionInProgress")
        self.is_committing = True

    def hold(self, taken: Iterable[Taken]) -> None:
        for t in taken:
            self._held.append(t)
            self.records += t.rows

    def release(self) -> tuple[Taken, ...]:
        """What was held; nothing is any more."""
        held, self._held, self.records = tuple(self._held), [], 0
        return held

    def end(self) -> None:
        self._open, self.is_committing = None, False
