"""Steps that a row makes fail: noted beside the journal, and made without that row at the next
start.

    a step fails ──note──► journal.refuse(step, program, error)
    the next start comes to it ──leave_out──► the bad rows (`bad_rows`), noted too, and told

Not here: which rows are bad (`bad_rows`), when a step is made again (`loop`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from penstock.errors import RuntimeSqlError
from penstock.pipeline.bad_rows import Trial, bad_rows, spelt, without
from penstock.pipeline.journal import Journal, Refusal
from penstock.pipeline.taken import Taken


class RefusedSteps:
    """Of one program; without a journal nothing is noted, and nothing is ever left out.

    `program`: a fingerprint of what the circuit computes; `begin_trials`: steps on the state that
    the circuit has now, in circuits of their own."""

    def __init__(
        self, journal: Journal | None, program: str, begin_trials: Callable[[], Trial] | None
    ) -> None:
        self._journal = journal
        self._program, self._begin_trials = program, begin_trials

    def known(self) -> Mapping[int, Refusal]:
        """By step."""
        found = () if self._journal is None else self._journal.refusals()
        return {r.step: r for r in found if r.program == self._program}

    @contextmanager
    def noting(self, step: int) -> Iterator[None]:
        """If a row makes `step` fail, the next start must not fail on it again."""
        try:
            yield
        except RuntimeSqlError as e:
            if self._journal is not None:
                self._journal.refuse(Refusal(step, self._program, str(e)))
            raise

    def leave_out(
        self, taken: tuple[Taken, ...], refusal: Refusal
    ) -> tuple[tuple[Taken, ...], Callable[[], None]]:
        """What is left of `taken` without the rows that make its step fail, and what tells the
        endpoints, to be called once the step is made. A transaction is no exception: it cannot be
        aborted (contract 6.4), so its good rows are delivered, as those of any other step."""
        assert self._journal is not None, "refusals are kept beside the journal"
        parts = [(t.endpoint.relation, b) for t in taken for b in t.batches]
        bad = refusal.rows
        if bad is None:
            every = tuple(range(sum(len(b) for _, b in parts)))
            bad = every
            if self._begin_trials is not None:
                bad = tuple(bad_rows(parts, self._begin_trials()))
            self._journal.refuse(replace(refusal, rows=bad))
        good = iter(without(parts, bad))
        left = tuple(replace(t, batches=tuple(next(good) for _ in t.batches)) for t in taken)
        return left, lambda: _tell(taken, bad, refusal)


def _tell(taken: tuple[Taken, ...], bad: tuple[int, ...], refusal: Refusal) -> None:
    """An error of each endpoint of which rows are left out."""
    at = 0
    for t in taken:
        mine = [(t.endpoint.relation, b) for b in t.batches]
        count = t.rows
        numbers = [n - at for n in bad if at <= n < at + count]
        at += count
        if numbers:
            t.endpoint.error(
                f"{len(numbers)} of {count} rows that step {refusal.step} took in are left "
                f"out, since the step fails with them: {refusal.error}; {spelt(mine, numbers)}",
                fatal=False,
            )
